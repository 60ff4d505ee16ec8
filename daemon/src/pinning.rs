//! The pin of the audit log: written after the log's sync, once in every second in which something
//! happened, at lock and at the end (docs/FORMATS.md, "Pin").

use std::{
    path::Path,
    sync::{Arc, PoisonError},
    time::Duration,
};

use keyagent_core::engine::Engine;
use keyagent_sys::{memory::LockedArena, thread::scrub_stack};
use tokio::time::sleep;

use crate::{
    audit_log::{AuditLog, AuditUnwritable},
    files::{self, FileError},
    listen,
    state::{EngineState, Shared},
};

/// The pin could not be brought up to date; the log itself is complete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinNotWritten {
    /// The log could not be synced.
    #[error(transparent)]
    Log(#[from] AuditUnwritable),
    /// The pin's file could not be replaced.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Waits for activity, then pins a second later, for ever. Sleeps while nothing happens.
pub(crate) async fn pin_when_active(shared: Arc<Shared>) {
    loop {
        shared.audit.activity.notified().await;
        sleep(Duration::from_secs(1)).await;
        listen::write_refusals(&shared);
        let engine = shared.engine.read().unwrap_or_else(PoisonError::into_inner);
        // Locked, there is no key to sign a pin with: the one written at lock stays.
        if let EngineState::Unlocked(engine) = &*engine
            && let Err(error) = write_pin(&shared, engine)
        {
            crate::report::warn(&error);
        }
        drop(engine);
        // The log's key and the pin's were used on this stack.
        scrub_stack();
    }
}

/// Syncs the log and pins where it stands, if anything was written since the last pin.
pub(crate) fn write_pin(shared: &Shared, engine: &Engine<LockedArena>) -> Result<(), PinNotWritten> {
    write(&shared.audit, engine, &shared.settings.layout.audit_pin)
}

/// The same, before anything is shared.
pub(crate) fn write(log: &AuditLog, engine: &Engine<LockedArena>, path: &Path) -> Result<(), PinNotWritten> {
    let Some(standing) = log.sync_for_pin()? else { return Ok(()) };
    let keyring = engine.keyring();
    let pin = standing.pin(keyring);
    files::replace(path, &keyring.seal_pin(&pin))?;
    Ok(())
}
