use alloc::vec;

use keyagent_common::name::KeyName;
use proptest::prelude::*;

use super::{
    super::key::{Class, Reason, Stored, Version},
    *,
};

/// A key whose versions 1, 2, ... are in these states.
fn key(states: &[State]) -> Key {
    let mut key = Key::new([1; 16], Class::Message, KeyName::DEFAULT, 5);
    for (number, state) in (1..).zip(states) {
        let stored = Stored { key_id: [2; 32], bytes: [3; 9].as_slice().into() };
        key.versions.push(Version::new(number, *state, Reason::None, 5, stored));
    }
    key
}

fn with(states: &[State], value: &[u8]) -> Key {
    let mut key = key(states);
    key.set_attribute(SINCE, value);
    key
}

/// One entry as documented.
fn entry(number: u32, before: u8, since: u64) -> Vec<u8> {
    [&number.to_le_bytes()[..], &[before], &since.to_le_bytes()].concat()
}

#[test]
fn entries_are_written_as_documented() {
    let mut key = key(&[State::Grace, State::Primary, State::Staged]);
    assert_eq!((key.since(1), key.state_before(1)), (None, None));
    key.set_state(3, State::Staged, None, 0x0102).unwrap();
    key.set_state(1, State::Disabled, Some(State::Grace), 0).unwrap();
    let expected = [1, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(key.attribute("versions.since"), Some(&expected[..]));
    assert_eq!(check(&key), Ok(()));
    assert_eq!((key.since(1), key.state_before(1)), (Some(1), Some(State::Grace)));
    assert_eq!((key.since(2), key.since(3), key.state_before(3)), (None, Some(0x0102), None));
    assert_eq!(key.versions[0].state, State::Disabled);
    key.set_state(1, State::Grace, None, 9).unwrap();
    assert_eq!((key.since(1), key.state_before(1)), (Some(9), None));
    assert_eq!(key.attribute("versions.since").unwrap().len(), 26);
    let missing = key.set_state(4, State::Grace, None, 9);
    assert_eq!(missing, Err(KeyringError::Rule("no such version")));
}

#[test]
fn every_value_that_is_not_ours_is_refused() {
    use State::{Compromised, Destroyed, Disabled, Grace, Primary, Retired, Staged};
    let states = [Grace, Primary, Disabled];
    let one = entry(1, 0, 7);
    let stopped = entry(3, 3, 7);
    let good = [&one[..], &stopped].concat();
    assert_eq!(check(&with(&states, &good)), Ok(()));
    assert_eq!(check(&with(&states, &stopped)), Ok(()));
    for length in 0..good.len() {
        let cut = &good[..length];
        assert!(check(&with(&states, cut)).is_err(), "{length}");
        assert!(check(&with(&[Grace, Primary], cut)).is_ok() == (length == 13), "{length}");
    }
    let bad = [
        [&stopped[..], &one].concat(),
        [&one[..], &one, &stopped].concat(),
        [&good[..], &entry(4, 0, 7)].concat(),
        [&good[..], &[0]].concat(),
        [&entry(1, 3, 7)[..], &stopped].concat(),
        [&entry(1, 0, 0)[..], &stopped].concat(),
        entry(3, 0, 7),
        entry(3, 2, 7),
        entry(3, 5, 7),
        entry(3, 6, 7),
        entry(3, 7, 7),
        entry(3, 8, 7),
        entry(3, 3, 0),
        one.clone(),
    ];
    for value in bad {
        assert!(check(&with(&states, &value)).is_err(), "{value:?}");
    }
    assert!(check(&key(&states)).is_err(), "a stopped version without an entry");
    assert!(check(&key(&[Compromised, Primary])).is_err());
    for before in [1, 3, 4] {
        assert_eq!(check(&with(&[Compromised, Primary], &entry(1, before, 7))), Ok(()));
        for state in [Staged, Primary, Grace, Retired, Destroyed] {
            assert!(check(&with(&[state], &entry(1, before, 7))).is_err());
            assert_eq!(check(&with(&[state], &entry(1, 0, 7))), Ok(()));
        }
    }
}

#[test]
fn as_many_versions_as_may_be_fit() {
    let last = u32::try_from(MAX_VERSIONS).unwrap();
    let mut key = key(&vec![State::Grace; MAX_VERSIONS]);
    key.set_attribute(SINCE, &(1..=last).flat_map(|number| entry(number, 0, 7)).collect::<Vec<_>>());
    assert_eq!(check(&key), Ok(()));
    assert!(u16::try_from(key.attribute(SINCE).unwrap().len()).is_ok());
    assert_eq!(key.since(last), Some(7));
}

proptest! {
    #[test]
    fn never_panics(value: Vec<u8>, stopped: bool) {
        let state = if stopped { State::Disabled } else { State::Grace };
        let key = with(&[state, State::Primary], &value);
        let _ = (check(&key), key.since(1), key.state_before(1));
    }
}
