//! Versions and keys destroyed.

use core::cell::RefCell;

use super::{
    rotating::{on, rotated, rotation, states},
    *,
};

fn retired() -> Keyring<HeapArena> {
    let mut keyring = keyring();
    for key in ["a", "default"] {
        rotated(&mut keyring, key, rotation(Reason::Manual, Takeover::RefuseOld), NOW);
    }
    keyring
}

#[test]
fn a_destroyed_version_leaves_a_tombstone_and_no_record() {
    let mut keyring = retired();
    let id = *keyring.find("a").unwrap().versions[0].key_id().unwrap();
    let bytes = keyring.draft().prepare(None, &mut Counting(1)).unwrap().bytes;
    let (draft, done) = destroy(&keyring, on("a", 1, NOW + 7), &|_, _| None, false).unwrap();
    assert_eq!((done.moved.key_id, done.needed, done.from_master), (Some(id), None, false));
    commit(&mut keyring, draft);
    let key = keyring.find("a").unwrap();
    assert_eq!((key.versions.len(), key.versions[0].number, key.versions[0].created_at), (2, 1, NOW));
    assert_eq!((key.versions[0].key_id(), key.since(1)), (None, Some(NOW + 7)));
    assert!(keyring.version_by_id(&id).is_none());
    let after = keyring.draft().prepare(None, &mut Counting(1)).unwrap().bytes;
    assert!(bytes.windows(32).any(|window| window == id));
    assert!(!after.windows(32).any(|window| window == id));
    let (_, again) = destroy(&keyring, on("a", 1, NOW), &|_, _| panic!("not asked"), false).unwrap();
    assert_eq!((again.moved.key_id, again.moved.is_change()), (None, false));
    let next = rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Grace), NOW);
    assert_eq!(next.version, 3, "numbers are never used twice");
}

#[test]
fn what_is_needed_is_destroyed_only_by_force() {
    let keyring = retired();
    let asked = RefCell::new(vec![]);
    let needed = |key: &Key, version: &crate::keyring::Version| {
        asked.borrow_mut().push((key.name.clone(), version.number));
        Some("opened 2 days ago".to_owned())
    };
    let error = destroy(&keyring, on("a", 1, NOW), &needed, false).err();
    let why = "opened 2 days ago".to_owned();
    let expected = LifeError::StillNeeded { version: 1, why: why.clone() };
    assert_eq!(expected.to_string(), "version 1 is still needed: opened 2 days ago");
    assert_eq!(error, Some(ChangeError::Life(expected)));
    let (_, done) = destroy(&keyring, on("a", 1, NOW), &needed, true).unwrap();
    assert_eq!(done.needed, Some(why));
    assert_eq!(*asked.borrow(), [("a".to_owned(), 1), ("a".to_owned(), 1)]);
    let error = destroy(&keyring, on("a", 2, NOW), &needed, true).err();
    let expected = LifeError::WrongState { version: 2, state: State::Primary, action: Action::Destroy };
    assert_eq!(error, Some(ChangeError::Life(expected)), "force is no way round the table");
}

#[test]
fn the_first_default_version_can_be_made_again_from_the_master() {
    let mut keyring = retired();
    let (_, done) = destroy(&keyring, on("default", 1, NOW), &|_, _| None, false).unwrap();
    assert!(done.from_master);
    rotated(&mut keyring, "default", rotation(Reason::Manual, Takeover::RefuseOld), NOW);
    let (_, done) = destroy(&keyring, on("default", 2, NOW), &|_, _| None, false).unwrap();
    assert!(!done.from_master);
}

fn destroyed_key() -> Keyring<HeapArena> {
    let mut keyring = retired();
    access(&mut keyring, &["uid:1"], NOW);
    access(&mut keyring, &["uid:2"], NOW);
    let draft = disable(&keyring, one("a"), Brake::Disabled, "over", NOW).unwrap().0;
    commit(&mut keyring, draft);
    let (draft, _) = destroy_key(&keyring, name("a"), "", &|_, _| None, false, NOW + 9).unwrap();
    commit(&mut keyring, draft);
    keyring
}

#[test]
fn a_whole_key_is_destroyed_only_when_stopped_and_not_needed() {
    let mut keyring = retired();
    let destroyed = |keyring: &Keyring<HeapArena>, key, force| {
        destroy_key(keyring, name(key), "", &|_, _| None, force, NOW)
    };
    let life = |error| Some(ChangeError::Life(error));
    assert_eq!(destroyed(&keyring, "nobody", true).err(), Some(ChangeError::NoSuchKey));
    assert_eq!(destroyed(&keyring, "a", true).err(), life(LifeError::NotStopped));
    let draft = disable(&keyring, Selection::All, Brake::Compromised, "", NOW).unwrap().0;
    commit(&mut keyring, draft);
    assert_eq!(destroyed(&keyring, "default", true).err(), life(LifeError::DefaultStays));
    let error = destroy_key(&keyring, name("a"), "\n", &|_, _| None, true, NOW).err();
    assert_eq!(error, Some(ChangeError::UnfitReason));
    let needed = |_: &Key, version: &crate::keyring::Version| (version.number == 2).then(|| "x".to_owned());
    let error = destroy_key(&keyring, name("a"), "", &needed, false, NOW).err();
    assert_eq!(error, life(LifeError::StillNeeded { version: 2, why: "x".to_owned() }));
    let (draft, done) = destroy_key(&keyring, name("a"), "", &needed, true, NOW).unwrap();
    commit(&mut keyring, draft);
    let moved: Vec<_> = done.moved.iter().map(|moved| (moved.version, moved.from, moved.to)).collect();
    assert_eq!(moved, [(1, State::Retired, State::Destroyed), (2, State::Primary, State::Destroyed)]);
    assert_eq!(done.needed, [(2, "x".to_owned())]);
    assert_eq!(states(&keyring, "a"), [State::Destroyed, State::Destroyed]);
    assert_eq!(destroyed(&keyring, "a", true).err(), life(LifeError::KeyDestroyed));
}

#[test]
fn nothing_touches_what_is_left_of_a_key() {
    let mut keyring = destroyed_key();
    let left = keyring.find("a").unwrap().clone();
    assert!(left.is_destroyed() && left.primary().is_none());
    assert_eq!((left.brake(), left.due(), left.policy.enabled), (Some(Brake::Disabled), None, false));
    let dead = Some(ChangeError::Life(LifeError::KeyDestroyed));
    let mut entropy = Counting(3);
    let how = rotation(Reason::Manual, Takeover::Grace);
    assert_eq!(
        create_key(&keyring, name("a"), Class::Message, "", NOW, &mut entropy).err(),
        Some(ChangeError::Exists)
    );
    assert_eq!(rotate(&keyring, name("a"), how, NOW, &mut entropy).err(), dead);
    assert_eq!(promote(&keyring, on("a", 2, NOW)).err(), dead);
    assert_eq!(reinstate(&keyring, on("a", 1, NOW)).err(), dead);
    assert_eq!(enable_version(&keyring, on("a", 1, NOW), true).err(), dead);
    assert_eq!(destroy(&keyring, on("a", 1, NOW), &|_, _| None, true).err(), dead);
    assert_eq!(configure(&keyring, name("a"), &Settings::default(), NOW).err(), dead);
    assert_eq!(disable(&keyring, one("a"), Brake::Compromised, "", NOW).err(), dead);
    assert_eq!(enable(&keyring, one("a"), true, "").err(), dead);
    let (draft, changed) = disable(&keyring, Selection::All, Brake::Compromised, "", NOW).unwrap();
    assert_eq!(changed, ["b/c", "default"]);
    commit(&mut keyring, draft);
    let (draft, enabled) = enable(&keyring, Selection::All, true, "").unwrap();
    assert_eq!(enabled.changed, ["b/c", "default"]);
    commit(&mut keyring, draft);
    assert!(access(&mut keyring, &[], NOW).unwrap().iter().all(|change| change.key != "a"));
    assert!(due(&keyring, u64::MAX, 0).iter().all(|action| action.key != "a"));
    assert_eq!(keyring.find("a"), Some(&left));
}
