//! Times as people write them, always UTC: strict, without time zones of a machine and without a clock.
//!
//! It must never guess: a day that does not exist is an error, and so is a text with something behind it.

const MICROS: u64 = 1_000_000;
const MICROS_PER_DAY: u64 = 86_400 * MICROS;
/// 9999-12-31T23:59:59.999999Z.
const LAST: u64 = 253_402_300_799_999_999;

/// Why a text is no time.
pub(crate) type NotATime = String;

/// Which end of a day a date without a time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// Its first microsecond.
    Begin,
    /// Its last one.
    End,
}

/// Microseconds since 1970 of `24h` (ago), `2026-11-22`, or `2026-11-22T02:20:05Z` (RFC 3339, section 5.6).
pub(crate) fn parse(text: &str, now: u64, edge: Edge) -> Result<u64, NotATime> {
    if let Some(ago) = parse_ago(text) {
        return now.checked_sub(ago).ok_or_else(|| "that is before 1970".to_owned());
    }
    let mut digits = Digits(text.as_bytes());
    let (year, month, day) = digits.date().ok_or_else(|| explain(text))?;
    let begin = days_from_civil(year, month, day)
        .ok_or_else(|| format!("{text:?}: there is no such day"))?
        .saturating_mul(MICROS_PER_DAY);
    if digits.0.is_empty() {
        return Ok(if edge == Edge::Begin { begin } else { begin + (MICROS_PER_DAY - 1) });
    }
    let time = digits.time().filter(|_| digits.0.is_empty()).ok_or_else(|| explain(text))?;
    let (micros, offset_minutes) = time;
    let utc = i128::from(begin) + i128::from(micros) - i128::from(offset_minutes) * 60 * i128::from(MICROS);
    u64::try_from(utc)
        .ok()
        .filter(|utc| *utc <= LAST)
        .ok_or_else(|| "that is before 1970 or after 9999".into())
}

/// First and last microsecond of a quarter such as `2026Q4`.
pub(crate) fn parse_quarter(text: &str) -> Result<(u64, u64), NotATime> {
    let wrong = || format!("{text:?} is no quarter; write it as 2026Q4");
    let (year, quarter) = text.split_once('Q').ok_or_else(wrong)?;
    let four_digits = year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    let year: u64 = year.parse().ok().filter(|_| four_digits).ok_or_else(wrong)?;
    let first_month = match quarter {
        "1" => 1,
        "2" => 4,
        "3" => 7,
        "4" => 10,
        _ => return Err(wrong()),
    };
    let (next_year, next_month) = if first_month == 10 { (year + 1, 1) } else { (year, first_month + 3) };
    let begin = days_from_civil(year, first_month, 1).ok_or_else(wrong)?;
    let end = days_from_civil(next_year, next_month, 1).ok_or_else(wrong)?;
    Ok((begin * MICROS_PER_DAY, end * MICROS_PER_DAY - 1))
}

/// `2026-11-22 02:20:05Z`, for a column.
pub(crate) fn shown(micros: u64) -> String {
    let (date, seconds) = (date(micros), micros.min(LAST) % MICROS_PER_DAY / MICROS);
    format!("{date} {:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `2026-11-22T02:20:05.000000Z`, for documents.
pub(crate) fn rfc3339(micros: u64) -> String {
    let micros = micros.min(LAST);
    let (date, rest) = (date(micros), micros % MICROS_PER_DAY);
    let seconds = rest / MICROS;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{:06}Z", rest % MICROS)
}

/// `2026-11-22`.
pub(crate) fn date(micros: u64) -> String {
    let (year, month, day) = civil_from_days(micros.min(LAST) / MICROS_PER_DAY);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The clock of this machine, in microseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(LAST))
}

fn explain(text: &str) -> NotATime {
    format!("{text:?} is no time; write 24h, 2026-11-22 or 2026-11-22T02:20:05Z")
}

/// Microseconds of a number and s, m, h, d or w.
fn parse_ago(text: &str) -> Option<u64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        b'w' => 7 * 86_400,
        _ => return None,
    };
    let digits =
        text.get(..text.len() - 1).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse::<u64>().ok()?.checked_mul(unit)?.checked_mul(MICROS)
}

/// Days since 1970-01-01 of a day of the Gregorian calendar from 1970 on; `None` if it does not exist.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=10_000).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March.
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year / 400;
    let year_of_era = shifted_year % 400;
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

/// The day of a number of days since 1970-01-01; the same source.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// What is left of a text; every step takes exactly what it names.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn number(&mut self, count: usize) -> Option<u64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let mut number = 0;
        for digit in digits {
            number = number * 10 + u64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
        self.0 = rest;
        Some(number)
    }

    fn one_of(&mut self, wanted: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        wanted.contains(first).then_some(*first)
    }

    fn date(&mut self) -> Option<(u64, u64, u64)> {
        let year = self.number(4)?;
        self.one_of(b"-")?;
        let month = self.number(2)?;
        self.one_of(b"-")?;
        Some((year, month, self.number(2)?))
    }

    /// Microseconds since midnight, and minutes that the writer is ahead of UTC.
    fn time(&mut self) -> Option<(u64, i64)> {
        self.one_of(b"T")?;
        let hour = self.number(2).filter(|hour| *hour < 24)?;
        self.one_of(b":")?;
        let minute = self.number(2).filter(|minute| *minute < 60)?;
        self.one_of(b":")?;
        let second = self.number(2).filter(|second| *second < 60)?;
        let micros = if self.0.first() == Some(&b'.') { self.fraction()? } else { 0 };
        let sign = match self.one_of(b"Z+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => 0,
        };
        let mut offset = 0;
        if sign != 0 {
            let hours = self.number(2).filter(|hours| *hours < 24)?;
            self.one_of(b":")?;
            let minutes = self.number(2).filter(|minutes| *minutes < 60)?;
            offset = i64::try_from(hours * 60 + minutes).ok()?;
        }
        Some((((hour * 60 + minute) * 60 + second) * MICROS + micros, sign * offset))
    }

    /// One to nine digits behind a point, cut to microseconds.
    fn fraction(&mut self) -> Option<u64> {
        self.one_of(b".")?;
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = self.number(count).filter(|_| (1..=9).contains(&count))?;
        let places = u32::try_from(count).ok()?;
        Some(number * 10_u64.pow(9 - places) / 1000)
    }
}

#[cfg(test)]
mod tests;
