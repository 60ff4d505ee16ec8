//! What one append costs: run by hand, in release (docs/PERFORMANCE.md, P10).

use std::time::Instant;

use super::*;

#[test]
#[ignore = "a measurement: cargo test --release -p keyagentd --bin keyagentd cost_of_an_append -- --ignored --nocapture"]
fn cost_of_an_append() {
    let folder = folder();
    let log = open(folder.path());
    for (lines, rounds) in [(1, 1000_u32), (64, 50)] {
        let group = vec![request(); lines];
        // The fastest of many short stretches: what else this machine does is no part of the answer.
        let stretches = (0..200).map(|_| {
            let start = Instant::now();
            (0..rounds).for_each(|_| log.append_each(group.iter().copied()).unwrap());
            start.elapsed().as_nanos() / u128::from(rounds)
        });
        let mut stretches: Vec<u128> = stretches.collect();
        stretches.sort_unstable();
        let (best, median) = (stretches[0], stretches[stretches.len() / 2]);
        println!(
            "{lines} per group: {best} ns per append, {} ns per line; median {median}",
            best / lines as u128
        );
    }
}

#[test]
#[ignore = "a measurement: cargo test --release -p keyagentd --bin keyagentd cost_of_a_query -- --ignored --nocapture"]
fn cost_of_a_query() {
    const LAST: u64 = 4_000_000_000_000_000;
    const MINUTES: u64 = 40_000;
    let folder = folder();
    let log = open(folder.path());
    for minute in 0..MINUTES {
        log.lock().time = Some(LAST - (MINUTES - minute) * 60_000_000);
        log.append(&vec![request(); 64]).unwrap();
        log.rotate_when_due().unwrap();
    }
    let wanted = |from_micros| Wanted { from_seq: 0, to_seq: u64::MAX, from_micros, to_micros: u64::MAX };
    let usage = log.usage();
    for (name, from) in [("the last hour", LAST - 3_600_000_000), ("everything, first MiB", 0)] {
        let start = Instant::now();
        let found = log.read_range(wanted(from), 1 << 20).unwrap();
        let (lines, bytes) = (found.last_seq + 1 - found.first_seq, found.bytes.len());
        let elapsed = start.elapsed();
        println!("{name} of {} bytes: {lines} lines, {bytes} bytes in {elapsed:?}", usage.bytes);
    }
}
