//! Counting what a burst came to: for `metrics`, for the failures of the last hour, for alerts.

use std::time::Instant;

use keyagent_common::op::{OperationCode, WatchSeverity};
use keyagent_core::{audit::record, engine::Facts, ops::OperationError};

use super::Speaker;
use crate::{
    alarm,
    alerts::Subject,
    metrics::Outcome,
    state::{Counters, Shared},
};

/// Counts what was done; whose failures are to be told.
pub(super) fn count(shared: &Shared, speaker: &Speaker, facts: &[Facts<'_>]) -> Vec<(Subject, usize)> {
    let mut alerts = Vec::new();
    for facts in facts {
        if let Some(batch) = &facts.batch {
            shared.metrics.count(OperationCode::Batch, Outcome::Ok);
            for record::Outcome { key, failure, count, .. } in &batch.outcomes {
                count_one(shared, speaker, (facts.operation, *key, *failure), *count, &mut alerts);
            }
        } else {
            count_one(shared, speaker, (facts.operation, facts.key, facts.failure), 1, &mut alerts);
        }
    }
    alerts
}

/// So many requests that came to the same.
fn count_one(
    shared: &Shared,
    speaker: &Speaker,
    (operation, key, failure): (OperationCode, Option<&str>, Option<OperationError>),
    count: u64,
    alerts: &mut Vec<(Subject, usize)>,
) {
    let outcome = failure.map_or(Outcome::Ok, |failure| Outcome::of(failure.code()));
    shared.metrics.count_many(operation, outcome, count);
    match failure {
        Some(OperationError::DoesNotOpen | OperationError::UnknownKeyId) => {
            let now = Instant::now();
            for _ in 0..count {
                shared.failures.count(now);
                let key = key.map(|key| Subject::Key(key.to_owned()));
                let unit = speaker.principal.unit.as_deref().map(str::to_owned);
                let caller = Subject::Caller { uid: speaker.principal.uid, unit };
                for subject in key.into_iter().chain([caller]) {
                    let failures = shared.failure_alerts.count(subject.clone(), now);
                    alerts.extend(failures.map(|failures| (subject, failures)));
                }
            }
        }
        Some(OperationError::Denied) => Counters::add(&shared.counters.denied, count),
        _ => {}
    }
}

/// How many requests were answered, the items of batches among them.
pub(super) fn requests(facts: &[Facts<'_>]) -> usize {
    let items = |facts: &Facts<'_>| facts.batch.as_ref().map_or(1, |batch| batch.items());
    usize::try_from(facts.iter().map(items).sum::<u64>()).unwrap_or(usize::MAX)
}

/// More decryptions of one key, or of one caller, failed than are tolerated.
pub(super) fn tell_failures(shared: &Shared, subject: &Subject, failures: usize) {
    let (key, who) = match subject {
        Subject::Key(key) => (key.as_str(), String::new()),
        Subject::Caller { uid, unit: None } => ("", format!(" of uid {uid}")),
        Subject::Caller { uid, unit: Some(unit) } => ("", format!(" of uid {uid} in {unit}")),
    };
    let minutes = shared.tunable().failures.window.as_secs().div_ceil(60);
    let message = format!("{failures} decryptions{who} failed within {minutes} minutes");
    let count = (failures as u64, message.as_str());
    alarm::raise(shared, "decryption_failures", WatchSeverity::Critical, key, count);
}
