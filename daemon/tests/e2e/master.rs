//! Rotation of the master key: every state opens with the key file then there, old values open, the log verifies over
//! all epochs, and what belongs to an earlier epoch is refused. Kills at every call: the crash tests.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use keyagent_common::{
    codec,
    context::EMPTY,
    error::ErrorCode,
    fingerprint, kdf,
    op::{CheckResult, MasterRotate, MasterRotateReply, MasterRotateRequest, MasterStep},
};
use serde_json::Value;

use crate::support::{
    Client, Home, agent::words, client::Reply, copy_files, eventually, finish, hex, log, random_key, unhex,
};

mod epochs;
mod stolen;

fn ask(client: &mut Client, step: MasterStep, current: &[u8], next: &[u8]) -> Reply {
    client.ask::<MasterRotate>(&MasterRotateRequest { step, current, next })
}

fn take(client: &mut Client, step: MasterStep, current: &[u8], next: &[u8]) -> MasterRotateReply {
    let reply = ask(client, step, current, next);
    assert_eq!(reply.code, 0, "{}", words(&reply));
    codec::decode(&reply.body).unwrap()
}

fn new_key() -> [u8; 32] {
    unhex(&random_key()).try_into().unwrap()
}

fn print(key: &[u8]) -> [u8; 16] {
    kdf::master_fingerprint(key.try_into().unwrap())
}

/// Puts another key file in place, as the command does.
fn install(home: &Home, key: &[u8; 32]) {
    let beside = home.join("config/key.next");
    fs::copy(home.key(), &beside).unwrap();
    fs::write(&beside, format!("{}\n", hex(key))).unwrap();
    fs::rename(&beside, home.key()).unwrap();
}

/// A whole rotation of a daemon that runs.
fn rotate(home: &Home, client: &mut Client) -> [u8; 32] {
    let next = new_key();
    take(client, MasterStep::Begin, &[], &next);
    install(home, &next);
    take(client, MasterStep::Finish, &[], &[]);
    next
}

fn verify(home: &Home) -> (i32, Value) {
    let finished = finish(home.command().arg("--verify-audit"));
    (finished.code.unwrap(), serde_json::from_str(&finished.stdout).unwrap())
}

#[test]
fn a_rotation_while_data_is_sealed_and_opened() {
    let home = Home::initialized();
    let daemon = home.start();
    let (old, next) = (home.master(), new_key());
    let mut client = daemon.client();
    client.create_key("other").unwrap();
    let before = client.encrypt_under("other", EMPTY, b"before").unwrap();
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for key in ["default", "other"] {
            let mut client = daemon.client();
            let (stop, rounds) = (&stop, &rounds);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let sealed = client.encrypt_under(key, EMPTY, b"meanwhile").unwrap();
                    assert_eq!(client.decrypt(EMPTY, &sealed).unwrap(), b"meanwhile");
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let wait = |least: usize| {
            let from = rounds.load(Ordering::Relaxed);
            eventually("data goes on", || rounds.load(Ordering::Relaxed) >= from + least);
        };
        wait(5);
        let begun = take(&mut client, MasterStep::Begin, &old, &next);
        assert_eq!((begun.masters, begun.epoch), (vec![print(&old), print(&next)], 2));
        wait(5);
        assert_eq!(client.status("master_fingerprint"), fingerprint::full(&print(&old)));
        assert_eq!(client.status("master_next"), fingerprint::full(&print(&next)));
        let health = client.health();
        let (result, words) = health.check("master_key");
        assert!(result == CheckResult::Ok && words.contains("keyagent master rotate"), "{words}");
        install(&home, &next);
        assert_eq!(client.health().check("master_key").0, CheckResult::Ok);
        let done = take(&mut client, MasterStep::Finish, &[], &[]);
        assert_eq!((done.masters, done.epoch), (vec![print(&next)], 3));
        wait(5);
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(client.decrypt(EMPTY, &before).unwrap(), b"before");
    assert_eq!(client.status("master_fingerprint"), fingerprint::full(&print(&next)));
    assert_eq!(client.health().check("master_key"), (CheckResult::Ok, &*fingerprint::short(&print(&next))));
    client.reload().unwrap();
    // The old one no longer unlocks; the source does, and so does the next one.
    client.lock().unwrap();
    assert_eq!(client.unlock(&old), Err(ErrorCode::WrongMasterKey));
    client.unlock(&[]).unwrap();
    client.lock().unwrap();
    client.unlock(&next).unwrap();
    assert_eq!(client.decrypt(EMPTY, &before).unwrap(), b"before");
    daemon.terminate();
    let lines = log::lines(&home);
    let said: Vec<&str> = lines
        .iter()
        .filter(|line| line["event_type"] == "master_rotate")
        .map(|line| line["metadata"]["reason"].as_str().unwrap())
        .collect();
    let (from, to) = (fingerprint::full(&print(&old)), fingerprint::full(&print(&next)));
    let begun = format!("begin: master {from} to {to}, epoch 1 to 2");
    assert_eq!(said, [begun, format!("finish: master {from} to {to}, epoch 2 to 3")]);
    assert_eq!(verify(&home).0, 0);
    home.start().terminate();
}

#[test]
fn every_state_starts_with_the_key_file_that_is_there() {
    let home = Home::initialized();
    let (old, next) = (home.master(), new_key());
    let daemon = home.start();
    let sealed = daemon.client().encrypt(EMPTY, b"x").unwrap();
    take(&mut daemon.client(), MasterStep::Begin, &old, &next);
    daemon.kill();
    let starts = || {
        let _ = fs::remove_file(home.socket());
        let daemon = home.start();
        assert_eq!(daemon.client().decrypt(EMPTY, &sealed).unwrap(), b"x");
        daemon
    };
    let daemon = starts();
    let mut client = daemon.client();
    assert_eq!(client.status("master_next"), fingerprint::full(&print(&next)));
    // Begun already: nothing to do. Another next key is refused until this one is done with.
    let again = take(&mut client, MasterStep::Begin, &old, &next);
    assert_eq!(again.masters.len(), 2);
    let other = ask(&mut client, MasterStep::Begin, &old, &new_key());
    assert_eq!(other.error(), ErrorCode::WrongState);
    // Its source still holds the old one.
    let refused = ask(&mut client, MasterStep::Finish, &[], &[]);
    assert_eq!(refused.error(), ErrorCode::WrongMasterKey);
    for key in [&old, &next] {
        assert!(words(&refused).contains(&fingerprint::full(&print(key))), "{}", words(&refused));
    }
    assert_eq!(ask(&mut client, MasterStep::Finish, &[], &next).error(), ErrorCode::WrongMasterKey);
    drop(client);
    daemon.terminate();
    install(&home, &next);
    let daemon = starts();
    let mut client = daemon.client();
    assert_eq!(client.status("master_fingerprint"), fingerprint::full(&print(&next)));
    // The old one opens it still.
    client.lock().unwrap();
    client.unlock(&old).unwrap();
    let done = take(&mut client, MasterStep::Finish, &[], &[]);
    assert_eq!(done.masters, [print(&next)]);
    let again = take(&mut client, MasterStep::Finish, &[], &[]);
    assert_eq!((again.masters, again.generation), (done.masters, done.generation));
    assert_eq!(again.epoch, done.epoch);
    let lines = log::lines(&home);
    let said = lines.iter().filter(|line| line["event_type"] == "master_rotate" && line["success"] == true);
    let said: Vec<&str> = said.map(|line| line["metadata"]["reason"].as_str().unwrap()).collect();
    let (from, to) = (fingerprint::full(&print(&old)), fingerprint::full(&print(&next)));
    assert_eq!(
        said,
        [
            format!("begin: master {from} to {to}, epoch 1 to 2"),
            format!("begin: done before, master {from} to {to}, epoch 2"),
            format!("finish: master {from} to {to}, epoch 2 to 3"),
            format!("finish: done before, master {to}, epoch 3"),
        ]
    );
    drop(client);
    daemon.kill();
    starts().terminate();
    home.write_key(&format!("{}\n", hex(&old)));
    let refused = home.refuses(&[], 79, "WRONG_MASTER_KEY");
    for key in [&old, &next] {
        assert!(refused.stderr.contains(&fingerprint::full(&print(key))), "{}", refused.stderr);
    }
}

#[test]
fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let home = Home::initialized();
    let (old, next) = (home.master(), new_key());
    let daemon = home.start();
    let mut client = daemon.client();
    let before = fs::read(home.state_file("keyring")).unwrap();
    let mut refused = |step, current: &[u8], next: &[u8], code| {
        let reply = ask(&mut client, step, current, next);
        assert_eq!(reply.error(), code, "{}", words(&reply));
    };
    refused(MasterStep::Begin, &next, &new_key(), ErrorCode::WrongMasterKey);
    refused(MasterStep::Begin, &old, &old, ErrorCode::InvalidRequest);
    refused(MasterStep::Begin, &old, &[], ErrorCode::InvalidRequest);
    refused(MasterStep::Begin, &old, &next[1..], ErrorCode::InvalidRequest);
    refused(MasterStep::Begin, &old, &[7; 32], ErrorCode::KeyMalformed);
    refused(MasterStep::Finish, &[], &next, ErrorCode::WrongMasterKey);
    refused(MasterStep::Abandon, &next, &[], ErrorCode::WrongMasterKey);
    assert_eq!(fs::read(home.state_file("keyring")).unwrap(), before);
    client.lock().unwrap();
    for step in [MasterStep::Begin, MasterStep::Finish, MasterStep::Abandon] {
        assert_eq!(ask(&mut client, step, &old, &next).error(), ErrorCode::Locked);
    }
    daemon.terminate();
    let mut command = home.command();
    command.env("KEYAGENT_EXPECT_KEY_ID", fingerprint::full(&print(&old)));
    let daemon = crate::support::Daemon::start(command, &home.socket());
    let refused = ask(&mut daemon.client(), MasterStep::Begin, &old, &next);
    assert_eq!(refused.error(), ErrorCode::WrongMasterKey, "it would not start with the next one");
    daemon.terminate();
    assert_eq!(fs::read(home.state_file("keyring")).unwrap()[..48], {
        let mut header = before[..48].to_vec();
        header[40..].copy_from_slice(&fs::read(home.state_file("keyring")).unwrap()[40..48]);
        header
    });
}

#[test]
fn a_rotation_can_be_given_up() {
    let home = Home::initialized();
    let (old, next) = (home.master(), new_key());
    let daemon = home.start();
    let mut client = daemon.client();
    let sealed = client.encrypt(EMPTY, b"x").unwrap();
    take(&mut client, MasterStep::Begin, &[], &next);
    install(&home, &next);
    assert_eq!(ask(&mut client, MasterStep::Abandon, &old, &[]).error(), ErrorCode::WrongMasterKey);
    install(&home, &old);
    let kept = take(&mut client, MasterStep::Abandon, &[], &[]);
    assert_eq!((kept.masters, kept.epoch), (vec![print(&old)], 3));
    assert_eq!(client.unlock(&next), Err(ErrorCode::WrongMasterKey));
    take(&mut client, MasterStep::Abandon, &old, &[]);
    // Another attempt goes one epoch further.
    let next = new_key();
    let begun = take(&mut client, MasterStep::Begin, &old, &next);
    assert_eq!(begun.epoch, 4);
    install(&home, &next);
    take(&mut client, MasterStep::Finish, &[], &[]);
    daemon.terminate();
    assert_eq!(verify(&home).0, 0);
    let daemon = home.start();
    assert_eq!(daemon.client().decrypt(EMPTY, &sealed).unwrap(), b"x");
    daemon.terminate();
}

#[test]
fn a_source_that_is_read_once_needs_the_key_in_the_request_or_a_restart() {
    let home = Home::initialized();
    let (old, next) = (home.master(), new_key());
    let with = |key: &[u8; 32]| {
        let mut command = home.command_without_key();
        command.env("KEYAGENT_KEY", hex(key));
        crate::support::Daemon::start(command, &home.socket())
    };
    // What lies in the default place is not this home's key file.
    let daemon = with(&old);
    let mut client = daemon.client();
    assert_eq!(ask(&mut client, MasterStep::Begin, &[], &next).error(), ErrorCode::NotUnlockable);
    take(&mut client, MasterStep::Begin, &old, &next);
    assert_eq!(ask(&mut client, MasterStep::Finish, &[], &[]).error(), ErrorCode::NotUnlockable);
    assert_eq!(ask(&mut client, MasterStep::Finish, &[], &old).error(), ErrorCode::WrongMasterKey);
    drop(client);
    daemon.terminate();
    // Started with it, too: the keyring is sealed anew for it, and the agent has not kept it.
    let daemon = with(&next);
    let mut client = daemon.client();
    let refused = ask(&mut client, MasterStep::Finish, &[], &[]);
    assert_eq!(refused.error(), ErrorCode::NotUnlockable);
    assert!(words(&refused).contains("--new-key-file"), "{}", words(&refused));
    let done = take(&mut client, MasterStep::Finish, &[], &next);
    assert_eq!(done.masters, [print(&next)]);
    // Done already it needs nothing.
    take(&mut client, MasterStep::Finish, &[], &[]);
    drop(client);
    daemon.terminate();
    let daemon = with(&next);
    let third = new_key();
    take(&mut daemon.client(), MasterStep::Begin, &next, &third);
    take(&mut daemon.client(), MasterStep::Finish, &[], &third);
    daemon.terminate();
    with(&third).terminate();
}

#[test]
fn an_old_epoch_put_back_is_refused() {
    let home = Home::initialized();
    let daemon = home.start();
    daemon.client().encrypt(EMPTY, b"x").unwrap();
    daemon.terminate();
    let old = home.master();
    let earlier = home.join("earlier");
    copy_files(&home.state(), &earlier);
    let daemon = home.start();
    let next = rotate(&home, &mut daemon.client());
    daemon.terminate();
    let later = home.join("later");
    copy_files(&home.state(), &later);
    let again = |names: &[&str]| {
        copy_files(&later, &home.state());
        for name in names {
            fs::copy(earlier.join(name), home.state_file(name)).unwrap();
        }
    };
    install(&home, &old);
    again(&["keyring"]);
    home.refuses(&[], 65, "AUDIT_TAMPERED");
    // What stands behind that pin cannot be checked with that root; the rotation's intent before it can.
    again(&["keyring", "audit.pin"]);
    home.refuses(&[], 65, "ROLLBACK");
    install(&home, &next);
    again(&["audit.pin"]);
    home.refuses(&[], 65, "AUDIT_TAMPERED");
    again(&["audit.log"]);
    home.refuses(&[], 65, "AUDIT_TAMPERED");
    again(&["audit.log", "audit.pin"]);
    home.refuses(&[], 65, "AUDIT_TAMPERED");
    again(&[]);
    home.start().terminate();
}
