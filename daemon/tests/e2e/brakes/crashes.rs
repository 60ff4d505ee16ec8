//! Killed at every system call of `key_create` and `key_disable`: what was acknowledged is there afterwards, what
//! was not is there as a whole or not at all, and a plain start goes on.
//!
//! By default at every call that changes files; with `KEYAGENT_LONG=1` at every call of any kind.

use std::{fs, io};

use keyagent_common::{
    context::EMPTY,
    op::{Empty, KeyCreate, KeyCreateRequest, KeyDisable, KeyDisableRequest, KeyStanding, Operation, Stop},
};

use crate::{
    crash::{calls, killing, words},
    support::{
        Client, Daemon, Home,
        agent::MESSAGE,
        client, copy_files, have, log,
        recovery::{Expect, recover, serve_or_end, start},
        skipped,
    },
};

/// What was acknowledged.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Done {
    created: bool,
    disabled: bool,
    stopped: bool,
}

fn ask<O: Operation>(client: &mut Client, body: &O::Request<'_>) -> io::Result<()> {
    client.send(&client::request::<O>(1, body))?;
    let reply = client.reply()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    assert_eq!(reply.code, 0, "{reply:?}");
    Ok(())
}

fn talk(daemon: &Daemon, done: &mut Done) -> io::Result<()> {
    let mut client = Client::connect(daemon.socket())?;
    client.send(&client::hello(0))?;
    client.reply()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    ask::<KeyCreate>(&mut client, &KeyCreateRequest { key: "new", class: MESSAGE, note: "" })?;
    done.created = true;
    let brake = KeyDisableRequest { version: 0, key: "other", compromised: true, reason: "a test" };
    ask::<KeyDisable>(&mut client, &brake)?;
    done.disabled = true;
    ask::<Stop>(&mut client, &Empty {})?;
    done.stopped = true;
    Ok(())
}

/// Serves a life under strace; what it acknowledged, and whether it was killed.
fn life(home: &Home, strace: &[&str]) -> (Done, bool) {
    let mut done = Done::default();
    let daemon = Daemon::spawn(home.command_through(strace), &home.socket());
    let Ok(daemon) = serve_or_end(daemon) else { return (done, true) };
    // Ends early where the daemon was killed.
    let _ = talk(&daemon, &mut done);
    let killed = daemon.wait().signal.is_some();
    (done, killed)
}

/// After a plain start everything acknowledged is there; what was not, as a whole or not at all.
fn examine(home: &Home, done: Done, sealed: &[u8]) -> Result<(), String> {
    let daemon = start(home, &[]).map_err(|refused| format!("{refused:?}"))?;
    let mut client = daemon.client();
    let keys = client.keys();
    let standing = |name: &str| keys.iter().find(|(found, ..)| found == name).map(|(_, how, _)| *how);
    let created = standing("new").is_some();
    let disabled = standing("other") == Some(KeyStanding::Compromised);
    if (done.created && !created) || (done.disabled && !disabled) {
        return Err(format!("lost: {done:?}, but {keys:?}"));
    }
    if disabled && !created {
        return Err("the second change without the first".into());
    }
    let opened = client.decrypt(EMPTY, sealed);
    if opened.is_err() != disabled {
        return Err(format!("disabled: {disabled}, but {opened:?}"));
    }
    if created {
        let new = client.encrypt_under("new", EMPTY, b"x").map_err(|error| error.to_string())?;
        client.decrypt(EMPTY, &new).map_err(|error| error.to_string())?;
    }
    daemon.terminate();
    let verified = log::try_verify(home)?;
    let lines = log::unverified_lines_of(home, verified.unfinished_bytes);
    let (creation_lines, brake_lines) = (log::count(&lines, "key_create"), log::count(&lines, "key_disable"));
    if creation_lines < usize::from(done.created) + 1 || brake_lines < usize::from(done.disabled) {
        return Err(format!("{done:?}, but {creation_lines} and {brake_lines} lines"));
    }
    recover(home, Expect::PlainStart, &[])
}

/// A store with a key `other`, and a value under it.
fn original() -> (Home, Vec<u8>) {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("other").unwrap();
    let sealed = client.encrypt_under("other", EMPTY, b"x").unwrap();
    daemon.terminate();
    (home, sealed)
}

fn copy(original: &Home) -> Home {
    let home = Home::with_key(&fs::read_to_string(original.key()).unwrap());
    copy_files(&original.state(), &home.state());
    home
}

#[test]
fn a_change_of_keys_survives_a_kill_at_every_call() {
    const NAME: &str = "a_change_of_keys_survives_a_kill_at_every_call";
    if !have("strace") {
        return skipped(NAME, "needs strace");
    }
    let (original, sealed) = original();
    let traced = copy(&original);
    let calls = calls(&traced, |strace| {
        life(&traced, strace);
    });
    let (mut kills, mut seen) = (0, Vec::new());
    for call in calls.iter().filter(|call| *call != "mkdir") {
        for when in 1.. {
            let home = copy(&original);
            let (done, killed) = life(&home, &words(&killing(call, when)));
            if !killed {
                assert!(done.stopped, "{call} {when}");
                break;
            }
            kills += 1;
            seen.push(done);
            examine(&home, done, &sealed)
                .unwrap_or_else(|why| panic!("killed at {call} number {when}: {why}"));
        }
    }
    // Kills before the first, between the two and after the second change.
    for expected in [(false, false), (true, false), (true, true)] {
        assert!(seen.iter().any(|done| (done.created, done.disabled) == expected), "{expected:?}: {seen:?}");
    }
    assert!(kills >= 35, "only {kills} kills: the calls have other names here");
}

#[test]
fn the_detector_objects_to_a_change_that_was_lost() {
    let (original, sealed) = original();
    let (home, all) = (copy(&original), Done { created: true, disabled: true, stopped: true });
    let daemon = home.start();
    talk(&daemon, &mut Done::default()).unwrap();
    daemon.wait();
    examine(&home, all, &sealed).unwrap();
    let lost = examine(&copy(&original), all, &sealed).unwrap_err();
    assert!(lost.starts_with("lost"), "{lost}");
}
