//! What the daemon notices by itself: failed decryptions, another key in the key's place, a log that is full or
//! cannot be written, rotations that are overdue. Each is told once, in the log, to watchers, by `health`.

use std::{
    fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use keyagent_common::{
    context::EMPTY,
    error::ErrorCode,
    fingerprint, kdf,
    op::{CheckResult, Encrypt, EncryptRequest},
};
use serde_json::Value;

use crate::support::{
    Client, Daemon, Home, agent::words, copy_files, eventually, have, log, random_key, skipped, unhex,
};

const FAILURES: &str = "decryption_failures";

fn fail(client: &mut Client, envelope: &[u8], times: usize) {
    let mut changed = envelope.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    for _ in 0..times {
        assert_eq!(client.decrypt(EMPTY, &changed), Err(ErrorCode::DoesNotOpen));
    }
}

fn start(home: &Home, text: &str) -> Daemon {
    let config = home.configure(text);
    home.start_with(&["--config", config.to_str().unwrap()])
}

fn alerts(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line["event_type"] == "alert").collect()
}

#[test]
fn the_sixth_failure_is_told_once_for_its_key_and_once_for_its_caller() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("one").unwrap();
    let (default, one) =
        (client.encrypt(EMPTY, b"x").unwrap(), client.encrypt_under("one", EMPTY, b"x").unwrap());
    let began = client.watch(u64::MAX, 0).unwrap().next;
    fail(&mut client, &default, 5);
    assert_eq!(client.watch(began, 0).unwrap().events.len(), 0, "five are tolerated");
    // Another connection of the same user, with the same key.
    fail(&mut daemon.client(), &default, 1);
    let seen = client.watch(began, 0).unwrap();
    assert_eq!((seen.count(FAILURES, "default"), seen.count(FAILURES, ""), seen.events.len()), (1, 1, 2));
    assert!(seen.events.iter().all(|(.., message)| message.starts_with("6 decryptions")), "{seen:?}");
    fail(&mut client, &default, 20);
    assert_eq!(client.watch(seen.next, 0).unwrap().events.len(), 0, "once a window");
    fail(&mut client, &one, 6);
    let seen = client.watch(seen.next, 0).unwrap();
    assert_eq!((seen.count(FAILURES, "one"), seen.events.len()), (1, 1));
    assert_eq!(client.status("failures_last_hour"), "32");
    assert_eq!(client.status("metric:alerts_total"), "3");
    daemon.terminate();
    let lines = log::lines(&home);
    let told = alerts(&lines);
    assert_eq!(told.len(), 3);
    assert!(
        told.iter().any(|line| line["provider"] == "default")
            && told.iter().any(|line| line["provider"] == "one")
    );
}

#[test]
fn what_counts_as_too_often_is_configured() {
    let home = Home::initialized();
    let daemon = start(&home, "[alerts]\ndecryption_failures = 2\nwindow = \"2s\"\n");
    let mut client = daemon.client();
    let envelope = client.encrypt(EMPTY, b"x").unwrap();
    let told = |client: &mut Client| client.watch(0, 0).unwrap().count(FAILURES, "default");
    fail(&mut client, &envelope, 2);
    sleep(Duration::from_millis(2200));
    fail(&mut client, &envelope, 2);
    assert_eq!(told(&mut client), 0, "spread out");
    fail(&mut client, &envelope, 1);
    assert_eq!(told(&mut client), 1);
    sleep(Duration::from_millis(2200));
    fail(&mut client, &envelope, 3);
    assert_eq!(told(&mut client), 2, "the next window");
    home.configure("[alerts]\ndecryption_failures = 100\nwindow = \"2s\"\n");
    client.reload().unwrap();
    sleep(Duration::from_millis(2200));
    fail(&mut client, &envelope, 50);
    assert_eq!(told(&mut client), 2);
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn another_key_in_the_keys_place_is_told_from_damage() {
    let home = Home::initialized();
    let (key, keyring) =
        (fs::read_to_string(home.key()).unwrap(), fs::read(home.state_file("keyring")).unwrap());
    let daemon = home.start();
    let mut client = daemon.client();
    let envelope = client.encrypt(EMPTY, b"x").unwrap();
    let keyring = if client.health().status == "healthy" {
        fs::read(home.state_file("keyring")).unwrap()
    } else {
        keyring
    };
    let other = random_key();
    home.write_key(&other);
    let ill = client.health();
    assert_eq!(ill.status, "unhealthy");
    let (result, message) = ill.check("master_key");
    assert_eq!(result, CheckResult::Failed);
    let other: [u8; 32] = unhex(&other).try_into().unwrap();
    let own: [u8; 32] = unhex(&key).try_into().unwrap();
    for print in [other, own].map(|key| fingerprint::short(&kdf::master_fingerprint(&key))) {
        assert!(message.starts_with("KEY MISMATCH") && message.contains(&print), "{message}");
    }
    assert!(ill.error.starts_with("KEY MISMATCH"), "{}", ill.error);
    assert_eq!((ill.check("store").0, ill.check("canary").0), (CheckResult::Ok, CheckResult::Ok));
    assert_eq!(client.decrypt(EMPTY, &envelope).unwrap(), b"x", "the key in memory is the right one");
    client.health();
    assert_eq!(client.watch(0, 0).unwrap().count("key_mismatch", ""), 1, "told once");
    home.write_key(&key);
    assert_eq!(client.health().status, "healthy");
    let mut damaged = keyring.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(home.state_file("keyring"), &damaged).unwrap();
    let ill = client.health();
    assert_eq!((ill.status.as_str(), ill.check("store").0), ("unhealthy", CheckResult::Failed));
    assert_eq!((ill.check("master_key").0, ill.check("canary").0), (CheckResult::Ok, CheckResult::Ok));
    assert!(!ill.error.contains("MISMATCH"), "{}", ill.error);
    fs::write(home.state_file("keyring"), &keyring).unwrap();
    assert_eq!(client.health().status, "healthy");
    client.lock().unwrap();
    assert_eq!(client.health().status, "locked");
    daemon.terminate();
    assert_eq!(alerts(&log::lines(&home)).len(), 1);
}

#[test]
fn a_log_that_cannot_be_written_is_told_to_watchers() {
    const NAME: &str = "a_log_that_cannot_be_written_is_told_to_watchers";
    if !have("prlimit") {
        return skipped(NAME, "needs prlimit");
    }
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let limit = |bytes: &str| {
        let (pid, limit) = (daemon.pid().to_string(), format!("--fsize={bytes}:unlimited"));
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    };
    limit("1");
    for _ in 0..3 {
        assert_eq!(client.encrypt(EMPTY, b"x"), Err(ErrorCode::AuditUnwritable));
    }
    assert_eq!(client.watch(0, 0).unwrap().count("audit_unwritable", ""), 1);
    assert_eq!(client.status("metric:alerts_total"), "1");
    let ill = client.health();
    assert_eq!((ill.status.as_str(), ill.check("audit").0), ("unhealthy", CheckResult::Failed));
    limit("unlimited");
    client.encrypt(EMPTY, b"x").unwrap();
    assert_eq!(client.health().status, "healthy");
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn a_budget_warns_long_before_it_is_used_up_and_a_larger_one_mends_it() {
    let home = Home::initialized();
    let text = |budget: &str| {
        format!(
            "[audit]\nrotate_size = \"64KiB\"\nbudget = \"{budget}\"\nwarn_percent = 40\nwhen_full = \"refuse\"\n"
        )
    };
    let daemon = start(&home, &text("256KiB"));
    let mut client = daemon.client();
    let began = client.watch(u64::MAX, 0).unwrap().next;
    let (mut served, mut warned_at) = (0, None);
    let refused = loop {
        assert!(served < 5000, "the budget is never used up");
        let request = EncryptRequest { key: "default", context: EMPTY, plaintext: b"until it is full" };
        let reply = client.ask::<Encrypt>(&request);
        if reply.code != 0 {
            break reply;
        }
        served += 1;
        if warned_at.is_none() && served % 20 == 0 && client.health().check("audit").0 == CheckResult::Warning
        {
            assert_eq!(client.health().status, "degraded");
            warned_at = Some(served);
        }
    };
    assert_eq!(refused.error(), ErrorCode::AuditUnwritable);
    assert!(words(&refused).contains("budget"), "{}", words(&refused));
    let warned_at = warned_at.expect("no warning before");
    assert!(warned_at * 10 < served * 7, "warned at {warned_at} of {served}");
    eventually("an alert", || {
        client.watch(began, 0).unwrap().events.iter().any(|(kind, ..)| kind.contains("budget"))
    });
    let ill = client.health();
    assert_eq!((ill.status.as_str(), ill.check("audit").0), ("unhealthy", CheckResult::Failed), "{ill:?}");
    home.configure(&text("4MiB"));
    client.reload().unwrap();
    client.encrypt(EMPTY, b"there is room again").unwrap();
    assert_eq!(client.health().status, "healthy");
    daemon.terminate();
    let lines = log::lines(&home);
    let sealed = lines.iter().filter(|line| line["event_type"] == "encrypt" && line["success"] == true);
    assert_eq!(sealed.count(), served + 1);
}

#[test]
fn a_rotation_that_is_overdue_is_told() {
    let home = Home::initialized();
    let rule = "[[rule]]\nname = \"app\"\nuids = [54321]\nkeys = [\"one\"]\nallow = [\"data\"]\n";
    let due = "[policy]\nrotation_due = \"1s\"\n";
    let daemon = start(&home, &format!("{due}{rule}"));
    let mut client = daemon.client();
    client.create_key("one").unwrap();
    client.create_key("two").unwrap();
    assert!(client.keys().iter().all(|(.., due)| *due == 0));
    home.configure(due);
    assert!(client.reload().unwrap().policy_changed);
    let when: Vec<_> =
        client.keys().into_iter().filter(|(.., due)| *due > 0).map(|(name, ..)| name).collect();
    assert_eq!(when, ["one"], "only what was covered");
    let began = Instant::now();
    eventually("an alert", || client.watch(0, 0).unwrap().count("rotation_overdue", "one") > 0);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let health = client.health();
    // Told, but no reason for a probe to restart the agent.
    assert_eq!((health.status.as_str(), health.check("rotation").0), ("healthy", CheckResult::Warning));
    assert!(health.check("rotation").1.contains("one"));
    assert_eq!((client.status("keys_due"), client.status("keys_overdue")), ("1".into(), "1".into()));
    sleep(Duration::from_millis(1500));
    assert_eq!(client.watch(0, 0).unwrap().count("rotation_overdue", "one"), 1, "told once");
    // It is not forgotten.
    daemon.kill();
    let saved = home.join("saved");
    copy_files(&home.state(), &saved);
    let daemon = start(&home, due);
    assert_eq!(daemon.client().health().check("rotation").0, CheckResult::Warning);
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn figures_are_plausible() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(client.status("p50_micros"), "");
    let envelope = client.encrypt(EMPTY, b"x").unwrap();
    for _ in 0..199 {
        client.encrypt(EMPTY, b"x").unwrap();
    }
    fail(&mut client, &envelope, 3);
    let number = |client: &mut Client, name: &str| client.status(name).parse::<u64>().unwrap();
    let (half, most) = (number(&mut client, "p50_micros"), number(&mut client, "p99_micros"));
    assert!(half > 0 && half <= most && most <= 1_000_000, "{half} {most}");
    let of = |operation: &str, result: &str| {
        format!("metric:operations_total{{operation=\"{operation}\",result=\"{result}\"}}")
    };
    assert_eq!(number(&mut client, &of("encrypt", "ok")), 200);
    assert_eq!(number(&mut client, &of("decrypt", "failed")), 3);
    assert_eq!(number(&mut client, "metric:request_seconds_count"), 203);
    assert_eq!(number(&mut client, "metric:request_seconds_bucket{le=\"+Inf\"}"), 203);
    assert!(number(&mut client, "metric:request_microseconds_sum") > 200);
    assert_eq!(number(&mut client, "failures_last_hour"), 3);
    assert!(number(&mut client, "operations") >= 203);
    daemon.terminate();
}
