use alloc::{string::String, vec};

use super::*;
use crate::ops::{OperationError, TokenFault};

fn operation(user_agent: Option<&'static str>) -> Record<'static> {
    Record {
        segment: 1,
        seq: 12,
        unix_micros: 1_795_302_600_123_456,
        event: Event::Operation { name: "encrypt", details: Details::default() },
        provider: Some("default"),
        peer: Some(Peer { uid: 1000, gid: 1000, pid: 4242 }),
        via: Via::default(),
        user_agent,
        error_message: None,
    }
}

fn line(record: &Record<'_>) -> String {
    let mut group = Vec::new();
    record.push_to_group(&mut group);
    group.push(b'}');
    String::from_utf8(group).unwrap()
}

#[test]
fn writes_the_documented_line() {
    let context = [("table", [0xab; 16])];
    let id = [0xff; 32];
    let details = Details {
        key_id: Some(&id),
        version: Some(1),
        bytes: Some(6),
        context: &context,
        ..Details::default()
    };
    let record =
        Record { event: Event::Operation { name: "encrypt", details }, ..operation(Some("keyagent/0.1.0")) };
    assert_eq!(
        line(&record),
        concat!(
            r#"{"seq":12,"id":"1-12","timestamp":"2026-11-21T23:10:00.123456Z","event_type":"encrypt","#,
            r#""provider":"default","user_id":"1000","ip_address":null,"user_agent":"keyagent/0.1.0","#,
            r#""success":true,"error_message":null,"metadata":{"uid":1000,"gid":1000,"pid":4242,"#,
            r#""key_id":"____________","version":1,"bytes":6,"#,
            r#""context":{"table":"abababababababababababababababab"}}}"#,
        )
    );
}

#[test]
fn every_event_has_its_members_and_is_valid_json() {
    let (salt, mac, id) = ([1; 16], [2; 32], [3; 16]);
    let segment = Event::Segment {
        salt: &salt,
        host: "a\"b",
        epoch: 2,
        previous_mac: &mac,
        keyring_id: &id,
        bridging: Bridging::default(),
    };
    let cases = [
        (segment, vec!["segment", "salt", "host", "epoch", "previous_mac", "keyring_id"]),
        (Event::KeyringIntent { generation: 4, digest: &mac }, vec!["generation", "digest"]),
        (Event::KeyringCommit { generation: 4, digest: &mac }, vec!["generation", "digest"]),
        (Event::PeerRefused { uid: 7, count: 3 }, vec!["uid", "count"]),
        (Event::PeersRefused { users: 2, count: 3 }, vec!["users", "count"]),
        (
            Event::RequestRefused { operation: "encrypt", code: Some(4), count: 3 },
            vec!["operation", "code", "count"],
        ),
        (Event::DaemonStart { reason: Some("boot") }, vec!["reason"]),
        (Event::DaemonStop { reason: None }, vec![]),
        (Event::Lock { reason: None }, vec![]),
        (Event::Unlock { reason: Some("file") }, vec!["reason"]),
        (Event::Reload { reason: Some("SIGHUP") }, vec!["reason"]),
    ];
    for (event, members) in cases {
        let record = Record { event, peer: None, provider: None, ..operation(None) };
        let value: serde_json::Value = serde_json::from_str(&line(&record)).unwrap();
        assert_eq!(value["event_type"], event.name());
        assert_eq!(value["user_id"], serde_json::Value::Null);
        let metadata = value["metadata"].as_object().unwrap();
        assert_eq!(metadata.len(), members.len(), "{metadata:?}");
        assert!(members.iter().all(|name| metadata.contains_key(*name)), "{metadata:?}");
    }
}

#[test]
fn hostile_text_stays_in_its_member() {
    let hostile = "x\",\"mac\":\"00\"}\n{\"seq\":13}\u{1b}[2J\0\u{202e}\u{2028}\u{9b}";
    let record = Record { error_message: Some(hostile), ..operation(Some(hostile)) };
    let written = line(&record);
    assert!(written.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{written}");
    let value: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(value["user_agent"], hostile);
    assert_eq!(value["error_message"], hostile);
    assert_eq!(value["success"], false);
    assert_eq!(value.as_object().unwrap().len(), 11);
    assert!(!written.contains(",\"mac\":"));
}

#[test]
fn long_text_is_cut() {
    let long: &'static str = String::from_utf8(vec![b'a'; 65_536]).unwrap().leak();
    let value: serde_json::Value = serde_json::from_str(&line(&operation(Some(long)))).unwrap();
    assert_eq!(value["user_agent"].as_str().unwrap().len(), TEXT_CAP);
}

#[test]
fn a_group_closes_every_line_but_the_last() {
    let mut group = Vec::new();
    operation(None).push_to_group(&mut group);
    operation(None).push_to_group(&mut group);
    let text = String::from_utf8(group).unwrap();
    let (first, last) = text.split_once('\n').unwrap();
    serde_json::from_str::<serde_json::Value>(first).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(last).is_err());
    serde_json::from_str::<serde_json::Value>(&(String::from(last) + "}")).unwrap();
}

#[test]
fn a_brake_is_named() {
    let of = |details| {
        line(&Record { event: Event::Operation { name: "key_disable", details }, ..operation(None) })
    };
    let details = Details { reason: Some("theft"), brake: Some("compromised"), ..Details::default() };
    assert!(of(details).ends_with(r#""reason":"theft","brake":"compromised"}}"#), "{}", of(details));
    let details = Details { count: Some(2), lift_compromised: true, ..Details::default() };
    assert!(of(details).ends_with(r#""count":2,"lift_compromised":true}}"#), "{}", of(details));
}

#[test]
fn every_new_member_is_written_where_it_applies() {
    let via = Via {
        unit: Some("web.service"),
        socket: Some("agent"),
        on_behalf_of: Some(OnBehalfOf { uid: 7, gid: Some(50), unit: Some("bridge.service") }),
        rule: Some("web"),
    };
    let written = line(&Record { via, ..operation(None) });
    let expected = concat!(
        r#""metadata":{"uid":1000,"gid":1000,"pid":4242,"unit":"web.service","socket":"agent","#,
        r#""on_behalf_of":{"uid":7,"gid":50,"unit":"bridge.service"},"rule":"web"}}"#
    );
    assert!(written.ends_with(expected), "{written}");
    let (salt, mac, id) = ([1; 16], [2; 32], [3; 16]);
    let sealed = crate::audit::bridge::SealedBridge { segment: 4, bytes: [5; 72] };
    let bridging = Bridging { bridge: true, key: Some(&sealed), unauthenticated_from: Some(9) };
    let cases = [
        (
            Event::Segment {
                salt: &salt,
                host: "h",
                epoch: 2,
                previous_mac: &mac,
                keyring_id: &id,
                bridging,
            },
            alloc::format!(
                r#","bridge":true,"bridge_segment":4,"bridge_key":"{}","unauthenticated_from":9}}}}"#,
                "05".repeat(72)
            ),
        ),
        (
            Event::File { salt: &salt, group: 3, previous_mac: &mac, keyring_id: &id, bridge: true },
            alloc::format!(
                r#"{{"segment":1,"salt":"{}","group":3,"previous_mac":"{}","keyring_id":"{}","bridge":true}}}}"#,
                "01".repeat(16),
                "02".repeat(32),
                "03".repeat(16)
            ),
        ),
        (
            Event::Retention { first_seq: 8, files: 2, reason: "age" },
            r#"{"first_seq":8,"files":2,"reason":"age"}}"#.into(),
        ),
        (
            Event::Alert { kind: "disk_budget", count: 1, message: "80 %" },
            r#"{"kind":"disk_budget","count":1,"message":"80 %"}}"#.into(),
        ),
        (
            Event::PolicyChange { digest: &mac, reason: Some("reload") },
            alloc::format!(r#"{{"digest":"{}","reason":"reload"}}}}"#, "02".repeat(32)),
        ),
        (
            Event::AccessChange { gained: "uid:7", lost: "uid:8 uid:9", due_at: Some(5) },
            r#"{"gained":"uid:7","lost":"uid:8 uid:9","due_at":5}}"#.into(),
        ),
        (Event::Maintenance { on: false, reason: None }, r#"{"on":false}}"#.into()),
    ];
    for (event, expected) in cases {
        let written = line(&Record { event, peer: None, ..operation(None) });
        assert!(written.ends_with(&expected), "{written}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap()["event_type"], event.name());
    }
}

#[test]
fn no_line_is_longer_than_a_verifier_reads() {
    let worst: &'static str = String::from_utf8(vec![1; 65_536]).unwrap().leak();
    let names: Vec<String> = (0..16).map(|number| alloc::format!("{number:064}")).collect();
    let context: Vec<(&str, [u8; 16])> = names.iter().map(|name| (name.as_str(), [0xff; 16])).collect();
    let outcome = Outcome {
        key: Some("k"),
        version: Some((&[0xff; 32], u32::MAX)),
        failure: Some(OperationError::TokenRefused(TokenFault::Form)),
        rule: None,
        count: u64::MAX,
        bytes: u64::MAX,
        look_ups: 0,
    };
    let outcomes = alloc::vec![outcome; 1024];
    let via = Via {
        unit: Some(worst),
        socket: Some(worst),
        on_behalf_of: Some(OnBehalfOf { uid: u32::MAX, gid: Some(u32::MAX), unit: Some(worst) }),
        rule: Some(worst),
    };
    let details = Details {
        key_id: Some(&[0xff; 32]),
        version: Some(u32::MAX),
        bytes: Some(u64::MAX),
        count: Some(u64::MAX),
        code: Some(u16::MAX),
        // Beside a note the reason is a word of ours.
        reason: Some("compromise"),
        note: Some(worst),
        from: Some("compromised"),
        to: Some("compromised"),
        replaced: Some((u32::MAX, "compromised")),
        changed: Some(
            "enabled=false interval_days=36500 grace_period_days=36500 auto_retire=false environment owner purpose \
             url note",
        ),
        force: true,
        brake: Some("compromised"),
        lift_compromised: true,
        context: &context,
        outcomes: pages(&outcomes).max_by_key(|page| page.len()).unwrap(),
    };
    let record = Record {
        segment: u64::MAX,
        seq: u64::MAX,
        event: Event::Operation { name: "data_key_open", details },
        provider: Some(worst),
        via,
        user_agent: Some(worst),
        error_message: Some(worst),
        ..operation(None)
    };
    assert!(line(&record).len() < 16 << 10, "{}", line(&record).len());
    // A burst has at most 1024 records.
    assert!(line(&record).len() * 1024 <= crate::audit::verify::MAX_GROUP_BYTES);
}
