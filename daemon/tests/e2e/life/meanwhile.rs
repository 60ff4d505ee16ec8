//! Rotation while others work, and with many keys.

use std::{
    collections::BTreeSet,
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use keyagent_common::{context::EMPTY, op::Takeover};
use keyagent_core::keyring::State;

use super::COMPROMISE;
use crate::support::{Client, Daemon, Home, bounded, long_campaign};

/// Most values that are kept to be opened again.
const KEPT: usize = 4000;

/// Seals and opens as fast as it can; every value that was kept, and how long each request took.
fn work(client: &mut Client, end: &AtomicBool) -> (Vec<Vec<u8>>, Vec<Duration>) {
    let (mut kept, mut times) = (Vec::new(), Vec::new());
    while !end.load(Ordering::SeqCst) {
        let began = Instant::now();
        let sealed = client.encrypt_under("k", EMPTY, b"at full speed").expect("an encryption failed");
        times.push(began.elapsed());
        // Some of every time, and never more than can be opened again soon.
        if kept.len() < KEPT && times.len() % 16 == 1 {
            kept.push(sealed);
        }
        let old = &kept[times.len() % kept.len()];
        let began = Instant::now();
        assert_eq!(client.decrypt(EMPTY, old).expect("a decryption failed"), b"at full speed");
        times.push(began.elapsed());
    }
    (kept, times)
}

fn told(text: &str) {
    // Past the harness's capture: figures are looked at, not asserted.
    let _ = writeln!(std::io::stderr(), "MEASURED: {text}");
}

/// Between two rotations: a script that starts a command for each, or somebody who types. The first uses of a version
/// wait for the disk, where its count is stored ahead; so figures depend on how often that happens.
fn pause() -> Duration {
    bounded(Duration::from_millis(20), Duration::from_millis(100))
}

/// One client works while `meanwhile` runs; its values and times.
fn while_one_works(daemon: &Daemon, meanwhile: impl FnOnce()) -> (Vec<Vec<u8>>, Vec<Duration>) {
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let working = scope.spawn(|| work(&mut daemon.client(), &end));
        meanwhile();
        end.store(true, Ordering::SeqCst);
        working.join().unwrap()
    })
}

/// Prints what was measured; median and 99th percentile.
fn figures(what: &str, times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    let (median, late) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let (requests, worst) = (times.len(), times[times.len() - 1]);
    told(&format!("{what}: {requests} requests, p50 {median:?}, p99 {late:?}, worst {worst:?}"));
    (median, late)
}

/// Twice: connections are dealt out to two workers in turn, so once it works beside whoever rotates.
#[test]
fn a_client_at_full_speed_sees_no_failure_while_its_key_rotates_a_hundred_times() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("k").unwrap();
    let (mut kept, mut idle) = while_one_works(&daemon, || std::thread::sleep(100 * pause()));
    let (_, idle) = figures("while nothing rotates", &mut idle);
    for round in ["one worker", "another worker"] {
        let _another = daemon.client();
        let (values, mut times) = while_one_works(&daemon, || {
            for number in 0..100 {
                std::thread::sleep(pause());
                let takeover = if number % 10 == 0 { Takeover::Staged } else { Takeover::Grace };
                client.rotate("k", takeover).unwrap();
                if takeover == Takeover::Staged {
                    client.promote("k", 0).unwrap();
                }
            }
        });
        let versions: BTreeSet<_> = values.iter().map(|envelope| envelope[1..33].to_vec()).collect();
        assert!(versions.len() > 10, "the loop did not see the rotations: {}", versions.len());
        kept.extend(values);
        let (median, late) = figures(&format!("while it rotates 100 times, {round}"), &mut times);
        if long_campaign() {
            // A machine that has other things to do is as late without any rotation.
            let most = (10 * median).max(2 * idle);
            assert!(late <= most, "p99 {late:?}, median {median:?}, without rotations p99 {idle:?}");
        }
    }
    assert_eq!(client.states("k").len(), 201);
    let opens_all = |client: &mut Client, step: usize| {
        for envelope in kept.iter().step_by(step) {
            assert_eq!(client.decrypt(EMPTY, envelope).unwrap(), b"at full speed");
        }
    };
    opens_all(&mut client, 1);
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    opens_all(&mut client, 97);
    assert_eq!(client.states("k").last(), Some(&State::Primary));
}

#[test]
fn an_emergency_rotation_is_quick_among_thousands_of_keys() {
    let home = Home::initialized();
    crate::brakes::many_keys::add_keys(&home.state_file("keyring"), &home.master());
    home.start_with(&["--accept-rollback"]).terminate();
    let daemon = home.start();
    let mut client = daemon.client();
    let key = crate::brakes::many_keys::name(7);
    let sealed = client.encrypt_under(&key, EMPTY, b"x").unwrap();
    let began = Instant::now();
    let done = client.rotate_for(&key, COMPROMISE, Takeover::RefuseOld).unwrap();
    let took = began.elapsed();
    told(&format!("an emergency rotation among 2001 keys: {took:?}"));
    assert_eq!((done.version, done.replaced), (2, 1));
    assert!(client.decrypt(EMPTY, &sealed).is_err());
    client.encrypt_under(&key, EMPTY, b"x").unwrap();
    daemon.terminate();
}
