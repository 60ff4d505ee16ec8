//! Files that follow each other, bridges, retention.

use alloc::vec::Vec;

use super::{
    AuditError, FoundBridges, Mark, Start, Unauthenticated, Verified, Verifier, Why,
    sample::{self, DIGEST, LogFile, Manner, OPERATION, Writer, expected, root},
};
use crate::{
    arena::HeapArena,
    audit::{
        AuditRoot,
        record::{Bridging, Event},
    },
    pin::Pin,
};

fn check(files: &[LogFile], start: Start, pin: Option<&Pin>) -> Result<Verified, AuditError> {
    sample::check(files, start, expected(&root(), pin, &FoundBridges::none()), Manner::Strictly)
}

#[test]
fn says_what_was_verified() {
    let (files, early, pin) = sample::log();
    let verified = check(&files, Start::Oldest, Some(&pin)).unwrap();
    let mark = |seq, time: &[u8; 27]| Some(Mark { seq, timestamp: *time });
    assert_eq!(verified.first, mark(1, b"2026-11-21T23:10:00.123457Z"));
    assert_eq!(verified.last, mark(14, b"2026-11-21T23:10:00.123470Z"));
    assert_eq!((verified.files, verified.segments, verified.groups, verified.lines), (3, 3, 11, 14));
    assert_eq!((verified.after_pin, verified.unauthenticated_from, verified.kept_from), (0, None, None));
    assert_eq!(check(&files, Start::Oldest, Some(&early)).unwrap().after_pin, 5);
    assert_eq!(check(&files, Start::Oldest, None).unwrap().after_pin, 14);
}

#[test]
fn a_start_may_begin_at_any_file_that_is_not_behind_its_pin() {
    let (files, early, pin) = sample::log();
    for from in 0..files.len() {
        let verified = check(&files[from..], Start::AnyFile, Some(&pin)).unwrap();
        assert_eq!(verified.tail.map(|tail| (tail.seq, tail.mac)), Some((14, pin.mac)));
        assert_eq!(verified.lines, [14, 8, 4][from]);
        assert_eq!(verified.unauthenticated, []);
        // Nor does verifying all of it begin there.
        let why = Why::OldestLine { expected: 1, found: [1, 7, 11][from] };
        let whole = check(&files[from..], Start::Oldest, Some(&pin));
        assert_eq!(whole.err().map(|error| error.why), (from > 0).then_some(why));
    }
    let error = check(&files[2..], Start::AnyFile, Some(&early)).unwrap_err();
    assert_eq!(error.why, Why::DoesNotMeetPin { pinned: 9 });
    // A crash between the renames of a rotation: there is no current file, or an empty one.
    let mut rotated = files[..2].to_vec();
    assert_eq!(check(&rotated, Start::AnyFile, Some(&early)).unwrap().tail.unwrap().seq, 10);
    rotated.push(LogFile { named: None, bytes: Vec::new() });
    assert_eq!(check(&rotated, Start::AnyFile, Some(&early)).unwrap().tail.unwrap().seq, 10);
}

#[test]
fn the_bad_line_is_named_by_file_line_and_number() {
    let (files, _, pin) = sample::log();
    let error = |files: &[LogFile]| check(files, Start::Oldest, Some(&pin)).unwrap_err();
    let place = |file, line, seq, why| AuditError { file, line, seq, why };
    let mut bad = files.clone();
    bad[1].bytes.truncate(files[1].bytes.len() - 5);
    assert_eq!(error(&bad), place(1, 4, 10, Why::CutFile));
    let mut bad = files.clone();
    bad[1].named = Some(8);
    assert_eq!(error(&bad), place(1, 1, 7, Why::FileName { named: 8, found: 7 }));
    let missing = [files[0].clone(), files[2].clone()];
    assert_eq!(error(&missing), place(1, 1, 7, Why::Sequence { expected: 7, found: 11 }));
    // The first line of the second file stands in the first as well.
    let (first, _) = files[1].bytes.split_at(files[1].bytes.iter().position(|&b| b == b'\n').unwrap() + 1);
    let mut bad = files.clone();
    bad[0].bytes.extend_from_slice(first);
    assert_eq!(error(&bad), place(0, 7, 7, Why::FileInsideFile));
    let mut bad = files.clone();
    bad[1].bytes.drain(..first.len());
    bad[1].named = Some(8);
    assert_eq!(error(&bad), place(1, 1, 7, Why::NoSegment));
    let mut changed = files;
    let text = core::str::from_utf8(&changed[1].bytes).unwrap().replacen("\"group\":4", "\"group\":5", 1);
    changed[1].bytes = text.into_bytes();
    assert_eq!(error(&changed), place(1, 1, 7, Why::DoesNotContinue));
    // Alone, the key of the wrong group makes another mac; and no group makes a verifier compute for ever.
    let mac = check(&changed[1..], Start::AnyFile, Some(&pin)).unwrap_err();
    assert_eq!(mac, place(0, 1, 1, Why::Mac { through: 1 }));
    let text = core::str::from_utf8(&changed[1].bytes).unwrap().replacen("\"group\":5", "\"group\":7", 1);
    changed[1].bytes = text.into_bytes();
    assert_eq!(check(&changed[1..], Start::AnyFile, Some(&pin)).unwrap_err().why, Why::Malformed);
}

#[test]
fn files_may_be_missing_that_a_retention_line_condemned_and_no_others() {
    let retention = |first_seq| Event::Retention { first_seq, files: 1, reason: "age" };
    let mut log = Writer::new();
    log.segment(Bridging::default());
    log.rotate();
    log.rotate();
    log.group(&[retention(2)]);
    log.rotate();
    log.group(&[OPERATION]);
    let pin = log.pin();
    let oldest = |from: usize| check(&log.files[from..], Start::Oldest, Some(&pin));
    // Line 2 is the first of the second file. The condemned file may still be there.
    for from in [0, 1] {
        assert_eq!(oldest(from).unwrap().kept_from, Some(2));
    }
    assert_eq!(oldest(2).unwrap_err().why, Why::OldestLine { expected: 2, found: 3 });
    // Without the line itself, the oldest must be line 1.
    assert_eq!(oldest(3).unwrap_err().why, Why::OldestLine { expected: 1, found: 5 });
    // The last such line counts.
    log.group(&[retention(5)]);
    let pin = log.pin();
    assert_eq!(check(&log.files[3..], Start::Oldest, Some(&pin)).unwrap().kept_from, Some(5));
    assert_eq!(check(&log.files[2..], Start::Oldest, Some(&pin)).unwrap().kept_from, Some(5));
}

/// A bridge whose key was lost, in lines 3 to 5, between segments of two lines each; another lost one in line 6, if
/// asked for.
fn log_with_lost_bridges(two: bool, stated: Option<u64>) -> (Vec<LogFile>, Pin, Pin) {
    let mut log = Writer::new();
    log.segment(Bridging::default());
    log.group(&[OPERATION]);
    let early = log.pin();
    let _lost = log.bridge(None);
    log.group(&[OPERATION, Event::Retention { first_seq: 4, files: 1, reason: "forged" }]);
    if two {
        let _lost = log.bridge(Some(3));
    }
    log.segment(Bridging { unauthenticated_from: stated, ..Bridging::default() });
    log.group(&[Event::KeyringCommit { generation: 4, digest: &DIGEST }]);
    let pin = log.pin();
    (log.files, early, pin)
}

#[test]
fn a_lost_bridge_is_named_and_nothing_else_may_be_passed_off_as_one() {
    for (two, last_seq) in [(false, 5), (true, 6)] {
        let (files, _, pin) = log_with_lost_bridges(two, Some(3));
        let verified = check(&files, Start::Oldest, Some(&pin)).unwrap();
        assert_eq!(verified.unauthenticated, [Unauthenticated { first_seq: 3, last_seq }]);
        // What such lines say does not count.
        assert_eq!((verified.kept_from, verified.unauthenticated_from), (None, None));
        for wrong in [None, Some(2), Some(4)] {
            let (files, _, pin) = log_with_lost_bridges(two, wrong);
            let error = check(&files, Start::Oldest, Some(&pin)).unwrap_err();
            assert_eq!(error.why, Why::Unauthenticated { stated: wrong, found: Some(3) });
        }
    }
    // An ordinary segment, rewritten as a bridge: the mac behind it still fits.
    let mut log = Writer::new();
    log.segment(Bridging::default());
    log.group(&[OPERATION]);
    log.segment(Bridging::default());
    log.group(&[OPERATION]);
    let pin = log.pin();
    let text = core::str::from_utf8(&log.files[0].bytes).unwrap();
    let bridge = "\",\"bridge\":true},\"mac\"";
    let forged = text.replacen("\"},\"mac\"", bridge, 1).replacen("encrypt", "decrypt", 1);
    assert_ne!(forged, text);
    let files = [LogFile { named: None, bytes: forged.into_bytes() }];
    let error = check(&files, Start::Oldest, Some(&pin)).unwrap_err();
    assert_eq!(error.why, Why::Unauthenticated { stated: None, found: Some(1) });
}

#[test]
fn changes_of_a_lost_bridge_stay_within_the_lines_that_are_named() {
    let (files, _, pin) = log_with_lost_bridges(false, Some(3));
    let ends: Vec<usize> =
        files[0].bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
    let mut bad = files.clone();
    for at in 0..files[0].bytes.len() {
        bad[0].bytes[at] ^= 1;
        let line = ends.iter().filter(|end| **end < at).count() + 1;
        if let Ok(verified) = check(&bad, Start::Oldest, Some(&pin)) {
            assert_eq!(verified.unauthenticated, [Unauthenticated { first_seq: 3, last_seq: 5 }]);
            assert!((3..=5).contains(&line), "byte {at} of line {line}");
        }
        bad[0].bytes[at] ^= 1;
    }
}

#[test]
fn the_bridge_that_a_process_writes_itself_is_checked_with_its_key() {
    let mut log = Writer::new();
    log.segment(Bridging::default());
    let pin = log.pin();
    let own = log.bridge(None);
    log.group(&[OPERATION]);
    let (root, none) = (root(), FoundBridges::none());
    let plain = expected(&root, Some(&pin), &none);
    let with_key = super::Expected { own_bridge: Some(&own), ..plain };
    let verified = sample::check(&log.files, Start::Oldest, with_key, Manner::Strictly).unwrap();
    assert_eq!((verified.unauthenticated, verified.unauthenticated_from), (Vec::new(), None));
    let verified = sample::check(&log.files, Start::Oldest, plain, Manner::Strictly).unwrap();
    assert_eq!(verified.unauthenticated, [Unauthenticated { first_seq: 2, last_seq: 3 }]);
    assert_eq!(verified.unauthenticated_from, Some(2));
    let at = log.files[0].bytes.len() - 200;
    log.files[0].bytes[at] ^= 1;
    assert!(sample::check(&log.files, Start::Oldest, with_key, Manner::Strictly).is_err());
}

#[test]
fn a_pin_is_never_met_by_lines_without_a_key() {
    let mut log = Writer::new();
    log.segment(Bridging::default());
    let _lost = log.bridge(None);
    let pin = log.pin();
    let error = check(&log.files, Start::Oldest, Some(&pin)).unwrap_err();
    assert_eq!(error.why, Why::DoesNotMeetPin { pinned: 2 });
}

#[test]
fn a_walk_that_found_keys_is_no_verdict() {
    let (files, _, pin) = sample::log();
    let root = root();
    let none = FoundBridges::none();
    let mut verifier = Verifier::new(Start::Oldest, expected(&root, Some(&pin), &none));
    for file in &files {
        verifier.begin_file(file.named);
        verifier.push(&file.bytes);
    }
    assert_eq!(verifier.finish_strictly().unwrap_err().why, Why::BridgesNotChecked);
}

#[test]
fn a_locked_daemon_sees_where_the_log_ends_and_what_is_bridged() {
    let none = FoundBridges::none();
    let survey = |files: &[LogFile], pin: &Pin| {
        let root: Option<&AuditRoot<HeapArena>> = None;
        let expected = super::Expected {
            root,
            keyring_id: &sample::ID,
            pin: Some(pin),
            bridges: &none,
            own_bridge: None,
        };
        sample::check(files, Start::AnyFile, expected, Manner::AfterCrash)
    };
    let (files, early, pin) = sample::log();
    let verified = survey(&files[2..], &pin).unwrap();
    assert_eq!(verified.tail.map(|tail| (tail.segment, tail.seq, tail.mac)), Some((3, 14, pin.mac)));
    assert_eq!(verified.unauthenticated_from, None);
    let mut torn = files.clone();
    torn[2].bytes.truncate(files[2].bytes.len() - 5);
    let verified = survey(&torn[1..], &early).unwrap();
    assert_eq!(verified.tail.map(|tail| tail.seq), Some(13));
    assert!(verified.unfinished_bytes > 0);
    let (mut bridged, early, _) = log_with_lost_bridges(true, Some(3));
    let end = core::str::from_utf8(&bridged[0].bytes).unwrap().find("{\"seq\":7").unwrap();
    bridged[0].bytes.truncate(end);
    let verified = survey(&bridged, &early).unwrap();
    assert_eq!((verified.unauthenticated_from, verified.tail.unwrap().segment), (Some(3), 3));
}
