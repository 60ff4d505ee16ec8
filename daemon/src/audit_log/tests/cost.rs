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
