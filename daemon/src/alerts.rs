//! Sliding windows over failures: one alert a window for each key and each caller whose decryptions fail
//! too often. Rests on monotonic time, so that a clock that is set raises and hides nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Most subjects that are watched at once; beyond that the one that failed longest ago is forgotten.
const MAX_SUBJECTS: usize = 4096;

/// Whose failures are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// Of one key.
    Key(String),
    /// Of one caller.
    Caller {
        /// Its user.
        uid: u32,
        /// Its unit, if it has one.
        unit: Option<String>,
    },
}

/// When there is an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Threshold {
    /// So many failures are tolerated within the window; one more is an alert.
    pub(crate) tolerated: usize,
    /// Length of the window.
    pub(crate) window: Duration,
}

impl Default for Threshold {
    /// Five in an hour.
    fn default() -> Self {
        Self { tolerated: 5, window: Duration::from_hours(1) }
    }
}

/// Failures by subject.
pub(crate) struct FailureAlerts {
    inner: Mutex<Inner>,
}

struct Inner {
    threshold: Threshold,
    subjects: BTreeMap<Subject, Window>,
}

#[derive(Default)]
struct Window {
    /// The last few failures, oldest first.
    failures: VecDeque<Instant>,
    told: Option<Instant>,
}

impl FailureAlerts {
    /// No failures yet.
    pub(crate) fn new(threshold: Threshold) -> Self {
        Self { inner: Mutex::new(Inner { threshold, subjects: BTreeMap::new() }) }
    }

    /// From now on by another threshold; what was counted stays.
    pub(crate) fn set_threshold(&self, threshold: Threshold) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).threshold = threshold;
    }

    /// Counts a failure; the number of failures in the window if an alert is to be raised for it.
    pub(crate) fn count(&self, subject: Subject, now: Instant) -> Option<usize> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Threshold { tolerated, window } = inner.threshold;
        if inner.subjects.len() >= MAX_SUBJECTS && !inner.subjects.contains_key(&subject) {
            inner.forget_one();
        }
        let found = inner.subjects.entry(subject).or_default();
        let within = |at: &Instant| now.saturating_duration_since(*at) < window;
        found.failures.push_back(now);
        while found.failures.len() > tolerated + 1 || found.failures.front().is_some_and(|at| !within(at)) {
            found.failures.pop_front();
        }
        let due = found.failures.len() > tolerated && !found.told.as_ref().is_some_and(within);
        due.then(|| {
            found.told = Some(now);
            found.failures.len()
        })
    }
}

impl Inner {
    fn forget_one(&mut self) {
        let oldest = self.subjects.iter().min_by_key(|(_, window)| window.failures.back().copied());
        if let Some(subject) = oldest.map(|(subject, _)| subject.clone()) {
            self.subjects.remove(&subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Subject {
        Subject::Key(name.into())
    }

    #[test]
    fn the_sixth_failure_within_the_hour_alerts_once_a_window() {
        let alerts = FailureAlerts::new(Threshold::default());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..5 {
            assert_eq!(alerts.count(key("a"), at(second)), None);
            assert_eq!(alerts.count(Subject::Caller { uid: 7, unit: None }, at(second)), None);
        }
        assert_eq!(alerts.count(key("b"), at(5)), None, "every key has its own window");
        assert_eq!(alerts.count(key("a"), at(3599)), Some(6));
        assert_eq!(alerts.count(key("a"), at(3599)), None, "one alert a window");
        // The first five have left the window, but the alert of 3599 is younger than it.
        assert_eq!(alerts.count(key("a"), at(3700)), None);
        for second in 7190..7195 {
            assert_eq!(alerts.count(key("a"), at(second)), None);
        }
        assert_eq!(alerts.count(key("a"), at(7199)), Some(6), "the next window");
    }

    #[test]
    fn failures_that_are_spread_out_never_alert() {
        let alerts = FailureAlerts::new(Threshold::default());
        let start = Instant::now();
        for n in 0..100 {
            assert_eq!(alerts.count(key("a"), start + Duration::from_secs(n * 720)), None, "{n}");
        }
    }

    #[test]
    fn the_number_of_subjects_is_bounded_and_the_oldest_goes_first() {
        let alerts = FailureAlerts::new(Threshold { tolerated: 1, window: Duration::from_hours(1) });
        let start = Instant::now();
        for n in 0..=MAX_SUBJECTS {
            alerts.count(key(&n.to_string()), start + Duration::from_micros(n as u64));
        }
        let later = start + Duration::from_secs(1);
        assert_eq!(alerts.inner.lock().unwrap().subjects.len(), MAX_SUBJECTS);
        assert_eq!(alerts.count(key("1"), later), Some(2));
        assert_eq!(alerts.count(key("0"), later), None, "it was forgotten");
    }
}
