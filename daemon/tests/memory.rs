//! No byte of a key lies outside locked, undumped pages: not in memory, not in registers, whatever the daemon did.
//!
//! Every check has a control that must find something: a process that leaks on purpose, keys seen where
//! they may be, and (in .ci/long) a daemon built with ordinary stacks and no scrubbing.

#![cfg(test)]

#[path = "memory/master.rs"]
mod master;
mod memory_support;
mod support;

use std::{
    fs,
    io::{Read, Write},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use memory_support::{
    aes, can_scan, command, control_daemon,
    needles::{self, Needle, Needles},
    release_daemon,
    scanner::{Scan, Scanner},
    through,
    traffic::Traffic,
};
use nix::sys::signal::Signal;
use support::{Client, Daemon, Home};

/// Requests of the main test.
const REQUESTS: usize = 10_000;
/// A pin follows within a second of the last activity; it is made with a key as well.
const PINNED: Duration = Duration::from_millis(1300);
/// The part this test binary plays when it runs itself again.
const LEAK: &str = "KEYAGENT_MEMORY_TEST_LEAKS";

/// Starts a program without secret memory.
const WITHOUT_SECRET_MEMORY: [&str; 9] = [
    "strace",
    "-D",
    "-f",
    "-qq",
    "-o",
    "/dev/null",
    "-e",
    "trace=memfd_secret",
    "--inject=memfd_secret:error=ENOSYS",
];

/// A daemon, what it was asked, and how to look into it.
struct Watched {
    home: Home,
    master: [u8; 32],
    daemon: Daemon,
    traffic: Traffic,
}

impl Watched {
    /// A new keyring for the key in the home's key file.
    fn start(program: &[&str], binary: &std::path::Path) -> Self {
        let home = Home::with_key(&support::random_key());
        let mut command = through(program, binary, &home);
        command.arg("--new-keyring").arg("--key-file").arg(home.key());
        let master = home.master();
        Self::start_as(home, master, command)
    }

    fn start_as(home: Home, master: [u8; 32], command: Command) -> Self {
        let daemon = Daemon::start(command, &home.socket());
        Self { home, master, daemon, traffic: Traffic::default() }
    }

    fn needles(&self) -> Needles {
        sleep(PINNED);
        let needles = needles::of_daemon(&self.master, &self.home.state(), &self.traffic);
        assert!(needles.all.len() >= 15, "{} needles", needles.all.len());
        needles
    }

    /// Looks through memory; the whole of it must have been looked at, but for what is beyond root's reach.
    fn scan(&self, scanner: &Scanner) -> Scan {
        let scan = scanner.process(self.daemon.pid());
        assert!(scan.bytes > 4 << 20, "only {} bytes were looked at", scan.bytes);
        for mapping in &scan.unreadable {
            // The kernel's own pages hold nothing of a process.
            let harmless = mapping.is_protected() || mapping.description.contains("[v");
            assert!(harmless, "could not be looked at: {mapping:?}");
        }
        scan
    }

    /// Nothing outside protected pages, and nothing at all in a core with the registers.
    fn assert_clean(&self, when: &str) -> Scan {
        let needles = self.needles();
        let scanner = Scanner::new(&needles.all);
        let mut scan = self.scan(&scanner);
        assert_none(&scan, when);
        // Keys lie where not even root reads; of what can be read, stacks and buffers were wiped after use.
        // A slow disk may still be at a pin.
        for _ in 0..5 {
            if scan.inside().is_empty() {
                break;
            }
            sleep(PINNED);
            scan = self.scan(&scanner);
        }
        if has_secret_memory(&scan) {
            assert_eq!(
                scan.inside().into_keys().collect::<Vec<_>>(),
                [""; 0],
                "{when}: left in locked pages"
            );
        }
        let core = scanner.core(self.daemon.pid(), self.home.path());
        assert!(core.bytes > 1 << 20, "a core of {} bytes", core.bytes);
        assert_none(&core, &format!("{when}, in the core"));
        eprintln!(
            "{when}: 0 hits for {} needles in {} forms, {} bytes of memory, {} bytes of core; in locked pages: {:?}",
            needles.all.len(),
            scanner.forms,
            scan.bytes,
            core.bytes,
            scan.inside()
        );
        scan
    }
}

fn has_secret_memory(scan: &Scan) -> bool {
    scan.unreadable.iter().any(|mapping| mapping.description.contains("secretmem"))
}

fn assert_none(scan: &Scan, when: &str) {
    let outside = scan.outside();
    let shown: Vec<String> = outside.iter().take(20).map(ToString::to_string).collect();
    assert!(outside.is_empty(), "{when}: {} hits outside locked pages:\n{}", outside.len(), shown.join("\n"));
}

#[test]
fn no_key_byte_outside_locked_pages() {
    if !can_scan("no_key_byte_outside_locked_pages", &["gdb"]) {
        return;
    }
    let mut watched = Watched::start(&[], release_daemon());
    watched.assert_clean("after the start");
    watched.traffic.run(&watched.daemon, REQUESTS);
    let traffic = &watched.traffic;
    assert!(traffic.requests >= REQUESTS && traffic.refused > 500 && traffic.pipelined > 2000);
    assert!(traffic.sealed.len() >= 40 && traffic.data_keys.len() >= 40 && traffic.on_the_agent > 100);
    let scan = watched.assert_clean("after ten thousand requests");
    if !has_secret_memory(&scan) {
        support::skipped("keys in memfd_secret", "this kernel does not offer it");
    }
    let mut client = watched.daemon.client();
    watched.daemon.signal(Signal::SIGHUP);
    client.ask::<keyagent_common::op::Health>(&keyagent_common::op::Empty {}).success().unwrap();
    watched.assert_clean("after a signal and a health check");
    assert!(client.lock().unwrap().changed);
    assert_eq!(client.encrypt(&[0, 0], b"x").unwrap_err(), keyagent_common::error::ErrorCode::Locked);
    watched.assert_clean("locked");
    assert!(client.unlock(&[]).unwrap().changed);
    watched.traffic.run(&watched.daemon, 300);
    watched.assert_clean("unlocked from the key file");
    unlock_by_hand(&mut client, &watched.master);
    watched.traffic.run(&watched.daemon, 300);
    watched.assert_clean("unlocked with a key from the socket");
    watched.daemon.terminate();
}

/// With the right key, with a wrong one, and with the right one where nothing is locked.
fn unlock_by_hand(client: &mut Client, master: &[u8; 32]) {
    client.lock().unwrap();
    let mut wrong = *master;
    wrong[0] ^= 1;
    assert!(client.unlock(&wrong).is_err());
    assert!(client.unlock(master).unwrap().changed);
    assert!(!client.unlock(master).unwrap().changed);
}

/// `memfd_secret` is closed even to root. Where it is refused, keys lie in pages that can be looked at:
/// there the scanner must find them, and `lock` must leave nothing but the key of the log.
#[test]
fn keys_are_found_where_they_may_be_and_gone_when_locked() {
    const TEST: &str = "keys_are_found_where_they_may_be_and_gone_when_locked";
    if !can_scan(TEST, &["strace"]) {
        return;
    }
    let mut watched = Watched::start(&WITHOUT_SECRET_MEMORY, release_daemon());
    let mut client = watched.daemon.client();
    assert_eq!(client.status("memory"), "mlock");
    watched.traffic.run(&watched.daemon, 2000);
    let needles = watched.needles();
    let scan = watched.scan(&Scanner::new(&needles.all));
    assert_none(&scan, "without memfd_secret");
    let inside = scan.inside();
    let messages = needles.all.iter().map(|needle| needle.name.as_str());
    // The canary, which is the first, is opened when health asks, and wiped.
    let messages = messages.filter(|name| name.starts_with("message ") && *name != "message 0");
    let others = ["record", "head", "pin", "context hash", "reuse", "counters", &needles.next_audit_key];
    let kept: Vec<&str> = messages.chain(others).collect();
    assert!(kept.len() >= others.len() + 6, "{kept:?}");
    // Of the key that is braked no state is kept.
    let missing: Vec<_> = kept.iter().filter(|name| !inside.contains_key(*name)).collect();
    assert_eq!(missing.len(), 1, "{missing:?} must be found in locked pages: {inside:?}");
    assert!(missing.iter().all(|name| name.starts_with("message ")), "{missing:?}");
    let not_kept: Vec<_> = inside.keys().filter(|name| !kept.contains(name)).collect();
    assert!(not_kept.is_empty(), "wiped after use: {not_kept:?}");
    assert!(client.lock().unwrap().changed);
    let needles = watched.needles();
    let scan = watched.scan(&Scanner::new(&needles.all));
    assert_none(&scan, "locked, without memfd_secret");
    let left: Vec<&str> = scan.inside().into_keys().collect();
    assert_eq!(left, [needles.next_audit_key.as_str()], "a locked daemon keeps the key of the log alone");
    // After `unlock` everything is there again.
    assert!(client.unlock(&[]).unwrap().changed);
    watched.traffic.opens(&watched.daemon);
    client.lock().unwrap();
    drop(client);
    watched.daemon.terminate();
}

/// A daemon that starts locked has no key but that of its log; afterwards it is like any other.
#[test]
fn a_locked_start_leaves_nothing() {
    if !can_scan("a_locked_start_leaves_nothing", &["gdb", "strace"]) {
        return;
    }
    let home = Home::with_key(&support::random_key());
    let (master, mut init) = (home.master(), command(release_daemon(), &home));
    init.arg("--new-keyring").arg("--no-serve").arg("--key-file").arg(home.key());
    assert_eq!(support::finish(&mut init).code, Some(0));
    let protected = keyagent_common::protected_key::beside(&home.key());
    fs::write(&protected, protected_text(&master)).unwrap();
    support::chmod(&protected, 0o600);
    fs::remove_file(home.key()).unwrap();
    // Seen through: keys lie in pages that can be looked at.
    let mut locked = through(&WITHOUT_SECRET_MEMORY, release_daemon(), &home);
    locked.arg("--key-file").arg(&protected);
    let mut watched = Watched::start_as(home, master, locked);
    let mut client = watched.daemon.client();
    assert_eq!((client.status("state").as_str(), client.status("memory").as_str()), ("locked", "mlock"));
    assert_nothing_at_all(&watched, "started locked");
    let mut wrong = master;
    wrong[0] ^= 1;
    assert!(client.unlock(&wrong).is_err());
    assert_nothing_at_all(&watched, "after a wrong key");
    assert!(client.unlock(&master).unwrap().changed);
    watched.traffic.run(&watched.daemon, 500);
    let needles = watched.needles();
    let scan = watched.scan(&Scanner::new(&needles.all));
    assert_none(&scan, "unlocked after a locked start");
    assert!(scan.inside().contains_key("message 1"), "the control: {:?}", scan.inside());
    assert!(client.lock().unwrap().changed);
    let needles = watched.needles();
    let scan = watched.scan(&Scanner::new(&needles.all));
    assert_none(&scan, "locked again");
    assert_eq!(scan.inside().into_keys().collect::<Vec<_>>(), [needles.next_audit_key.as_str()]);
    drop(client);
    watched.daemon.terminate();
}

/// Not even in locked pages; the key of a bridge is nobody's needle, for nobody knows it.
fn assert_nothing_at_all(watched: &Watched, when: &str) {
    let needles = watched.needles();
    let scan = watched.scan(&Scanner::new(&needles.all));
    assert_none(&scan, when);
    assert_eq!(scan.inside().into_keys().collect::<Vec<_>>(), [""; 0], "{when}");
}

/// A text that names a key, and seals nothing.
fn protected_text(master: &[u8; 32]) -> String {
    use keyagent_common::protected_key::{NONCE_BYTES, Parameters, ProtectedKey, SALT_BYTES, TAG_BYTES};
    let key = ProtectedKey {
        parameters: Parameters::DEFAULT,
        salt: [1; SALT_BYTES],
        fingerprint: keyagent_common::kdf::master_fingerprint(master),
        nonce: [2; NONCE_BYTES],
        sealed: [3; 32],
        tag: [4; TAG_BYTES],
    };
    key.to_text()
}

/// The other ways a master key comes in: made by the daemon, from the environment, from a descriptor.
#[test]
fn every_source_of_the_key_leaves_nothing() {
    if !can_scan("every_source_of_the_key_leaves_nothing", &["gdb"]) {
        return;
    }
    let home = Home::new();
    let mut init = command(release_daemon(), &home);
    init.arg("--init").arg("--key-file").arg(home.key());
    let daemon = Daemon::start(init, &home.socket());
    let master = home.master();
    let watched = Watched { home, master, daemon, traffic: Traffic::default() };
    watched.assert_clean("a key that the daemon made");
    watched.daemon.terminate();

    let home = Home::new();
    let key = support::random_key();
    let mut by_variable = command(release_daemon(), &home);
    by_variable.arg("--new-keyring").env("KEYAGENT_KEY", &key);
    let watched = Watched::start_as(home, support::unhex(&key).try_into().unwrap(), by_variable);
    watched.assert_clean("a key from the environment");
    let environ = fs::read(format!("/proc/{}/environ", watched.daemon.pid())).unwrap();
    assert!(!environ.windows(16).any(|part| part == &key.as_bytes()[..16]));
    watched.daemon.terminate();

    let home = Home::with_key(&support::random_key());
    let master = home.master();
    let script = format!("exec \"$@\" --key-fd 7 7<{}", home.key().display());
    let mut by_descriptor = through(&["sh", "-c", &script, "sh"], release_daemon(), &home);
    by_descriptor.arg("--new-keyring");
    let watched = Watched::start_as(home, master, by_descriptor);
    watched.assert_clean("a key from a descriptor");
    watched.daemon.terminate();
}

/// A process that holds a key on its heap and its schedule on the stack, as ordinary programs do.
#[test]
fn control_a_process_that_leaks_is_found() {
    if std::env::var_os(LEAK).is_some() {
        return leak();
    }
    if !can_scan("control_a_process_that_leaks_is_found", &["gdb"]) {
        return;
    }
    let home = Home::new();
    let mut key = [0; 32];
    keyagent_sys::random::fill(&mut key).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "control_a_process_that_leaks_is_found", "--nocapture"])
        .env(LEAK, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&key).unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"LEAKING") {
        let mut byte = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        said.push(byte[0]);
    }
    let scanner = Scanner::new(&[Needle::mac("leaked", key)]);
    let memory = scanner.process(child.id());
    let core = scanner.core(child.id(), home.path());
    drop(stdin);
    assert!(child.wait().unwrap().success());
    for (scan, what) in [(memory, "memory"), (core, "core")] {
        let outside = scan.outside();
        let of = |kind| outside.iter().filter(|hit| hit.kind == kind).count();
        for kind in ["first half", "second half", "hex, first half", "hex, second half"] {
            assert!(of(kind) > 0, "{kind} not found in {what}");
        }
        assert!(of("round key") >= 13 && of("H") > 0, "schedule not found in {what}");
        assert_eq!(scan.inside().len(), 0);
    }
}

/// The part of the leaking process.
fn leak() {
    let mut key = Box::new([0; 32]);
    std::io::stdin().read_exact(&mut *key).unwrap();
    let schedule = std::hint::black_box(aes::expand(&key));
    let hash_key = std::hint::black_box(aes::encrypt(&key, [0; 16]));
    let text = std::hint::black_box(support::hex(&*key));
    let mut stdout = std::io::stdout();
    stdout.write_all(b"LEAKING").and_then(|()| stdout.flush()).unwrap();
    // Until the parent has looked.
    assert_eq!(std::io::stdin().read(&mut [0]).unwrap(), 0);
    std::hint::black_box((key, schedule, hash_key, text));
}

/// The same daemon with ordinary stacks and without scrubbing: the scanner must find what is left there.
#[test]
fn control_an_unscrubbed_daemon_is_found() {
    const TEST: &str = "control_an_unscrubbed_daemon_is_found";
    if !support::long_campaign() {
        return support::skipped(TEST, "needs a build of its own; KEYAGENT_LONG=1 (.ci/long) runs it");
    }
    if !can_scan(TEST, &[]) {
        return;
    }
    let mut watched = Watched::start(&[], &control_daemon());
    assert!(watched.daemon.stderr().contains("DANGER"), "such a build says so");
    assert!(watched.daemon.client().status("degraded").contains("control build"));
    watched.traffic.run(&watched.daemon, 2000);
    let needles = watched.needles();
    let scan = watched.scan(&Scanner::new(&needles.all));
    let outside = scan.outside();
    eprintln!(
        "{TEST}: {} hits, such as {:?}",
        outside.len(),
        outside.iter().take(5).map(ToString::to_string).collect::<Vec<_>>()
    );
    assert!(outside.len() >= 20, "{} hits", outside.len());
    let of_messages = outside.iter().filter(|hit| hit.needle.starts_with("key of message")).count();
    assert!(of_messages > 0, "keys of messages are what such a daemon leaves");
}

/// Idle, after work on small messages; and after large ones, whose buffers stay.
#[test]
fn an_idle_daemon_is_small() {
    let mut watched = Watched::start(&[], release_daemon());
    let fresh = watched.daemon.resident_bytes();
    assert!(fresh <= 8 << 20, "{fresh} bytes");
    watched.traffic.run(&watched.daemon, 1000);
    let worked = watched.daemon.resident_bytes();
    eprintln!("resident: {fresh} bytes fresh, {worked} after work");
    // One client at a time needs one of the two large buffers.
    assert!(worked <= 8 << 20, "{worked} bytes");
}
