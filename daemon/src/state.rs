//! What all workers share: the engine in use, the policy, the audit log, counters.
//!
//! The engine is read under a shared guard for the length of one burst; whoever locks, unlocks or changes
//! keys takes it exclusively. So "locked" is true for everybody at one moment, and the keys are gone when
//! `lock` answers.
//!
//! Whoever takes several of these takes them in this order, and may leave some out:
//!
//! 1. `reloads`: held over reading, taking and recording a configuration, so that the one read last is the one in
//!    use;
//! 2. `changes`: held over a change of the keyring, from its snapshot to its place in memory, and over an unlock;
//!    `lock` takes it only once the engine is wiped, to wait for a change that is under way: it holds keys of its own;
//! 3. `bridge`: over examining the log at unlock, which may take long: nobody who holds the engine waits for it;
//! 4. `engine`: never held exclusively while a keyring is read, staged or put in place, nor while a log is examined;
//! 5. all others, of which nobody holds two.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use keyagent_common::{layout::Layout, op::CheckResult};
use keyagent_core::{
    audit::bridge::BridgeSecret,
    engine::{Engine, LockedEngine},
    policy::Policy,
};
use keyagent_sys::memory::{Backing, LockPolicy, LockedArena};
use tokio::sync::Notify;

use crate::{
    alarm::Told,
    alerts::FailureAlerts,
    audit_log::AuditLog,
    back_off::BackOff,
    buffers::Buffers,
    configuration::{Places, Tunable},
    endpoint::ListenSpec,
    events::Events,
    failures::FailureWindow,
    held::Held,
    listen::Refusals,
    maintenance::Maintenance,
    metering::Rates,
    metrics::Metrics,
    pinning::PinFile,
    source::Origin,
    store::Known,
    timers::Seen,
    usage::KeyUsage,
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
    /// Where the configuration is found.
    pub(crate) places: Places,
    /// The sockets.
    pub(crate) listeners: Vec<ListenSpec>,
    /// Where the master key came from.
    pub(crate) origin: Origin,
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

/// The policy in use, and its number: a connection whose rights come from another one asks again.
pub(crate) struct PolicyInUse {
    policy: RwLock<Arc<Policy>>,
    generation: AtomicU64,
}

/// Times in milliseconds since the start of the daemon.
#[derive(Default)]
pub(crate) struct Use {
    /// The last operation on data.
    last: AtomicU64,
    /// When the engine was unlocked.
    unlocked: AtomicU64,
    /// How often a lock was asked for, whether or not anything was unlocked then.
    locks: AtomicU64,
}

/// The last look at the source of the master key: what it came to.
pub(crate) type KeyCheck = Mutex<Option<(CheckResult, String)>>;

/// Shared by all threads.
pub(crate) struct Shared {
    /// The engine in use.
    pub(crate) engine: RwLock<EngineState>,
    /// Held by whoever changes the keyring or unlocks.
    pub(crate) changes: Mutex<()>,
    /// Held by whoever reads and takes a configuration.
    pub(crate) reloads: Mutex<()>,
    /// What overseers saw of the master key; others are told the same.
    pub(crate) key_check: KeyCheck,
    /// Keys that are refused although the keyring does not say so.
    pub(crate) held: Held,
    /// Which keyring the engine serves.
    pub(crate) known: Mutex<Known>,
    /// Who may do what.
    pub(crate) policy_in_use: PolicyInUse,
    /// What a reload can change beside the policy.
    pub(crate) tunable: RwLock<Tunable>,
    /// The first key of the log's segment, if the daemon started locked and was not unlocked since.
    pub(crate) bridge: Mutex<Option<Arc<BridgeSecret<LockedArena>>>>,
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
    /// Whether new data may be sealed.
    pub(crate) maintenance: Maintenance,
    /// Rates of rules.
    pub(crate) rates: Rates,
    /// Counters for `status`.
    pub(crate) counters: Counters,
    /// Counters for `metrics`.
    pub(crate) metrics: Metrics,
    /// Decryptions that failed in the last hour.
    pub(crate) failures: FailureWindow,
    /// The same by key and caller, for alerts.
    pub(crate) failure_alerts: FailureAlerts,
    /// Which lasting conditions were told.
    pub(crate) told: Told,
    /// What happens, for watchers.
    pub(crate) events: Events,
    /// Wrong master keys.
    pub(crate) back_off: BackOff,
    /// How much keys are used.
    pub(crate) key_usage: KeyUsage,
    /// For the timers of `[lock]`.
    pub(crate) usage: Use,
    /// Connections refused since the last line about them.
    pub(crate) refusals: Mutex<Refusals>,
    /// When the daemon started.
    pub(crate) started: Instant,
    /// Set by `stop` and signals.
    pub(crate) stopping: AtomicBool,
    /// The latest time that was seen.
    pub(crate) seen: Seen,
    /// Told when `stopping` is set.
    pub(crate) stop: Notify,
    /// Told when a signal asks for a reload.
    pub(crate) reload: Notify,
    /// Told when a signal asks for a lock.
    pub(crate) lock: Notify,
    /// Told when the rotation of a key becomes due, or keys can be looked at again.
    pub(crate) rotations: Notify,
    /// Told when the timers of `[lock]` are to be set anew.
    pub(crate) timers: Notify,
}

impl PolicyInUse {
    /// The first policy.
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        Self { policy: RwLock::new(policy), generation: AtomicU64::new(1) }
    }

    /// Its number.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn get(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, policy: Arc<Policy>) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
        // Behind the policy: whoever sees the new number finds the new policy.
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl Shared {
    /// Asks the daemon to end: requests in flight are finished first.
    pub(crate) fn begin_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.events.changed.notify_waiters();
        self.stop.notify_one();
    }

    /// Whether no key is in memory.
    pub(crate) fn is_locked(&self) -> bool {
        matches!(&*self.engine.read().unwrap_or_else(PoisonError::into_inner), EngineState::Locked(_))
    }

    /// Which keyring the engine serves.
    pub(crate) fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who may do what.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy_in_use.get()
    }

    /// Another policy, from the next burst of every connection on.
    pub(crate) fn set_policy(&self, policy: Arc<Policy>) {
        self.policy_in_use.set(policy);
        // Rules are counted anew.
        self.rates.forget();
    }

    /// What a reload can change beside the policy.
    pub(crate) fn tunable(&self) -> Tunable {
        *self.tunable.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other settings.
    pub(crate) fn set_tunable(&self, tunable: Tunable) {
        *self.tunable.write().unwrap_or_else(PoisonError::into_inner) = tunable;
        self.timers.notify_one();
    }

    /// Notes that the engine was unlocked just now.
    pub(crate) fn begin_use(&self) {
        let now = self.milliseconds();
        self.usage.unlocked.store(now, Ordering::Relaxed);
        self.usage.last.store(now, Ordering::Relaxed);
        self.timers.notify_one();
    }

    /// Notes that a lock was asked for: an unlock that began before comes to nothing. The engine is held
    /// exclusively.
    pub(crate) fn note_lock(&self) {
        self.usage.locks.fetch_add(1, Ordering::AcqRel);
    }

    /// How often a lock was asked for.
    pub(crate) fn locks(&self) -> u64 {
        self.usage.locks.load(Ordering::Acquire)
    }

    /// Notes an operation on data.
    pub(crate) fn note_use(&self) {
        self.usage.last.store(self.milliseconds(), Ordering::Relaxed);
    }

    /// How long nothing was asked of the keys.
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(self.milliseconds().saturating_sub(self.usage.last.load(Ordering::Relaxed)))
    }

    /// How long the engine has been unlocked.
    pub(crate) fn unlocked_for(&self) -> Duration {
        Duration::from_millis(self.milliseconds().saturating_sub(self.usage.unlocked.load(Ordering::Relaxed)))
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
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
