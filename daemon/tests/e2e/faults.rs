//! The disk says no (row 46): ENOSPC, EIO, EROFS and their like at every call on the store and the log give
//! a clear error with a documented exit code, and lose nothing.

use std::fs;

use keyagent_common::{context::EMPTY, error::ErrorCode};

use crate::support::{
    Client, Daemon, Home, am_root, assert_no_failure, client, copy_files, finish, have, log, long_campaign,
    recovery::{Expect, recover, serve_or_end},
    skipped,
};

/// Calls and what they may answer.
const FAULTS: [(&str, &[&str]); 9] = [
    ("openat", &["EROFS", "ENOSPC", "EMFILE", "EACCES"]),
    ("pwrite64", &["ENOSPC", "EIO", "EDQUOT"]),
    ("write", &["ENOSPC", "EIO"]),
    ("fsync", &["EIO", "ENOSPC"]),
    ("fdatasync", &["EIO"]),
    ("renameat", &["ENOSPC", "EROFS", "EIO"]),
    ("ftruncate", &["EIO"]),
    ("mkdir", &["EROFS"]),
    ("unlinkat", &["EIO"]),
];

/// The faults of every call: by default the first of each, and two where they differ in kind.
fn faults() -> impl Iterator<Item = (&'static str, &'static str)> {
    let kinds = if long_campaign() { usize::MAX } else { 1 };
    FAULTS.iter().flat_map(move |(call, errors)| errors.iter().take(kinds).map(|error| (*call, *error)))
}

/// strace that answers the calls on the files of this home, and nothing else, with an error.
fn failing(home: &Home, call: &str, error: &str, when: &str) -> Vec<String> {
    let mut words: Vec<String> = ["strace", "-D", "-f", "-q", "-o"].map(str::to_owned).to_vec();
    words.push(home.join("trace").to_str().unwrap().to_owned());
    let names =
        ["keyring", "keyring.tmp", "audit.log", "audit.pin", "audit.pin.tmp", "initialized", "keyring.lock"];
    let files = names.map(|name| home.state_file(name));
    for path in files.into_iter().chain([home.state(), home.key(), home.join("config")]) {
        words.extend(["-P".into(), path.to_str().unwrap().into()]);
    }
    words.extend(["-e".into(), format!("inject={call}:error={error}:when={when}")]);
    words
}

/// strace finds the files behind descriptors in /proc, which the daemon has closed to all but root.
fn can_inject() -> bool {
    am_root() && have("strace")
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn was_injected(home: &Home) -> bool {
    // strace is the grandchild and may still be writing its last line.
    let trace = home.join("trace");
    for _ in 0..50 {
        if fs::read_to_string(&trace)
            .is_ok_and(|text| text.contains("+++ exited") || text.contains("+++ killed"))
        {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let text = fs::read_to_string(trace).unwrap_or_default();
    text.contains("INJECTED")
}

fn assert_clear(stderr: &str, code: Option<i32>, case: &str) {
    assert_no_failure(stderr);
    let code = code.unwrap_or_else(|| panic!("{case}: killed: {stderr}"));
    assert!((73..=79).contains(&code), "{case}: {code} {stderr}");
    assert!(stderr.contains("\n  why "), "{case}: {stderr}");
    assert!(stderr.contains(&format!("\n  code {code} ")), "{case}: {stderr}");
}

#[test]
fn init_survives_every_fault() {
    if !can_inject() {
        return skipped("init_survives_every_fault", "needs root and strace");
    }
    let mut faults_seen = 0;
    for (call, error) in faults() {
        for when in 1.. {
            let (home, case) = (Home::new(), format!("{call} {error} {when}"));
            let strace = failing(&home, call, error, &when.to_string());
            let ended = finish(home.command_through(&words(&strace)).args(["--init", "--no-serve"]));
            if !was_injected(&home) {
                assert_eq!(ended.code, Some(0), "{case}: {ended:?}");
                break;
            }
            faults_seen += 1;
            if ended.code != Some(0) {
                assert_clear(&ended.stderr, ended.code, &case);
            }
            recover(&home, Expect::UnderConstruction, &[]).unwrap_or_else(|why| panic!("{case}: {why}"));
        }
    }
    assert!(faults_seen >= 20, "only {faults_seen} faults");
}

/// A start under a fault, requests if it serves, and its end.
fn live(home: &Home, strace: &[&str], case: &str) -> Vec<Vec<u8>> {
    let daemon = Daemon::spawn(home.command_through(strace), &home.socket());
    let mut acknowledged = Vec::new();
    let daemon = match serve_or_end(daemon) {
        Ok(daemon) => daemon,
        Err(ended) => {
            assert_clear(&ended.stderr, ended.code, case);
            return acknowledged;
        }
    };
    let mut client = daemon.client();
    for _ in 0..3 {
        match client.encrypt(EMPTY, b"acknowledged") {
            Ok(envelope) => acknowledged.push(envelope),
            Err(error) => assert_eq!(error, ErrorCode::AuditUnwritable, "{case}"),
        }
    }
    // It holds even where the log cannot be written.
    let _ = client.lock();
    assert_eq!(client.status("state"), "locked", "{case}");
    assert!(client.encrypt(EMPTY, b"x").is_err(), "{case}");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = daemon.wait();
    assert_no_failure(&ended.stderr);
    assert!(matches!(ended.code, Some(0 | 74)), "{case}: {ended:?}");
    acknowledged
}

#[test]
fn an_ordinary_life_survives_every_fault() {
    if !can_inject() {
        return skipped("an_ordinary_life_survives_every_fault", "needs root and strace");
    }
    let original = Home::initialized();
    let mut faults_seen = 0;
    for (call, error) in faults().filter(|(call, _)| *call != "mkdir") {
        for when in 1.. {
            let case = format!("{call} {error} {when}");
            let home = Home::with_key(&fs::read_to_string(original.key()).unwrap());
            copy_files(&original.state(), &home.state());
            let acknowledged = live(&home, &words(&failing(&home, call, error, &when.to_string())), &case);
            if !was_injected(&home) {
                assert_eq!(acknowledged.len(), 3, "{case}");
                break;
            }
            faults_seen += 1;
            recover(&home, Expect::PlainStart, &acknowledged).unwrap_or_else(|why| panic!("{case}: {why}"));
        }
    }
    assert!(faults_seen >= 15, "only {faults_seen} faults");
}

#[test]
fn a_log_that_fails_for_a_while_costs_those_requests_only() {
    const NAME: &str = "a_log_that_fails_for_a_while_costs_those_requests_only";
    if !can_inject() {
        return skipped(NAME, "needs root and strace");
    }
    let home = Home::initialized();
    // The first start records who has access: later ones have nothing to change in the keyring.
    home.start().terminate();
    // The tenth to fifteenth write of whichever worker serves the connection; no other thread makes so many.
    let strace = failing(&home, "pwrite64", "ENOSPC", "10..15");
    let daemon = Daemon::start(home.command_through(&words(&strace)), &home.socket());
    let mut client = daemon.client();
    let outcomes: Vec<_> = (0..26).map(|_| client.encrypt(EMPTY, b"x")).collect();
    let refused = outcomes.iter().filter(|outcome| **outcome == Err(ErrorCode::AuditUnwritable)).count();
    let served = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!((refused, served), (6, 20), "{outcomes:?}");
    assert!(outcomes.last().unwrap().is_ok());
    daemon.terminate();
    assert_eq!(log::count(&log::lines(&home), "encrypt"), 20);
}

#[test]
fn after_a_failed_sync_nothing_is_believed_until_the_next_start() {
    const NAME: &str = "after_a_failed_sync_nothing_is_believed_until_the_next_start";
    if !can_inject() {
        return skipped(NAME, "needs root and strace");
    }
    let home = Home::initialized();
    // The first start records who has access; later ones have nothing to change in the keyring.
    home.start().terminate();
    // The first two syncs belong to the start; the third is that of the pin, a second after a request.
    let strace = failing(&home, "fdatasync", "EIO", "3+");
    let daemon = Daemon::start(home.command_through(&words(&strace)), &home.socket());
    let mut client = daemon.client();
    let mut acknowledged = Vec::new();
    let refused = loop {
        match client.encrypt(EMPTY, b"x") {
            Ok(envelope) => acknowledged.push(envelope),
            Err(error) => break error,
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!(refused, ErrorCode::AuditUnwritable);
    for _ in 0..10 {
        assert_eq!(client.encrypt(EMPTY, b"x"), Err(ErrorCode::AuditUnwritable));
        assert_eq!(Client::greeted(&home.socket()).decrypt(EMPTY, &acknowledged[0]), Err(refused));
    }
    let frames: Vec<u8> =
        [client::hello(7)].into_iter().chain((8..20).map(|id| client::encrypt(id, b"x"))).flatten().collect();
    client.send(&frames).unwrap();
    let replies: Vec<_> = (0..13).map(|_| client.expect()).collect();
    assert_eq!(replies.iter().filter(|reply| reply.code == 0).map(|reply| reply.id).collect::<Vec<_>>(), [7]);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = daemon.wait();
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert_no_failure(&ended.stderr);
    recover(&home, Expect::PlainStart, &acknowledged).unwrap();
}
