//! Where the disk does not take a brake, it holds in memory, and the answer says so.

use std::{fs, process::Command};

use keyagent_common::{
    context::EMPTY,
    error::ErrorCode,
    op::{CheckResult, KeyStanding},
};

use crate::support::{Home, agent::words, have, log, skipped};

/// What the answer must say.
const ONLY_IN_MEMORY: &str = "only until the agent restarts";

#[test]
fn a_brake_that_cannot_be_stored_holds_in_memory() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("one").unwrap();
    let (one, other) =
        (client.encrypt_under("one", EMPTY, b"1").unwrap(), client.encrypt(EMPTY, b"2").unwrap());
    // A folder where the next keyring is written first: only the store fails, the log goes on.
    fs::create_dir(home.state_file("keyring.tmp")).unwrap();
    let refused = client.brake("one", false);
    assert_eq!(refused.error(), ErrorCode::StoreFailed);
    assert!(words(&refused).contains(ONLY_IN_MEMORY), "{}", words(&refused));
    let held = |client: &mut crate::support::Client| {
        let failed = client.decrypt(EMPTY, &one).unwrap_err();
        assert_eq!(failed.exit_code(), 79, "{failed:?}");
        assert_eq!(client.decrypt(EMPTY, &other).unwrap(), b"2");
    };
    held(&mut client);
    held(&mut daemon.client());
    fs::remove_dir(home.state_file("keyring.tmp")).unwrap();
    // Another change that the disk takes must not lift it.
    client.create_key("two").unwrap();
    held(&mut client);
    // Stored at last.
    assert_eq!(client.disable("one").unwrap().changed, 1);
    assert_eq!(client.decrypt(EMPTY, &one), Err(ErrorCode::KeyDisabled));
    assert_eq!(client.enable("one", false).unwrap().changed, 1);
    assert_eq!(client.decrypt(EMPTY, &one).unwrap(), b"1");
    daemon.terminate();
    let lines = log::lines(&home);
    assert_eq!(log::count(&lines, "key_disable"), 2);
}

/// A brake is as strong in memory as it would be on the disk.
#[test]
fn a_compromised_key_that_cannot_be_stored_is_lifted_by_its_name_alone() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("one").unwrap();
    let one = client.encrypt_under("one", EMPTY, b"1").unwrap();
    client.disable("one").unwrap();
    fs::create_dir(home.state_file("keyring.tmp")).unwrap();
    assert_eq!(client.brake("one", true).error(), ErrorCode::StoreFailed);
    let holds = |client: &mut crate::support::Client| {
        assert_eq!(client.decrypt(EMPTY, &one), Err(ErrorCode::KeyCompromised));
        assert!(client.keys().iter().any(|(name, how, _)| name == "one" && *how == KeyStanding::Compromised));
    };
    holds(&mut client);
    fs::remove_dir(home.state_file("keyring.tmp")).unwrap();
    assert_eq!(client.enable("one", false), Err(ErrorCode::KeyCompromised));
    holds(&mut client);
    assert_eq!(client.enable("", false).unwrap().changed, 0, "it stays, as a stored one would");
    holds(&mut client);
    client.lock().unwrap();
    client.unlock(&[]).unwrap();
    holds(&mut client);
    assert_eq!(client.disable("one").unwrap().changed, 0, "a weaker brake does not take its place");
    holds(&mut client);
    assert_eq!(client.enable("one", true).unwrap().changed, 1);
    assert_eq!(client.decrypt(EMPTY, &one).unwrap(), b"1");
    daemon.terminate();
    log::lines(&home);
}

/// The log takes the intent, but not the commit: the keyring is in place, and so it is used.
#[test]
fn what_is_in_place_is_in_use_although_the_log_cannot_say_so() {
    const NAME: &str = "what_is_in_place_is_in_use_although_the_log_cannot_say_so";
    if !have("prlimit") {
        return skipped(NAME, "needs prlimit");
    }
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    while fs::metadata(home.state_file("audit.log")).unwrap().len() < 16 << 10 {
        client.encrypt(EMPTY, b"x").unwrap();
    }
    let sealed = client.encrypt(EMPTY, b"x").unwrap();
    let limit = |bytes: &str| {
        let (pid, limit) = (daemon.pid().to_string(), format!("--fsize={bytes}:unlimited"));
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    };
    // Room for one line, of which each has more than 300 bytes.
    limit(&(fs::metadata(home.state_file("audit.log")).unwrap().len() + 550).to_string());
    let told = client.brake("default", true);
    assert_eq!(told.error(), ErrorCode::AuditUnwritable);
    assert!(words(&told).starts_with("done, but"), "{}", words(&told));
    limit("unlimited");
    assert_eq!(client.decrypt(EMPTY, &sealed), Err(ErrorCode::KeyCompromised));
    let (result, words) = (client.health(), "what is on the disk is in memory");
    assert_eq!(result.check("store").0, CheckResult::Ok, "{words}: {result:?}");
    client.create_key("after").unwrap();
    assert_eq!(client.enable("default", false), Err(ErrorCode::KeyCompromised));
    daemon.terminate();
    log::lines(&home);
    let daemon = home.start();
    assert_eq!(daemon.client().decrypt(EMPTY, &sealed), Err(ErrorCode::KeyCompromised));
}

#[test]
fn a_kill_switch_on_a_full_disk_holds_in_memory() {
    const NAME: &str = "a_kill_switch_on_a_full_disk_holds_in_memory";
    if !have("prlimit") {
        return skipped(NAME, "needs prlimit");
    }
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let sealed = client.encrypt(EMPTY, b"x").unwrap();
    let limit = |bytes: &str| {
        let (pid, limit) = (daemon.pid().to_string(), format!("--fsize={bytes}:unlimited"));
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    };
    // Not a byte more for any file.
    limit("1");
    let refused = client.brake("", true);
    assert_eq!(refused.error().exit_code(), 74);
    assert!(words(&refused).contains(ONLY_IN_MEMORY), "{}", words(&refused));
    limit("unlimited");
    let failed = client.decrypt(EMPTY, &sealed).unwrap_err();
    assert_eq!(failed.exit_code(), 79, "{failed:?}");
    assert!(client.encrypt(EMPTY, b"x").is_err());
    assert_eq!(client.brake("", true).code, 0);
    assert_eq!(client.decrypt(EMPTY, &sealed), Err(ErrorCode::KeyCompromised));
    daemon.terminate();
    log::lines(&home);
    let daemon = home.start();
    assert_eq!(daemon.client().decrypt(EMPTY, &sealed), Err(ErrorCode::KeyCompromised));
}
