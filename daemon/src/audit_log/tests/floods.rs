//! Requests in vain by the thousand: few lines, and none of them forgotten or promised where nothing can be written.

use std::time::{Duration, Instant};

use keyagent_core::{audit::record::Outcome, ops::OperationError};

use super::*;
use crate::audit_log::floods::{Floods, LINES_IN_PERIOD};

/// Of a user who does not oversee, denied.
fn in_vain(uid: u32, name: &'static str) -> Line<'static> {
    let details = Details { code: Some(4), ..Details::default() };
    Line {
        event: Event::Operation { name, details },
        peer: Some(Peer { uid, gid: 1, pid: 2 }),
        error: Some("not allowed"),
        manner: Manner::Plain,
        ..request()
    }
}

/// Operation, user, count and error of every sum.
fn sums(folder: &Path) -> Vec<(String, String, u64, String)> {
    let text = String::from_utf8(whole(folder)).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let sums = lines.filter(|line| line["event_type"] == "request.refused").map(|line| {
        assert_eq!((&line["success"], &line["metadata"]["code"]), (&false.into(), &4.into()));
        let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let data = &line["metadata"];
        (
            word(&data["operation"]),
            word(&line["user_id"]),
            data["count"].as_u64().unwrap(),
            word(&line["error_message"]),
        )
    });
    sums.collect()
}

#[test]
fn beyond_the_first_they_are_counted_and_none_is_missing() {
    let folder = folder();
    let log = open(folder.path());
    // In groups, as bursts come, with what succeeded between them.
    let group = [in_vain(7, "encrypt"), request(), in_vain(7, "reload"), in_vain(7, "encrypt")];
    let began = Instant::now();
    (0..200).for_each(|_| log.append_each(group.into_iter()).unwrap());
    (0..200).for_each(|_| log.append(&[in_vain(8, "encrypt")]).unwrap());
    let periods = u64::try_from(began.elapsed().as_millis()).unwrap() / 1000 + 2;
    let lines = lines_in_order(folder.path()) - 1 - 200;
    assert!(lines >= 100 && lines <= 2 * u64::from(LINES_IN_PERIOD) * periods, "{lines}");
    assert!(sums(folder.path()).is_empty());
    log.append_sums().unwrap();
    let sums = sums(folder.path());
    assert_eq!(sums.len(), 3, "{sums:?}");
    assert_eq!(sums.iter().map(|(.., count, _)| count).sum::<u64>() + lines, 800);
    assert!(
        sums.iter().any(|(name, uid, _, error)| name == "reload" && uid == "7" && error == "not allowed")
    );
    // Once.
    log.append_sums().unwrap();
    assert_eq!(lines_in_order(folder.path()), 1 + 200 + lines + 3);
}

#[test]
fn what_overseers_ask_in_vain_gets_a_line_each() {
    let folder = folder();
    let log = open(folder.path());
    for manner in [Manner::Request, Manner::Needed] {
        (0..100).for_each(|_| log.append(&[Line { manner, ..in_vain(7, "encrypt") }]).unwrap());
    }
    // And what succeeds, whoever asked.
    (0..100).for_each(|_| log.append(&[Line { error: None, ..in_vain(7, "encrypt") }]).unwrap());
    assert_eq!(lines_in_order(folder.path()), 301);
}

#[test]
fn every_item_of_a_batch_in_vain_is_counted_with_its_own_error() {
    let of = |failure, count| Outcome {
        key: None,
        version: None,
        failure: Some(failure),
        rule: None,
        count,
        bytes: 0,
        look_ups: 0,
    };
    let outcomes = [of(OperationError::Denied, 5), of(OperationError::DoesNotOpen, 2)];
    let details = Details { code: Some(10), outcomes: &outcomes, ..Details::default() };
    let event = Event::Operation { name: "decrypt", details };
    let line = Line { event, ..in_vain(7, "decrypt") };
    let mut floods = Floods::default();
    (0..3).for_each(|_| floods.count(&line));
    let told: Vec<_> = floods.sums().iter().map(|sum| format!("{:?}", sum.line().event)).collect();
    assert_eq!(told.len(), 2);
    for (code, count) in [(7, 6), (10, 15)] {
        let wanted = format!("code: Some({code}), count: {count} }}");
        assert!(told.iter().any(|event| event.ends_with(&wanted)), "{told:?}");
    }
}

#[test]
fn what_could_not_be_written_is_not_counted_either() {
    let folder = folder();
    let log = open(folder.path());
    let flood = |log: &AuditLog| {
        (0..200).filter(|_| log.append_each([in_vain(7, "encrypt")].into_iter()).is_ok()).count() as u64
    };
    assert_eq!(flood(&log), 200);
    let budget_bytes = log.usage().bytes;
    let full = LogSettings { budget_bytes, when_full: WhenFull::Refuse, ..LogSettings::default() };
    log.configure(full);
    assert_eq!(flood(&log), 0, "there is no room");
    // What was counted before is promised: written all the same.
    let lines = lines_in_order(folder.path());
    log.append_sums().unwrap();
    assert_eq!(sums(folder.path())[0].2 + lines - 1, 200);
    log.configure(LogSettings::default());
    // A write that fails, and whatever follows until one succeeds.
    let (reader, _writer) = std::io::pipe().unwrap();
    let file = std::mem::replace(&mut log.lock().file, std::os::fd::OwnedFd::from(reader).into());
    assert!(log.append_each([request()].into_iter()).is_err());
    assert_eq!(flood(&log), 0, "the disk takes nothing");
    let mut writer = log.lock();
    (writer.file, writer.spoiled) = (file, false);
    drop(writer);
    assert!(flood(&log) > 0);
    log.append_sums().unwrap();
    lines_in_order(folder.path());
}

#[test]
fn each_second_begins_anew_and_users_do_not_share_it() {
    let (mut floods, begin) = (Floods::default(), Instant::now());
    let mut over = |uid, now| {
        (0..LINES_IN_PERIOD + 10).filter(|_| floods.is_over(&in_vain(uid, "encrypt"), now)).count()
    };
    assert_eq!((over(1, begin), over(2, begin)), (10, 10));
    assert_eq!(over(1, begin + Duration::from_millis(999)), 60);
    assert_eq!(over(1, begin + Duration::from_secs(1)), 10);
    // Very many users at once: whoever is too many is written line by line.
    (3..6000).for_each(|uid| {
        over(uid, begin);
    });
    assert_eq!(over(6000, begin), 0);
    assert_eq!(over(6000, begin + Duration::from_secs(5)), 10);
}
