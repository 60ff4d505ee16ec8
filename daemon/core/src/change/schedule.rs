//! What a key's policy and timers demand by now, and when to look again.
//!
//! Decides nothing but time: the daemon does what is listed, by the same changes as an operator. Must never
//! rotate or retire what nobody told to do so by itself, nor go back when the clock does.

use alloc::{string::String, vec::Vec};

use crate::{
    arena::Arena,
    keyring::{Key, Keyring, Policy, Reason, State, Version},
};

const DAY_SECONDS: u64 = 86_400;

/// Something that is due. Ordered by what was due first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueAction {
    /// Since when, in seconds since 1970.
    pub due_at: u64,
    /// Name of the key.
    pub key: String,
    /// What it is.
    pub what: DueWhat,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DueWhat {
    /// To be rotated now, because of this.
    Rotate(Reason),
    /// To be told to people: nothing rotates it by itself, or a brake is on.
    Overdue(Reason),
    /// This version is to be retired now.
    Retire(u32),
    /// To be told to people: the grace of this version is over, and nothing retires it by itself.
    GraceOver(u32),
}

impl DueWhat {
    /// Whether the daemon does it; else it only tells.
    pub const fn is_automatic(self) -> bool {
        matches!(self, Self::Rotate(_) | Self::Retire(_))
    }
}

/// Everything that is due, oldest first.
///
/// `last_seen_unix` is the latest time that was ever seen; a clock that went back does not count. However
/// long nobody looked, a key is listed once: a rotation counts its next one from when it is made.
pub fn due<A: Arena>(keyring: &Keyring<A>, now_unix: u64, last_seen_unix: u64) -> Vec<DueAction> {
    let now = now_unix.max(last_seen_unix);
    let mut due: Vec<DueAction> = keyring.keys().iter().flat_map(dates).collect();
    due.retain(|action| action.due_at <= now);
    due.sort_unstable();
    due
}

/// When [`due`] will say something new; the present time while there is something to do; `None` if never.
pub fn next_wakeup<A: Arena>(keyring: &Keyring<A>, now_unix: u64, last_seen_unix: u64) -> Option<u64> {
    let now = now_unix.max(last_seen_unix);
    let dates = keyring.keys().iter().flat_map(dates);
    let counts = |action: &DueAction| action.due_at > now || action.what.is_automatic();
    dates.filter(counts).map(|action| action.due_at.max(now)).min()
}

/// When the grace of a version is over, in seconds since 1970; `None` if it is not in grace or has no end.
pub fn grace_ends_at(key: &Key, version: &Version) -> Option<u64> {
    if version.state != State::Grace || key.policy.grace_period_days == 0 {
        return None;
    }
    // Not written down by whoever put it there: then as late as it can have been.
    let newest = key.versions.last().map_or(0, |newest| newest.created_at);
    let since = key.since(version.number).unwrap_or(newest.max(key.policy.last_rotation_at));
    Some(since.saturating_add(days(key.policy.grace_period_days)))
}

/// When and why a key is to be rotated next, whether by itself or by hand.
pub fn rotation_due(key: &Key) -> Option<(u64, Reason)> {
    if key.is_destroyed() {
        return None;
    }
    let policy = &key.policy;
    let planned = match policy.next_rotation_at {
        // Enabled by a writer that planned nothing.
        0 => next_rotation(key, last_rotation(key)),
        at => at,
    };
    let planned = (policy.enabled && planned > 0).then_some((planned, Reason::Scheduled));
    let owed = key.due().map(|due| (due.at_unix, Reason::from_word(due.reason).unwrap_or(Reason::Manual)));
    // What is owed comes before what is planned for the same moment.
    owed.into_iter().chain(planned).min_by_key(|(at, _)| *at)
}

/// The date of the next rotation after one at `from`; 0 if the key does not rotate by itself.
pub(super) fn next_rotation(key: &Key, from: u64) -> u64 {
    next_rotation_by(&key.policy, &key.uid, from)
}

/// As [`next_rotation`], by another policy.
///
/// Up to a tenth of the interval or a day early, by the uid: keys of one day do not all rotate at once,
/// hosts with one keyring agree, and none is later than its interval says.
pub(super) fn next_rotation_by(policy: &Policy, uid: &[u8; 16], from: u64) -> u64 {
    if !policy.enabled || policy.interval_days == 0 {
        return 0;
    }
    let interval = days(policy.interval_days);
    let number = uid.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    let early = number % (interval / 10).min(DAY_SECONDS);
    from.saturating_add(interval - early).max(1)
}

/// When the primary took over, as far as that is known.
pub(super) fn last_rotation(key: &Key) -> u64 {
    let made = || key.primary().map_or(key.created_at, |primary| primary.created_at);
    if key.policy.last_rotation_at > 0 { key.policy.last_rotation_at } else { made() }
}

/// Everything that will once be due for a key.
pub(super) fn dates(key: &Key) -> impl Iterator<Item = DueAction> {
    let stopped = key.brake().is_some();
    let dated = |due_at, what| DueAction { due_at, key: key.name.clone(), what };
    let rotation = rotation_due(key).map(move |(at, reason)| {
        let automatic = key.policy.enabled && !stopped;
        dated(at, if automatic { DueWhat::Rotate(reason) } else { DueWhat::Overdue(reason) })
    });
    let automatic = key.policy.auto_retire && !stopped;
    let ends = move |version: &Version| {
        let number = version.number;
        let what = if automatic { DueWhat::Retire(number) } else { DueWhat::GraceOver(number) };
        Some(dated(grace_ends_at(key, version)?, what))
    };
    rotation.into_iter().chain(key.versions.iter().filter_map(ends))
}

fn days(count: u32) -> u64 {
    u64::from(count) * DAY_SECONDS
}
