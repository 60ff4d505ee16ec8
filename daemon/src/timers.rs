//! What the daemon does by itself, on the control thread: locks when nobody has asked for a while, keeps the
//! log within its bounds, and does or tells what is due. Sleeps as long as there is nothing to do.

mod rotations;
mod seen;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use keyagent_sys::thread::scrub_stack;
use tokio::time::timeout;

use crate::{alarm, audit_log::AuditUnwritable, clock, control, state::Shared};

pub(crate) use rotations::mind_rotations;
pub(crate) use seen::Seen;

/// Nothing is looked at less often than this.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);
/// Nor more often.
const SHORTEST_SLEEP: Duration = Duration::from_secs(1);

/// The present time for whatever is dated in the keyring, in seconds since 1970: never earlier than before.
pub(crate) fn now(shared: &Shared) -> u64 {
    shared.seen.now(clock::unix_seconds())
}

/// Locks after `lock.idle` without an operation on data, and `lock.absolute` after unlocking.
pub(crate) async fn lock_in_time(shared: Arc<Shared>) {
    loop {
        let changed = shared.timers.notified();
        match next_lock(&shared) {
            None => changed.await,
            Some((left, reason)) if left.is_zero() => lock_now(&shared, reason),
            Some((left, _)) => {
                // Either way everything is looked at anew.
                let _ = timeout(left, changed).await;
            }
        }
    }
}

/// Locks when a signal asks for it.
pub(crate) async fn lock_by_signal(shared: Arc<Shared>) {
    loop {
        shared.lock.notified().await;
        lock_now(&shared, "signal");
    }
}

/// How long until the daemon locks itself, and why; `None` if it does not.
fn next_lock(shared: &Shared) -> Option<(Duration, &'static str)> {
    if shared.is_locked() {
        return None;
    }
    let tunable = shared.tunable();
    let idle = tunable.idle.map(|most| (most.saturating_sub(shared.idle()), "idle"));
    let absolute = tunable.absolute.map(|most| (most.saturating_sub(shared.unlocked_for()), "time is over"));
    idle.into_iter().chain(absolute).min()
}

fn lock_now(shared: &Shared, reason: &str) {
    if let Err(report) = control::lock(shared, None, reason) {
        alarm::failed(shared, "lock_failed", &report);
    }
    scrub_stack();
}

/// Rotates the log when it is large enough, and deletes what need not be kept.
pub(crate) async fn keep_log(shared: Arc<Shared>) {
    loop {
        // Missing the moment is no harm: the notification is kept until it is waited for.
        let _ = timeout(LONGEST_SLEEP, shared.audit.rotation.notified()).await;
        let kept = shared.audit.rotate_when_due();
        let kept = kept.and_then(|_| delete_what_need_not_be_kept(&shared));
        if let Err(error) = kept {
            shared.audit.complain(&error);
        }
        alarm::check_log(&shared);
        scrub_stack();
    }
}

/// Nothing while locked: the pin cannot follow, and whoever fills the log must not push out what it names. What a
/// bridge says counts only once its key is in the log.
fn delete_what_need_not_be_kept(shared: &Shared) -> Result<u64, AuditUnwritable> {
    let in_bridge = shared.bridge.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    if in_bridge || shared.is_locked() {
        shared.audit.tidy_later();
        return Ok(0);
    }
    shared.audit.enforce_retention(clock::unix_micros(), shared.pin_file.pinned_seq())
}
