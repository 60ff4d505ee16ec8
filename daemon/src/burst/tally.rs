//! Counting what a burst came to: for `metrics`, for the failures of the last hour, for alerts.

use std::time::Instant;

use keyagent_common::op::WatchSeverity;
use keyagent_core::{engine::Facts, ops::OperationError};

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
        let Some(failure) = facts.failure else {
            shared.metrics.count(facts.operation, Outcome::Ok);
            continue;
        };
        shared.metrics.count(facts.operation, Outcome::of(failure.code()));
        match failure {
            OperationError::DoesNotOpen | OperationError::UnknownKeyId => {
                let now = Instant::now();
                shared.failures.count(now);
                let key = facts.key.map(|key| Subject::Key(key.to_owned()));
                let unit = speaker.principal.unit.as_deref().map(str::to_owned);
                let caller = Subject::Caller { uid: speaker.principal.uid, unit };
                for subject in key.into_iter().chain([caller]) {
                    let failures = shared.failure_alerts.count(subject.clone(), now);
                    alerts.extend(failures.map(|failures| (subject, failures)));
                }
            }
            OperationError::Denied => Counters::add(&shared.counters.denied, 1),
            _ => {}
        }
    }
    alerts
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
