use super::*;

#[test]
fn a_staged_version_travels_and_is_promoted_on_each_host() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    b.restore(&a.pages(""), false);
    a.rotate("index", Takeover::Staged);
    let staged = a.pages("index");
    assert_eq!(b.restore(&staged, false), [("index".into(), Taken::Extended, 1)]);
    assert_eq!(b.states("index"), [(1, State::Primary), (2, State::Staged)]);
    let change = |name| change::VersionChange { name, version: 2, reason: "", now_unix: NOW };
    let (draft, _) = change::promote(&a.keyring, change(name("index"))).unwrap();
    a.commit(draft);
    // What is known here stays as it is ...
    let promoted = a.pages("index");
    assert_eq!(b.restore(&promoted, false), [("index".into(), Taken::Same, 0)]);
    assert_eq!(b.states("index"), [(1, State::Primary), (2, State::Staged)]);
    // ... unless the primary of the backup is asked for.
    assert_eq!(b.restore(&promoted, true), [("index".into(), Taken::Extended, 0)]);
    assert_eq!(b.states("index"), [(1, State::Grace), (2, State::Primary)]);
    assert_eq!(b.restore(&promoted, true), [("index".into(), Taken::Same, 0)]);
    // An older backup takes nothing back.
    assert_eq!(b.restore(&staged, true), [("index".into(), Taken::Same, 0)]);
    assert_eq!(b.states("index"), [(1, State::Grace), (2, State::Primary)]);
}

#[test]
fn a_new_primary_is_staged_or_promoted_as_asked() {
    for (promote, states) in [
        (false, [(1, State::Primary), (2, State::Grace), (3, State::Staged)]),
        (true, [(1, State::Grace), (2, State::Grace), (3, State::Primary)]),
    ] {
        let (mut a, mut b) = (rich(), Host::new(9, 2));
        b.restore(&a.pages(""), false);
        a.rotate("index", Takeover::Grace);
        a.rotate("index", Takeover::Grace);
        let pages = a.pages("");
        let restored = b.restore(&pages, promote);
        assert!(restored.contains(&("index".into(), Taken::Extended, 2)), "{restored:?}");
        assert_eq!(b.states("index"), states);
        let again = b.restore(&pages, promote);
        assert!(again.iter().all(|(_, taken, _)| *taken == Taken::Same), "{again:?}");
    }
}

#[test]
fn a_staged_version_older_than_a_compromise_is_not_promoted_by_a_backup() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    b.restore(&a.pages(""), false);
    a.rotate("index", Takeover::Grace);
    let pages = a.pages("index");
    b.restore(&pages, false);
    let rotation = Rotation { reason: Reason::Compromise, takeover: Takeover::Staged, lift: None };
    // Not more than one can be staged by hand: this one comes as the other did.
    let mut draft = b.keyring.draft();
    let number = draft.add_version("index", rotation.reason, &mut b.entropy, NOW).unwrap();
    b.commit(draft);
    assert_eq!(number, 3);
    assert_eq!(b.restore(&pages, true), [("index".into(), Taken::Same, 0)]);
    assert_eq!(b.states("index"), [(1, State::Primary), (2, State::Staged), (3, State::Staged)]);
}

/// Two hosts that know version 1; the one has staged version 2, the other went on to version 5 and staged the next one.
fn apart() -> (Host, Host) {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    b.restore(&a.pages(""), false);
    a.rotate("index", Takeover::Staged);
    b.restore(&a.pages("index"), false);
    for _ in 3..=5 {
        a.rotate("index", Takeover::Grace);
    }
    a.rotate("index", Takeover::RefuseOld);
    assert_eq!(b.states("index"), [(1, State::Primary), (2, State::Staged)]);
    (a, b)
}

#[test]
fn where_a_version_is_staged_no_other_one_comes_staged() {
    let (mut a, mut b) = apart();
    let pages = a.pages("index");
    let why = b.ask(&pages[0], false, false).unwrap().keys.remove(0).why;
    assert_eq!(why, "its version 6 opens, but is not staged: version 2 is staged here");
    assert_eq!(b.restore(&pages, false), [("index".into(), Taken::Extended, 4)]);
    let states = b.states("index");
    let staged = |states: &[(u32, State)]| {
        states
            .iter()
            .filter(|(_, state)| *state == State::Staged)
            .map(|(number, _)| *number)
            .collect::<Vec<_>>()
    };
    assert_eq!((staged(&states), states[5]), (vec![2], (6, State::Grace)));
    assert!(b.keyring.find("index").unwrap().since(6).unwrap() >= NOW, "grace begins when it came");
    assert_eq!(a.secret("index", 6), b.secret("index", 6));
    // Of two that come, the primary of the backup; the next one is rotated to as ever.
    let (mut a, mut c) = (rich(), Host::new(8, 4));
    c.restore(&a.pages(""), false);
    a.rotate("index", Takeover::Grace);
    a.rotate("index", Takeover::Staged);
    let pages = a.pages("index");
    c.restore(&pages, false);
    assert_eq!(c.states("index"), [(1, State::Primary), (2, State::Staged), (3, State::Grace)]);
    // Promoted, it leaves its place to the other one.
    let mut d = Host::new(8, 4);
    let first = rich().pages("");
    d.restore(&first, false);
    d.restore(&pages, true);
    assert_eq!(d.states("index"), [(1, State::Grace), (2, State::Primary), (3, State::Staged)]);
}

#[test]
fn a_primary_that_is_promoted_needs_no_place_among_the_staged() {
    let (mut a, mut b) = apart();
    let done = b.ask(&a.pages("index")[0], true, true).unwrap();
    assert_eq!(done.keys[0].why, "its primary is the one of the backup now");
    b.commit(done.draft.unwrap());
    let states = b.states("index");
    assert_eq!((states[0], states[5]), ((1, State::Grace), (6, State::Primary)));
}

#[test]
fn what_is_older_than_the_primary_never_comes_staged() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    b.restore(&a.pages(""), false);
    a.rotate("index", Takeover::Staged);
    let pages = a.pages("index");
    // A version 3 came from elsewhere.
    let mut draft = b.keyring.draft();
    draft.add_version("index", Reason::Manual, &mut b.entropy, NOW).unwrap();
    let number = draft.add_version("index", Reason::Manual, &mut b.entropy, NOW).unwrap();
    let key = draft.key_mut("index").unwrap();
    change::take_over(key, number, NOW).unwrap();
    key.versions.remove(1);
    b.commit(draft);
    assert_eq!(b.states("index"), [(1, State::Grace), (3, State::Primary)]);
    let why = b.ask(&pages[0], true, false).unwrap().keys.remove(0).why;
    assert_eq!(why, "its version 2 opens, but is not staged: version 3 is primary here");
    b.restore(&pages, true);
    assert_eq!(b.states("index"), [(1, State::Grace), (2, State::Grace), (3, State::Primary)]);
}

#[test]
fn hosts_with_one_master_share_default_although_its_uids_differ() {
    let (mut a, mut b) = (Host::new(1, 1), Host::new(1, 2));
    (a.unused, b.unused) = (false, false);
    assert_ne!(a.keyring.find("default").unwrap().uid, b.keyring.find("default").unwrap().uid);
    a.rotate("default", Takeover::Grace);
    let pages = a.pages("");
    assert_eq!(b.restore(&pages, true), [("default".into(), Taken::Extended, 1)]);
    assert_eq!(b.states("default"), [(1, State::Grace), (2, State::Primary)]);
    assert_eq!(a.secret("default", 2), b.secret("default", 2));
    // And back.
    b.rotate("default", Takeover::Grace);
    let pages = b.pages("");
    assert_eq!(a.restore(&pages, true), [("default".into(), Taken::Extended, 1)]);
    assert_eq!(a.secret("default", 3), b.secret("default", 3));
}

#[test]
fn what_is_destroyed_stays_destroyed_on_both_sides() {
    let (mut a, mut b) = (rich(), Host::new(9, 2));
    let before = a.pages("");
    b.restore(&before, false);
    let (draft, _) = change::disable(
        &a.keyring,
        change::Selection::One(name("index")),
        crate::keyring::Brake::Disabled,
        "",
        NOW,
    )
    .unwrap();
    a.commit(draft);
    let mut draft = a.keyring.draft();
    let key = draft.key_mut("index").unwrap();
    key.versions[0].state = State::Destroyed;
    a.commit(draft);
    // The tombstone comes to a host without the key, and keeps the name.
    let mut c = Host::new(7, 3);
    let pages = a.pages("");
    c.restore(&pages, false);
    assert!(c.keyring.find("index").unwrap().is_destroyed());
    // A host that has it alive keeps it, and is told.
    let done = b.ask(&pages[0], false, true).unwrap();
    assert!(done.draft.is_none());
    let index = done.keys.iter().find(|key| key.name == "index").unwrap();
    assert_eq!(
        (index.taken, &*index.why),
        (Taken::Same, "version 1: destroyed there, primary here; disabled there, not here")
    );
    // An old backup brings nothing back.
    let done = a.ask(&before[0], true, true).unwrap();
    assert!(done.draft.is_none());
    let index = done.keys.iter().find(|key| key.name == "index").unwrap();
    assert_eq!((index.taken, &*index.why), (Taken::Same, "destroyed here, and stays so"));
}
