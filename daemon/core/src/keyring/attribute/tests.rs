use alloc::{format, string::ToString};

use keyagent_common::name::KeyName;
use proptest::prelude::*;

use super::{
    super::key::{Class, Reason, State, Stored, Version},
    *,
};

fn key() -> Key {
    let mut key = Key::new([1; 16], Class::Message, KeyName::DEFAULT, 5);
    let stored = Stored { key_id: [2; 32], bytes: [3; 9].as_slice().into() };
    key.versions.push(Version::new(1, State::Primary, Reason::None, 5, stored));
    key
}

/// A key with exactly these attributes, given in ascending order.
fn with(attributes: &[(&str, &[u8])]) -> Key {
    let mut key = key();
    key.attributes = attributes.iter().map(|(name, value)| ((*name).into(), Vec::from(*value))).collect();
    key
}

#[test]
fn a_plain_key_says_nothing() {
    let key = with(&[("a", b"x"), ("brake.other", b"y"), ("z", b"")]);
    assert_eq!(check(&key), Ok(()));
    assert_eq!((key.brake(), key.brake_reason(), key.brake_at(), key.due()), (None, "", None, None));
    assert_eq!(key.access().count(), 0);
    assert!(!key.access_is_recorded());
}

#[test]
fn brakes_are_written_as_documented() {
    let mut key = with(&[("a", b"x"), ("z", b"")]);
    key.set_brake(Brake::Disabled, "laptop stolen", 0x0102);
    let written: [(&str, &[u8]); 5] = [
        ("a", b"x"),
        ("brake", b"disabled"),
        ("brake.at", &[2, 1, 0, 0, 0, 0, 0, 0]),
        ("brake.reason", b"laptop stolen"),
        ("z", b""),
    ];
    assert_eq!(key, with(&written));
    assert_eq!(key.brake(), Some(Brake::Disabled));
    assert_eq!((key.brake_reason(), key.brake_at()), ("laptop stolen", Some(0x0102)));
    key.set_brake(Brake::Compromised, "", 7);
    let at = 7u64.to_le_bytes();
    assert_eq!(key, with(&[("a", b"x"), ("brake", b"compromised"), ("brake.at", &at), ("z", b"")]));
    assert_eq!(check(&key), Ok(()));
    key.release();
    assert_eq!(key, with(&[("a", b"x"), ("z", b"")]));
}

#[test]
fn brakes_of_all_keys_are_written_as_documented() {
    let mut key = with(&[]);
    key.set_brake_of_all(Brake::Disabled, "", 7);
    let at = 7u64.to_le_bytes();
    assert_eq!(key, with(&[("brake", b"disabled"), ("brake.at", &at), ("brake.before", b"")]));
    assert!(key.brake_is_of_all() && key.disabled_before().is_none());
    key.release_of_all();
    assert_eq!(key, with(&[]));
    key.set_brake(Brake::Disabled, "lost", 7);
    key.set_brake_of_all(Brake::Compromised, "", 9);
    let (later, before) = (9u64.to_le_bytes(), [&at[..], b"lost"].concat());
    let written = [("brake", &b"compromised"[..]), ("brake.at", &later), ("brake.before", &before)];
    assert_eq!((key.disabled_before(), check(&key)), (Some((7, "lost")), Ok(())));
    assert_eq!(key, with(&written));
    let bad: [[(&str, &[u8]); 3]; 3] = [
        [written[0], written[1], ("brake.before", &before[..7])],
        [written[0], written[1], ("brake.before", &[&at[..], b"a\nb"].concat())],
        [("brake", b"disabled"), written[1], written[2]],
    ];
    for attributes in bad {
        assert!(check(&with(&attributes)).is_err(), "{attributes:?}");
    }
    assert!(check(&with(&[("brake.before", b"")])).is_err());
}

#[test]
fn timers_and_lists_are_written_as_documented() {
    let mut key = key();
    key.set_due(0x0102, PERSONNEL);
    key.set_access("uid:1\nuid:2");
    let written: [(&str, &[u8]); 3] = [
        ("access", b"uid:1\nuid:2"),
        ("rotation.due_at", &[2, 1, 0, 0, 0, 0, 0, 0]),
        ("rotation.due_reason", b"personnel"),
    ];
    assert_eq!(key, with(&written));
    assert_eq!(key.due(), Some(Due { at_unix: 0x0102, reason: "personnel" }));
    assert_eq!(key.access().collect::<Vec<_>>(), ["uid:1", "uid:2"]);
    key.set_access("");
    assert_eq!(key.access().count(), 0);
    assert!(key.access_is_recorded());
    assert_eq!(check(&key), Ok(()));
}

#[test]
fn a_word_that_is_not_ours_is_the_worst_brake() {
    assert_eq!(with(&[("brake", b"Disabled")]).brake(), Some(Brake::Compromised));
    assert_eq!(with(&[("brake", b"")]).brake(), Some(Brake::Compromised));
}

#[test]
fn every_value_that_is_not_ours_is_refused() {
    let at = &7u64.to_le_bytes();
    let braked =
        |reason: &str| with(&[("brake", b"disabled"), ("brake.at", at), ("brake.reason", reason.as_bytes())]);
    let due = |at: &[u8], reason: &[u8]| with(&[("rotation.due_at", at), ("rotation.due_reason", reason)]);
    let access = |list: &str| with(&[("access", list.as_bytes())]);
    for good in ["x", "für Ana", "\u{1f512}", &"x".repeat(256)] {
        assert_eq!(check(&braked(good)), Ok(()), "{good:?}");
    }
    for bad in ["", "a\nb", "\u{1b}[2J", "\u{7f}", "\u{85}", "\u{202e}x", "\u{61c}", &"x".repeat(257)] {
        assert!(check(&braked(bad)).is_err(), "{bad:?}");
    }
    let words: [&[u8]; 6] = [b"", b"Disabled", b"disabled ", b"disable", b"compromised\n", &[0xff]];
    for word in words {
        assert!(check(&with(&[("brake", word), ("brake.at", at)])).is_err(), "{word:?}");
    }
    assert!(check(&with(&[("brake", b"disabled")])).is_err());
    assert!(check(&with(&[("brake.at", at)])).is_err());
    assert!(check(&with(&[("brake.reason", b"x")])).is_err());
    assert!(check(&with(&[("brake", b"disabled"), ("brake.at", &at[..7])])).is_err());
    assert!(check(&with(&[("brake", b"disabled"), ("brake.at", at), ("brake.reason", &[0xff])])).is_err());
    for word in ["scheduled", "compromise", "personnel", "audit", "manual"] {
        assert_eq!(check(&due(at, word.as_bytes())), Ok(()), "{word}");
    }
    for (at, word) in [(&at[..], "none"), (at, ""), (at, "Audit"), (&at[1..], "audit"), (&[0; 8], "audit")] {
        assert!(check(&due(at, word.as_bytes())).is_err(), "{at:?} {word}");
    }
    assert!(check(&with(&[("rotation.due_at", at)])).is_err());
    assert!(check(&with(&[("rotation.due_reason", b"audit")])).is_err());
    for good in ["", "a", "a\nb", "gid:1\nuid:1\nunit:backup@*.service"] {
        assert_eq!(check(&access(good)), Ok(()), "{good:?}");
    }
    for bad in ["\n", "a\n", "\na", "b\na", "a\na", "a\n\nb", "a\rb", "a\0", "\u{2066}"] {
        assert!(check(&access(bad)).is_err(), "{bad:?}");
    }
    assert!(check(&with(&[("access", &[0xc3])])).is_err());
    assert_eq!(check(&access(&"a".repeat(60_000))), Ok(()));
    assert!(check(&access(&"a".repeat(60_001))).is_err());
}

proptest! {
    #[test]
    fn what_can_be_asked_for_can_be_written(reason: String, subjects: Vec<String>, at: u64, compromised: bool) {
        let brake = if compromised { Brake::Compromised } else { Brake::Disabled };
        let mut key = key();
        prop_assume!(is_reason(&reason));
        key.set_brake(brake, &reason, at);
        key.set_due(at.max(1), PERSONNEL);
        let mut subjects: Vec<_> = subjects.into_iter().filter(|subject| is_subject(subject)).collect();
        subjects.sort();
        subjects.dedup();
        key.set_access(&subjects.join("\n"));
        prop_assert_eq!(check(&key), Ok(()));
        prop_assert_eq!((key.brake(), key.brake_reason(), key.brake_at()), (Some(brake), &*reason, Some(at)));
        prop_assert_eq!(key.access().map(ToString::to_string).collect::<Vec<_>>(), subjects);
        prop_assert!(key.attributes.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn never_panics(name in "brake|brake.at|brake.reason|rotation.due_at|access", value: Vec<u8>) {
        let key = with(&[(&name, &value)]);
        let _ = check(&key);
        let _ = format!("{:?} {:?} {} {}", key.brake(), key.due(), key.brake_reason(), key.access().count());
    }
}
