//! How many decryptions failed within the last hour, in sixty buckets of a minute.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

const MINUTES: usize = 60;

/// A sliding window over monotonic time.
pub(crate) struct FailureWindow {
    origin: Instant,
    buckets: Mutex<[(u64, u32); MINUTES]>,
}

impl FailureWindow {
    /// An empty window.
    pub(crate) fn new(now: Instant) -> Self {
        Self { origin: now, buckets: Mutex::new([(0, 0); MINUTES]) }
    }

    /// Counts one failure.
    pub(crate) fn count(&self, now: Instant) {
        let minute = self.minute(now);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = usize::try_from(minute).ok().and_then(|minute| buckets.get_mut(minute % MINUTES))
        else {
            return;
        };
        if bucket.0 != minute {
            *bucket = (minute, 0);
        }
        bucket.1 = bucket.1.saturating_add(1);
    }

    /// Failures of the last sixty minutes.
    pub(crate) fn total(&self, now: Instant) -> u64 {
        let minute = self.minute(now);
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets
            .iter()
            .filter(|(at, _)| minute - *at < MINUTES as u64)
            .map(|(_, count)| u64::from(*count))
            .sum()
    }

    fn minute(&self, now: Instant) -> u64 {
        // The first minute is 1, so that an untouched bucket never counts as the present one.
        now.saturating_duration_since(self.origin).as_secs() / 60 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn failures_leave_the_window_after_an_hour() {
        let start = Instant::now();
        let window = FailureWindow::new(start);
        window.count(start);
        window.count(start + Duration::from_secs(30));
        window.count(start + Duration::from_secs(61));
        assert_eq!(window.total(start + Duration::from_secs(61)), 3);
        assert_eq!(window.total(start + Duration::from_secs(3599)), 3);
        assert_eq!(window.total(start + Duration::from_hours(1)), 1);
        assert_eq!(window.total(start + Duration::from_secs(7300)), 0);
        window.count(start + Duration::from_secs(7300));
        assert_eq!(window.total(start + Duration::from_secs(7300)), 1);
    }
}
