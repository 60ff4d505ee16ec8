//! What one append costs: run by hand, in release (docs/PERFORMANCE.md, P10).

use std::time::Instant;

use super::*;

#[test]
#[ignore = "a measurement: cargo test --release -p keyagentd --bin keyagentd cost_of_an_append -- --ignored --nocapture"]
fn cost_of_an_append() {
    let folder = folder();
    let log = open(folder.path());
    for (lines, rounds) in [(1, 100_000_u32), (64, 4_000)] {
        let group = vec![request(); lines];
        let best = (0..5).map(|_| {
            let start = Instant::now();
            (0..rounds).for_each(|_| log.append_each(group.iter().copied()).unwrap());
            start.elapsed().as_nanos() / u128::from(rounds)
        });
        let best = best.min().unwrap();
        println!("{lines} per group: {best} ns per append, {} ns per line", best / lines as u128);
    }
}
