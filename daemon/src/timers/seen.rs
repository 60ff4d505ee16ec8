//! The latest time that was seen: a clock that goes back does not count.
//!
//! What is dated in the keyring is dated by this, so that a clock that was set back shortens no grace and brings no
//! date forward. Kept in memory; at start the log says what was seen before it. No security decision rests on it.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::audit_log::{AuditLog, Wanted};

/// So many of the log's last lines are looked at for the one that a start wrote.
const LINES: u64 = 64;
/// And so many bytes of them.
const MAX_BYTES: usize = 2 << 20;

/// Seconds since 1970; 0 until a time was seen.
#[derive(Default)]
pub(crate) struct Seen(AtomicU64);

impl Seen {
    /// The later one of what the clock says and what was seen; from now on that was seen.
    pub(super) fn now(&self, clock_unix: u64) -> u64 {
        self.0.fetch_max(clock_unix, Ordering::Relaxed).max(clock_unix)
    }

    /// By how many seconds the clock is behind what was seen.
    pub(super) fn ahead_of(&self, clock_unix: u64) -> u64 {
        self.0.load(Ordering::Relaxed).saturating_sub(clock_unix)
    }

    /// Counts the time of the last line that was written before this start.
    pub(super) fn recall(&self, log: &AuditLog) -> io::Result<()> {
        let from_seq = log.usage().last_seq.saturating_sub(LINES);
        let wanted = Wanted { from_seq, to_seq: u64::MAX, from_micros: 0, to_micros: u64::MAX };
        let lines = log.read_range(wanted, MAX_BYTES)?.bytes;
        if let Some(time) = time_before_the_start(&lines) {
            self.now(time);
        }
        Ok(())
    }
}

fn time_before_the_start(lines: &[u8]) -> Option<u64> {
    let mut before = lines.rsplit(|byte| *byte == b'\n').skip_while(|line| !is_of(line, b"daemon.start"));
    before.next()?;
    let before = before.find(|line| !line.is_empty() && !is_of(line, b"audit.segment"))?;
    seconds_of(behind(before, b"\"timestamp\":\"")?)
}

/// Whether a line is about an event. Nothing that anybody chooses stands before the word.
fn is_of(line: &[u8], event: &[u8]) -> bool {
    behind(line, b"\"event_type\":\"").is_some_and(|rest| rest.starts_with(event))
}

/// What follows the first place where a word stands.
fn behind<'l>(line: &'l [u8], word: &[u8]) -> Option<&'l [u8]> {
    let place = line.windows(word.len()).position(|part| part == word)?;
    line.get(place + word.len()..)
}

/// The seconds of a time as lines state it: `2026-11-21T23:10:00.123456Z`.
fn seconds_of(text: &[u8]) -> Option<u64> {
    let number = |from: usize, length: usize| -> Option<u64> {
        std::str::from_utf8(text.get(from..from + length)?).ok()?.parse().ok()
    };
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    // Days of a year that begins in March, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    // 1970-01-01 is day 719469 in this count.
    let days = days.checked_sub(719_469)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use keyagent_core::audit::timestamp;

    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for seconds in [0, 1, 68_169_599, 951_782_400, 1_709_164_800, 1_795_302_600, 4_107_542_399] {
            let mut text = Vec::new();
            timestamp::push(&mut text, seconds * 1_000_000 + 999_999);
            assert_eq!(seconds_of(&text), Some(seconds), "{}", String::from_utf8_lossy(&text));
        }
        assert_eq!((seconds_of(b"2026"), seconds_of(b"xxxx-11-21T23:10:00")), (None, None));
    }

    #[test]
    fn only_what_was_written_before_the_start_counts() {
        let line = |event: &str, hour: u32| {
            format!(
                "{{\"seq\":1,\"id\":\"1-1\",\"timestamp\":\"2026-11-21T{hour:02}:00:00.000000Z\",\"event_type\":\"{event}\"}}\n"
            )
        };
        let hours = |lines: &[(&str, u32)]| {
            let text: String = lines.iter().map(|(event, hour)| line(event, *hour)).collect();
            time_before_the_start(text.as_bytes()).map(|time| time / 3600 % 24)
        };
        let start = [("daemon.stop", 7), ("audit.segment", 1), ("daemon.start", 1), ("policy.change", 1)];
        assert_eq!(hours(&start), Some(7));
        assert_eq!((hours(&start[2..]), hours(&start[..2]), hours(&[])), (None, None, None));
    }

    #[test]
    fn a_clock_that_goes_back_is_not_followed() {
        let seen = Seen::default();
        assert_eq!((seen.now(100), seen.now(50), seen.ahead_of(50), seen.ahead_of(200)), (100, 100, 50, 0));
        assert_eq!((seen.now(101), seen.now(0)), (101, 101));
    }
}
