//! The pin of the audit log: written after the log's sync, once in every second in which something
//! happened, at lock and at the end (docs/FORMATS.md, "Pin").

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyagent_core::{engine::Engine, pin::FILE_BYTES};
use keyagent_sys::{memory::LockedArena, thread::scrub_stack};
use tokio::time::sleep;

use crate::{
    alarm,
    audit_log::{AuditLog, AuditUnwritable, Standing},
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
        if let Err(error) = shared.audit.append_sums() {
            shared.audit.complain(&error);
        }
        alarm::check_log(&shared);
        if let Err(error) = pin_now(&shared) {
            crate::report::warn(&error);
        }
        // The log's key and the pin's were used on this stack.
        scrub_stack();
    }
}

/// Syncs the log and pins where it stands, if anything was written since the last pin.
///
/// Locked, there is no key to make a pin with: the one of the lock stays, and unlocking causes the next.
/// The engine is not held while the disk works, so that `lock` never waits for a disk.
pub(crate) fn pin_now(shared: &Shared) -> Result<(), PinNotWritten> {
    if matches!(&*shared.engine.read().unwrap_or_else(PoisonError::into_inner), EngineState::Locked(_)) {
        return Ok(());
    }
    let Some(standing) = shared.audit.sync_for_pin()? else { return Ok(()) };
    let sealed = match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Unlocked(engine) => seal(standing, engine),
        // Locked meanwhile: that pin reaches at least as far as this one would.
        EngineState::Locked(_) => return Ok(()),
    };
    shared.pin_file.write(standing, &sealed)?;
    shared.audit.pinned();
    Ok(())
}

/// The bytes of a pin.
pub(crate) fn seal(standing: Standing, engine: &Engine<LockedArena>) -> [u8; FILE_BYTES] {
    engine.keyring().seal_pin(&standing.pin(engine.keyring()))
}

/// The file `audit.pin`, which never goes backwards while the daemon runs.
pub(crate) struct PinFile {
    path: PathBuf,
    last_seq: Mutex<u64>,
}

impl PinFile {
    /// The file of a layout.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), last_seq: Mutex::new(0) }
    }

    /// Number of the line that it names, as far as this process wrote it; 0 before.
    pub(crate) fn pinned_seq(&self) -> u64 {
        *self.last_seq.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces it, unless a later pin stands there already. The log must have been synced that far.
    pub(crate) fn write(&self, standing: Standing, sealed: &[u8; FILE_BYTES]) -> Result<(), FileError> {
        let mut last_seq = self.last_seq.lock().unwrap_or_else(PoisonError::into_inner);
        if standing.seq > *last_seq {
            files::replace(&self.path, sealed)?;
            *last_seq = standing.seq;
        }
        Ok(())
    }
}

/// [`pin_now`], before anything is shared.
pub(crate) fn write(log: &AuditLog, engine: &Engine<LockedArena>, path: &Path) -> Result<(), PinNotWritten> {
    if let Some(standing) = log.sync_for_pin()? {
        files::replace(path, &seal(standing, engine))?;
    }
    Ok(())
}
