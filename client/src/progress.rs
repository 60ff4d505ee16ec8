//! How far a long piece of work is: one line on a terminal, taken away when it is done.
//!
//! It must never be written where nobody sees it, into a file, or between data on the same terminal.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use keyagent_common::report::escape;

use crate::{console::Console, output::Output};

/// Work that is done before needs no line.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// Between two lines.
const THEN_EVERY: Duration = Duration::from_millis(150);
/// Characters of a name that are shown, so that the line fits a terminal of 80.
const NAME_CHARACTERS: usize = 16;
const BAR_CHARACTERS: usize = 12;

/// The line. It disappears when this is dropped.
pub(crate) struct Progress {
    shown: bool,
    name: String,
    total: Option<u64>,
    done: u64,
    begun: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    /// For work on an input of `total` bytes, if that is known.
    pub(crate) fn new(console: &Console, name: &str, total: Option<u64>, output: &Output) -> Self {
        let shown = console.talks() && io::stderr().is_terminal() && !output.is_terminal();
        Self {
            shown,
            name: short(&escape(name)),
            total: total.filter(|total| *total > 0),
            done: 0,
            begun: Instant::now(),
            drawn: None,
        }
    }

    /// So many bytes more are done.
    pub(crate) fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        if !self.shown {
            return;
        }
        let due = self.drawn.map_or(self.begun + FIRST_AFTER, |drawn| drawn + THEN_EVERY);
        let now = Instant::now();
        if now >= due {
            self.drawn = Some(now);
            let line = line(&self.name, self.done, self.total, now - self.begun);
            let _ = io::stderr().write_all(format!("\r{line}\u{1b}[K").as_bytes());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

fn short(name: &str) -> String {
    let count = name.chars().count();
    if count <= NAME_CHARACTERS {
        return name.to_owned();
    }
    // The end of a path tells more than its beginning.
    let end: String = name.chars().skip(count + 1 - NAME_CHARACTERS).collect();
    format!("…{end}")
}

fn line(name: &str, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let rate = u64::try_from(u128::from(done) * 1000 / elapsed.as_millis().max(1)).unwrap_or(u64::MAX);
    let rate = format!("{}/s", size(rate));
    let Some(total) = total else { return format!("{name}  {}  {rate}", size(done)) };
    let done = done.min(total);
    let parts = |whole: u64| u128::from(done) * u128::from(whole) / u128::from(total);
    let filled = usize::try_from(parts(BAR_CHARACTERS as u64)).unwrap_or_default();
    let bar = format!("{}{}", "#".repeat(filled), ".".repeat(BAR_CHARACTERS.saturating_sub(filled)));
    let left = elapsed.as_millis() * u128::from(total - done) / u128::from(done.max(1)) / 1000;
    format!("{name}  [{bar}] {:>3} %  {} of {}  {rate}  {left} s", parts(100), size(done), size(total))
}

/// Three digits and a unit.
fn size(bytes: u64) -> String {
    let mut tenths = u128::from(bytes) * 10;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if tenths < 10_240 {
            return shown_size(tenths, unit);
        }
        tenths /= 1024;
    }
    shown_size(tenths, "TiB")
}

fn shown_size(tenths: u128, unit: &str) -> String {
    if tenths < 100 && unit != "B" {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", tenths / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_few_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10_240, "10 KiB"),
            (1 << 20, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
            (3 << 40, "3.0 TiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn the_line_fits_a_terminal_and_says_how_far_it_is() {
        let name = short(&"long/".repeat(30));
        assert_eq!(name.chars().count(), NAME_CHARACTERS);
        let half = line(&name, 512 << 20, Some(1 << 30), Duration::from_secs(2));
        assert!(half.ends_with("[######......]  50 %  512 MiB of 1.0 GiB  256 MiB/s  2 s"), "{half}");
        let most = line(&name, 1023 << 30, Some(1023 << 30), Duration::from_hours(1000));
        assert!(most.chars().count() < 80 && half.chars().count() < 80, "{most}");
        assert!(most.contains("100 %") && most.ends_with(" 0 s"), "{most}");
        assert_eq!(line("-", 5 << 20, None, Duration::from_secs(1)), "-  5.0 MiB  5.0 MiB/s");
    }
}
