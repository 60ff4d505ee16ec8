//! The report: one Markdown table of ratios with their targets, one of absolute times.

use std::fmt::Write;

use crate::{
    growth::Size,
    idle::{CONNECTIONS, Idle, WATCHED},
    machine::Machine,
    measure::Series,
    one_shot::OneShot,
    rounds::{DEPTH, LARGE, Rounds},
};

/// The whole report.
pub(crate) fn text(
    machine: &Machine,
    load_after: &str,
    rounds: &Rounds,
    one_shot: &Result<OneShot, String>,
    idle: &Idle,
    sizes: &[Size],
    more: &[String],
) -> String {
    let mut lines = vec![
        format!(
            "Machine: {} cores, everything on one of them; Linux {}; {}. Load average {} before, {load_after} after.",
            machine.cores,
            machine.kernel,
            machine.features.join(", "),
            machine.load
        ),
        String::new(),
        "| # | What | Target | Median of rounds | Best round | |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(ratios(rounds));
    lines.extend(throughput(rounds));
    lines.push(one_process(one_shot));
    lines.extend(idling(idle));
    lines.extend(growth(sizes));
    lines.extend(recording(rounds));
    lines.extend_from_slice(more);
    lines.push(String::new());
    lines.extend(absolute(rounds, one_shot));
    joined(&lines)
}

/// The rows of P9.
pub(crate) fn growth_alone(sizes: &[Size]) -> String {
    joined(&growth(sizes))
}

fn joined(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
        text
    })
}

pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

fn ratio(number: &str, what: &str, series: &Series, reference: &Series, limit: f64, target: &str) -> String {
    let typical = series.typical_ratio(reference);
    let best = series.best() / reference.best();
    format!("| {number} | {what} | {target} | {typical:.2}x | {best:.2}x | {} |", verdict(typical <= limit))
}

fn ratios(rounds: &Rounds) -> Vec<String> {
    let small = "<= 1.5x the bare echo, stretch 1.3x";
    let connect = "<= 2.5x the bare echo per connection";
    vec![
        ratio("P1", "encrypt 100 B, p50", &rounds.encrypt, &rounds.echo, 1.5, small),
        ratio("P1", "decrypt 100 B, p50", &rounds.decrypt, &rounds.echo, 1.5, small),
        ratio(
            "P2",
            "connect, hello and encrypt in one write, close",
            &rounds.connect,
            &rounds.echo_per_request,
            2.5,
            connect,
        ),
        ratio(
            "P2",
            "connect, hello, then encrypt, close (two round trips)",
            &rounds.connect_in_two,
            &rounds.echo_per_request,
            2.5,
            connect,
        ),
    ]
}

fn throughput(rounds: &Rounds) -> Vec<String> {
    let bursts = |what: &str, series: &Series, target: f64, words: &str| {
        let rate = |nanos: f64| f64::from(DEPTH) * 1e9 / nanos;
        let (typical, best) = (rate(series.typical()), rate(series.best()));
        format!(
            "| P3 | depth {DEPTH}, 100 B, {what} | {words} | {:.2} million/s | {:.2} million/s | {} |",
            typical / 1e6,
            best / 1e6,
            verdict(typical >= target)
        )
    };
    // Bytes per nanosecond are gigabytes per second.
    let speed = |nanos: f64| f64::from(u32::try_from(LARGE).unwrap_or(u32::MAX)) / nanos;
    let (typical, best) = (speed(rounds.large.typical()), speed(rounds.large.best()));
    vec![
        bursts("recorded", &rounds.burst, 450e3, ">= 450 000/s"),
        bursts("not recorded", &rounds.burst_unaudited, 700e3, ">= 700 000/s, stretch 1 000 000/s"),
        format!(
            "| P4 | encrypt 1 MiB through the socket | >= 1.2 GB/s, stretch 1.8 | {typical:.2} GB/s | {best:.2} GB/s | {} |",
            verdict(typical >= 1.2)
        ),
    ]
}

fn one_process(one_shot: &Result<OneShot, String>) -> String {
    match one_shot {
        Ok(OneShot { encrypt, nothing, linkage }) => {
            let what = format!("`keyagent encrypt` of 1 KB, one process ({linkage})");
            ratio("P6", &what, encrypt, nothing, 1.2, "<= 1.2x `/bin/true`")
        }
        Err(why) => {
            format!(
                "| P6 | `keyagent encrypt` of 1 KB, one process | <= 1.2x `/bin/true` | not measured: {why} | | |"
            )
        }
    }
}

fn idling(idle: &Idle) -> Vec<String> {
    let Idle { wake_ups: (without, with), resident_kib, bytes_per_connection } = idle;
    let seconds = WATCHED.as_secs();
    vec![
        format!("| P8 | wake-ups in {seconds} s, idle | 0 | {without} | | {} |", verdict(*without == 0)),
        format!(
            "| P8 | wake-ups in {seconds} s, {CONNECTIONS} connections held | 0 | {with} | | {} |",
            verdict(*with == 0)
        ),
        format!(
            "| P8 | resident memory, idle | <= 8192 KiB | {resident_kib} KiB | | {} |",
            verdict(*resident_kib <= 8192)
        ),
        format!(
            "| P8 | memory per idle connection, {CONNECTIONS} held | <= 4096 B | {bytes_per_connection:.0} B | | {} |",
            verdict(*bytes_per_connection <= 4096.0)
        ),
    ]
}

/// How a request and a start depend on the number of keys.
fn growth(sizes: &[Size]) -> Vec<String> {
    let Some((smallest, larger)) = sizes.split_first() else { return Vec::new() };
    let mut lines = Vec::new();
    for size in larger {
        let keys = format!("{} keys, {} versions each", size.keys, size.versions);
        let target = "<= 1.1x one key";
        lines.push(ratio(
            "P9",
            &format!("encrypt 100 B, {keys}, always the same key"),
            &size.same_key,
            &smallest.same_key,
            1.1,
            target,
        ));
        lines.push(ratio(
            "P9",
            &format!("encrypt 100 B, {keys}, up to 1000 keys in turn"),
            &size.in_turn,
            &smallest.in_turn,
            1.1,
            target,
        ));
    }
    for size in sizes {
        let (typical, best) = (size.start.typical() / 1e6, size.start.best() / 1e6);
        let keys = format!(
            "{} keys, {} versions each ({} KiB locked, {} ms of processor)",
            size.keys, size.versions, size.locked_kib, size.start_processor_ms
        );
        lines.push(format!(
            "| P9 | start with {keys} | < 200 ms | {typical:.0} ms | {best:.0} ms | {} |",
            verdict(typical < 200.0)
        ));
    }
    lines
}

fn recording(rounds: &Rounds) -> Vec<String> {
    let cost = |what: &str, with: &Series, without: &Series, requests: f64, limit: f64| {
        let typical = with.typical_difference(without) / requests / 1e3;
        let best = (with.best() - without.best()) / requests / 1e3;
        format!(
            "| P10 | recording, {what} | <= {limit} µs | {typical:.2} µs | {best:.2} µs | {} |",
            verdict(typical <= limit)
        )
    };
    vec![
        cost("a single request", &rounds.encrypt, &rounds.encrypt_unaudited, 1.0, 1.5),
        cost(
            &format!("each request at depth {DEPTH}"),
            &rounds.burst,
            &rounds.burst_unaudited,
            f64::from(DEPTH),
            0.8,
        ),
    ]
}

fn absolute(rounds: &Rounds, one_shot: &Result<OneShot, String>) -> Vec<String> {
    let mut rows = vec![
        ("bare echo, 100 B", &rounds.echo),
        ("bare echo, connection per request", &rounds.echo_per_request),
        ("encrypt 100 B", &rounds.encrypt),
        ("decrypt 100 B", &rounds.decrypt),
        ("encrypt 100 B, not recorded", &rounds.encrypt_unaudited),
        ("connect, hello and encrypt in one write, close", &rounds.connect),
        ("connect, hello, then encrypt, close", &rounds.connect_in_two),
        ("64 encrypts of 100 B in one write", &rounds.burst),
        ("the same, not recorded", &rounds.burst_unaudited),
        ("encrypt 1 MiB", &rounds.large),
    ];
    if let Ok(OneShot { encrypt, nothing, .. }) = one_shot {
        rows.extend([("process: keyagent encrypt", encrypt), ("process: /bin/true", nothing)]);
    }
    let mut lines =
        vec!["| p50 in µs | Median of rounds | Best round |".to_owned(), "|---|---|---|".to_owned()];
    lines.extend(rows.into_iter().map(|(what, series)| {
        format!("| {what} | {:.1} | {:.1} |", series.typical() / 1e3, series.best() / 1e3)
    }));
    lines
}
