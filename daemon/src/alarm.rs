//! Raising alerts: a line in the log (and so in the journal), an event for watchers, a count.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use keyagent_common::{op::WatchSeverity, report::Report};
use keyagent_core::audit::record::Event;

use crate::{
    audit_log::{self, Line},
    state::Shared,
};

/// A condition that lasts is told again after this time.
const AGAIN: Duration = Duration::from_hours(1);
/// One that waits for somebody's leisure.
const SELDOM: Duration = Duration::from_hours(7 * 24);
/// Most conditions that are remembered.
const MAX_REMEMBERED: usize = 16_384;

/// Until when each lasting condition that was told need not be told again.
#[derive(Default)]
pub(crate) struct Told(Mutex<BTreeMap<(&'static str, String), Instant>>);

impl Told {
    /// Whether it is time to tell a condition; it then counts as told.
    fn is_due(&self, kind: &'static str, key: &str, now: Instant) -> bool {
        self.is_due_for(kind, key, now, AGAIN)
    }

    /// The same for one that is told again after another time.
    fn is_due_for(&self, kind: &'static str, key: &str, now: Instant, again: Duration) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, until| *until > now);
        if told.len() >= MAX_REMEMBERED || told.contains_key(&(kind, key.to_owned())) {
            return false;
        }
        told.insert((kind, key.to_owned()), now + again);
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

/// A rotation that nothing makes by itself is overdue, for so many seconds.
pub(crate) fn rotation_overdue(shared: &Shared, key: &str, seconds: u64) {
    let message = format!("the rotation of this key has been overdue for {} h", seconds / 3600);
    raise_lasting(shared, "rotation_overdue", WatchSeverity::Warning, key, &message);
}

/// The grace of a version has been over for so many seconds, and nothing retires it by itself.
pub(crate) fn grace_over(shared: &Shared, key: &str, version: u32, seconds: u64) {
    let days = seconds / 86_400;
    let message = format!("the grace of version {version} of this key has been over for {days} d");
    if shared.told.is_due_for("grace_over", &format!("{key} {version}"), Instant::now(), SELDOM) {
        raise(shared, "grace_over", WatchSeverity::Info, key, (1, &message));
    }
}

/// The clock is so many seconds behind a time that was seen.
pub(crate) fn clock_went_back(shared: &Shared, seconds: u64) {
    let days = seconds / 86_400;
    let message = format!(
        "the clock went back by {days} d: no key is rotated or retired by itself until it is right; if it is right \
         now, restart the agent"
    );
    raise_lasting(shared, "clock_went_back", WatchSeverity::Warning, "", &message);
}

/// What was due for a key could not be done; it is tried again.
pub(crate) fn not_done(shared: &Shared, key: &str, report: &Report) {
    let message = format!("what is due for this key could not be done: {}", report.what);
    raise_lasting(shared, "rotation_failed", WatchSeverity::Critical, key, &message);
    crate::report::failure(report);
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
        assert!(told.is_due_for("c", "", start, SELDOM) && !told.is_due("c", "", start + 2 * AGAIN));
    }
}
