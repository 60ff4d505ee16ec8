//! What all workers share: the engine in use, the audit log, counters.
//!
//! The engine is read under a shared guard for the length of one burst; whoever locks, unlocks or
//! reloads takes it exclusively. So "locked" is true for everybody at one moment, and the keys are
//! gone when `lock` answers.

use std::{
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use keyagent_common::layout::Layout;
use keyagent_core::{
    authorize::Policy,
    engine::{Engine, LockedEngine},
};
use keyagent_sys::memory::{Backing, LockPolicy, LockedArena};
use tokio::sync::Notify;

use crate::{
    audit_log::AuditLog, buffers::Buffers, events::Events, failures::FailureWindow, listen::Refusals, pinning::PinFile,
    source::Origin, store::Known,
};

/// Locked or unlocked: two engines, no optional key.
pub(crate) enum EngineState {
    /// Every operation is served.
    Unlocked(Box<Engine<LockedArena>>),
    /// No key is in memory.
    Locked(LockedEngine),
}

/// Facts that do not change while the daemon runs.
pub(crate) struct Settings {
    /// Where everything lies.
    pub(crate) layout: Layout,
    /// Where the master key came from.
    pub(crate) origin: Origin,
    /// Who may talk to the daemon.
    pub(crate) policy: Policy,
    /// Whether memory must be locked.
    pub(crate) lock_policy: LockPolicy,
    /// Name of this host, for the audit log.
    pub(crate) host: String,
    /// Random per start.
    pub(crate) instance: [u8; 16],
    /// Refuse every master key but this one, as the operator wrote it.
    pub(crate) expected_key_id: Option<String>,
    /// Weakest backing among all locked memory.
    pub(crate) backing: Backing,
    /// Bytes of memory locked at start.
    pub(crate) locked_bytes: usize,
}

/// Counters for `status`.
#[derive(Default)]
pub(crate) struct Counters {
    /// Connections open now.
    pub(crate) connections: AtomicU64,
    /// Requests answered.
    pub(crate) operations: AtomicU64,
    /// Requests and connections denied.
    pub(crate) denied: AtomicU64,
}

/// Shared by all threads.
pub(crate) struct Shared {
    /// The engine in use.
    pub(crate) engine: RwLock<EngineState>,
    /// Which keyring the engine serves.
    pub(crate) known: Known,
    /// The audit log.
    pub(crate) audit: AuditLog,
    /// Its pin.
    pub(crate) pin_file: PinFile,
    /// Locked memory for keys.
    pub(crate) arena: LockedArena,
    /// Locked payload buffers.
    pub(crate) buffers: Buffers,
    /// Unchanging facts.
    pub(crate) settings: Settings,
    /// Counters for `status`.
    pub(crate) counters: Counters,
    /// Decryptions that failed in the last hour.
    pub(crate) failures: FailureWindow,
    /// What happens, for watchers.
    pub(crate) events: Events,
    /// Connections refused since the last line about them.
    pub(crate) refusals: Mutex<Refusals>,
    /// When the daemon started.
    pub(crate) started: Instant,
    /// Set by `stop` and signals.
    pub(crate) stopping: AtomicBool,
    /// Told when `stopping` is set.
    pub(crate) stop: Notify,
    /// Told when a signal asks for a reload.
    pub(crate) reload: Notify,
}

impl Shared {
    /// Asks the daemon to end: requests in flight are finished first.
    pub(crate) fn begin_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.events.changed.notify_waiters();
        self.stop.notify_one();
    }
}

impl Counters {
    /// Adds to a counter; an approximate order among threads is enough.
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Reads a counter.
    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}
