//! Killed at every system call (row 46): afterwards everything acknowledged opens and is recorded, or the
//! daemon refuses cleanly and the fix that it names works; never half a key, half a keyring, half a line.
//!
//! By default at every call that changes files; with `KEYAGENT_LONG=1` at every call of any kind.

use std::{collections::BTreeSet, fs, io, time::Duration};

use keyagent_common::context::EMPTY;

use crate::support::{
    Client, Daemon, Home, bounded, client, copy_files, finish, have, log, long_campaign, random_key,
    recovery::{Expect, recover, serve_or_end},
    skipped,
};

/// What changes files; `write` answers clients too.
const CALLS: [&str; 9] =
    ["mkdir", "renameat", "fsync", "fdatasync", "pwrite64", "write", "ftruncate", "unlinkat", "flock"];

/// The calls after which to kill: those that change files, or all that a trace of `run` shows.
fn calls(home: &Home, run: impl FnOnce(&[&str])) -> Vec<String> {
    if !long_campaign() {
        return CALLS.map(str::to_owned).to_vec();
    }
    let trace = home.join("trace");
    run(&["strace", "-D", "-f", "-qq", "-o", trace.to_str().unwrap()]);
    let text = fs::read_to_string(trace).unwrap();
    let names = text.lines().filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('));
    let names = names.map(|(name, _)| name.to_owned());
    let names: BTreeSet<String> =
        names.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric())).collect();
    assert!(names.len() > 20, "{names:?}");
    names.into_iter().collect()
}

fn killing(call: &str, when: usize) -> [String; 7] {
    let inject = format!("inject={call}:signal=KILL:when={when}");
    ["strace", "-D", "-f", "-qq", "-o/dev/null", "-e", &inject].map(str::to_owned)
}

fn words(strace: &[String]) -> Vec<&str> {
    strace.iter().map(String::as_str).collect()
}

#[test]
fn init_survives_a_kill_at_every_call() {
    const NAME: &str = "init_survives_a_kill_at_every_call";
    if !have("strace") {
        return skipped(NAME, "needs strace");
    }
    let init = ["--init", "--no-serve"];
    let traced = Home::new();
    let calls = calls(&traced, |strace| {
        assert_eq!(finish(traced.command_through(strace).args(init)).code, Some(0));
    });
    let mut kills = 0;
    for call in calls {
        for when in 1.. {
            let home = Home::new();
            let ended = finish(home.command_through(&words(&killing(&call, when))).args(init));
            if ended.signal.is_none() {
                assert_eq!(ended.code, Some(0), "{call} {when}: {ended:?}");
                break;
            }
            kills += 1;
            recover(&home, Expect::UnderConstruction, &[])
                .unwrap_or_else(|why| panic!("killed at {call} number {when}: {why}"));
        }
    }
    assert!(kills >= 30, "only {kills} kills: the calls have other names here");
}

/// Serves a life under strace: start, requests, lock and unlock, stop. The values it acknowledged, and
/// whether it was killed.
fn life(home: &Home, strace: &[&str]) -> (Vec<Vec<u8>>, bool) {
    let daemon = Daemon::spawn(home.command_through(strace), &home.socket());
    let mut acknowledged = Vec::new();
    let Ok(daemon) = serve_or_end(daemon) else { return (acknowledged, true) };
    // Ends early where the daemon was killed.
    let _ = talk(&daemon, &mut acknowledged);
    let ended = daemon.wait();
    (acknowledged, ended.signal.is_some())
}

fn talk(daemon: &Daemon, acknowledged: &mut Vec<Vec<u8>>) -> io::Result<()> {
    use keyagent_common::op::{Empty, Encrypt, EncryptRequest, Lock, Operation, Stop, Unlock, UnlockRequest};
    fn ask<O: Operation>(client: &mut Client, body: &O::Request<'_>) -> io::Result<Vec<u8>> {
        client.send(&client::request::<O>(1, body))?;
        let reply = client.reply()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        assert_eq!(reply.code, 0, "{reply:?}");
        Ok(reply.body)
    }
    let mut client = Client::connect(daemon.socket())?;
    client.send(&client::hello(0))?;
    client.reply()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let encrypt = EncryptRequest { key: "default", context: EMPTY, plaintext: b"acknowledged" };
    for round in 0..2 {
        for _ in 0..2 {
            // Version, length, envelope.
            acknowledged.push(ask::<Encrypt>(&mut client, &encrypt)?.split_off(12));
        }
        if round == 0 {
            ask::<Lock>(&mut client, &Empty {})?;
            ask::<Unlock>(&mut client, &UnlockRequest { master: &[] })?;
        }
    }
    ask::<Stop>(&mut client, &Empty {})?;
    Ok(())
}

#[test]
fn an_ordinary_life_survives_a_kill_at_every_call() {
    const NAME: &str = "an_ordinary_life_survives_a_kill_at_every_call";
    if !have("strace") {
        return skipped(NAME, "needs strace");
    }
    let original = Home::initialized();
    let calls = calls(&original, |strace| drop(life(&original, strace)));
    let mut kills = 0;
    for call in calls.iter().filter(|call| *call != "mkdir") {
        for when in 1.. {
            let home = Home::with_key(&fs::read_to_string(original.key()).unwrap());
            copy_files(&original.state(), &home.state());
            let (acknowledged, killed) = life(&home, &words(&killing(call, when)));
            if !killed {
                assert_eq!(acknowledged.len(), 4, "{call} {when}");
                break;
            }
            kills += 1;
            recover(&home, Expect::PlainStart, &acknowledged)
                .unwrap_or_else(|why| panic!("killed at {call} number {when}: {why}"));
        }
    }
    assert!(kills >= 25, "only {kills} kills: the calls have other names here");
}

#[test]
fn a_new_keyring_survives_a_kill_at_every_call() {
    const NAME: &str = "a_new_keyring_survives_a_kill_at_every_call";
    if !have("strace") {
        return skipped(NAME, "needs strace");
    }
    let original = Home::initialized();
    original.start().terminate();
    for call in ["renameat", "fsync", "fdatasync", "pwrite64"] {
        for when in 1.. {
            let home = Home::with_key(&fs::read_to_string(original.key()).unwrap());
            copy_files(&original.state(), &home.state());
            fs::remove_file(home.state_file("keyring")).unwrap();
            let strace = killing(call, when);
            let mut command = home.command_through(&words(&strace));
            command.arg("--new-keyring");
            let daemon = Daemon::spawn(command, &home.socket());
            match serve_or_end(daemon) {
                Ok(daemon) => {
                    // Whatever was not killed by now stands.
                    drop(daemon);
                    break;
                }
                Err(ended) => assert!(ended.signal.is_some(), "{ended:?}"),
            }
            recover(&home, Expect::UnderReplacement, &[])
                .unwrap_or_else(|why| panic!("killed at {call} number {when}: {why}"));
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kills_at_random() {
    // The log grows, and is verified from its beginning each time: many short lives rather than a long one.
    for _ in 0..bounded(1, 20) {
        fifteen_kills(&Home::initialized());
    }
}

fn fifteen_kills(home: &Home) {
    let mut acknowledged = Vec::new();
    for round in 0..15_u64 {
        let daemon = home.start();
        let mut client = daemon.client();
        let daemon_id = daemon.pid();
        let pid = nix::unistd::Pid::from_raw(daemon.pid().try_into().unwrap());
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(500 + (round * 7919 + u64::from(daemon_id)) % 30_000));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        });
        // Pipelined, so that the kill falls into a burst.
        let frames: Vec<u8> = (0..20).flat_map(|id| client::encrypt(id, b"value")).collect();
        'alive: while client.send(&frames).is_ok() {
            for _ in 0..20 {
                let Ok(Some(reply)) = client.reply() else { break 'alive };
                assert_eq!(reply.code, 0);
                acknowledged.push(reply.body[12..].to_vec());
            }
        }
        killer.join().unwrap();
        daemon.wait();
        acknowledged.drain(..acknowledged.len().saturating_sub(500));
        let verified = log::try_verify(home).unwrap();
        let recorded = log::unverified_lines_of(home, verified.unfinished_bytes + verified.rejected_bytes);
        assert!(log::count(&recorded, "encrypt") >= acknowledged.len());
    }
    recover(home, Expect::PlainStart, &acknowledged).unwrap();
}

#[test]
fn the_detector_objects_to_broken_states() {
    let broken = |name: &str, spoil: &dyn Fn(&Home)| {
        let home = Home::initialized();
        let daemon = home.start();
        let envelopes = vec![daemon.client().encrypt(EMPTY, b"x").unwrap()];
        daemon.terminate();
        recover(&home, Expect::PlainStart, &envelopes).unwrap();
        spoil(&home);
        for expect in [Expect::PlainStart, Expect::UnderConstruction] {
            let seen = recover(&home, expect, &envelopes);
            assert!(seen.is_err(), "{name} was not noticed");
        }
    };
    let cut = |home: &Home, file: &str| {
        let path = home.join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    };
    broken("a cut keyring", &|home| cut(home, "state/keyring"));
    broken("half a key", &|home| cut(home, "config/key"));
    broken("a cut log", &|home| cut(home, "state/audit.log"));
    broken("a lost log", &|home| fs::remove_file(home.state_file("audit.log")).unwrap());
    broken("a lost pin", &|home| fs::remove_file(home.state_file("audit.pin")).unwrap());
    broken("an empty keyring", &|home| fs::write(home.state_file("keyring"), "").unwrap());
    broken("a lost keyring", &|home| fs::remove_file(home.state_file("keyring")).unwrap());
    broken("another key", &|home| home.write_key(&format!("{}\n", random_key())));
}
