//! What is done by itself: once, and by the rules of an operator.

use super::{
    rotating::{rotated, rotation},
    *,
};

fn configured(keyring: &mut Keyring<HeapArena>, settings: Settings<'_>, now: u64) -> u64 {
    let (draft, configured) = configure(keyring, name("a"), &settings, now).unwrap();
    commit(keyring, draft);
    configured.next_rotation_at
}

fn by_itself() -> Settings<'static> {
    Settings {
        enabled: Some(true),
        interval_days: Some(90),
        grace_period_days: Some(30),
        auto_retire: Some(true),
        ..Settings::default()
    }
}

/// Does everything that is due, as the daemon does.
fn act_on_all(keyring: &mut Keyring<HeapArena>, now: u64) -> Vec<Automatic> {
    let mut done = Vec::new();
    for action in due(keyring, now, 0) {
        let mut entropy = Counting(keyring.generation() + 31);
        if let Some((draft, automatic)) = act(keyring, &action, now, &mut entropy).unwrap() {
            commit(keyring, draft);
            done.push(automatic);
        }
    }
    done
}

fn states(keyring: &Keyring<HeapArena>) -> Vec<State> {
    keyring.find("a").unwrap().versions.iter().map(|version| version.state).collect()
}

#[test]
fn a_key_rotates_and_its_old_versions_retire_each_once() {
    let mut keyring = keyring();
    let first = configured(&mut keyring, by_itself(), NOW);
    assert_eq!(act_on_all(&mut keyring, first - 1), []);
    let done = act_on_all(&mut keyring, first);
    assert!(matches!(done[..], [Automatic::Rotated(Rotated { version: 2, .. })]), "{done:?}");
    assert_eq!(act_on_all(&mut keyring, first), []);
    assert_eq!(states(&keyring), [State::Grace, State::Primary]);
    let version = keyring.find("a").unwrap().version(2).unwrap();
    assert_eq!(version.reason, Reason::Scheduled);
    let done = act_on_all(&mut keyring, first + 30 * DAY);
    assert!(matches!(done[..], [Automatic::Retired(Moved { version: 1, to: State::Retired, .. })]));
    // However far the clock jumps: one rotation, nothing destroyed, and what was primary stays openable.
    let done = act_on_all(&mut keyring, first + 40_000 * DAY);
    assert!(matches!(done[..], [Automatic::Rotated(Rotated { version: 3, .. })]));
    assert_eq!(act_on_all(&mut keyring, first + 40_000 * DAY), []);
    assert_eq!(states(&keyring), [State::Retired, State::Grace, State::Primary]);
}

#[test]
fn a_staged_version_is_promoted_rather_than_another_made() {
    let mut keyring = keyring();
    let at = configured(&mut keyring, by_itself(), NOW);
    rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Staged), NOW + 1);
    let done = act_on_all(&mut keyring, at);
    assert!(matches!(done[..], [Automatic::Promoted(_)]), "{done:?}");
    assert_eq!(states(&keyring), [State::Grace, State::Primary]);
    // Not one that is older than a compromise.
    rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Staged), at + 1);
    rotated(&mut keyring, "a", rotation(Reason::Compromise, Takeover::Grace), at + 2);
    let next = keyring.find("a").unwrap().policy.next_rotation_at;
    let done = act_on_all(&mut keyring, next).pop();
    assert!(matches!(done, Some(Automatic::Rotated(Rotated { version: 5, .. }))), "{done:?}");
    assert_eq!(states(&keyring)[2], State::Staged);
}

#[test]
fn what_somebody_did_meanwhile_is_not_done_again() {
    let mut keyring = keyring();
    let at = configured(&mut keyring, by_itself(), NOW);
    let seen = due(&keyring, at, 0);
    rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Grace), at);
    assert!(act(&keyring, &seen[0], at, &mut NoEntropy).unwrap().is_none());
    let brake = disable(&keyring, one("a"), Brake::Disabled, "", at).unwrap().0;
    commit(&mut keyring, brake);
    let stopped = DueAction { due_at: at, key: "a".into(), what: DueWhat::Rotate(Reason::Scheduled) };
    assert!(act(&keyring, &stopped, at + 9000 * DAY, &mut NoEntropy).unwrap().is_none());
    let gone = DueAction { key: "nothing".into(), ..stopped };
    assert!(act(&keyring, &gone, at + 9000 * DAY, &mut NoEntropy).unwrap().is_none());
}

#[test]
fn what_is_owed_is_done_by_a_key_that_rotates_and_cleared_by_every_new_primary() {
    for by_hand in [false, true] {
        let mut keyring = keyring();
        configured(&mut keyring, by_itself(), NOW);
        access(&mut keyring, &["uid:1"], NOW);
        access(&mut keyring, &[], NOW + 1);
        // A right that is given again takes nothing back.
        access(&mut keyring, &["uid:1"], NOW + 2);
        assert_eq!(rotation_due(keyring.find("a").unwrap()), Some((NOW + 1 + DAY, Reason::Personnel)));
        if by_hand {
            rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Staged), NOW + 3);
            assert!(keyring.find("a").unwrap().due().is_some(), "staging is no rotation yet");
            let change = VersionChange { name: name("a"), version: 2, reason: "", now_unix: NOW + 4 };
            let draft = promote(&keyring, change).unwrap().0;
            commit(&mut keyring, draft);
        } else {
            let done = act_on_all(&mut keyring, NOW + 1 + DAY);
            assert!(matches!(done[..], [Automatic::Rotated(_)]));
            assert_eq!(keyring.find("a").unwrap().version(2).unwrap().reason, Reason::Personnel);
        }
        assert_eq!(keyring.find("a").unwrap().due(), None);
    }
}

#[test]
fn a_date_that_a_wrong_clock_left_is_set_anew_by_saying_the_interval_again() {
    let mut keyring = keyring();
    configured(&mut keyring, by_itself(), NOW);
    let far = NOW + 30_000 * DAY;
    act_on_all(&mut keyring, far);
    assert!(keyring.find("a").unwrap().policy.next_rotation_at > far);
    let again = configured(&mut keyring, by_itself(), NOW + 5);
    assert!((NOW..NOW + 5 + 90 * DAY).contains(&again), "{again}");
    assert_eq!(configured(&mut keyring, by_itself(), NOW + 6), again, "and is not put off by that");
}
