//! Putting back what was (rows 41 and 43): an older keyring, a cut, edited or exchanged log, a missing pin.
//! Refused with 65 until `--accept-rollback`, which records the fact and keeps the old log beside.

use std::fs;

use keyagent_common::{context::EMPTY, name::KeyName};
use keyagent_core::{
    arena::HeapArena,
    keyring::{Class, Keyring},
};

use crate::support::{
    self, Home, copy_files,
    log::{self, TestEntropy},
    recovery::{Expect, recover},
    snapshot,
};

/// A home whose daemon has lived, with a copy of every earlier state.
fn with_history() -> Home {
    let home = Home::initialized();
    copy_files(&home.state(), &home.join("at-init"));
    let daemon = home.start();
    for _ in 0..5 {
        daemon.client().encrypt(EMPTY, b"x").unwrap();
    }
    daemon.terminate();
    copy_files(&home.state(), &home.join("earlier"));
    let daemon = home.start();
    for _ in 0..5 {
        daemon.client().encrypt(EMPTY, b"x").unwrap();
    }
    daemon.terminate();
    home
}

fn put_back(home: &Home, from: &str, names: &[&str]) {
    for name in names {
        fs::copy(home.join(from).join(name), home.state_file(name)).unwrap();
    }
}

/// Refused, with nothing changed; then accepted on demand, recorded, the old log kept; then ordinary again.
fn refused_until_accepted(home: &Home, name: &str, case: &str) {
    let before = snapshot(&home.state());
    let old_log = fs::read(home.state_file("audit.log")).ok();
    for arguments in [&[][..], &["--new-keyring"]] {
        let refused = home.refuses(arguments, 65, name);
        assert!(refused.stderr.contains("--accept-rollback"), "{case}: {}", refused.stderr);
        assert_eq!(snapshot(&home.state()), before, "{case}");
    }
    let daemon = home.start_with(&["--accept-rollback"]);
    daemon.client().encrypt(EMPTY, b"goes on").unwrap();
    let said = daemon.terminate();
    assert!(said.contains("--accept-rollback"), "{case}: {said}");
    let lines = log::lines(home);
    let start = lines.iter().find(|line| line["event_type"] == "daemon.start").unwrap();
    let reason = start["metadata"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("rollback accepted: "), "{case}: {reason}");
    let aside: Vec<_> = fs::read_dir(home.state())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("audit.log.set-aside-"))
        .collect();
    match old_log {
        Some(old_log) => assert_eq!(fs::read(&aside[0]).unwrap(), old_log, "{case}: the old log is kept"),
        None => assert!(aside.is_empty()),
    }
    recover(home, Expect::PlainStart, &[]).unwrap_or_else(|why| panic!("{case}: {why}"));
}

type Change<'c> = &'c dyn Fn(&str) -> Option<String>;

#[test]
fn a_cut_edited_or_lost_log_is_refused() {
    let cases: [(&str, Change<'_>); 7] = [
        ("last line cut", &|log| {
            let end = log.trim_end().rfind('\n').unwrap();
            Some(log[..=end].to_owned())
        }),
        ("last bytes cut", &|log| Some(log[..log.len() - 20].to_owned())),
        ("one character edited", &|log| Some(log.replacen("\"user_id\":\"", "\"user_id\":\"1", 1))),
        ("success turned round", &|log| Some(log.replacen("\"success\":true", "\"success\":false", 1))),
        ("a line removed", &|log| {
            let line = log.lines().nth(7).unwrap();
            Some(log.replacen(&format!("{line}\n"), "", 1))
        }),
        ("empty", &|_| Some(String::new())),
        ("lost", &|_| None),
    ];
    for (case, change) in cases {
        let home = with_history();
        let path = home.state_file("audit.log");
        let text = fs::read_to_string(&path).unwrap();
        match change(&text) {
            Some(changed) => {
                assert_ne!(changed, text, "{case}");
                fs::write(&path, changed).unwrap();
            }
            None => fs::remove_file(&path).unwrap(),
        }
        refused_until_accepted(&home, "AUDIT_TAMPERED", case);
    }
}

#[test]
fn an_earlier_log_is_refused_and_so_is_one_of_another_daemon() {
    let home = with_history();
    put_back(&home, "earlier", &["audit.log"]);
    refused_until_accepted(&home, "AUDIT_TAMPERED", "earlier log");
    let (home, other) = (with_history(), with_history());
    fs::copy(other.state_file("audit.log"), home.state_file("audit.log")).unwrap();
    refused_until_accepted(&home, "AUDIT_TAMPERED", "log of another");
    // The same lines, in another order.
    let home = with_history();
    let text = fs::read_to_string(home.state_file("audit.log")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(6, 7);
    fs::write(home.state_file("audit.log"), lines.join("\n") + "\n").unwrap();
    refused_until_accepted(&home, "AUDIT_TAMPERED", "swapped lines");
}

#[test]
fn a_missing_or_foreign_pin_is_refused() {
    let home = with_history();
    fs::remove_file(home.state_file("audit.pin")).unwrap();
    refused_until_accepted(&home, "ROLLBACK", "missing pin");
    let (home, other) = (with_history(), with_history());
    fs::copy(other.state_file("audit.pin"), home.state_file("audit.pin")).unwrap();
    refused_until_accepted(&home, "AUDIT_TAMPERED", "pin of another");
    let home = with_history();
    let mut pin = fs::read(home.state_file("audit.pin")).unwrap();
    pin[40] ^= 1;
    fs::write(home.state_file("audit.pin"), pin).unwrap();
    refused_until_accepted(&home, "AUDIT_TAMPERED", "changed pin");
}

#[test]
fn the_wrong_key_or_a_damaged_keyring_is_not_waived() {
    let home = with_history();
    let before = fs::read(home.state_file("keyring")).unwrap();
    for place in (0..before.len()).step_by(support::bounded(37, 1)) {
        let mut bytes = before.clone();
        bytes[place] ^= 4;
        fs::write(home.state_file("keyring"), bytes).unwrap();
        let state = snapshot(&home.state());
        let refused = support::finish(home.command().arg("--accept-rollback"));
        assert!(matches!(refused.code, Some(65 | 78 | 79)), "byte {place}: {refused:?}");
        assert_eq!(snapshot(&home.state()), state);
    }
    for length in (0..before.len()).step_by(support::bounded(61, 1)) {
        fs::write(home.state_file("keyring"), &before[..length]).unwrap();
        home.refuses(&["--accept-rollback"], 65, "DAMAGED");
    }
    fs::write(home.state_file("keyring"), before).unwrap();
    recover(&home, Expect::PlainStart, &[]).unwrap();
}

/// The next generation of a home's keyring, made beside its log: with one key more.
fn later_generation(home: &Home) -> Vec<u8> {
    let (keyring, _) = log::open_keyring(home);
    let mut draft = keyring.draft();
    let name = KeyName::parse("later").unwrap();
    draft.add_key(name, Class::Message, &mut TestEntropy, 1_800_000_000).unwrap();
    draft.prepare(keyring.pin(), &mut TestEntropy).unwrap().bytes
}

#[test]
fn a_keyring_of_another_generation_is_refused() {
    // The daemon cannot make a second generation yet, so the core does: without its audit lines it is as
    // much out of step as an earlier one would be.
    let home = with_history();
    fs::write(home.state_file("keyring"), later_generation(&home)).unwrap();
    refused_until_accepted(&home, "ROLLBACK", "later keyring");
    // Accepted, the later one is the known one, and now the earlier is refused.
    put_back(&home, "earlier", &["keyring"]);
    home.refuses(&[], 65, "ROLLBACK");
    // Both from one backup, but the pin tells that there was more.
    put_back(&home, "earlier", &["keyring", "audit.log"]);
    let refused = support::finish(&mut home.command());
    assert_eq!(refused.code, Some(65), "{refused:?}");
    // All of it together is the documented limit: nobody can tell.
    put_back(&home, "earlier", &["keyring", "audit.log", "audit.pin", "initialized"]);
    home.start().terminate();
}

#[test]
fn another_keyring_of_the_same_master_is_refused() {
    let home = with_history();
    let master = home.master();
    let (mut keyring, _) = Keyring::create(&HeapArena, &master, &mut TestEntropy, 1_800_000_000).unwrap();
    let prepared = keyring.draft().prepare(None, &mut TestEntropy).unwrap();
    fs::write(home.state_file("keyring"), &prepared.bytes).unwrap();
    keyring.confirm(prepared).unwrap();
    refused_until_accepted(&home, "AUDIT_TAMPERED", "another keyring of the same master");
}

#[test]
fn bytes_that_a_crash_left_are_cut_off_and_said_so() {
    for left in [&b"{"[..], b"{\"seq\":1", b"\0\0\0\0"] {
        let home = with_history();
        let lines = log::lines(&home).len();
        let path = home.state_file("audit.log");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole, left].concat()).unwrap();
        home.start().terminate();
        let after = log::lines(&home);
        let reason = after[lines + 1]["metadata"]["reason"].as_str().unwrap();
        assert_eq!(reason, format!("a crash left {} bytes that are no complete group: cut off", left.len()));
    }
}
