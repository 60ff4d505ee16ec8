//! What is due, and when to look again.

use super::{
    rotating::{on, rotated, rotation},
    *,
};

fn configured(keyring: &mut Keyring<HeapArena>, key: &str, settings: Settings<'_>, now: u64) -> u64 {
    let (draft, configured) = configure(keyring, name(key), &settings, now).unwrap();
    commit(keyring, draft);
    configured.next_rotation_at
}

fn every(days: u32) -> Settings<'static> {
    Settings { enabled: Some(true), interval_days: Some(days), ..Settings::default() }
}

fn grace(days: u32, auto_retire: bool) -> Settings<'static> {
    Settings { grace_period_days: Some(days), auto_retire: Some(auto_retire), ..Settings::default() }
}

fn action(key: &str, due_at: u64, what: DueWhat) -> DueAction {
    DueAction { due_at, key: key.to_owned(), what }
}

fn scheduled(key: &str, due_at: u64) -> DueAction {
    action(key, due_at, DueWhat::Rotate(Reason::Scheduled))
}

#[test]
fn nothing_is_due_where_nobody_asked_for_it() {
    let mut keyring = keyring();
    rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Grace), NOW);
    assert_eq!((due(&keyring, u64::MAX, 0), next_wakeup(&keyring, NOW, 0)), (vec![], None));
    let off = Settings { enabled: Some(false), interval_days: Some(1), ..Settings::default() };
    assert_eq!(configured(&mut keyring, "a", off, NOW), 0);
    assert_eq!((due(&keyring, u64::MAX, 0), next_wakeup(&keyring, NOW, 0)), (vec![], None));
}

#[test]
fn a_key_rotates_at_its_date_and_once_however_late() {
    let mut keyring = keyring();
    let at = configured(&mut keyring, "a", every(90), NOW + 3 * DAY);
    assert!((NOW + 89 * DAY + 1..=NOW + 90 * DAY).contains(&at), "counted from the making of the primary");
    assert_eq!((due(&keyring, at - 1, 0), next_wakeup(&keyring, NOW, 0)), (vec![], Some(at)));
    assert_eq!((due(&keyring, at, 0), next_wakeup(&keyring, at, 0)), (vec![scheduled("a", at)], Some(at)));
    let late = at + 1000 * DAY;
    assert_eq!(due(&keyring, late, 0), [scheduled("a", at)]);
    assert_eq!(next_wakeup(&keyring, late, 0), Some(late), "there is something to do");
    let answer = rotated(&mut keyring, "a", rotation(Reason::Scheduled, Takeover::Grace), late);
    assert!((late + 89 * DAY + 1..=late + 90 * DAY).contains(&answer.next_rotation_at));
    assert_eq!(due(&keyring, late, 0), []);
    assert_eq!(next_wakeup(&keyring, late, 0), Some(answer.next_rotation_at));
    rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Staged), late + 5);
    assert_eq!(next_wakeup(&keyring, late, 0), Some(answer.next_rotation_at), "staging puts nothing off");
}

#[test]
fn a_clock_that_goes_back_changes_nothing() {
    let mut keyring = keyring();
    let at = configured(&mut keyring, "a", every(90), NOW);
    for now in [0, NOW, at - 1] {
        assert_eq!(due(&keyring, now, at), [scheduled("a", at)]);
        assert_eq!(next_wakeup(&keyring, now, at), Some(at));
        assert_eq!(next_wakeup(&keyring, now, at - 1), Some(at));
    }
    assert_eq!(due(&keyring, 0, at - 1), []);
}

#[test]
fn dates_are_spread_by_uid_and_never_later_than_promised() {
    let mut keyring = keyring();
    let (mut draft, mut entropy) = (keyring.draft(), Counting(5));
    for number in 0..200 {
        draft.add_key(name(&format!("t/{number:03}")), Class::Message, &mut entropy, NOW).unwrap();
    }
    keyring.confirm(draft.prepare(None, &mut entropy).unwrap()).unwrap();
    for (interval, most) in [(90, DAY), (10, DAY), (9, DAY * 9 / 10), (1, DAY / 10)] {
        let promised = NOW + u64::from(interval) * DAY;
        let next = |key: &Key| {
            let answer = configure(&keyring, name(&key.name), &every(interval), NOW).unwrap().1;
            promised - answer.next_rotation_at
        };
        let mut early: Vec<u64> = keyring.keys().iter().map(next).collect();
        assert_eq!(early, keyring.keys().iter().map(next).collect::<Vec<_>>(), "always the same");
        early.sort_unstable();
        assert!(early.iter().all(|early| *early < most), "{interval}: {early:?}");
        assert!(early[20] < most / 4 && early[180] > most * 3 / 4, "{interval}: {early:?}");
    }
}

#[test]
fn an_owed_rotation_is_made_where_the_key_rotates_by_itself_and_told_elsewhere() {
    let mut keyring = keyring();
    let at = configured(&mut keyring, "a", every(90), NOW);
    access(&mut keyring, &["uid:1"], NOW);
    access(&mut keyring, &[], NOW);
    let owed = NOW + DAY;
    let expected = [
        action("a", owed, DueWhat::Rotate(Reason::Personnel)),
        action("b/c", owed, DueWhat::Overdue(Reason::Personnel)),
        action("default", owed, DueWhat::Overdue(Reason::Personnel)),
    ];
    assert_eq!((due(&keyring, owed - 1, 0), next_wakeup(&keyring, NOW, 0)), (vec![], Some(owed)));
    assert_eq!(due(&keyring, owed, 0), expected);
    rotated(&mut keyring, "a", rotation(Reason::Personnel, Takeover::Grace), NOW);
    assert_eq!(due(&keyring, owed, 0), expected[1..]);
    assert_eq!(next_wakeup(&keyring, owed, 0), Some(at), "what is told does not wake again");
    assert_eq!(rotation_due(keyring.find("a").unwrap()), Some((at, Reason::Scheduled)));
    assert_eq!(rotation_due(keyring.find("b/c").unwrap()), Some((owed, Reason::Personnel)));
}

#[test]
fn a_stopped_key_is_told_not_touched() {
    let mut keyring = keyring();
    let at = configured(
        &mut keyring,
        "a",
        Settings { auto_retire: Some(true), grace_period_days: Some(1), ..every(90) },
        NOW,
    );
    rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Grace), NOW);
    let draft = disable(&keyring, one("a"), Brake::Disabled, "", NOW).unwrap().0;
    commit(&mut keyring, draft);
    let expected =
        [action("a", NOW + DAY, DueWhat::GraceOver(1)), action("a", at, DueWhat::Overdue(Reason::Scheduled))];
    assert_eq!(due(&keyring, at, 0), expected);
    let draft = enable(&keyring, one("a"), false, "").unwrap().0;
    commit(&mut keyring, draft);
    let expected = [action("a", NOW + DAY, DueWhat::Retire(1)), scheduled("a", at)];
    assert_eq!(due(&keyring, at, 0), expected);
    assert!(expected.iter().all(|action| action.what.is_automatic()));
}

#[test]
fn grace_ends_after_its_days_and_begins_anew_when_reinstated() {
    for auto_retire in [false, true] {
        let what = |number| if auto_retire { DueWhat::Retire(number) } else { DueWhat::GraceOver(number) };
        let mut keyring = keyring();
        configured(&mut keyring, "a", grace(30, auto_retire), NOW);
        rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Grace), NOW + DAY);
        rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Staged), NOW + 2 * DAY);
        let draft = promote(&keyring, on("a", 3, NOW + 9 * DAY)).unwrap().0;
        commit(&mut keyring, draft);
        let (first, second) = (NOW + 31 * DAY, NOW + 39 * DAY);
        assert_eq!(due(&keyring, first - 1, 0), []);
        assert_eq!(next_wakeup(&keyring, NOW, 0), Some(first));
        assert_eq!(due(&keyring, second, 0), [action("a", first, what(1)), action("a", second, what(2))]);
        let wakeup = if auto_retire { first } else { second };
        assert_eq!(next_wakeup(&keyring, first, 0), Some(wakeup));
        let draft = retire(&keyring, on("a", 1, first)).unwrap().0;
        commit(&mut keyring, draft);
        assert_eq!(due(&keyring, second - 1, 0), []);
        let draft = reinstate(&keyring, on("a", 1, second)).unwrap().0;
        commit(&mut keyring, draft);
        let anew = second + 30 * DAY;
        assert_eq!(due(&keyring, anew, 0), [action("a", second, what(2)), action("a", anew, what(1))]);
        let key = keyring.find("a").unwrap();
        assert_eq!(grace_ends_at(key, key.version(1).unwrap()), Some(anew));
        assert_eq!(grace_ends_at(key, key.version(3).unwrap()), None, "the primary");
    }
}

#[test]
fn what_another_writer_left_out_is_taken_as_late_as_it_can_be() {
    let mut keyring = keyring();
    let mut draft = keyring.draft();
    draft.add_version("a", Reason::Manual, &mut Counting(7), NOW + 5 * DAY).unwrap();
    let key = draft.key_mut("a").unwrap();
    (key.versions[0].state, key.versions[1].state) = (State::Grace, State::Primary);
    key.policy.grace_period_days = 10;
    (key.policy.enabled, key.policy.interval_days) = (true, 20);
    commit(&mut keyring, draft);
    let all = due(&keyring, u64::MAX, 0);
    assert_eq!(all[0], action("a", NOW + 15 * DAY, DueWhat::GraceOver(1)));
    assert_eq!(all.len(), 2);
    assert!((NOW + 24 * DAY..=NOW + 25 * DAY).contains(&all[1].due_at), "{all:?}");
    assert!(matches!(all[1].what, DueWhat::Rotate(Reason::Scheduled)));
}

#[test]
fn waking_when_told_misses_nothing() {
    let mut keyring = keyring();
    configured(&mut keyring, "a", Settings { grace_period_days: Some(2), ..every(7) }, NOW);
    configured(
        &mut keyring,
        "b/c",
        Settings { grace_period_days: Some(1), auto_retire: Some(true), ..every(3) },
        NOW,
    );
    access(&mut keyring, &["uid:1"], NOW);
    access(&mut keyring, &[], NOW);
    let (mut now, mut told, mut done) = (NOW, vec![], 0);
    while now < NOW + 60 * DAY {
        for action in due(&keyring, now, 0) {
            let key: &'static str =
                ["a", "b/c", "default"].into_iter().find(|key| *key == action.key).unwrap();
            match action.what {
                DueWhat::Rotate(reason) => {
                    rotated(&mut keyring, key, rotation(reason, Takeover::Grace), now);
                }
                DueWhat::Retire(version) => {
                    let draft = retire(&keyring, on(key, version, now)).unwrap().0;
                    commit(&mut keyring, draft);
                }
                DueWhat::Overdue(_) | DueWhat::GraceOver(_) => {
                    if !told.contains(&action) {
                        assert_eq!(action.due_at, now, "told at once");
                        told.push(action);
                    }
                    continue;
                }
            }
            done += 1;
            assert_eq!(action.due_at, now, "done at once");
        }
        let next = next_wakeup(&keyring, now, 0).unwrap();
        assert!(next > now, "nothing is left to do");
        let between = now + (next - now) / 2;
        let old = due(&keyring, now, 0);
        assert_eq!(due(&keyring, between, 0), old);
        assert_eq!(due(&keyring, next - 1, 0), old);
        now = next;
    }
    assert!(done > 30 && told.len() > 5, "{done} {told:?}");
}
