use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::*;
use crate::{
    arena::HeapArena,
    entropy::{Entropy, EntropyFailed},
    keyring::{
        Brake, Class, Due, KeyringError, MAX_ACCESS_BYTES, MAX_REASON_BYTES, MAX_VERSIONS, PERSONNEL, Reason,
        State, file::MAX_FILE_BYTES,
    },
    pin::Pin,
};

mod automatic;
mod destroying;
mod model;
mod rotating;
mod scheduling;
mod settings;
mod versions;

const MASTER: [u8; 32] = [0x11; 32];
const NOW: u64 = 1_795_302_600;
const DAY: u64 = 86_400;

/// Distinct, repeatable bytes.
struct Counting(u64);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        for chunk in out.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), EntropyFailed> {
        Err(EntropyFailed)
    }
}

fn name(text: &str) -> KeyName<'_> {
    KeyName::parse(text).unwrap()
}

fn one(text: &str) -> Selection<'_> {
    Selection::One(name(text))
}

/// A keyring on disk with `default`, `a` and `b/c`.
fn keyring() -> Keyring<HeapArena> {
    let mut keyring = Keyring::create(&HeapArena, &MASTER, &mut Counting(1), NOW).unwrap().0;
    for (text, seed) in [("b/c", 20), ("a", 30)] {
        let mut entropy = Counting(seed);
        let draft = create_key(&keyring, name(text), Class::Message, "", NOW, &mut entropy).unwrap().0;
        commit(&mut keyring, draft);
    }
    keyring
}

/// Stores a draft, and sees that its bytes open to the very same contents.
fn commit(keyring: &mut Keyring<HeapArena>, draft: Draft<HeapArena>) {
    let mut entropy = Counting(keyring.generation() << 32);
    let prepared = draft.prepare(None, &mut entropy).unwrap();
    let (again, _) = Keyring::open(&HeapArena, &prepared.bytes, &MASTER).unwrap();
    keyring.confirm(prepared).unwrap();
    assert_eq!(again.keys(), keyring.keys());
    assert_eq!(again.head_digest(), keyring.head_digest());
    for key in again.keys() {
        for version in &key.versions {
            let found = version.key_id().and_then(|id| keyring.version_by_id(id));
            assert_eq!(found.is_some(), version.state != State::Destroyed);
            assert!(found.is_none_or(|found| found == (key, version)));
        }
    }
}

fn access(keyring: &mut Keyring<HeapArena>, subjects: &[&str], now: u64) -> Option<Vec<AccessChange>> {
    let all = |_: &str| subjects.iter().map(ToString::to_string).collect();
    let (draft, changes) = record_access(keyring, all, now, DAY).unwrap()?;
    commit(keyring, draft);
    Some(changes)
}

#[test]
fn a_new_key_is_there_with_note_version_and_id() {
    let mut keyring = keyring();
    let before = keyring.keys().to_vec();
    let note = "n".repeat(MAX_NOTE_BYTES);
    let (draft, created) =
        create_key(&keyring, name("new"), Class::Message, &note, NOW + 5, &mut Counting(77)).unwrap();
    assert_eq!(keyring.keys(), before, "nothing changes before the commit");
    commit(&mut keyring, draft);
    let (key, version) = keyring.version_by_id(&created.key_id).unwrap();
    assert_eq!((key.name.as_str(), key.note == note, key.created_at), ("new", true, NOW + 5));
    assert_eq!((created.version, version.number, version.state), (1, 1, State::Primary));
    assert_eq!((key.brake(), key.due(), key.access_is_recorded()), (None, None, false));
    let others: Vec<Key> = keyring.keys().iter().filter(|key| key.name != "new").cloned().collect();
    assert_eq!(others, before);
    keyring.load_cipher(&HeapArena, version).unwrap();
}

#[test]
fn what_cannot_be_made_is_refused() {
    let keyring = keyring();
    let create =
        |text, class, note: &str| create_key(&keyring, name(text), class, note, NOW, &mut Counting(9)).err();
    assert_eq!(create("a", Class::Message, ""), Some(ChangeError::Exists));
    assert_eq!(create("default", Class::Index, &"n".repeat(5000)), Some(ChangeError::Exists));
    assert_eq!(create("x", Class::Message, &"n".repeat(1025)), Some(ChangeError::NoteTooLong));
    let offered = [0x04, 0x05, 0x40, 0x41].map(|byte| Class::from_byte(byte).unwrap());
    for class in offered {
        assert_eq!(create("x", class, ""), Some(ChangeError::ClassNotOffered), "{class:?}");
    }
    let error = create_key(&keyring, name("x"), Class::Message, "", NOW, &mut NoEntropy).err();
    assert_eq!(error, Some(ChangeError::Keyring(KeyringError::Entropy(EntropyFailed))));
}

#[test]
fn the_ten_thousandth_key_is_the_last() {
    let mut keyring = keyring();
    let mut draft = keyring.draft();
    let mut entropy = Counting(5);
    for number in keyring.keys().len()..MAX_KEYS - 1 {
        let text = format!("e/{number:05}");
        draft.add_key(name(&text), Class::Message, &mut entropy, NOW).unwrap();
    }
    keyring.confirm(draft.prepare(None, &mut entropy).unwrap()).unwrap();
    let last = create_key(&keyring, name("last"), Class::Message, "", NOW, &mut entropy).unwrap().0;
    keyring.confirm(last.prepare(None, &mut entropy).unwrap()).unwrap();
    let error = create_key(&keyring, name("more"), Class::Message, "", NOW, &mut entropy).err();
    assert_eq!((keyring.keys().len(), error), (10_000, Some(ChangeError::TooManyKeys)));
}

#[test]
fn a_brake_stays_until_a_stronger_one_or_its_lifting() {
    let mut keyring = keyring();
    let (draft, changed) = disable(&keyring, one("a"), Brake::Disabled, "first", NOW).unwrap();
    assert_eq!(changed, ["a"]);
    assert_eq!(keyring.find("a").unwrap().brake(), None, "nothing changes before the commit");
    commit(&mut keyring, draft);
    let (draft, changed) = disable(&keyring, one("a"), Brake::Disabled, "second", NOW + 1).unwrap();
    assert_eq!(changed, Vec::<String>::new());
    commit(&mut keyring, draft);
    let key = keyring.find("a").unwrap();
    assert_eq!(
        (key.brake(), key.brake_reason(), key.brake_at()),
        (Some(Brake::Disabled), "first", Some(NOW))
    );
    let (draft, changed) = disable(&keyring, one("a"), Brake::Compromised, "third", NOW + 2).unwrap();
    assert_eq!(changed, ["a"]);
    commit(&mut keyring, draft);
    for brake in [Brake::Disabled, Brake::Compromised] {
        let (draft, changed) = disable(&keyring, one("a"), brake, "fourth", NOW + 3).unwrap();
        assert_eq!(changed, Vec::<String>::new());
        commit(&mut keyring, draft);
    }
    let key = keyring.find("a").unwrap();
    let is = (key.brake(), key.brake_reason(), key.brake_at());
    assert_eq!(is, (Some(Brake::Compromised), "third", Some(NOW + 2)));
    assert_eq!(keyring.find("default").unwrap().brake(), None);
}

#[test]
fn the_kill_switch_stops_all_keys_and_weakens_none() {
    let mut keyring = keyring();
    let draft = disable(&keyring, one("a"), Brake::Compromised, "leaked", NOW).unwrap().0;
    commit(&mut keyring, draft);
    let (draft, changed) = disable(&keyring, Selection::All, Brake::Disabled, "", NOW + 1).unwrap();
    assert_eq!(changed, ["b/c", "default"]);
    commit(&mut keyring, draft);
    let brakes: Vec<_> = keyring.keys().iter().map(Key::brake).collect();
    assert_eq!(brakes, [Some(Brake::Compromised), Some(Brake::Disabled), Some(Brake::Disabled)]);
    assert_eq!(keyring.find("a").unwrap().brake_reason(), "leaked");
    let (draft, changed) = disable(&keyring, Selection::All, Brake::Compromised, "", NOW + 2).unwrap();
    assert_eq!(changed, ["b/c", "default"]);
    commit(&mut keyring, draft);
    assert!(keyring.keys().iter().all(|key| key.brake() == Some(Brake::Compromised)));
}

#[test]
fn lifting_leaves_the_compromised_alone_unless_asked() {
    let mut keyring = keyring();
    let draft = disable(&keyring, one("a"), Brake::Compromised, "leaked", NOW).unwrap().0;
    commit(&mut keyring, draft);
    let draft = disable(&keyring, Selection::All, Brake::Disabled, "", NOW).unwrap().0;
    commit(&mut keyring, draft);
    assert_eq!(enable(&keyring, one("a"), false, "").err(), Some(ChangeError::IsCompromised));
    let (draft, enabled) = enable(&keyring, Selection::All, false, "over").unwrap();
    assert_eq!(enabled.changed, ["b/c", "default"]);
    assert_eq!(enabled.left_compromised, ["a"]);
    commit(&mut keyring, draft);
    assert_eq!(keyring.find("a").unwrap().brake_reason(), "leaked");
    assert!(keyring.find("default").unwrap().attributes.is_empty());
    let (_, enabled) = enable(&keyring, one("default"), true, "").unwrap();
    assert_eq!(enabled, Enabled::default());
    let (draft, enabled) = enable(&keyring, one("a"), true, "").unwrap();
    assert_eq!((enabled.changed.len(), enabled.left_compromised.len()), (1, 0));
    commit(&mut keyring, draft);
    assert!(keyring.keys().iter().all(|key| key.brake().is_none() && key.attributes.is_empty()));
}

#[test]
fn lifting_the_kill_switch_brings_back_what_stood_before() {
    let mut keyring = keyring();
    let mut brake = |selection, brake, why: &str, now| {
        let (draft, changed) = disable(&keyring, selection, brake, why, now).unwrap();
        commit(&mut keyring, draft);
        changed
    };
    brake(one("a"), Brake::Disabled, "for itself", NOW);
    assert_eq!(brake(Selection::All, Brake::Disabled, "all", NOW + 1), ["b/c", "default"]);
    assert_eq!(brake(Selection::All, Brake::Compromised, "worse", NOW + 2), ["a", "b/c", "default"]);
    // Named while all are stopped: it is to stay stopped, and saying so again changes nothing.
    assert_eq!(brake(one("b/c"), Brake::Disabled, "this one too", NOW + 3), ["b/c"]);
    assert_eq!(brake(one("b/c"), Brake::Disabled, "again", NOW + 4), Vec::<String>::new());
    let refused = enable(&keyring, Selection::All, false, "").unwrap().1;
    assert_eq!((refused.changed.len(), refused.left_compromised.len()), (0, 3));
    let (draft, enabled) = enable(&keyring, Selection::All, true, "").unwrap();
    assert_eq!(enabled.changed, ["a", "b/c", "default"]);
    commit(&mut keyring, draft);
    let is = |name: &str| {
        let key = keyring.find(name).unwrap();
        (key.brake(), key.brake_reason(), key.brake_at())
    };
    assert_eq!(is("a"), (Some(Brake::Disabled), "for itself", Some(NOW)));
    assert_eq!(is("b/c"), (Some(Brake::Disabled), "this one too", Some(NOW + 3)));
    assert!(keyring.find("default").unwrap().attributes.is_empty());
    // Once more: what was braked by itself is lifted by its name alone.
    let (_, enabled) = enable(&keyring, Selection::All, true, "").unwrap();
    assert_eq!((enabled.changed.len(), enabled.left_as_before), (0, vec!["a".into(), "b/c".into()]));
    let (draft, enabled) = enable(&keyring, one("a"), false, "").unwrap();
    assert_eq!(enabled.changed, ["a"]);
    commit(&mut keyring, draft);
    assert!(keyring.find("a").unwrap().attributes.is_empty());
}

#[test]
fn unknown_names_and_unfit_reasons_are_refused() {
    let keyring = keyring();
    let disabled = |name, reason: &str| disable(&keyring, one(name), Brake::Disabled, reason, NOW).err();
    let enabled = |name, reason: &str| enable(&keyring, one(name), false, reason).err();
    for refused in [disabled("b", ""), enabled("b", "")] {
        assert_eq!(refused, Some(ChangeError::NoSuchKey));
    }
    for reason in ["a\nb", "\u{1b}[31m", "\u{202e}", &"x".repeat(MAX_REASON_BYTES + 1)] {
        assert_eq!(disabled("a", reason), Some(ChangeError::UnfitReason), "{reason:?}");
        assert_eq!(enabled("a", reason), Some(ChangeError::UnfitReason), "{reason:?}");
    }
    assert_eq!(disabled("a", &"x".repeat(MAX_REASON_BYTES)), None);
}

#[test]
fn whoever_goes_starts_the_timer_once() {
    let mut keyring = keyring();
    let first = access(&mut keyring, &["uid:2", "uid:1", "uid:2"], NOW).unwrap();
    let expected = AccessChange {
        key: "a".to_owned(),
        first: true,
        gained: vec!["uid:1".to_owned(), "uid:2".to_owned()],
        lost: vec![],
        due_at: None,
    };
    assert_eq!((first.len(), &first[0]), (3, &expected));
    assert_eq!(access(&mut keyring, &["uid:1", "uid:2"], NOW + 1), None);
    let gained = access(&mut keyring, &["uid:3", "uid:1", "uid:2"], NOW + 2).unwrap();
    assert_eq!((gained[0].first, gained[0].due_at, gained[0].lost.len()), (false, None, 0));
    assert_eq!(gained[0].gained, ["uid:3"]);
    assert_eq!(keyring.find("a").unwrap().due(), None);
    let lost = access(&mut keyring, &["uid:4", "uid:1", "uid:3"], NOW + 3).unwrap();
    assert_eq!((lost[0].due_at, &lost[0].lost[..]), (Some(NOW + 3 + DAY), &["uid:2".to_owned()][..]));
    assert_eq!(lost[0].gained, ["uid:4"]);
    let due = Due { at_unix: NOW + 3 + DAY, reason: "personnel" };
    assert_eq!(keyring.find("a").unwrap().due(), Some(due));
    let later = access(&mut keyring, &[], NOW + 500).unwrap();
    assert_eq!((later[0].due_at, later[0].lost.len()), (Some(NOW + 3 + DAY), 3), "never put off");
    assert_eq!(keyring.find("a").unwrap().due(), Some(due));
    assert_eq!(access(&mut keyring, &["uid:9"], NOW + 600).unwrap()[0].due_at, None);
    assert_eq!(keyring.find("a").unwrap().due(), Some(due), "nor forgotten");
    let sooner = access(&mut keyring, &[], NOW - 500).unwrap();
    assert_eq!(sooner[0].due_at, Some(NOW - 500 + DAY));
}

#[test]
fn lists_differ_by_key_and_only_changed_ones_are_told() {
    let mut keyring = keyring();
    access(&mut keyring, &["uid:1"], NOW);
    let narrowed = |key: &str| if key == "b/c" { vec![] } else { vec![String::from("uid:1")] };
    let (draft, changes) = record_access(&keyring, narrowed, NOW, 0).unwrap().unwrap();
    assert_eq!((changes.len(), changes[0].key.as_str(), changes[0].due_at), (1, "b/c", Some(NOW)));
    commit(&mut keyring, draft);
    let due: Vec<_> = keyring.keys().iter().map(|key| key.due().is_some()).collect();
    assert_eq!(due, [false, true, false]);
    let (_, changes) = record_access(&keyring, |_| vec![], u64::MAX, DAY).unwrap().unwrap();
    assert_eq!(changes[0].due_at, Some(u64::MAX));
}

#[test]
fn an_early_clock_still_gives_a_timer() {
    let mut keyring = keyring();
    access(&mut keyring, &["uid:1"], NOW);
    let (draft, changes) = record_access(&keyring, |_| vec![], 0, 0).unwrap().unwrap();
    commit(&mut keyring, draft);
    assert_eq!(changes[0].due_at, Some(1));
}

#[test]
fn what_cannot_be_written_down_is_an_error() {
    let keyring = keyring();
    let record = |subject: String| record_access(&keyring, |_| vec![subject.clone()], NOW, DAY).err();
    let key = || "a".to_owned();
    for subject in ["", "a\nb", "\0", "\u{202e}"] {
        assert_eq!(record(subject.to_owned()), Some(ChangeError::UnfitSubject { key: key() }));
    }
    assert_eq!(record("x".repeat(MAX_ACCESS_BYTES)), None);
    assert_eq!(record("x".repeat(MAX_ACCESS_BYTES + 1)), Some(ChangeError::AccessTooLong { key: key() }));
    let many = |_: &str| (0..7000).map(|uid| format!("uid:{uid}")).collect();
    assert_eq!(
        record_access(&keyring, many, NOW, DAY).err(),
        Some(ChangeError::AccessTooLong { key: key() })
    );
}

/// Every key with a list of one subject of this length.
fn crowd(
    keyring: &Keyring<HeapArena>,
    length: usize,
) -> Result<Option<RecordedAccess<HeapArena>>, ChangeError> {
    record_access(keyring, |_| vec!["x".repeat(length)], NOW, DAY)
}

/// Bytes of the file once every key has the longest brake and the head a pin.
fn braked_bytes(keyring: &Keyring<HeapArena>) -> usize {
    let reason = "r".repeat(MAX_REASON_BYTES);
    let draft = disable(keyring, Selection::All, Brake::Compromised, &reason, NOW).unwrap().0;
    let pin = Pin { segment: 1, seq: 1, mac: [1; 32], generation: 1, head_digest: [1; 32] };
    draft.prepare(Some(&pin), &mut Counting(9)).unwrap().bytes.len()
}

#[test]
fn a_full_keyring_still_takes_a_brake_on_every_key() {
    const KEYS: usize = 1200;
    let mut keyring = keyring();
    let (mut draft, mut entropy) = (keyring.draft(), Counting(5));
    for number in keyring.keys().len()..KEYS {
        draft.add_key(name(&format!("c/{number}")), Class::Message, &mut entropy, NOW).unwrap();
    }
    keyring.confirm(draft.prepare(None, &mut entropy).unwrap()).unwrap();
    let draft = crowd(&keyring, 1).unwrap().unwrap().0;
    let mut sparse = keyring.clone();
    sparse.confirm(draft.prepare(None, &mut entropy).unwrap()).unwrap();
    let most = 1 + (MAX_FILE_BYTES - braked_bytes(&sparse)) / KEYS;
    let full = Some(ChangeError::Keyring(KeyringError::Full));
    assert_eq!(crowd(&keyring, most + 1).err(), full);
    let draft = crowd(&keyring, most).unwrap().unwrap().0;
    keyring.confirm(draft.prepare(None, &mut entropy).unwrap()).unwrap();
    let note = "n".repeat(MAX_NOTE_BYTES);
    let created = create_key(&keyring, name("one/more"), Class::Message, &note, NOW, &mut entropy);
    assert_eq!(created.err(), full);
    assert!(braked_bytes(&keyring) > MAX_FILE_BYTES - KEYS);
}

#[test]
fn a_new_key_can_be_born_with_its_list() {
    let mut keyring = keyring();
    let mut draft = create_key(&keyring, name("n"), Class::Message, "", NOW, &mut Counting(9)).unwrap().0;
    let subjects = || vec!["uid:2".to_owned(), "uid:1".to_owned()];
    assert_eq!(begin_access(&mut draft, "m", subjects()), Err(ChangeError::NoSuchKey));
    let unfit = begin_access(&mut draft, "n", vec![String::new()]);
    assert_eq!(unfit, Err(ChangeError::UnfitSubject { key: "n".to_owned() }));
    begin_access(&mut draft, "n", subjects()).unwrap();
    assert!(begin_access(&mut draft, "n", subjects()).is_err());
    commit(&mut keyring, draft);
    let left = |_: &str| vec!["uid:1".to_owned()];
    let (_, changes) = record_access(&keyring, left, NOW, DAY).unwrap().unwrap();
    let change = changes.iter().find(|change| change.key == "n").unwrap();
    assert_eq!((change.due_at, &change.lost[..]), (Some(NOW + DAY), &["uid:2".to_owned()][..]));
}

#[test]
fn a_change_of_an_old_snapshot_cannot_undo_a_newer_one() {
    let mut keyring = keyring();
    let old = enable(&keyring, Selection::All, true, "").unwrap().0;
    let draft = disable(&keyring, Selection::All, Brake::Disabled, "", NOW).unwrap().0;
    commit(&mut keyring, draft);
    let prepared = old.prepare(None, &mut Counting(3)).unwrap();
    assert_eq!(keyring.confirm(prepared), Err(KeyringError::Stale));
    assert!(keyring.keys().iter().all(|key| key.brake().is_some()));
}
