//! Raising alerts: a line in the log (and so in the journal), an event for watchers, a count.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use keyagent_common::{op::WatchSeverity, report::Report};
use keyagent_core::audit::record::Event;
use tokio::task::yield_now;

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
/// Most of one kind that are told each by itself at once; more are told as one, which names so many.
pub(crate) const NAMED: usize = 20;

/// Until when each lasting condition that was told need not be told again.
#[derive(Default)]
pub(crate) struct Told(Mutex<Remembered>);

type Remembered = BTreeMap<(&'static str, String), Instant>;

impl Told {
    /// Whether it is time to tell a condition; it then counts as told.
    fn is_due(&self, kind: &'static str, key: &str, now: Instant) -> bool {
        self.is_due_for(kind, key, now, AGAIN)
    }

    /// The same for one that is told again after another time.
    fn is_due_for(&self, kind: &'static str, key: &str, now: Instant, again: Duration) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MAX_REMEMBERED {
            told.retain(|_, until| *until > now);
        }
        note(&mut told, (kind, key), now, again)
    }

    /// Those of many that it is time to tell; they then count as told. What is over is forgotten once for all of them.
    fn due_among<'c>(
        &self,
        kind: Kind,
        conditions: &'c [Condition<'c>],
        now: Instant,
    ) -> Vec<&'c Condition<'c>> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, until| *until > now);
        let due = conditions.iter().filter(|of| note(&mut told, (kind.name, &of.subject), now, kind.again));
        due.collect()
    }
}

/// Whether it is time to tell a condition; it then counts as told. Where too many are remembered, only of what
/// concerns the whole agent.
fn note(told: &mut Remembered, (kind, key): (&'static str, &str), now: Instant, again: Duration) -> bool {
    let is_full = told.len() >= MAX_REMEMBERED && !key.is_empty();
    match told.entry((kind, key.to_owned())) {
        Entry::Occupied(until) if *until.get() > now => false,
        Entry::Occupied(mut until) => {
            until.insert(now + again);
            true
        }
        Entry::Vacant(_) if is_full => false,
        Entry::Vacant(place) => {
            place.insert(now + again);
            true
        }
    }
}

/// A kind of conditions that may be those of many keys at once.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    name: &'static str,
    severity: WatchSeverity,
    again: Duration,
    /// What many of them are, behind their number.
    many: &'static str,
}

/// Rotations that nothing makes by itself.
pub(crate) const ROTATION_OVERDUE: Kind = Kind {
    name: "rotation_overdue",
    severity: WatchSeverity::Warning,
    again: AGAIN,
    many: "keys are overdue for rotation",
};
/// Versions that nothing retires by itself.
pub(crate) const GRACE_OVER: Kind = Kind {
    name: "grace_over",
    severity: WatchSeverity::Info,
    again: SELDOM,
    many: "versions are still there although their grace is over",
};
/// What was due and could not be done; it is tried again.
pub(crate) const ROTATION_FAILED: Kind = Kind {
    name: "rotation_failed",
    severity: WatchSeverity::Critical,
    again: AGAIN,
    many: "things that are due for keys could not be done",
};

/// One of them.
pub(crate) struct Condition<'a> {
    key: &'a str,
    /// What it is told about and remembered by: the key, or its version.
    subject: String,
    message: String,
    /// Also for stderr.
    report: Option<&'a Report>,
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

/// Raises alerts about those that it is time to tell: one for each, or one for all where they are more than
/// [`NAMED`]. Others of this thread have their turn in between.
pub(crate) async fn raise_all(shared: &Shared, kind: Kind, conditions: &[Condition<'_>]) {
    let due = shared.told.due_among(kind, conditions, Instant::now());
    if due.len() > NAMED {
        let subjects: Vec<&str> = due.iter().map(|of| of.subject.as_str()).collect();
        let message = format!("{} {}: {}", due.len(), kind.many, first_of(&subjects));
        raise(shared, kind.name, kind.severity, "", (due.len() as u64, &message));
        // Thousands of reports would hide what they say.
        due.iter().find_map(|of| of.report).into_iter().for_each(crate::report::failure);
        return;
    }
    for of in due {
        raise(shared, kind.name, kind.severity, of.key, (1, &of.message));
        of.report.into_iter().for_each(crate::report::failure);
        yield_now().await;
    }
}

/// The first few of many names, and how many others there are.
pub(crate) fn first_of(names: &[&str]) -> String {
    let first = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        others => format!("{first} and {others} more"),
    }
}

/// A rotation that nothing makes by itself is overdue, for so many seconds.
pub(crate) fn rotation_overdue(key: &str, seconds: u64) -> Condition<'_> {
    let message = format!("the rotation of this key has been overdue for {} h", seconds / 3600);
    Condition { key, subject: key.to_owned(), message, report: None }
}

/// The grace of a version has been over for so many seconds, and nothing retires it by itself.
pub(crate) fn grace_over(key: &str, version: u32, seconds: u64) -> Condition<'_> {
    let days = seconds / 86_400;
    let message = format!("the grace of version {version} of this key has been over for {days} d");
    Condition { key, subject: format!("{key} {version}"), message, report: None }
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
pub(crate) fn not_done<'a>(key: &'a str, report: &'a Report) -> Condition<'a> {
    let message = format!("what is due for this key could not be done: {}", report.what);
    Condition { key, subject: key.to_owned(), message, report: Some(report) }
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

    #[test]
    fn of_many_each_is_told_once_and_too_many_silence_nothing_about_the_agent() {
        let (told, start) = (Told::default(), Instant::now());
        let names: Vec<String> = (0..=MAX_REMEMBERED).map(|number| format!("k{number}")).collect();
        let all: Vec<_> = names.iter().map(|name| rotation_overdue(name, 7200)).collect();
        let due = |many: &[Condition<'_>], at| told.due_among(ROTATION_OVERDUE, many, at).len();
        assert_eq!((due(&all[..50], start), due(&all[..60], start)), (50, 10));
        assert_eq!(due(&all, start), MAX_REMEMBERED - 60);
        assert!(
            !told.is_due("a", "key", start) && told.is_due("a", "", start) && !told.is_due("a", "", start)
        );
        assert!(told.is_due("a", "key", start + AGAIN), "what is over makes room");
        assert_eq!(due(&all[..50], start + AGAIN), 50);
    }

    #[test]
    fn of_many_the_first_are_named() {
        let names: Vec<String> = (0..9900).map(|number| format!("k{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let told = first_of(&names);
        assert!(told.starts_with("k0, k1, ") && told.ends_with(", k19 and 9880 more"), "{told}");
        assert_eq!(first_of(&names[..2]), "k0, k1");
    }
}
