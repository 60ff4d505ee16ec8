//! Two things at once: a lock while a key is made, requests while the agent is being unlocked, one reload while
//! another is under way. strace makes the disk slow.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use keyagent_common::{context::EMPTY, error::ErrorCode};
use nix::sys::signal::Signal;

use crate::support::{Client, Daemon, Home, bounded, eventually, have, log, skipped};

/// Every such system call begins so much later.
fn slowed(home: &Home, call: &str, micros: u32) -> Daemon {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:delay_enter={micros}"));
    let strace = ["strace", "-D", "-f", "-qq", "-o/dev/null", "-e", &trace, "-e", &inject];
    Daemon::start(home.command_through(&strace), &home.socket())
}

/// All of them encrypt at once, for they may wait for each other's workers; how long each answer took.
fn timed(clients: &mut [Client]) -> Vec<(Result<(), ErrorCode>, Duration)> {
    let encrypt = |client: &mut Client| {
        let began = Instant::now();
        let answer = client.encrypt(EMPTY, b"x").map(drop);
        (answer, began.elapsed())
    };
    thread::scope(|scope| {
        let asked: Vec<_> = clients.iter_mut().map(|client| scope.spawn(move || encrypt(client))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    })
}

#[test]
fn a_lock_holds_at_once_while_a_key_is_being_made() {
    const NAME: &str = "a_lock_holds_at_once_while_a_key_is_being_made";
    if !have("strace") {
        return skipped(NAME, "needs strace");
    }
    let home = Home::initialized();
    // The rename that puts a keyring in place, and that of the pin: the one after the start is waited for.
    let daemon = slowed(&home, "rename,renameat,renameat2", 2_000_000);
    let mut clients: Vec<_> = (0..4).map(|_| daemon.client()).collect();
    sleep(Duration::from_millis(3500));
    thread::scope(|scope| {
        let making = scope.spawn(|| {
            let mut client = daemon.client();
            let began = Instant::now();
            (client.create_key("slow"), began.elapsed())
        });
        sleep(Duration::from_millis(400));
        // A signal, so that no worker waits beside the one that makes the key.
        daemon.signal(Signal::SIGUSR1);
        sleep(Duration::from_millis(400));
        let answers = timed(&mut clients);
        let (made, took) = making.join().unwrap();
        assert!(took > Duration::from_millis(1500), "the disk was not slow: {took:?}");
        assert!(made.is_ok(), "what is on the disk is done: {made:?}");
        assert!(answers.iter().all(|(answer, _)| *answer == Err(ErrorCode::Locked)), "{answers:?}");
        let at_once = answers.iter().filter(|(_, took)| *took < Duration::from_millis(500));
        assert!(at_once.count() > 0, "nobody was answered meanwhile: {answers:?}");
    });
    let mut client = daemon.client();
    assert_eq!(client.status("state"), "locked");
    assert!(client.unlock(&[]).unwrap().changed);
    client.encrypt_under("slow", EMPTY, b"x").unwrap();
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn whoever_asks_while_it_is_being_unlocked_is_told_at_once_that_it_is_locked() {
    const NAME: &str = "whoever_asks_while_it_is_being_unlocked_is_told_at_once_that_it_is_locked";
    if !have("strace") {
        return skipped(NAME, "needs strace");
    }
    let home = Home::initialized();
    let daemon = home.start();
    let sealed = daemon.client().encrypt(EMPTY, b"x").unwrap();
    daemon.terminate();
    let master = crate::locked_start::protect(&home);
    // The log is read in such pieces.
    let call = "pread64";
    let inject = format!("inject={call}:delay_enter=700000");
    let strace = ["strace", "-D", "-f", "-qq", "-o/dev/null", "-e", "trace=pread64", "-e", &inject];
    let daemon = Daemon::start(crate::locked_start::command_through(&home, &strace), &home.socket());
    // Connections spread over the workers.
    let mut clients: Vec<_> = (0..4).map(|_| daemon.client()).collect();
    let answered = thread::scope(|scope| {
        let unlocking = scope.spawn(|| {
            let began = Instant::now();
            (daemon.client().unlock(&master).map(|reply| reply.changed), began.elapsed())
        });
        sleep(Duration::from_millis(200));
        let answers = timed(&mut clients);
        let at_once = answers
            .iter()
            .filter(|(answer, took)| *answer == Err(ErrorCode::Locked) && *took < Duration::from_millis(300));
        let answered = at_once.count();
        let (answer, took) = unlocking.join().unwrap();
        assert_eq!(answer, Ok(true));
        assert!(took > Duration::from_millis(700), "the log was not read: {took:?}");
        answered
    });
    assert!(answered > 0, "nobody was answered while the log was examined");
    assert_eq!(daemon.client().decrypt(EMPTY, &sealed).unwrap(), b"x");
    daemon.terminate();
    log::lines(&home);
}

/// Whatever else reloads at the same time: after the reply, what was in the file before the request holds.
#[test]
fn of_overlapping_reloads_the_latest_configuration_stays() {
    let home = Home::initialized();
    let rule = |number: usize| {
        format!("[[rule]]\nname = \"r{number}\"\nuids = [54321]\nkeys = [\"**\"]\nallow = [\"data\"]\n")
    };
    let path = home.configure(&rule(0));
    let daemon = home.start_with(&["--config", path.to_str().unwrap()]);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = daemon.client();
                while !ended.load(Ordering::SeqCst) {
                    client.reload().unwrap();
                }
            });
        }
        let mut client = daemon.client();
        let mut older = 0;
        for number in 1..bounded(60, 600) {
            // Put in place whole, or a reload would read half of it.
            let next = home.join("next.toml");
            fs::write(&next, rule(number)).unwrap();
            crate::support::chmod(&next, 0o600);
            fs::rename(&next, &path).unwrap();
            let digest = crate::support::hex(&client.reload().unwrap().policy);
            older += (0..5).filter(|_| client.status("policy_digest") != digest).count();
        }
        ended.store(true, Ordering::SeqCst);
        assert_eq!(older, 0, "an older policy came back");
    });
    daemon.terminate();
    log::lines(&home);
}

/// The policy is in force although the lists of who has access cannot be stored; reply and record say both.
#[test]
fn a_reload_whose_lists_cannot_be_stored_says_what_is_in_force() {
    let home = Home::initialized();
    let path = home.configure("");
    let daemon = home.start_with(&["--config", path.to_str().unwrap()]);
    let mut client = daemon.client();
    let before = client.status("policy_digest");
    fs::create_dir(home.state_file("keyring.tmp")).unwrap();
    home.configure("[[rule]]\nname = \"r\"\nuids = [54321]\nkeys = [\"**\"]\nallow = [\"data\"]\n");
    assert_eq!(client.reload(), Err(ErrorCode::StoreFailed));
    assert_ne!(client.status("policy_digest"), before, "the policy is in force");
    fs::remove_dir(home.state_file("keyring.tmp")).unwrap();
    client.reload().unwrap();
    eventually("the lists are stored", || client.status("generation").parse::<u64>().unwrap() > 1);
    daemon.terminate();
    let lines = log::lines(&home);
    let reloads: Vec<_> = lines.iter().filter(|line| line["event_type"] == "reload").collect();
    let results: Vec<_> = reloads.iter().map(|line| line["success"].as_bool().unwrap()).collect();
    assert_eq!(results, [false, true]);
    assert!(reloads[0]["error_message"].as_str().unwrap().starts_with("the configuration is in use"));
}
