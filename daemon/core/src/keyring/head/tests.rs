use alloc::{borrow::ToOwned, vec};

use proptest::prelude::*;

use super::{attribute::Brake, *};

fn version(number: u32, state: State) -> Version {
    let digest = if state == State::Destroyed { [0; 32] } else { [0xd0; 32] };
    Version { number, state, created_at: 5, reason: Reason::Manual, digest, stored: None }
}

fn key(name: &str, uid: u8) -> Key {
    Key {
        uid: [uid; 16],
        class: Class::Message,
        name: name.to_owned(),
        created_at: 7,
        policy: Policy { enabled: true, interval_days: 90, next_rotation_at: 9, ..Policy::default() },
        note: "für alle".to_owned(),
        attributes: vec![("a".to_owned(), vec![1, 2]), ("b".to_owned(), vec![])],
        versions: vec![
            version(1, State::Destroyed),
            version(2, State::Grace),
            version(4, State::Primary),
            version(5, State::Staged),
        ],
    }
}

fn head() -> Head {
    let pin = Pin { segment: 1, seq: 2, mac: [3; 32], generation: 4, head_digest: [5; 32] };
    let keys = vec![key("billing/cards", 2), key("default", 1)];
    Head { pin: Some(pin), created_at: 6, canary_digest: [0xca; 32], keys }
}

#[test]
fn survives_encoding() {
    let encoded = head().encode().unwrap();
    assert_eq!(Head::decode(&encoded).unwrap(), head());
    let without = Head { pin: None, keys: vec![], ..head() };
    let encoded = without.encode().unwrap();
    assert_eq!(encoded.len(), 1 + 8 + 32 + 4);
    assert_eq!(Head::decode(&encoded).unwrap(), without);
}

#[test]
fn lays_a_small_head_out_as_documented() {
    let mut key = key("k", 2);
    key.attributes.truncate(1);
    key.versions = vec![version(3, State::Primary)];
    let head = Head { pin: None, keys: vec![key], ..head() };
    let mut expected = vec![0];
    expected.extend([6, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0xca; 32]);
    expected.extend([1, 0, 0, 0]);
    expected.extend([2; 16]);
    expected.extend([1, 1, b'k', 7, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([1, 90, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([9, 0]);
    expected.extend("für alle".bytes());
    expected.extend([1, 0, 1, b'a', 2, 0, 1, 2]);
    expected.extend([1, 0, 0, 0]);
    expected.extend([3, 0, 0, 0, 2, 5, 0, 0, 0, 0, 0, 0, 0, 5]);
    expected.extend([0xd0; 32]);
    assert_eq!(head.encode().unwrap(), expected);
}

#[test]
fn refuses_what_breaks_a_rule() {
    type Change = fn(&mut Head);
    let changes: [(&str, Change); 15] = [
        ("order", |head| head.keys.swap(0, 1)),
        ("same name", |head| head.keys[0].name = "default".to_owned()),
        ("bad name", |head| head.keys[0].name = "../x".to_owned()),
        ("same uid", |head| head.keys[0].uid = [1; 16]),
        ("uid of the canary", |head| head.keys[0].uid = [0; 16]),
        ("no primary", |head| head.keys[0].versions[2].state = State::Grace),
        ("two primaries", |head| head.keys[0].versions[1].state = State::Primary),
        ("no versions", |head| head.keys[0].versions.clear()),
        ("version order", |head| head.keys[0].versions.swap(1, 2)),
        ("same version", |head| head.keys[0].versions[1].number = 1),
        ("version 0", |head| head.keys[0].versions[0].number = 0),
        ("same attribute", |head| head.keys[0].attributes[0].0 = "b".to_owned()),
        ("attribute name", |head| head.keys[0].attributes[0].0 = "A".to_owned()),
        ("unknown brake", |head| head.keys[1].attributes.push(("brake".to_owned(), b"on".to_vec()))),
        ("destroyed with a digest", |head| head.keys[0].versions[0].digest = [1; 32]),
    ];
    for (what, change) in changes {
        let mut bad = head();
        change(&mut bad);
        assert!(bad.encode().is_err(), "{what}");
    }
    let mut long = head();
    long.keys[0].note = "x".repeat(65_536);
    assert!(long.encode().is_err());
}

#[test]
fn a_known_attribute_with_another_value_is_damage() {
    let mut braked = head();
    braked.keys[0].set_brake(Brake::Disabled, "why", 7);
    let good = braked.encode().unwrap();
    assert_eq!(Head::decode(&good).unwrap(), braked);
    let word = good.windows(8).position(|bytes| bytes == b"disabled").unwrap();
    for place in word..word + 8 {
        let mut bad = good.clone();
        bad[place] ^= 1;
        assert_eq!(Head::decode(&bad), Err(BadHead("an unknown brake")));
    }
}

#[test]
fn refuses_unknown_numbers_and_other_lengths() {
    let small = Head { pin: None, keys: vec![key("k", 2)], ..head() };
    let good = small.encode().unwrap();
    let last_version = good.len() - 46;
    for (place, value) in [
        (0, 2),
        (45 + 16, 9),
        (45 + 16 + 1 + 2 + 8, 2),
        (last_version + 4, 0),
        (last_version + 4, 8),
        (last_version + 13, 6),
    ] {
        let mut bad = good.clone();
        bad[place] = value;
        assert!(Head::decode(&bad).is_err(), "byte {place}");
    }
    for length in 0..good.len() {
        assert!(Head::decode(&good[..length]).is_err());
    }
    assert_eq!(Head::decode(&[&good[..], &[0]].concat()), Err(BadHead("bytes follow the head")));
    let mut not_text = good;
    let note = not_text.windows(2).position(|pair| pair == "ü".as_bytes()).unwrap();
    not_text[note] = 0xff;
    assert_eq!(Head::decode(&not_text), Err(BadHead("a text is not UTF-8")));
}

proptest! {
    #[test]
    fn never_panics_and_is_canonical(bytes: Vec<u8>, place: prop::sample::Index, value: u8) {
        let _ = Head::decode(&bytes);
        let mut changed = head().encode().unwrap();
        let place = place.index(changed.len());
        changed[place] = value;
        if let Ok(decoded) = Head::decode(&changed) {
            prop_assert_eq!(decoded.encode().unwrap(), changed);
        }
    }
}
