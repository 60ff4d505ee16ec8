//! Many keys: the daemon opens them within the locked memory that it announces, finds them, and a change that it
//! acknowledged is on the disk.
//!
//! Bounded by default; with `KEYAGENT_LONG=1` ten thousand keys of ten versions, which in a debug build take minutes.

use std::{fs, time::Instant};

use keyagent_common::{
    codec,
    context::EMPTY,
    name::KeyName,
    op::{
        Empty, Health, KeyList, KeyListReply, KeyListRequest, KeyRotate, KeyRotateRequest, KeyShow,
        KeyShowReply, KeyShowRequest, KeyStanding, Takeover,
    },
};
use keyagent_core::{
    arena::HeapArena,
    entropy::{Entropy, EntropyFailed},
    keyring::{Class, Keyring, Reason, State},
};

use crate::support::{Daemon, Home, bounded, make_folder, random_key};

/// Most locked memory at any number of keys: 6 MiB, and what the kernel rounds up.
const MOST_LOCKED: u64 = 6 * 1024 * 1024 + 700 * 1024;
const MADE_AT: u64 = 1_795_302_600;

struct Random;

impl Entropy for Random {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        keyagent_sys::random::fill(out).map_err(|_| EntropyFailed)
    }
}

fn name(number: usize) -> String {
    format!("tenant/{number:05}")
}

/// A keyring of so many keys, each with one primary version and all others in grace.
fn make(home: &Home, keys: usize, versions: u32) -> usize {
    let master = home.master();
    let (keyring, _) = Keyring::create(&HeapArena, &master, &mut Random, MADE_AT).unwrap();
    let mut draft = keyring.draft();
    for number in 0..keys - 1 {
        let name = name(number);
        draft.add_key(KeyName::parse(&name).unwrap(), Class::Message, &mut Random, MADE_AT).unwrap();
    }
    for number in 0..keys - 1 {
        for _ in 1..versions {
            draft.push_version(&name(number), Reason::Manual, &mut Random, MADE_AT).unwrap();
        }
    }
    for key in draft.keys_mut() {
        let last = key.versions.len();
        for version in &mut key.versions {
            version.state =
                if usize::try_from(version.number).unwrap() == last { State::Primary } else { State::Grace };
        }
    }
    let bytes = draft.prepare(None, &mut Random).unwrap().bytes;
    make_folder(&home.state(), 0o700);
    fs::write(home.state_file("keyring"), &bytes).unwrap();
    bytes.len()
}

fn locked_bytes(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn thousands_of_keys_are_served_within_the_announced_memory() {
    let (keys, versions) = bounded((2000, 5), (10_000, 10));
    let home = Home::with_key(&random_key());
    let bytes = make(&home, keys, versions);
    // As after a restore: there is no log that the keyring could be compared with.
    home.start_with(&["--accept-rollback"]).terminate();
    let begun = Instant::now();
    let daemon = home.start();
    let started = begun.elapsed();
    let mut client = daemon.client();
    assert_eq!(client.status("keys"), keys.to_string());
    let all = keys as u64 * u64::from(versions) - u64::from(versions) + 1;
    assert_eq!(client.status("key_versions"), all.to_string());
    let (locked, announced) = (locked_bytes(&daemon), client.status("memory_bytes").parse::<u64>().unwrap());
    println!(
        "{keys} keys, {versions} versions, {bytes} bytes: started in {started:?}, {locked} bytes locked"
    );
    assert!(locked <= MOST_LOCKED && announced <= MOST_LOCKED, "{locked} locked, {announced} announced");
    for number in [0, 1, keys / 2, keys - 2] {
        let sealed = client.encrypt_under(&name(number), EMPTY, b"x").unwrap();
        assert_eq!(client.decrypt(EMPTY, &sealed).unwrap(), b"x");
    }
    let sealed = client.encrypt_under(&name(7), EMPTY, b"before").unwrap();
    let (lift, note) = (KeyStanding::Active, "");
    let key = &name(7);
    let request = KeyRotateRequest { key, reason: 5, takeover: Takeover::Grace, lift, note };
    client.ask::<KeyRotate>(&request).success().unwrap();
    let newer = client.encrypt_under(key, EMPTY, b"after").unwrap();
    assert!(client.ask::<Health>(&Empty {}).success().is_ok());
    assert!(locked_bytes(&daemon) <= MOST_LOCKED);
    // What was acknowledged is there, however the daemon ends.
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(client.decrypt(EMPTY, &sealed).unwrap(), b"before");
    assert_eq!(client.decrypt(EMPTY, &newer).unwrap(), b"after");
    assert_eq!(client.status("key_versions"), (all + 1).to_string());
}

/// Each answer fits, and the newest versions are in it: the connection goes on.
#[test]
fn keys_of_the_most_versions_are_listed_and_shown() {
    let home = Home::with_key(&random_key());
    make(&home, 4, 4096);
    home.start_with(&["--accept-rollback"]).terminate();
    let daemon = home.start();
    let mut client = daemon.client();
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let request = KeyListRequest { after: &after, limit: u32::MAX };
        let body = client.ask::<KeyList>(&request).success().unwrap();
        let reply: KeyListReply<'_> = codec::decode(&body).unwrap();
        for key in &reply.keys {
            let numbers = key.versions.iter().map(|version| version.number);
            listed.push((key.name.to_owned(), numbers.collect::<Vec<_>>()));
        }
        after = listed.last().unwrap().0.clone();
        if !reply.more {
            break;
        }
    }
    let newest: Vec<u32> = (4096 - 255..=4096).collect();
    let wanted = [("default".to_owned(), vec![1])].into_iter();
    assert_eq!(listed, wanted.chain((0..3).map(|key| (name(key), newest.clone()))).collect::<Vec<_>>());
    for key in 0..3 {
        let body = client.ask::<KeyShow>(&KeyShowRequest { key: &name(key) }).success().unwrap();
        let reply: KeyShowReply<'_> = codec::decode(&body).unwrap();
        assert_eq!(reply.key.versions.iter().map(|version| version.number).collect::<Vec<_>>(), newest);
        assert_eq!(reply.usage.iter().map(|usage| usage.number).collect::<Vec<_>>(), newest);
    }
}
