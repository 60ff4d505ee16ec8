//! The only place that reads a clock. No security decision rests on wall time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, for the record; 0 while the clock stands before 1970.
pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    unix_micros() / 1_000_000
}
