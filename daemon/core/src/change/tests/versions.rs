//! Every change of one version in every state, through the functions that are offered.

use super::{
    rotating::{on, rotated, rotation, states},
    *,
};

const STATES: [State; 7] = [
    State::Staged,
    State::Primary,
    State::Grace,
    State::Retired,
    State::Disabled,
    State::Compromised,
    State::Destroyed,
];

/// `a` with version 1 or 2 in a state, and its number.
fn with_version_in(state: State) -> (Keyring<HeapArena>, u32) {
    let mut keyring = keyring();
    if state == State::Staged {
        rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Staged), NOW);
        return (keyring, 2);
    }
    rotated(&mut keyring, "a", rotation(Reason::Manual, Takeover::Grace), NOW);
    if state == State::Primary {
        return (keyring, 2);
    }
    let draft = match state {
        State::Grace => None,
        State::Disabled => Some(disable_version(&keyring, on("a", 1, NOW), false).unwrap().0),
        State::Compromised => Some(disable_version(&keyring, on("a", 1, NOW), true).unwrap().0),
        _ => Some(retire(&keyring, on("a", 1, NOW)).unwrap().0),
    };
    if let Some(draft) = draft {
        commit(&mut keyring, draft);
    }
    if state == State::Destroyed {
        let draft = destroy(&keyring, on("a", 1, NOW), &|_, _| None, false).unwrap().0;
        commit(&mut keyring, draft);
    }
    (keyring, 1)
}

type Change = fn(&Keyring<HeapArena>, VersionChange<'_>) -> Result<(Draft<HeapArena>, Moved), ChangeError>;

const CHANGES: [(Action, Change); 8] = [
    (Action::Promote, |keyring, change| promote(keyring, change).map(|(draft, done)| (draft, done.promoted))),
    (Action::Retire, |keyring, change| retire(keyring, change)),
    (Action::Reinstate, |keyring, change| reinstate(keyring, change)),
    (Action::Disable, |keyring, change| disable_version(keyring, change, false)),
    (Action::Compromise, |keyring, change| disable_version(keyring, change, true)),
    (Action::Enable, |keyring, change| enable_version(keyring, change, false)),
    (Action::Lift, |keyring, change| enable_version(keyring, change, true)),
    (Action::Destroy, |keyring, change| {
        destroy(keyring, change, &|_, _| None, false).map(|(draft, done)| (draft, done.moved))
    }),
];

#[test]
fn every_change_in_every_state_does_what_the_table_says() {
    for state in STATES {
        for (action, change) in CHANGES {
            let (mut keyring, version) = with_version_in(state);
            let before = keyring.keys().to_vec();
            let result = change(&keyring, on("a", version, NOW + 50));
            assert_eq!(keyring.keys(), before, "nothing changes before the commit");
            let to = match outcome(state, action) {
                Outcome::Refused => {
                    let error = LifeError::WrongState { version, state, action };
                    assert_eq!(result.err(), Some(ChangeError::Life(error.clone())));
                    assert!(error.to_string().contains(state.as_str()), "{error}");
                    continue;
                }
                Outcome::To(to) => to,
                Outcome::Back => State::Grace,
                Outcome::Stays => state,
            };
            let (draft, moved) = result.unwrap();
            assert_eq!((moved.version, moved.from, moved.to), (version, state, to), "{action:?}");
            assert_eq!(moved.is_change(), state != to);
            commit(&mut keyring, draft);
            if !moved.is_change() {
                assert_eq!(keyring.keys(), before, "{state:?} {action:?}");
                continue;
            }
            let key = keyring.find("a").unwrap();
            assert_eq!(key.version(version).unwrap().state, to);
            assert_eq!(key.since(version), Some(NOW + 50));
            let from = if state.is_stopped() { State::Grace } else { state };
            assert_eq!(key.state_before(version), to.is_stopped().then_some(from));
            assert_eq!(before[1..], keyring.keys()[1..], "other keys");
        }
    }
}

#[test]
fn a_stopped_version_goes_back_to_where_it_was() {
    for state in [State::Staged, State::Grace, State::Retired] {
        let (mut keyring, version) = with_version_in(state);
        for (compromised, lift) in [(false, false), (false, true), (true, true)] {
            let draft = disable_version(&keyring, on("a", version, NOW + 1), false).unwrap().0;
            commit(&mut keyring, draft);
            if compromised {
                let draft = disable_version(&keyring, on("a", version, NOW + 2), true).unwrap().0;
                commit(&mut keyring, draft);
            }
            let (draft, moved) = enable_version(&keyring, on("a", version, NOW + 3), lift).unwrap();
            commit(&mut keyring, draft);
            assert_eq!((moved.from.is_stopped(), moved.to), (true, state));
            assert_eq!(keyring.find("a").unwrap().since(version), Some(NOW + 3));
        }
    }
}

#[test]
fn unknown_keys_versions_and_unfit_reasons_are_refused() {
    let (mut keyring, _) = with_version_in(State::Grace);
    for (action, change) in CHANGES {
        assert_eq!(change(&keyring, on("nobody", 1, NOW)).err(), Some(ChangeError::NoSuchKey));
        for version in [0, 3, u32::MAX] {
            let expected = Some(ChangeError::Life(LifeError::NoSuchVersion { version }));
            assert_eq!(change(&keyring, on("a", version, NOW)).err(), expected, "{action:?}");
        }
        let unfit = VersionChange { reason: "\u{1b}", ..on("a", 1, NOW) };
        assert_eq!(change(&keyring, unfit).err(), Some(ChangeError::UnfitReason), "{action:?}");
    }
    let draft = retire(&keyring, on("a", 1, NOW)).unwrap().0;
    commit(&mut keyring, draft);
    assert_eq!(states(&keyring, "a"), [State::Retired, State::Primary]);
}
