//! Rotations and retirements that are due, done by themselves or told to people.
//!
//! All that is to be known stands in the keyring, so a start or an unlock catches up with what became due meanwhile,
//! each once. While locked nothing happens. Must never do anything while the clock says an earlier time than was seen:
//! then nobody knows what is due.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use keyagent_core::change::{self, DueAction, DueWhat};
use keyagent_sys::thread::scrub_stack;
use tokio::{task::yield_now, time::timeout};

use super::{LONGEST_SLEEP, SHORTEST_SLEEP};
use crate::{
    alarm, clock, control,
    state::{EngineState, Shared},
};

/// How far a clock may be behind what was seen: it is corrected a little now and then.
const TOLERANCE: u64 = 86_400;
/// Until what failed is tried again.
const AGAIN_AFTER_FAILURE: Duration = Duration::from_mins(5);

/// Does what is due, and tells what is overdue.
pub(crate) async fn mind_rotations(shared: Arc<Shared>) {
    if let Err(error) = shared.seen.recall(&shared.audit) {
        crate::report::warn(&format!("the time of the log's last line cannot be read: {error}"));
    }
    loop {
        let next = look(&shared).await;
        scrub_stack();
        // Looked at anew when a key becomes due; the notification is kept until it is waited for.
        let _ = timeout(next.clamp(SHORTEST_SLEEP, LONGEST_SLEEP), shared.rotations.notified()).await;
    }
}

/// One look at all keys; how long until the next.
async fn look(shared: &Shared) -> Duration {
    let clock = clock::unix_seconds();
    let behind = shared.seen.ahead_of(clock);
    let now = shared.seen.now(clock);
    let Some(due) = due(shared, now) else { return LONGEST_SLEEP };
    let paused = behind > TOLERANCE;
    if paused && due.iter().any(|action| action.what.is_automatic()) {
        alarm::clock_went_back(shared, behind);
    }
    let mut failed = false;
    for action in due {
        if !action.what.is_automatic() {
            tell(shared, &action, now);
        } else if !paused && !shared.stopping.load(Ordering::Relaxed) {
            failed |= !act(shared, &action, now);
            // Others of this thread have their turn, however many keys are due.
            yield_now().await;
        }
    }
    match next_wakeup(shared, now) {
        _ if failed => AGAIN_AFTER_FAILURE,
        Some(at) if !paused => Duration::from_secs(at.saturating_sub(now)),
        _ => LONGEST_SLEEP,
    }
}

/// What is due; `None` while locked.
fn due(shared: &Shared, now: u64) -> Option<Vec<DueAction>> {
    match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Locked(_) => None,
        EngineState::Unlocked(engine) => Some(change::due(engine.keyring(), now, now)),
    }
}

fn next_wakeup(shared: &Shared, now: u64) -> Option<u64> {
    match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Locked(_) => None,
        EngineState::Unlocked(engine) => change::next_wakeup(engine.keyring(), now, now),
    }
}

/// Whether it is done, or nothing was to be done any more.
fn act(shared: &Shared, action: &DueAction, now: u64) -> bool {
    let done = control::do_what_is_due(shared, action, now);
    scrub_stack();
    let Err(report) = done else { return true };
    alarm::not_done(shared, &action.key, &report);
    false
}

fn tell(shared: &Shared, action: &DueAction, now: u64) {
    let since = now.saturating_sub(action.due_at);
    match action.what {
        DueWhat::Overdue(_) => alarm::rotation_overdue(shared, &action.key, since),
        DueWhat::GraceOver(version) => alarm::grace_over(shared, &action.key, version, since),
        DueWhat::Rotate(_) | DueWhat::Retire(_) => {}
    }
}
