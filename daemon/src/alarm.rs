//! Raising alerts: a line in the log (and so in the journal), an event for watchers, a count.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use keyagent_common::{op::WatchSeverity, report::Report};
use keyagent_core::{audit::record::Event, keyring::Key};

use crate::{
    audit_log::{self, Line},
    clock,
    state::{EngineState, Shared},
};

/// A condition that lasts is told again after this time.
const AGAIN: Duration = Duration::from_hours(1);
/// Most conditions that are remembered.
const MAX_REMEMBERED: usize = 16_384;

/// Which lasting conditions were told when.
#[derive(Default)]
pub(crate) struct Told(Mutex<BTreeMap<(&'static str, String), Instant>>);

impl Told {
    /// Whether it is time to tell a condition; it then counts as told.
    fn is_due(&self, kind: &'static str, key: &str, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        if told.len() >= MAX_REMEMBERED || told.contains_key(&(kind, key.to_owned())) {
            return false;
        }
        told.insert((kind, key.to_owned()), now);
        true
    }
}

/// Raises an alert. Must not be called while the engine is held: the log may have to wait for the disk.
pub(crate) fn raise(
    shared: &Shared,
    kind: &'static str,
    severity: WatchSeverity,
    key: &str,
    (count, message): (u64, &str),
) {
    shared.metrics.count_alert();
    shared.events.push(kind, severity, key, message.to_owned());
    let line = Line {
        key: Some(key).filter(|key| !key.is_empty()),
        ..Line::own(Event::Alert { kind, count, message })
    };
    if let Err(error) = shared.audit.append(&[line]) {
        shared.audit.complain(&error);
    }
}

/// Raises an alert about a condition that lasts, at most once an hour.
pub(crate) fn raise_lasting(
    shared: &Shared,
    kind: &'static str,
    severity: WatchSeverity,
    key: &str,
    message: &str,
) {
    if shared.told.is_due(kind, key, Instant::now()) {
        raise(shared, kind, severity, key, (1, message));
    }
}

/// Requests are refused because the log cannot be written: only watchers and stderr can be told.
pub(crate) fn audit_unwritable(shared: &Shared) {
    if shared.told.is_due("audit_unwritable", "", Instant::now()) {
        shared.metrics.count_alert();
        let message = "the audit log cannot be written, so requests are refused".to_owned();
        shared.events.push("audit_unwritable", WatchSeverity::Critical, "", message);
    }
}

/// The room that the log takes.
pub(crate) fn check_log(shared: &Shared) {
    for warning in shared.audit.usage().warnings {
        if warning.kind == audit_log::ROTATION_ALERT {
            // The log has a line of its own about it.
            if shared.told.is_due(warning.kind, "", Instant::now()) {
                shared.events.push(warning.kind, WatchSeverity::Warning, "", warning.message);
            }
            continue;
        }
        raise_lasting(shared, warning.kind, WatchSeverity::Warning, "", &warning.message);
    }
}

/// Keys whose rotation is overdue; when the next one will be, in seconds from now.
pub(crate) fn check_rotation(shared: &Shared) -> Option<u64> {
    let now = clock::unix_seconds();
    let due: Vec<(String, u64)> = match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Locked(_) => return None,
        EngineState::Unlocked(engine) => {
            let due = |key: &Key| Some((key.name.clone(), key.due()?.at_unix));
            engine.keyring().keys().iter().filter_map(due).collect()
        }
    };
    for (key, at) in due.iter().filter(|(_, at)| *at <= now) {
        let message = format!("the rotation of this key has been overdue for {} h", (now - at) / 3600);
        raise_lasting(shared, "rotation_overdue", WatchSeverity::Warning, key, &message);
    }
    due.iter().map(|(_, at)| at.saturating_sub(now)).filter(|left| *left > 0).min()
}

/// The source of the master key holds another key than the one in use.
pub(crate) fn key_mismatch(shared: &Shared, message: &str) {
    raise_lasting(shared, "key_mismatch", WatchSeverity::Critical, "", message);
}

/// Something that was to happen by itself failed.
pub(crate) fn failed(shared: &Shared, kind: &'static str, report: &Report) {
    shared.events.push(kind, WatchSeverity::Warning, "", report.what.clone());
    crate::report::failure(report);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_told_once_an_hour_for_each_key() {
        let (told, start) = (Told::default(), Instant::now());
        assert!(told.is_due("a", "", start) && !told.is_due("a", "", start + AGAIN / 2));
        assert!(told.is_due("a", "key", start) && told.is_due("b", "", start));
        assert!(told.is_due("a", "", start + AGAIN));
    }
}
