//! Very many keys that are due at once: connections are accepted meanwhile, people are told once, and a disk that is
//! full is left alone until there is room.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use keyagent_common::{
    context::EMPTY,
    name::KeyName,
    op::{KeyConfigure, KeyConfigureRequest},
};
use keyagent_core::{
    arena::HeapArena,
    entropy::{Entropy, EntropyFailed},
    keyring::{Class, Keyring, State},
};
use serde_json::Value;

use super::NOTHING;
use crate::support::{Client, Daemon, Home, am_root, eventually, log, skipped, small_disk::SmallDisk};

/// Keys beside `default`.
const KEYS: usize = 400;
/// Nobody is of this user.
const RULE: &str = "[[rule]]\nname = \"gone\"\nuids = [54321]\nkeys = [\"**\"]\nallow = [\"data\"]\n";

struct Random;

impl Entropy for Random {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        keyagent_sys::random::fill(out).map_err(|_| EntropyFailed)
    }
}

fn name(number: usize) -> String {
    format!("tenant/{number:03}")
}

/// Adds keys that rotate every year, by themselves or not.
fn add_keys(path: &Path, master: &[u8; 32], by_itself: bool) {
    let (keyring, _) = Keyring::open(&HeapArena, &fs::read(path).unwrap(), master).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut draft = keyring.draft();
    for number in 0..KEYS {
        let name = name(number);
        draft.add_key(KeyName::parse(&name).unwrap(), Class::Message, &mut Random, now).unwrap();
        let policy = &mut draft.key_mut(&name).unwrap().policy;
        (policy.enabled, policy.interval_days) = (by_itself, 365);
    }
    let prepared = draft.prepare(keyring.pin(), &mut Random).unwrap();
    fs::write(path, prepared.bytes).unwrap();
}

/// A daemon all whose keys fall due so many seconds after [`lose`].
fn start(home: &Home, by_itself: bool, seconds: u32) -> Daemon {
    home.start().terminate();
    add_keys(&home.state_file("keyring"), &home.master(), by_itself);
    home.start_with(&["--accept-rollback"]).terminate();
    let config = home.configure(&format!("{}{RULE}", due_in(seconds)));
    home.start_with(&["--config", config.to_str().unwrap()])
}

fn due_in(seconds: u32) -> String {
    format!("[policy]\nrotation_due = \"{seconds}s\"\n")
}

/// Somebody loses the right on every key.
fn lose(home: &Home, client: &mut Client, seconds: u32) {
    home.configure(&due_in(seconds));
    assert!(client.reload().unwrap().policy_changed);
}

fn alerts<'l>(lines: &'l [Value], kind: &str) -> Vec<&'l Value> {
    lines.iter().map(|line| &line["metadata"]).filter(|metadata| metadata["kind"] == kind).collect()
}

#[test]
fn connections_are_accepted_while_very_many_keys_are_overdue() {
    let home = Home::initialized();
    let daemon = start(&home, false, 1);
    let mut client = daemon.client();
    let began = client.watch(u64::MAX, 0).unwrap().next;
    lose(&home, &mut client, 1);
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut busy = daemon.client();
            while !end.load(Ordering::SeqCst) {
                assert!(busy.configure_key(&NOTHING).unwrap().0.is_empty());
                sleep(Duration::from_millis(5));
            }
        });
        eventually("an alert", || client.watch(began, 0).unwrap().count("rotation_overdue", "") > 0);
        for _ in 0..100 {
            let asked = Instant::now();
            daemon.client().encrypt(EMPTY, b"served").unwrap();
            assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
            sleep(Duration::from_millis(20));
        }
        end.store(true, Ordering::SeqCst);
    });
    let seen = client.watch(began, 0).unwrap();
    assert_eq!((seen.count("rotation_due", ""), seen.count("rotation_overdue", "")), (1, 1));
    assert!(seen.events.len() < 10, "{:?}", seen.events);
    let said = daemon.terminate();
    assert!(said.lines().count() < 10, "{said}");
    let lines = log::lines(&home);
    let overdue = alerts(&lines, "rotation_overdue");
    assert_eq!(overdue.len(), 1, "{overdue:?}");
    assert_eq!(overdue[0]["count"], KEYS + 1);
    // The log cuts texts, watchers have all of it.
    let told = format!("{} keys are overdue for rotation: default, tenant/000, ", KEYS + 1);
    assert!(overdue[0]["message"].as_str().unwrap().starts_with(&told), "{overdue:?}");
    let (.., message) = seen.events.iter().find(|(kind, ..)| kind == "rotation_overdue").unwrap();
    assert!(message.starts_with(&told), "{message}");
    assert!(message.ends_with(&format!(", tenant/018 and {} more", KEYS + 1 - 20)), "{message}");
    // Each list that changed has its line all the same.
    let lost = lines.iter().filter(|line| line["metadata"]["lost"] == "uid:54321");
    assert_eq!(lost.count(), KEYS + 1);
}

#[test]
fn a_full_disk_is_tried_once_and_what_is_due_is_done_when_there_is_room() {
    const NAME: &str = "a_full_disk_is_tried_once_and_what_is_due_is_done_when_there_is_room";
    let home = Home::new();
    let disk = if am_root() { SmallDisk::mount(&home.state(), 16 << 10) } else { None };
    let Some(disk) = disk else { return skipped(NAME, "needs root and tmpfs") };
    home.init();
    let daemon = start(&home, true, 3);
    let mut client = daemon.client();
    lose(&home, &mut client, 3);
    disk.fill();
    assert_eq!(client.states(&name(0)), [State::Primary], "the disk was full too late: nothing is tested");
    let failed = |client: &mut Client| {
        let events = client.watch(0, 0).unwrap().events;
        events.iter().filter(|(kind, ..)| kind == "rotation_failed").count()
    };
    eventually("an alert", || failed(&mut client) > 0);
    // Whoever asks for anything has nothing tried again.
    for _ in 0..30 {
        // Whether the log has room for its line is not what matters.
        let _ = client.ask::<KeyConfigure>(&NOTHING);
        sleep(Duration::from_millis(100));
    }
    assert_eq!(failed(&mut client), 1);
    let said = daemon.stderr();
    assert!(said.lines().count() < 40, "{} lines: {said}", said.lines().count());
    disk.make_room();
    client.configure_key(&KeyConfigureRequest { note: Some("there is room"), ..NOTHING }).unwrap();
    let rotated = [State::Grace, State::Primary];
    eventually("all rotations", || {
        client.states(&name(0)) == rotated && client.states(&name(KEYS - 1)) == rotated
    });
    assert_eq!(client.status("keys_overdue"), "1", "only what does not rotate by itself");
    daemon.terminate();
    let lines = log::lines(&home);
    let scheduled = lines.iter().filter(|line| {
        line["event_type"] == "key_rotate" && line["success"] == true && line["user_id"].is_null()
    });
    assert_eq!(scheduled.count(), KEYS, "each once");
}
