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
use crate::support::{Client, Home, long_campaign};

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

/// Between two rotations: somebody who types, or a script that starts a command for each.
const PAUSE: Duration = Duration::from_millis(20);
/// Connections are dealt out to the workers in turn, so one of them works beside whoever rotates.
const CLIENTS: usize = 2;

#[test]
fn clients_at_full_speed_see_no_failure_while_their_key_rotates_a_hundred_times() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("k").unwrap();
    let end = AtomicBool::new(false);
    let worked = std::thread::scope(|scope| {
        let work = || work(&mut daemon.client(), &end);
        let working: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        for number in 0..100 {
            std::thread::sleep(PAUSE);
            let takeover = if number % 10 == 0 { Takeover::Staged } else { Takeover::Grace };
            client.rotate("k", takeover).unwrap();
            if takeover == Takeover::Staged {
                client.promote("k", 0).unwrap();
            }
        }
        std::thread::sleep(PAUSE);
        end.store(true, Ordering::SeqCst);
        working.into_iter().map(|working| working.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(client.states("k").len(), 101);
    for (kept, mut times) in worked.clone() {
        let ids: BTreeSet<_> = kept.iter().map(|envelope| envelope[1..33].to_vec()).collect();
        for envelope in &kept {
            assert_eq!(client.decrypt(EMPTY, envelope).unwrap(), b"at full speed");
        }
        times.sort_unstable();
        let (median, late, worst) = (times[times.len() / 2], times[times.len() * 99 / 100], times.last());
        let (requests, versions) = (times.len(), ids.len());
        told(&format!(
            "{requests} requests, {versions} of 101 versions kept: p50 {median:?}, p99 {late:?}, worst {worst:?}"
        ));
        assert!(versions > 10, "the loop did not see the rotations: {versions}");
        if long_campaign() {
            assert!(late <= 10 * median, "p99 {late:?} is above 10 times the median {median:?}");
        }
    }
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    for envelope in worked.iter().flat_map(|(kept, _)| kept.iter().step_by(97)) {
        assert_eq!(client.decrypt(EMPTY, envelope).unwrap(), b"at full speed");
    }
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
