//! Rotations of the master key, and what the audit roots of several epochs check.

use super::*;
use crate::audit::{
    chain::{Chain, NO_PREVIOUS_MAC},
    record::{Bridging, Event, Record, Via},
    verify::{Start, Why, verify},
};
use crate::cipher::NONCE_BYTES;

const NEXT: [u8; 32] = [0x22; 32];

fn open_with(
    bytes: &[u8],
    master: &[u8; 32],
) -> Result<(Keyring<HeapArena>, AuditRoot<HeapArena>), KeyringError> {
    Keyring::open(&HeapArena, bytes, master)
}

/// Stores a draft; the file.
fn store(keyring: &mut Keyring<HeapArena>, draft: Draft<HeapArena>) -> Vec<u8> {
    let prepared = draft.prepare(None, &mut Counting(9, keyring.generation())).unwrap();
    let bytes = prepared.bytes.clone();
    keyring.confirm(prepared).unwrap();
    bytes
}

/// Both steps of a rotation; the keyring, the roots it gave, and the files of both steps. The end of the second epoch
/// is the segment behind `last_segment`.
fn rotated(
    keyring: &Keyring<HeapArena>,
    from: &[u8; 32],
    to: &[u8; 32],
    last_segment: u64,
) -> (Keyring<HeapArena>, [Vec<u8>; 2]) {
    let (next, begun) = begun(keyring, from, to, last_segment);
    let (next, finished) = renewed(&next, to, last_segment + 1);
    (next, [begun, finished])
}

/// The first step.
fn begun(
    keyring: &Keyring<HeapArena>,
    from: &[u8; 32],
    to: &[u8; 32],
    last_segment: u64,
) -> (Keyring<HeapArena>, Vec<u8>) {
    let mut entropy = Counting(to[0], u64::from(keyring.epoch()) << 16);
    let (mut next, _) = keyring.rotate_root(&HeapArena, from, to, last_segment, &mut entropy).unwrap();
    let draft = next.draft();
    let file = store(&mut next, draft);
    (next, file)
}

/// The second step, for the master key that stays.
fn renewed(half: &Keyring<HeapArena>, stays: &[u8; 32], last_segment: u64) -> (Keyring<HeapArena>, Vec<u8>) {
    let mut entropy = Counting(stays[0], u64::from(half.epoch()) << 16);
    let (mut next, _) = half.renew_root(&HeapArena, stays, last_segment, &mut entropy).unwrap();
    let draft = next.draft();
    let file = store(&mut next, draft);
    (next, file)
}

/// Segments of one group each, each begun with a root; the numbers count from `first`.
fn segment(
    out: &mut Vec<u8>,
    root: &AuditRoot<HeapArena>,
    id: &[u8; 16],
    number: u64,
    mac: [u8; 32],
) -> [u8; 32] {
    let salt = [0x50; 16];
    let mut chain = Chain::begin(&HeapArena, root, id, number, &salt, mac).unwrap();
    let event = Event::Segment {
        salt: &salt,
        host: "h",
        epoch: 1,
        previous_mac: &mac,
        keyring_id: id,
        bridging: Bridging::default(),
    };
    let record = Record {
        segment: number,
        seq: number,
        unix_micros: 1_795_302_600_123_456,
        event,
        provider: None,
        peer: None,
        via: Via::default(),
        user_agent: None,
        error_message: None,
    };
    let mut group = Vec::new();
    record.push_to_group(&mut group);
    let sealed = chain.seal_group(&mut group);
    chain.advance(sealed);
    out.extend_from_slice(&group);
    chain.last_mac()
}

#[test]
fn every_state_opens_with_the_master_that_is_there() {
    let (keyring, before) = written(1);
    let (after, [begun, finished]) = rotated(&keyring, &MASTER, &NEXT, 3);
    let (old, new) = (kdf::master_fingerprint(&MASTER), kdf::master_fingerprint(&NEXT));
    open_with(&before, &MASTER).unwrap();
    for master in [&MASTER, &NEXT] {
        let (half, _) = open_with(&begun, master).unwrap();
        assert_eq!((half.masters(), half.epoch(), half.generation()), (vec![old, new], 2, 2));
        half.check_canary().unwrap();
        half.check_master(&MASTER).unwrap();
        half.check_master(&NEXT).unwrap();
        assert!(half.begins_epoch());
    }
    let refused = open_with(&finished, &MASTER).err();
    assert_eq!(refused, Some(KeyringError::WrongKey { expected: vec![new], got: old }));
    assert_eq!(
        open_with(&before, &NEXT).err(),
        Some(KeyringError::WrongKey { expected: vec![old], got: new })
    );
    let (again, _) = open_with(&finished, &NEXT).unwrap();
    assert_eq!((again.masters(), again.epoch(), again.generation()), (vec![new], 3, 3));
    assert!(again.begins_epoch());
    assert_eq!(again.keyring_id(), keyring.keyring_id());
    assert_eq!(after.check_master(&MASTER), Err(KeyringError::WrongKey { expected: vec![new], got: old }));
}

#[test]
fn what_was_sealed_before_opens_afterwards() {
    let (mut keyring, _) = written(1);
    let mut draft = keyring.draft();
    let mut entropy = Counting(3, 0);
    draft.add_key(KeyName::parse("index").unwrap(), Class::Index, &mut entropy, NOW).unwrap();
    draft.add_key(KeyName::parse("tokens").unwrap(), Class::Hs256, &mut entropy, NOW).unwrap();
    draft.add_version("default", Reason::Manual, &mut entropy, NOW).unwrap();
    store(&mut keyring, draft);
    let (after, [begun, finished]) = rotated(&keyring, &MASTER, &NEXT, 3);
    let opened = [open_with(&begun, &MASTER), open_with(&finished, &NEXT)].map(|opened| opened.unwrap().0);
    for now in opened.iter().chain([&after]) {
        for (key, same) in keyring.keys().iter().zip(now.keys()) {
            assert_eq!((&key.name, key.uid, key.versions.len()), (&same.name, same.uid, same.versions.len()));
            for (version, again) in key.versions.iter().zip(&same.versions) {
                assert_eq!(version.key_id(), again.key_id());
                assert_ne!(version.digest, again.digest, "sealed anew");
                let secret = |keyring: &Keyring<HeapArena>, version| {
                    keyring.with_secret(version, |_, secret| Vec::from(secret)).unwrap()
                };
                assert_eq!(secret(&keyring, version), secret(now, again));
            }
        }
    }
    // Nothing of the old root opens anything of the new one.
    let Working { subkeys, .. } = &*keyring.working;
    assert_ne!(*subkeys.head, *after.working.subkeys.head);
    // The keyring from before is as it was.
    assert_eq!(keyring.masters(), [kdf::master_fingerprint(&MASTER)]);
    keyring.check_canary().unwrap();
}

#[test]
fn a_rotation_can_be_given_up() {
    let (keyring, _) = written(1);
    let (half, _) = begun(&keyring, &MASTER, &NEXT, 3);
    let (_, bytes) = renewed(&half, &MASTER, 4);
    let (again, _) = open_with(&bytes, &MASTER).unwrap();
    assert_eq!((again.epoch(), again.masters().len()), (3, 1));
    again.check_canary().unwrap();
    assert!(matches!(open_with(&bytes, &NEXT), Err(KeyringError::WrongKey { .. })));
    for (master, wrong) in [(&MASTER, false), (&NEXT, true)] {
        let error = again.renew_root(&HeapArena, master, 5, &mut Counting(7, 0)).err();
        let rule = KeyringError::Rule("no rotation of the master key is unfinished");
        assert!(if wrong {
            matches!(error, Some(KeyringError::WrongKey { .. }))
        } else {
            error == Some(rule)
        });
    }
    let neither = half.renew_root(&HeapArena, &[3; 32], 5, &mut Counting(7, 0)).err();
    assert!(matches!(neither, Some(KeyringError::WrongKey { .. })));
}

/// Somebody has the master key that goes, and a copy of the file with both slots: so they have its root. Of what is
/// in place once the rotation has ended, either way, that root opens nothing.
#[test]
fn the_root_with_two_slots_opens_nothing_of_the_keyring_that_ends_the_rotation() {
    let (keyring, _) = written(1);
    let (half, copy) = begun(&keyring, &MASTER, &NEXT, 3);
    for (stays, goes) in [(&NEXT, &MASTER), (&MASTER, &NEXT)] {
        let (_, last) = renewed(&half, stays, 4);
        let (stolen, _) = open_with(&copy, goes).unwrap();
        let Working { identity, subkeys } = &*stolen.working;
        let mut root = Zeroizing::new([0; 32]);
        open_root(&stolen.slots, goes, identity, &mut root).unwrap();
        let (whole, _) = open_with(&last, stays).unwrap();
        let mut current = Zeroizing::new([0; 32]);
        open_root(&whole.slots, stays, &whole.working.identity, &mut current).unwrap();
        assert_ne!(*root, *current);
        // As if the slot that stays held the root of the copy, under the copy's epoch and under the last one's.
        for epoch in [identity.epoch, whole.epoch()] {
            let identity = Identity { epoch, ..*identity };
            let slot = secrets::seal_slot(goes, &identity, &[7; NONCE_BYTES], &root).unwrap();
            let mut forged = last.clone();
            forged[36..40].copy_from_slice(&epoch.to_le_bytes());
            forged[file::HEADER_BYTES..file::HEADER_BYTES + slot.len()].copy_from_slice(&slot);
            assert!(open_with(&forged, goes).is_err(), "the head opens");
            let records = |keyring: &Keyring<HeapArena>, then: &mut dyn FnMut(&key::Stored)| {
                then(&keyring.contents.canary);
                let versions = keyring.keys().iter().flat_map(|key| &key.versions);
                versions.filter_map(|version| version.stored.as_ref()).for_each(then);
            };
            let mut count = 0;
            records(&whole, &mut |stored| {
                let opened = secrets::with_stored_secret(&subkeys.record, &identity, stored, |_, _| ());
                assert!(opened.is_err(), "a record opens");
                count += 1;
            });
            assert!(count > 1);
            // The control: what was sealed up to then opens with it.
            let own = &stolen.working.identity;
            records(&stolen, &mut |stored| {
                secrets::with_stored_secret(&subkeys.record, own, stored, |_, _| ()).unwrap();
            });
        }
    }
}

#[test]
fn what_cannot_be_rotated_is_refused() {
    let (keyring, _) = written(1);
    let rotate = |keyring: &Keyring<HeapArena>, from: &[u8; 32], to: &[u8; 32]| {
        keyring.rotate_root(&HeapArena, from, to, 3, &mut Counting(7, 0)).map(|(next, _)| next)
    };
    assert!(matches!(rotate(&keyring, &NEXT, &MASTER), Err(KeyringError::WrongKey { .. })));
    let same = rotate(&keyring, &MASTER, &MASTER).err();
    assert_eq!(same, Some(KeyringError::Rule("the next master key is the one in use")));
    let mut half = rotate(&keyring, &MASTER, &NEXT).unwrap();
    let draft = half.draft();
    store(&mut half, draft);
    for (from, to) in [(&MASTER, &[3; 32]), (&NEXT, &[3; 32]), (&MASTER, &NEXT)] {
        let error = rotate(&half, from, to).err();
        assert_eq!(error, Some(KeyringError::Rule("a rotation of the master key is unfinished")));
    }
    let none = keyring.rotate_root(&HeapArena, &MASTER, &NEXT, 3, &mut NoEntropy).err();
    assert_eq!(none, Some(KeyringError::Entropy(EntropyFailed)));
}

#[test]
fn a_changed_bit_of_every_byte_of_a_rotated_keyring_is_refused() {
    let (keyring, _) = written(1);
    let (_, [mut begun, _]) = rotated(&keyring, &MASTER, &NEXT, 3);
    // Also of the slot of the other master: the head covers it.
    for byte in 0..begun.len() {
        begun[byte] ^= 1 << (byte % 8);
        assert!(open_with(&begun, &NEXT).is_err(), "byte {byte}");
        begun[byte] ^= 1 << (byte % 8);
    }
    open_with(&begun, &NEXT).unwrap();
}

#[test]
fn a_log_is_checked_over_all_epochs() {
    let (keyring, first_root) = Keyring::create(&HeapArena, &MASTER, &mut Counting(1, 0), NOW).unwrap();
    let id = *keyring.keyring_id();
    let masters = [MASTER, NEXT, [0x33; 32]];
    let mut log = Vec::new();
    let mut mac = segment(&mut log, &first_root, &id, 1, NO_PREVIOUS_MAC);
    mac = segment(&mut log, &first_root, &id, 2, mac);
    let (keyring, file) = begun(&keyring, &masters[0], &masters[1], 2);
    let (_, second_root) = open_with(&file, &masters[1]).unwrap();
    let second_ends = log.len();
    mac = segment(&mut log, &second_root, &id, 3, mac);
    verify(&[&log], Start::Oldest, &second_root, &id, None).unwrap();
    let (keyring, file) = renewed(&keyring, &masters[1], 3);
    let (_, third_root) = open_with(&file, &masters[1]).unwrap();
    mac = segment(&mut log, &third_root, &id, 4, mac);
    verify(&[&log], Start::Oldest, &third_root, &id, None).unwrap();
    // An epoch without a segment of its own: its root was in use for no line.
    let (keyring, _) = begun(&keyring, &masters[1], &masters[2], 4);
    let (keyring, finished) = renewed(&keyring, &masters[2], 4);
    let (_, last_root) = open_with(&finished, &masters[2]).unwrap();
    segment(&mut log, &last_root, &id, 5, mac);
    let verified = verify(&[&log], Start::Oldest, &last_root, &id, None).unwrap();
    assert_eq!((verified.segments, verified.lines, keyring.epoch()), (5, 5, 5));
    for byte in [log.len() / 8, second_ends + 30, log.len() - 200] {
        let mut bad = log.clone();
        bad[byte] ^= 1;
        assert!(verify(&[&bad], Start::Oldest, &last_root, &id, None).is_err(), "byte {byte}");
    }
    // Whoever has an old root cannot write on under it: the number says which root it must be.
    for (root, number) in [(&first_root, 3), (&second_root, 4), (&third_root, 5)] {
        let mut forged = log.clone();
        let lines: Vec<usize> =
            log.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
        forged.truncate(lines[number - 2] + 1);
        let before: [u8; 32] =
            hex::decode(&forged[forged.len() - 67..forged.len() - 3]).unwrap().try_into().unwrap();
        segment(&mut forged, root, &id, number as u64, before);
        let error = verify(&[&forged], Start::Oldest, &last_root, &id, None).unwrap_err();
        assert!(matches!(error.why, Why::Mac { .. }), "{error}");
    }
    // Without an archive, as after a log was begun anew, a log counts from 1 under the root in use.
    let mut keyring = keyring;
    let mut draft = keyring.draft();
    draft.forget_earlier_epochs();
    let bytes = store(&mut keyring, draft);
    let (_, root) = open_with(&bytes, &masters[2]).unwrap();
    let mut anew = Vec::new();
    segment(&mut anew, &root, &id, 1, NO_PREVIOUS_MAC);
    verify(&[&anew], Start::Oldest, &root, &id, None).unwrap();
    assert!(verify(&[&log], Start::Oldest, &root, &id, None).is_err());
}

#[test]
fn a_pin_of_the_epoch_before_counts_for_the_keyring_that_ended_it_alone() {
    let (keyring, _) = written(1);
    let pin = Pin { segment: 1, seq: 2, mac: [3; 32], generation: 1, head_digest: *keyring.head_digest() };
    let file = keyring.seal_pin(&pin);
    let (after, [begun, finished]) = rotated(&keyring, &MASTER, &NEXT, 1);
    let (half, root) = open_with(&begun, &MASTER).unwrap();
    assert_eq!(half.open_pin(&file), Err(PinError::DoesNotVerify));
    assert_eq!(root.open_pin_before(half.generation(), &file), Ok(pin));
    let later = Pin { generation: 2, ..pin };
    let later = root.open_pin_before(half.generation(), &keyring.seal_pin(&later));
    assert_eq!(later, Err(PinError::DoesNotVerify));
    let (whole, root) = open_with(&finished, &NEXT).unwrap();
    assert_eq!(root.open_pin_before(whole.generation(), &file), Err(PinError::DoesNotVerify));
    // It began an epoch too: what holds of the one before is what the keyring with both slots sealed.
    let counters = root.with_counters_key_before(whole.generation(), |key| *key);
    assert_eq!(counters, Some(**half.working.subkeys.counters));
    assert_eq!(root.open_pin_before(whole.generation(), &half.seal_pin(&pin)), Ok(pin));
    assert_eq!(root.with_counters_key_before(whole.generation() + 1, |key| *key), None);
    let (_, root) = open_with(&begun, &NEXT).unwrap();
    let counters = root.with_counters_key_before(half.generation(), |key| *key);
    assert_eq!(counters, Some(**keyring.working.subkeys.counters));
    assert_eq!(after.epoch(), 3);
}

#[test]
fn the_archive_goes_with_the_keyring_whatever_is_done_to_its_key() {
    let (keyring, _) = written(1);
    let (mut keyring, _) = rotated(&keyring, &MASTER, &NEXT, 1);
    let archive = Vec::from(keyring.archive());
    assert!(!archive.is_empty());
    let mut draft = keyring.draft();
    draft.key_mut("default").unwrap().attributes.clear();
    store(&mut keyring, draft);
    assert_eq!(keyring.archive(), archive);
    let mut draft = keyring.draft();
    draft.key_mut("billing/cards").unwrap().set_attribute(attribute::ARCHIVE, &archive);
    let error = draft.prepare(None, &mut Counting(1, 1)).err();
    assert_eq!(error, Some(KeyringError::Rule("not an archive of earlier epochs")));
    // A foreign one is replaced by nothing.
    let (other, _) = written(2);
    let mut draft = other.draft();
    draft.key_mut("default").unwrap().set_attribute(attribute::ARCHIVE, &archive);
    let prepared = draft.prepare(None, &mut Counting(1, 1)).unwrap();
    assert_eq!(open(&prepared.bytes).unwrap().archive(), b"");
}
