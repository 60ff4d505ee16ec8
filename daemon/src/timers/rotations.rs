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
use tokio::{
    task::yield_now,
    time::{Instant, sleep_until, timeout},
};

use super::{LONGEST_SLEEP, SHORTEST_SLEEP};
use crate::{
    alarm, clock,
    control::{self, NotChanged},
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
    let mut back_off = BackOff::default();
    loop {
        let next = look(&shared, &mut back_off).await;
        scrub_stack();
        let soonest = Instant::now() + SHORTEST_SLEEP;
        // Looked at anew when a key becomes due; the notification is kept until it is waited for.
        let _ = timeout(next.clamp(SHORTEST_SLEEP, LONGEST_SLEEP), shared.rotations.notified()).await;
        // However often it is woken, others of this thread have the time between two looks.
        sleep_until(soonest).await;
    }
}

/// Until when nothing is tried again after something failed, whoever wakes the task. A keyring that was stored since
/// lifts it: then there is room again, or something else is due.
#[derive(Default)]
struct BackOff(Option<(Instant, u64)>);

impl BackOff {
    /// How long still, with the keyring of this generation in use.
    fn left(&self, generation: u64, now: Instant) -> Option<Duration> {
        let (until, _) = self.0.filter(|(until, failed_at)| *until > now && *failed_at == generation)?;
        Some(until - now)
    }

    fn begin(&mut self, generation: u64, now: Instant) {
        self.0 = Some((now + AGAIN_AFTER_FAILURE, generation));
    }
}

/// One look at all keys; how long until the next.
async fn look(shared: &Shared, back_off: &mut BackOff) -> Duration {
    let clock = clock::unix_seconds();
    let behind = shared.seen.ahead_of(clock);
    let now = shared.seen.now(clock);
    let Some(Due { actions, generation }) = due(shared, now) else { return LONGEST_SLEEP };
    let paused = behind > TOLERANCE;
    let (automatic, told): (Vec<_>, Vec<_>) =
        actions.into_iter().partition(|action| action.what.is_automatic());
    if paused && !automatic.is_empty() {
        alarm::clock_went_back(shared, behind);
    }
    tell(shared, &told, now).await;
    if !paused && !automatic.is_empty() {
        if let Some(left) = back_off.left(generation, Instant::now()) {
            return left;
        }
        if !act(shared, &automatic, now).await {
            // What was done before it failed lifts nothing.
            let generation = generation_in_use(shared).unwrap_or(generation);
            back_off.begin(generation, Instant::now());
            return AGAIN_AFTER_FAILURE;
        }
    }
    match next_wakeup(shared, now) {
        Some(at) if !paused => Duration::from_secs(at.saturating_sub(now)),
        _ => LONGEST_SLEEP,
    }
}

/// What is due by the keyring of a generation.
struct Due {
    actions: Vec<DueAction>,
    generation: u64,
}

/// What is due; `None` while locked.
fn due(shared: &Shared, now: u64) -> Option<Due> {
    match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Locked(_) => None,
        EngineState::Unlocked(engine) => {
            let keyring = engine.keyring();
            Some(Due { actions: change::due(keyring, now, now), generation: keyring.generation() })
        }
    }
}

fn generation_in_use(shared: &Shared) -> Option<u64> {
    match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Locked(_) => None,
        EngineState::Unlocked(engine) => Some(engine.keyring().generation()),
    }
}

fn next_wakeup(shared: &Shared, now: u64) -> Option<u64> {
    match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Locked(_) => None,
        EngineState::Unlocked(engine) => change::next_wakeup(engine.keyring(), now, now),
    }
}

/// Does what is due, as far as the disk takes it; whether nothing failed. What was done meanwhile or is not to be done
/// any more is no failure.
async fn act(shared: &Shared, actions: &[DueAction], now: u64) -> bool {
    let mut failed = Vec::new();
    for action in actions {
        if shared.stopping.load(Ordering::Relaxed) {
            break;
        }
        let done = control::do_what_is_due(shared, action, now);
        scrub_stack();
        match done {
            Ok(_) => {}
            Err(NotChanged::Refused(report)) => failed.push((&action.key, report)),
            Err(NotChanged::NotStored(report)) => {
                failed.push((&action.key, report));
                break;
            }
        }
        // Others of this thread have their turn, however many keys are due.
        yield_now().await;
    }
    let told: Vec<_> = failed.iter().map(|(key, report)| alarm::not_done(key, report)).collect();
    alarm::raise_all(shared, alarm::ROTATION_FAILED, &told).await;
    failed.is_empty()
}

/// Tells people of what the daemon does not do by itself.
async fn tell(shared: &Shared, actions: &[DueAction], now: u64) {
    let (mut overdue, mut grace_over) = (Vec::new(), Vec::new());
    for DueAction { due_at, key, what } in actions {
        let since = now.saturating_sub(*due_at);
        match *what {
            DueWhat::Overdue(_) => overdue.push(alarm::rotation_overdue(key, since)),
            DueWhat::GraceOver(version) => grace_over.push(alarm::grace_over(key, version, since)),
            DueWhat::Rotate(_) | DueWhat::Retire(_) => {}
        }
    }
    for (kind, conditions) in [(alarm::ROTATION_OVERDUE, overdue), (alarm::GRACE_OVER, grace_over)] {
        alarm::raise_all(shared, kind, &conditions).await;
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_only_time_or_another_keyring_has_it_tried_again() {
        let (mut back_off, start) = (BackOff::default(), Instant::now());
        assert_eq!(back_off.left(7, start), None);
        back_off.begin(7, start);
        assert_eq!(back_off.left(7, start), Some(AGAIN_AFTER_FAILURE));
        assert_eq!(back_off.left(8, start), None);
        assert_eq!(back_off.left(7, start + AGAIN_AFTER_FAILURE), None);
    }
}
