//! Rotations and promotions.

use super::*;

pub(super) fn rotation(reason: Reason, takeover: Takeover) -> Rotation {
    Rotation { reason, takeover, lift: None }
}

/// Rotates, stores, and returns what was answered.
pub(super) fn rotated(keyring: &mut Keyring<HeapArena>, key: &str, how: Rotation, now: u64) -> Rotated {
    let mut entropy = Counting(keyring.generation() + 4242);
    let (draft, rotated) = rotate(keyring, name(key), how, now, &mut entropy).unwrap();
    commit(keyring, draft);
    rotated
}

fn rotate_error(keyring: &Keyring<HeapArena>, key: &str, how: Rotation) -> Option<ChangeError> {
    rotate(keyring, name(key), how, NOW, &mut Counting(4)).err()
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what `err` returns")]
fn refused(error: LifeError) -> Option<ChangeError> {
    Some(ChangeError::Life(error))
}

pub(super) fn on(key: &'static str, version: u32, now_unix: u64) -> VersionChange<'static> {
    VersionChange { name: name(key), version, reason: "why", now_unix }
}

pub(super) fn states(keyring: &Keyring<HeapArena>, key: &str) -> Vec<State> {
    keyring.find(key).unwrap().versions.iter().map(|version| version.state).collect()
}

#[test]
fn a_rotation_makes_a_primary_and_puts_the_old_one_into_grace() {
    let mut keyring = keyring();
    let old = *keyring.find("a").unwrap().versions[0].key_id().unwrap();
    let before = keyring.keys().to_vec();
    let how = rotation(Reason::Audit, Takeover::Grace);
    let draft = rotate(&keyring, name("a"), how, NOW + 9, &mut Counting(5)).unwrap().0;
    assert_eq!(keyring.keys(), before, "nothing changes before the commit");
    drop(draft);
    let answer = rotated(&mut keyring, "a", how, NOW + 9);
    let moved = Moved { version: 1, key_id: Some(old), from: State::Primary, to: State::Grace };
    assert_eq!((answer.version, answer.replaced, answer.lifted), (2, Some(moved), None));
    assert_eq!(answer.next_rotation_at, 0, "its policy is not enabled");
    let (key, version) = keyring.version_by_id(&answer.key_id).unwrap();
    assert_eq!((key.name.as_str(), version.state, version.reason), ("a", State::Primary, Reason::Audit));
    assert_eq!((key.since(1), key.since(2)), (Some(NOW + 9), Some(NOW + 9)));
    assert_eq!(key.policy.last_rotation_at, NOW + 9);
    assert_ne!(answer.key_id, old);
    assert_eq!(states(&keyring, "default"), [State::Primary]);
    keyring.load_cipher(&HeapArena, keyring.find("a").unwrap().primary().unwrap()).unwrap();
}

#[test]
fn the_old_one_can_be_refused_at_once() {
    for (reason, to) in [
        (Reason::Compromise, State::Compromised),
        (Reason::Personnel, State::Retired),
        (Reason::Manual, State::Retired),
    ] {
        let mut keyring = keyring();
        let answer = rotated(&mut keyring, "a", rotation(reason, Takeover::RefuseOld), NOW);
        let old = answer.replaced.unwrap();
        assert_eq!((old.version, old.from, old.to), (1, State::Primary, to));
        assert_eq!(states(&keyring, "a"), [to, State::Primary]);
        let before = (to == State::Compromised).then_some(State::Grace);
        assert_eq!(keyring.find("a").unwrap().state_before(1), before);
    }
}

#[test]
fn a_staged_version_waits_for_its_promotion() {
    let mut keyring = keyring();
    access(&mut keyring, &["uid:1"], NOW);
    access(&mut keyring, &[], NOW);
    let due = keyring.find("a").unwrap().due().map(|due| due.at_unix);
    assert!(due.is_some());
    let answer = rotated(&mut keyring, "a", rotation(Reason::Scheduled, Takeover::Staged), NOW + 1);
    assert_eq!((answer.version, answer.replaced), (2, None));
    assert_eq!(states(&keyring, "a"), [State::Primary, State::Staged]);
    let key = keyring.find("a").unwrap();
    assert_eq!(key.due().map(|due| due.at_unix), due, "the old one still seals");
    assert_eq!((key.policy.last_rotation_at, key.since(2)), (0, Some(NOW + 1)));
    let second = rotation(Reason::Manual, Takeover::Staged);
    assert_eq!(rotate_error(&keyring, "a", second), refused(LifeError::StagedExists { version: 2 }));
    let (draft, answer) = promote(&keyring, on("a", 2, NOW + 5)).unwrap();
    commit(&mut keyring, draft);
    assert_eq!((answer.promoted.from, answer.promoted.to), (State::Staged, State::Primary));
    assert_eq!(answer.replaced.map(|old| (old.version, old.to)), Some((1, State::Grace)));
    let key = keyring.find("a").unwrap();
    assert_eq!((key.due(), key.policy.last_rotation_at, key.since(2)), (None, NOW + 5, Some(NOW + 5)));
    let before = keyring.keys().to_vec();
    access(&mut keyring, &["uid:1"], NOW);
    access(&mut keyring, &[], NOW);
    let (draft, again) = promote(&keyring, on("a", 2, NOW + 99)).unwrap();
    assert!(!again.promoted.is_change() && again.replaced.is_none());
    commit(&mut keyring, draft);
    let key = keyring.find("a").unwrap();
    assert_eq!(key.policy, before[0].policy);
    assert!(key.due().is_some(), "asking again clears no timer");
}

#[test]
fn a_rotation_clears_the_timer_of_its_key_alone() {
    let mut keyring = keyring();
    access(&mut keyring, &["uid:1"], NOW);
    access(&mut keyring, &[], NOW);
    rotated(&mut keyring, "a", rotation(Reason::Personnel, Takeover::Grace), NOW);
    let due: Vec<bool> = keyring.keys().iter().map(|key| key.due().is_some()).collect();
    assert_eq!(due, [false, true, true]);
    assert!(keyring.find("a").unwrap().access_is_recorded());
}

#[test]
fn what_was_staged_before_a_compromise_never_seals() {
    let mut keyring = keyring();
    rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Staged), NOW);
    rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Grace), NOW);
    assert!(promote(&keyring, on("a", 2, NOW)).is_ok());
    rotated(&mut keyring, "a", rotation(Reason::Compromise, Takeover::Grace), NOW);
    let error = promote(&keyring, on("a", 2, NOW)).err();
    assert_eq!(error, refused(LifeError::OlderThanCompromise { version: 2 }));
    assert_eq!(states(&keyring, "a"), [State::Grace, State::Staged, State::Grace, State::Primary]);
    let draft = disable_version(&keyring, on("a", 2, NOW), false).unwrap().0;
    commit(&mut keyring, draft);
    let staged = rotated(&mut keyring, "a", rotation(Reason::Compromise, Takeover::Staged), NOW);
    assert!(promote(&keyring, on("a", staged.version, NOW)).is_ok());
}

#[test]
fn the_very_next_version_of_a_compromise_counts() {
    let mut keyring = keyring();
    rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Staged), NOW);
    rotated(&mut keyring, "a", rotation(Reason::Compromise, Takeover::Grace), NOW);
    let error = promote(&keyring, on("a", 2, NOW)).err();
    assert_eq!(error, refused(LifeError::OlderThanCompromise { version: 2 }));
}

#[test]
fn brakes_are_lifted_only_when_named() {
    let stopped = |brake| {
        let mut keyring = keyring();
        let draft = disable(&keyring, one("a"), brake, "leaked", NOW).unwrap().0;
        commit(&mut keyring, draft);
        keyring
    };
    let lifting = |lift| Rotation { lift, ..rotation(Reason::Compromise, Takeover::RefuseOld) };
    for brake in [Brake::Disabled, Brake::Compromised] {
        let mut keyring = stopped(brake);
        assert_eq!(rotated(&mut keyring, "a", lifting(None), NOW).lifted, None);
        let key = keyring.find("a").unwrap();
        assert_eq!((key.brake(), key.brake_reason()), (Some(brake), "leaked"));
        let answer = rotated(&mut keyring, "a", lifting(Some(Brake::Compromised)), NOW);
        assert_eq!((answer.lifted, keyring.find("a").unwrap().brake()), (Some(brake), None));
    }
    let mut keyring = stopped(Brake::Compromised);
    let error = rotate_error(&keyring, "a", lifting(Some(Brake::Disabled)));
    assert_eq!(error, Some(ChangeError::IsCompromised));
    let staging = Rotation { takeover: Takeover::Staged, ..lifting(Some(Brake::Compromised)) };
    assert_eq!(rotate_error(&keyring, "a", staging), refused(LifeError::StagingLiftsNothing));
    let answer = rotated(&mut keyring, "default", lifting(Some(Brake::Disabled)), NOW);
    assert_eq!(answer.lifted, None, "there was none");
    assert!(keyring.find("a").unwrap().brake().is_some());
}

#[test]
fn what_cannot_be_rotated_is_refused() {
    let mut keyring = keyring();
    let how = rotation(Reason::Manual, Takeover::Grace);
    assert_eq!(rotate_error(&keyring, "nobody", how), Some(ChangeError::NoSuchKey));
    let none = rotation(Reason::None, Takeover::Grace);
    assert_eq!(rotate_error(&keyring, "a", none), refused(LifeError::NoReason));
    let error = rotate(&keyring, name("a"), how, NOW, &mut NoEntropy).err();
    assert_eq!(error, Some(ChangeError::Keyring(KeyringError::Entropy(EntropyFailed))));
    for (class, rotates) in
        [(Class::Index, true), (Class::Hs256, true), (Class::LegacyRaw, false), (Class::LegacyText, false)]
    {
        let mut draft = keyring.draft();
        draft.add_key(name("x"), class, &mut Counting(8), NOW).unwrap();
        let mut other = keyring.clone();
        commit(&mut other, draft);
        let expected = if rotates { None } else { refused(LifeError::ClassNotRotated) };
        assert_eq!(rotate_error(&other, "x", how), expected, "{class:?}");
    }
    let mut draft = keyring.draft();
    let mut entropy = Counting(9);
    for _ in 2..MAX_VERSIONS {
        draft.add_version("a", Reason::Manual, &mut entropy, NOW).unwrap();
    }
    commit(&mut keyring, draft);
    assert_eq!(rotated(&mut keyring, "a", how, NOW).version as usize, MAX_VERSIONS);
    assert_eq!(rotate_error(&keyring, "a", how), refused(LifeError::TooManyVersions));
    for (reason, expected) in [("a\nb", Some(ChangeError::UnfitReason)), ("", None)] {
        let change = VersionChange { reason, ..on("a", 2, NOW) };
        assert_eq!(promote(&keyring, change).err(), expected);
    }
}
