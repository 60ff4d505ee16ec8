//! Unix time as text: `2026-11-21T23:10:00.123456Z`, always UTC, always 27 characters.
//!
//! Must never read a clock, know time zones or leap seconds.

use alloc::vec::Vec;

/// Characters of a timestamp.
pub const CHARACTERS: usize = 27;
const MICROS_PER_DAY: u64 = 86_400_000_000;
/// 9999-12-31T23:59:59.999999Z: later times are written as this one, so that the width never changes.
const LAST: u64 = 253_402_300_799_999_999;

/// Appends the time `unix_micros` microseconds after 1970-01-01T00:00:00Z (RFC 3339, section 5.6).
pub fn push(out: &mut Vec<u8>, unix_micros: u64) {
    let time = unix_micros.min(LAST);
    let (year, month, day) = civil_from_days(time / MICROS_PER_DAY);
    let micros = time % MICROS_PER_DAY;
    let seconds = micros / 1_000_000;
    let fields = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (seconds / 3600, 2, b':'),
        (seconds / 60 % 60, 2, b':'),
        (seconds % 60, 2, b'.'),
        (micros % 1_000_000, 6, b'Z'),
    ];
    let mut text = [0; CHARACTERS];
    let mut rest = text.as_mut_slice();
    for (value, digits, end) in fields {
        let Some((place, after)) = rest.split_at_mut_checked(digits + 1) else { break };
        write_digits(place, value, end);
        rest = after;
    }
    out.extend_from_slice(&text);
}

/// Year, month and day of a day number counted from 1970-01-01, in the Gregorian calendar.
///
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`: years begin in
/// March, so that the leap day is the last of its year.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Fills `place` with the digits of `value` and one character behind them.
fn write_digits(place: &mut [u8], value: u64, end: u8) {
    let Some((last, digits)) = place.split_last_mut() else { return };
    *last = end;
    let mut rest = value;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_known_times() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (951_868_800_000_000, "2000-03-01T00:00:00.000000Z"),
            (1_709_164_800_000_000, "2024-02-29T00:00:00.000000Z"),
            (1_735_689_599_999_999, "2024-12-31T23:59:59.999999Z"),
            (1_795_302_600_123_456, "2026-11-21T23:10:00.123456Z"),
            (4_107_542_399_000_000, "2100-02-28T23:59:59.000000Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (LAST, "9999-12-31T23:59:59.999999Z"),
            (LAST + 1, "9999-12-31T23:59:59.999999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999999Z"),
        ] {
            let mut out = Vec::new();
            push(&mut out, micros);
            assert_eq!(core::str::from_utf8(&out).unwrap(), text);
            assert_eq!(out.len(), CHARACTERS);
        }
    }

    #[test]
    fn counts_every_day_of_eight_centuries() {
        let mut days = 0;
        for year in 1970..2770 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let months = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in (1..).zip(months) {
                for day in 1..=length {
                    assert_eq!(civil_from_days(days), (year, month, day));
                    days += 1;
                }
            }
        }
    }
}
