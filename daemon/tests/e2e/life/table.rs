//! Every state of a version with every operation, over the wire, against the table; then again after a kill.

use keyagent_common::error::ErrorCode;
use keyagent_core::{
    change::{Action, Outcome, outcome},
    keyring::State,
};

use crate::support::{Client, Home, client::Reply, log};
use keyagent_common::op::{
    KeyDestroy, KeyDestroyRequest, KeyPromote, KeyReinstate, KeyRetire, Takeover, VersionRequest,
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
const ACTIONS: [Action; 8] = [
    Action::Promote,
    Action::Retire,
    Action::Reinstate,
    Action::Disable,
    Action::Compromise,
    Action::Enable,
    Action::Lift,
    Action::Destroy,
];

/// Makes a key with a version in a state; its number.
fn make(client: &mut Client, key: &str, state: State) -> u32 {
    client.create_key(key).unwrap();
    match state {
        State::Primary => return 1,
        State::Staged => return client.rotate(key, Takeover::Staged).unwrap().version,
        _ => client.rotate(key, Takeover::Grace).unwrap(),
    };
    match state {
        State::Retired | State::Destroyed => drop(client.retire(key, 1).unwrap()),
        State::Disabled => assert_eq!(client.stop_version(key, 1, false).code, 0),
        State::Compromised => assert_eq!(client.stop_version(key, 1, true).code, 0),
        _ => {}
    }
    if state == State::Destroyed {
        assert_eq!(client.destroy(key, 1, false).unwrap().versions, [1]);
    }
    1
}

fn attempt(client: &mut Client, key: &str, version: u32, action: Action) -> Reply {
    let request = VersionRequest { key, version, reason: "a test" };
    match action {
        Action::Promote => client.ask::<KeyPromote>(&request),
        Action::Retire => client.ask::<KeyRetire>(&request),
        Action::Reinstate => client.ask::<KeyReinstate>(&request),
        Action::Disable | Action::Compromise => {
            client.stop_version(key, version, action == Action::Compromise)
        }
        Action::Enable | Action::Lift => client.start_version(key, version, action == Action::Lift),
        Action::Destroy => {
            client.ask::<KeyDestroy>(&KeyDestroyRequest { key, version, force: false, reason: "a test" })
        }
        Action::Replace | Action::DestroyWithKey => unreachable!("only with another change"),
    }
}

/// Name of the operation in the log.
fn operation(action: Action) -> &'static str {
    match action {
        Action::Promote => "key_promote",
        Action::Retire => "key_retire",
        Action::Reinstate => "key_reinstate",
        Action::Disable | Action::Compromise => "key_disable",
        Action::Enable | Action::Lift => "key_enable",
        _ => "key_destroy",
    }
}

#[test]
fn every_operation_does_to_every_state_what_the_table_says() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let mut expected = Vec::new();
    for state in STATES {
        for action in ACTIONS {
            let key = format!("{}/{}", state.as_str(), format!("{action:?}").to_lowercase());
            let version = make(&mut client, &key, state);
            let reply = attempt(&mut client, &key, version, action);
            let (code, after) = match outcome(state, action) {
                Outcome::To(after) => (0, after),
                // Both were in grace before they were stopped.
                Outcome::Back => (0, State::Grace),
                Outcome::Stays => (0, state),
                Outcome::Refused => (ErrorCode::WrongState as u16, state),
            };
            assert_eq!(reply.code, code, "{key}: {reply:?}");
            let place = usize::try_from(version).unwrap() - 1;
            assert_eq!(client.states(&key)[place], after, "{key}");
            expected.push((key, action, code));
        }
    }
    let states: Vec<_> = expected.iter().map(|(key, ..)| client.states(key)).collect();
    for (place, (key, ..)) in expected.iter().enumerate() {
        // One primary, whatever was asked; others go on.
        let primaries = states[place].iter().filter(|state| **state == State::Primary).count();
        assert_eq!(primaries, 1, "{key}: {states:?}");
        client.encrypt_under(key, keyagent_common::context::EMPTY, b"x").unwrap();
    }
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    for ((key, ..), states) in expected.iter().zip(&states) {
        assert_eq!(&client.states(key), states, "{key} after a kill");
    }
    daemon.terminate();
    // Every attempt is one line, beside those that made the versions.
    let lines = log::lines(&home);
    for (key, action, code) in &expected {
        let of =
            |line: &&serde_json::Value| line["provider"] == **key && line["event_type"] == operation(*action);
        let last = lines.iter().rfind(of).unwrap();
        assert_eq!(last["success"], *code == 0, "{key}: {last}");
    }
    let count = |event: &str| log::count(&lines, event);
    let asked = ["key_promote", "key_retire", "key_reinstate", "key_disable", "key_enable", "key_destroy"];
    // Made by `make`: 16 retired, 16 stopped, 8 destroyed.
    assert_eq!(asked.map(count), [7, 7 + 16, 7, 14 + 16, 14, 7 + 8]);
}
