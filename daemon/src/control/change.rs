//! One change of the keyring at a time, from snapshot to disk to memory: data operations go on until the new
//! keyring is in place.
//!
//! Must never let memory and disk part: what is in place is adopted, whatever else fails.

use std::sync::PoisonError;

use keyagent_common::report::Report;
use keyagent_core::keyring::{Draft, Key, Keyring};
use keyagent_sys::memory::LockedArena;

use crate::{
    alarm,
    audit_log::Line,
    state::{EngineState, Shared},
    store::{self, Shortfall},
};

/// Why nothing was changed.
pub(crate) enum NotChanged {
    /// The request cannot be done.
    Refused(Report),
    /// The disk or the log did not take it.
    NotStored(Report),
}

/// What a change came to; it is in force, on the disk and in memory.
pub(crate) struct Changed<R> {
    /// What making it returned.
    pub(crate) result: R,
    /// Generation in use.
    pub(crate) generation: u64,
    /// Whether the keyring is another one than before; without a draft it is not.
    pub(crate) committed: bool,
    /// What is answered in the place of success: the log did not take its lines, or the folder is not synced.
    pub(crate) unrecorded: Option<Report>,
}

/// What the log says of a change that was done.
pub(crate) trait Recorded {
    /// The lines, written in one group with the commit.
    fn lines(&self) -> Vec<Line<'_>>;
}

/// Changes the keyring on disk, then in memory, and records it. Without a draft nothing changes; the lines are
/// written all the same.
///
/// Locked meanwhile, the engine stays locked: what was begun is finished on the disk, the keys are dropped before
/// `changes` is released, and `lock` waits for that.
pub(crate) fn change<R: Recorded>(
    shared: &Shared,
    make: impl FnOnce(&Keyring<LockedArena>) -> Result<(Option<Draft<LockedArena>>, R), Report>,
) -> Result<Changed<R>, NotChanged> {
    let _one_at_a_time = shared.changes.lock().unwrap_or_else(PoisonError::into_inner);
    let mut keyring = match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Unlocked(engine) => engine.keyring().clone(),
        EngineState::Locked(_) => return Err(NotChanged::Refused(super::locked())),
    };
    let (draft, result) = make(&keyring).map_err(NotChanged::Refused)?;
    let Some(draft) = draft else {
        let generation = keyring.generation();
        let unrecorded = shared.audit.append(&result.lines()).err().map(|error| store::unrecorded(&error));
        let unrecorded = Shortfall { unrecorded, ..Shortfall::default() }.told();
        return Ok(Changed { result, generation, committed: false, unrecorded });
    };
    let (layout, lines) = (&shared.settings.layout, result.lines());
    let committed =
        store::commit_recording(&mut keyring, draft, &shared.audit, layout, |_, _| Ok(()), &lines);
    drop(lines);
    let shortfall = committed.map_err(NotChanged::NotStored)?;
    for report in shortfall.unsynced.iter().chain(&shortfall.unrecorded) {
        alarm::failed(shared, "store_incomplete", report);
    }
    let generation = keyring.generation();
    shared.known.lock().unwrap_or_else(PoisonError::into_inner).advance(&keyring);
    // What is stored need not be held.
    shared.held.settle(|name| keyring.find(name).and_then(Key::brake));
    let mut engine = shared.engine.write().unwrap_or_else(PoisonError::into_inner);
    // An unlock waits for `changes`: if it is unlocked, it was all the time.
    if let EngineState::Unlocked(engine) = &mut *engine {
        engine.adopt(keyring);
        engine.hold(shared.held.all());
    }
    Ok(Changed { result, generation, committed: true, unrecorded: shortfall.told() })
}

/// The engine follows what is held, if there is one; else unlocking does.
pub(super) fn hold_in_engine(shared: &Shared) {
    let mut engine = shared.engine.write().unwrap_or_else(PoisonError::into_inner);
    if let EngineState::Unlocked(engine) = &mut *engine {
        engine.hold(shared.held.all());
    }
}
