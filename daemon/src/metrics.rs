//! Counters of what was done, and how long it took; read by `status`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use keyagent_common::{error::ErrorCode, op::OperationCode};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Outcome {
    /// As asked.
    Ok,
    /// For want of a right.
    Denied,
    /// Over a rule's rate.
    RateLimited,
    /// For any other reason.
    Failed,
}

/// Their words in labels.
const OUTCOMES: [&str; 4] = ["ok", "denied", "rate_limited", "failed"];
/// Upper ends of the buckets of time, in microseconds; a last bucket takes the rest.
const BUCKETS: [u64; 14] =
    [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 50_000, 200_000, 1_000_000];

/// All counters.
pub(crate) struct Metrics {
    operations: [[AtomicU64; OUTCOMES.len()]; OperationCode::ALL.len()],
    alerts: AtomicU64,
    times: [AtomicU64; BUCKETS.len() + 1],
    total_micros: AtomicU64,
}

impl Outcome {
    /// Of an error.
    pub(crate) fn of(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Denied => Self::Denied,
            ErrorCode::RateLimited => Self::RateLimited,
            _ => Self::Failed,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let operations = std::array::from_fn(|_| Default::default());
        Self {
            operations,
            alerts: AtomicU64::default(),
            times: Default::default(),
            total_micros: AtomicU64::default(),
        }
    }
}

impl Metrics {
    /// Counts one request.
    pub(crate) fn count(&self, operation: OperationCode, outcome: Outcome) {
        self.count_many(operation, outcome, 1);
    }

    /// Counts requests that ended alike.
    pub(crate) fn count_many(&self, operation: OperationCode, outcome: Outcome, requests: u64) {
        let place = OperationCode::ALL.binary_search(&operation).ok();
        let counters = place.and_then(|place| self.operations.get(place));
        if let Some(counter) = counters.and_then(|counters| counters.get(outcome as usize)) {
            counter.fetch_add(requests, Ordering::Relaxed);
        }
    }

    /// Counts one alert.
    pub(crate) fn count_alert(&self) {
        self.alerts.fetch_add(1, Ordering::Relaxed);
    }

    /// `requests` that were answered together in `time`, each of which waited for all of it.
    pub(crate) fn took(&self, time: Duration, requests: usize) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|end| *end < micros);
        if let Some(bucket) = self.times.get(bucket) {
            bucket.fetch_add(requests as u64, Ordering::Relaxed);
        }
        self.total_micros.fetch_add(micros.saturating_mul(requests as u64), Ordering::Relaxed);
    }

    /// The time within which a share of the requests were answered (the end of its bucket), in microseconds.
    pub(crate) fn quantile_micros(&self, percent: u64) -> Option<u64> {
        let counts: Vec<u64> = self.times.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let wanted = (total * percent).div_ceil(100);
        let mut seen = 0;
        let place = counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        BUCKETS.get(place?).copied().filter(|_| total > 0)
    }

    /// Name, with labels where it has some, and value of everything that was counted.
    pub(crate) fn exposed(&self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for (operation, counters) in OperationCode::ALL.iter().zip(&self.operations) {
            for (outcome, counter) in OUTCOMES.iter().zip(counters) {
                let value = counter.load(Ordering::Relaxed);
                if value > 0 {
                    let name = operation.name();
                    all.push((
                        format!("operations_total{{operation=\"{name}\",result=\"{outcome}\"}}"),
                        value,
                    ));
                }
            }
        }
        let mut sum = 0;
        for (bucket, count) in self.times.iter().enumerate() {
            sum += count.load(Ordering::Relaxed);
            let end = BUCKETS.get(bucket).map_or("+Inf".to_owned(), |micros| seconds(*micros));
            all.push((format!("request_seconds_bucket{{le=\"{end}\"}}"), sum));
        }
        all.push(("request_seconds_count".to_owned(), sum));
        all.push(("request_microseconds_sum".to_owned(), self.total_micros.load(Ordering::Relaxed)));
        all.push(("alerts_total".to_owned(), self.alerts.load(Ordering::Relaxed)));
        all
    }
}

/// Microseconds as seconds, without superfluous digits.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_counters() {
        let metrics = Metrics::default();
        for (times, operation) in OperationCode::ALL.iter().enumerate() {
            (0..=times).for_each(|_| metrics.count(*operation, Outcome::Ok));
        }
        metrics.count(OperationCode::Decrypt, Outcome::of(ErrorCode::Denied));
        let exposed = metrics.exposed();
        for (times, operation) in OperationCode::ALL.iter().enumerate() {
            let name = format!("operations_total{{operation=\"{}\",result=\"ok\"}}", operation.name());
            assert!(exposed.contains(&(name, times as u64 + 1)));
        }
        assert!(exposed.contains(&("operations_total{operation=\"decrypt\",result=\"denied\"}".into(), 1)));
    }

    #[test]
    fn quantiles_are_the_ends_of_buckets() {
        let metrics = Metrics::default();
        assert_eq!(metrics.quantile_micros(50), None);
        metrics.took(Duration::from_micros(9), 98);
        metrics.took(Duration::from_micros(10), 1);
        metrics.took(Duration::from_micros(900), 1);
        assert_eq!([50, 99, 100].map(|p| metrics.quantile_micros(p)), [Some(10), Some(10), Some(1000)]);
        assert!(metrics.exposed().contains(&("request_seconds_bucket{le=\"0.00001\"}".into(), 99)));
        assert!(metrics.exposed().contains(&("request_seconds_bucket{le=\"+Inf\"}".into(), 100)));
    }
}
