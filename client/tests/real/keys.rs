//! Keys from made to destroyed, beyond what the transcripts `keys*.case` show: limits on both sides of the wire,
//! cards with the master key, hosts that are compared, and questions on a terminal.

use std::{fs, path::Path};

use keyagent_client::{Address, Connection, Error, KeyClass, Options, Rotation, RotationReason};
use keyagent_common::{
    error::ErrorCode,
    name::KeyName,
    op::{KeyConfigureRequest, KeyStanding, Takeover},
};
use serde_json::Value;

use super::{
    passphrase::on_terminal::{ENTER, OnTerminal},
    place::{Done, Place, run},
};

mod card;

fn keyagent(place: &Place, words: &str) -> Done {
    let words: Vec<&str> = words.split(' ').collect();
    place.run(&words, b"")
}

fn document(place: &Place, words: &str) -> Value {
    serde_json::from_str(&keyagent(place, &format!("{words} --json")).expect(0).text()).unwrap()
}

fn connection(place: &Place) -> Connection {
    Connection::open(&Address::exactly(place.socket()).unwrap(), Options::default()).unwrap()
}

fn name(text: &str) -> KeyName<'_> {
    KeyName::parse(text).unwrap()
}

fn code(error: &Error) -> ErrorCode {
    error.code()
}

#[test]
fn a_mistyped_name_makes_no_key() {
    let place = Place::started();
    let before = document(&place, "keys list");
    for words in [
        "encrypt -a -k opnai",
        "keys rotate opnai",
        "keys configure opnai --owner me",
        "keys disable opnai --reason x",
        "keys card opnai",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        place.run(&words, b"secret").refused(79, "UNKNOWN_KEY");
    }
    assert_eq!(document(&place, "keys list"), before);
}

#[test]
fn an_emergency_takes_less_than_a_second_and_old_values_open() {
    let place = Place::started();
    let old = place.run(&["encrypt", "-a"], b"old").expect(0).line();
    let document = document(&place, "keys rotate default --emergency");
    assert!(document["milliseconds"].as_u64().unwrap() < 1000, "{document}");
    assert_eq!((&document["reason"], &document["version"]), (&"compromise".into(), &2.into()));
    let new = place.run(&["encrypt", "-a"], b"new").expect(0).line();
    for (value, plain) in [(old, b"old"), (new, b"new")] {
        assert_eq!(place.run(&["decrypt"], value.as_bytes()).expect(0).stdout, plain);
    }
    let lines = keyagent(&place, "audit query --event key_rotate").expect(0).text();
    assert_eq!(lines.lines().count(), 1, "{lines}");
}

#[test]
fn the_life_of_a_key_goes_on_after_a_restart() {
    let place = Place::started();
    keyagent(&place, "keys create openai --environment production --rotate-every 90 --grace 30").expect(0);
    keyagent(&place, "keys rotate openai").expect(0);
    keyagent(&place, "keys rotate openai --stage").expect(0);
    keyagent(&place, "keys retire openai 1").expect(0);
    let before = document(&place, "keys show openai");
    keyagent(&place, "stop").expect(0);
    keyagent(&place, "start").expect(0);
    let after = document(&place, "keys show openai");
    assert_eq!(before["versions"], after["versions"]);
    assert_eq!(before["policy"], after["policy"]);
    let states: Vec<_> =
        after["versions"].as_array().unwrap().iter().map(|version| &version["state"]).collect();
    assert_eq!(states, ["retired", "primary", "staged"]);
}

#[test]
fn client_and_agent_have_the_same_limits() {
    let place = Place::started();
    keyagent(&place, "keys create openai").expect(0);
    let (reason, label, note) = ("r".repeat(256), "l".repeat(256), "n".repeat(1024));
    place.run(&["keys", "rotate", "openai", "--note", &reason], b"").expect(0);
    let labels = ["keys", "configure", "openai", "--owner", &label, "--purpose", &label, "--url", &label];
    place.run(&labels, b"").expect(0);
    place.run(&["keys", "configure", "openai", "--note", &note], b"").expect(0);
    place.run(&["keys", "configure", "openai", "--rotate-every", "36500", "--grace", "36500"], b"").expect(0);
    // Past the client, one more of everything is refused there too.
    let mut agent = connection(&place);
    let nothing = KeyConfigureRequest {
        key: "openai",
        enabled: None,
        interval_days: None,
        grace_period_days: None,
        auto_retire: None,
        environment: None,
        purpose: None,
        owner: None,
        url: None,
        note: None,
    };
    let (reason, label, note) = ("r".repeat(257), "l".repeat(257), "n".repeat(1025));
    for settings in [
        KeyConfigureRequest { owner: Some(&label), ..nothing },
        KeyConfigureRequest { url: Some("a\nb"), ..nothing },
        KeyConfigureRequest { environment: Some("Live One"), ..nothing },
        KeyConfigureRequest { note: Some(&note), ..nothing },
        KeyConfigureRequest { interval_days: Some(36_501), ..nothing },
        KeyConfigureRequest { interval_days: Some(0), enabled: Some(true), ..nothing },
        KeyConfigureRequest { grace_period_days: Some(36_501), ..nothing },
    ] {
        let error = agent.key_configure(&settings).map(drop).unwrap_err();
        assert_eq!(code(&error), ErrorCode::InvalidRequest, "{settings:?}");
    }
    let rotation = Rotation {
        reason: RotationReason::Manual,
        takeover: Takeover::Grace,
        lift: KeyStanding::Active,
        note: &reason,
    };
    let error = agent.key_rotate(name("openai"), &rotation).unwrap_err();
    assert_eq!(code(&error), ErrorCode::InvalidRequest);
    let error = agent.key_retire(name("openai"), 1.try_into().unwrap(), "a\nb").unwrap_err();
    assert_eq!(code(&error), ErrorCode::InvalidRequest);
    let error = agent.key_create(name("other"), KeyClass::Message, &note).unwrap_err();
    assert_eq!(code(&error), ErrorCode::InvalidRequest);
    assert_eq!(document(&place, "keys list")["keys"].as_array().unwrap().len(), 2);
}

#[test]
fn every_class_can_be_made_and_is_told() {
    let place = Place::started();
    for (class, shown) in [("message", "01 message"), ("index", "02 index"), ("hs256", "03 hs256")] {
        keyagent(&place, &format!("keys create {class} --class {class}")).expect(0);
        let text = keyagent(&place, &format!("keys show {class}")).expect(0).text();
        assert!(text.contains(&format!("\nclass       {shown}\n")), "{text}");
    }
}

#[test]
fn quiet_and_without_input_nothing_is_said_or_asked() {
    let place = Place::started();
    keyagent(&place, "keys create openai -q").expect(0);
    for words in [
        "keys rotate openai -q",
        "keys rotate openai --emergency -q",
        "keys rotate openai --stage -q",
        "keys promote openai -q",
        "keys retire openai 1 -q",
        "keys reinstate openai 1 -q",
        "keys disable openai --version 1 --reason x -q",
        "keys enable openai --version 1 --reason x -q",
        "keys configure openai --owner me -q",
        "keys retire openai 1 -q",
        "keys destroy openai --version 1 --force --yes --no-input -q",
    ] {
        let done = keyagent(&place, words).expect(0);
        assert!(done.stdout.is_empty() && done.stderr.is_empty(), "{words}: {done:?}");
    }
    let done = OnTerminal::new(&place, &["keys", "destroy", "openai", "--version", "2", "--no-input"]).end();
    assert_eq!(done.code(), Some(64));
}

#[test]
fn a_person_types_the_name_of_what_is_destroyed() {
    let place = Place::started();
    place
        .sh("keyagent keys create openai; keyagent keys rotate openai; keyagent keys retire openai 1")
        .expect(0);
    for (typed, code) in [("openi", 64), ("", 64), ("openai", 0)] {
        let mut person = OnTerminal::new(&place, &["keys", "destroy", "openai", "--version", "1"]);
        person.expect("Type the name of the key", 1);
        person.press(&format!("{typed}{ENTER}"));
        assert_eq!(person.end().code(), Some(code), "{typed:?}: {}", person.screen());
        let state = document(&place, "keys show openai")["versions"][0]["state"].clone();
        assert_eq!(state, if code == 0 { "destroyed" } else { "retired" }, "{typed:?}");
    }
}

#[test]
fn hosts_with_one_keyring_have_equal_ids_and_another_is_told_apart() {
    let (here, there, other) = (Place::started(), Place::initialized(), Place::started());
    place_key(&here, "openai");
    keyagent(&here, "keys rotate openai --stage").expect(0);
    keyagent(&here, "stop").expect(0);
    // The whole state of one host on another.
    let copy = "rm -rf ~/.config/keyagent ~/.local; cp -a \"$FROM/.config\" \"$FROM/.local\" ~/";
    let mut command = there.program("/bin/sh");
    command.args(["-euc", copy]).env("FROM", here.home());
    run(command, b"").expect(0);
    for place in [&here, &there] {
        keyagent(place, "start").expect(0);
    }
    let ids = |place: &Place| keyagent(place, "fingerprint --keys").expect(0).text();
    assert_eq!(ids(&here), ids(&there));
    assert_eq!(ids(&here).lines().count(), 4, "{}", ids(&here));
    assert_ne!(ids(&here).lines().next(), ids(&other).lines().next());
    // What every host is told to expect.
    let expected = ids(&here).split_whitespace().nth(1).unwrap().to_owned();
    let ask = |place: &Place| {
        let mut command = place.keyagent(&["fingerprint"]);
        command.env("KEYAGENT_EXPECT_KEY_ID", &expected);
        run(command, b"")
    };
    ask(&there).expect(0);
    let refused = ask(&other).refused(79, "WRONG_MASTER_KEY");
    let found = ids(&other).split_whitespace().nth(1).unwrap().to_owned();
    assert!(refused.stderr.contains(&expected) && refused.stderr.contains(&found), "{}", refused.stderr);
    assert!(refused.stdout.is_empty());
}

/// A key with a value sealed by it.
fn place_key(place: &Place, name: &str) {
    keyagent(place, &format!("keys create {name}")).expect(0);
    let value = place.run(&["encrypt", "-a", "-k", name], b"secret").expect(0).stdout;
    fs::write(place.work(name), value).unwrap();
}

#[test]
fn what_is_due_soon_is_in_status_list_and_doctor() {
    let place = Place::started();
    keyagent(&place, "keys create openai --rotate-every 7").expect(0);
    let status = keyagent(&place, "status").expect(0).text();
    assert!(status.contains("2 keys, 2 versions · openai rotates in 6 d\n"), "{status}");
    let list = keyagent(&place, "keys list").expect(0).text();
    assert!(list.lines().any(|line| line.starts_with("openai ") && line.ends_with("  in 6 d")), "{list}");
    let document = document(&place, "status");
    assert_eq!(document["keys_waiting"]["rotations"][0]["automatic"], true);
    assert_eq!(document["keys_waiting"]["rotations"][0]["overdue"], false);
    assert!(Path::new(&place.socket()).exists());
}
