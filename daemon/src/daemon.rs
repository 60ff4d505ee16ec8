//! The control thread: opens everything, starts the workers, accepts, and ends in order.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::AtomicBool},
    time::Instant,
};

use keyagent_common::{error::ErrorCode, fingerprint, layout::Layout, report::Report};
use keyagent_core::{audit::record::Event, engine::LockedEngine};
use keyagent_sys::{
    memory::{Backing, LockPolicy, LockedArena},
    random,
    thread::{self, clear_vector_registers, scrub_stack},
};
use tokio::{sync::Notify, task::LocalSet};

use crate::{
    access,
    alarm::{self, Told},
    alerts::FailureAlerts,
    audit_log::Line,
    back_off::BackOff,
    buffers::{self, Buffers},
    configuration::{self, Loaded, Places},
    control,
    endpoint::{Door, Endpoints},
    events::Events,
    failures::FailureWindow,
    held::Held,
    listen::{self, Doors, Refusals},
    maintenance::Maintenance,
    metering::Rates,
    metrics::Metrics,
    options::Options,
    pinning::{self, PinFile},
    principal::Principal,
    signals,
    source::Sources,
    start::{Allowed, Opened, Plan},
    state::{Counters, EngineState, PolicyInUse, Settings, Shared, Use},
    store, timers, usage,
    worker::{self, Handle},
};

/// Locked memory for keys.
const ARENA_BYTES: usize = 512 << 10;
/// Most workers; each locks its own stack and scratch.
const MAX_WORKERS: usize = 2;

/// What main found out before this thread existed.
pub(crate) struct Setup {
    pub(crate) options: Options,
    pub(crate) layout: Layout,
    /// Where the configuration is found, and what it says.
    pub(crate) places: Places,
    pub(crate) loaded: Loaded,
    pub(crate) sources: Sources,
    pub(crate) lock_policy: LockPolicy,
    pub(crate) host: String,
    pub(crate) expected_key_id: Option<String>,
}

/// Runs the daemon to its end.
pub(crate) fn run(setup: Setup) -> Result<(), Report> {
    let Setup { options, layout, places, loaded, sources, lock_policy, host, expected_key_id } = setup;
    let arena =
        LockedArena::new(ARENA_BYTES, lock_policy).map_err(|error| crate::memory_not_locked(&error))?;
    let allowed = Allowed {
        init: options.init,
        new_keyring: options.new_keyring,
        accept_rollback: options.accept_rollback,
    };
    let key_file = sources.file_to_make().to_path_buf();
    let expected = expected_key_id.as_deref();
    let plan = Plan {
        layout: &layout,
        arena: &arena,
        lock_policy,
        host: &host,
        expected_key_id: expected,
        allowed,
        log: loaded.tunable.log,
    };
    let opened = plan.open(sources);
    scrub_stack();
    clear_vector_registers();
    let Opened { engine, bridge, audit, usage, known, origin, store_lock } = opened?;
    if options.no_serve {
        let print = &known.fingerprint;
        let line = format!(
            "fingerprint {} {} {}\n",
            fingerprint::full(print),
            fingerprint::short(print),
            key_file.display()
        );
        return crate::say_on_stdout(&line);
    }
    let mut instance = [0; 16];
    random::fill(&mut instance).map_err(|error| Report::new(ErrorCode::Internal, error.to_string()))?;
    let buffers = Buffers::new(lock_policy).map_err(|error| crate::memory_not_locked(&error))?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    let locked_bytes =
        ARENA_BYTES + buffers::LOCKED_BYTES + worker::STACK_BYTES + workers * worker::LOCKED_BYTES;
    let backing =
        if lock_policy == LockPolicy::AllowUnlocked { crate::weakest(&arena) } else { arena.backing() };
    let listeners = configuration::listeners(&loaded.settings, &layout.socket);
    let maintenance_file = layout.keyring.with_file_name("maintenance");
    let maintenance = Maintenance::read(&maintenance_file).map_err(|error| store::failed(&error))?;
    let settings = Settings {
        layout,
        places,
        listeners,
        origin,
        lock_policy,
        host,
        instance,
        expected_key_id,
        backing,
        locked_bytes,
    };
    let Loaded { tunable, policy, .. } = loaded;
    let pin_file = PinFile::new(&settings.layout.audit_pin);
    let started = Instant::now();
    let shared = Arc::new(Shared {
        engine: RwLock::new(engine),
        changes: Mutex::new(()),
        reloads: Mutex::new(()),
        key_check: Mutex::new(None),
        held: Held::default(),
        known: Mutex::new(known),
        policy_in_use: PolicyInUse::new(policy),
        tunable: RwLock::new(tunable),
        bridge: Mutex::new(bridge.map(Arc::new)),
        audit,
        pin_file,
        arena,
        buffers,
        settings,
        maintenance,
        rates: Rates::new(started),
        counters: Counters::default(),
        metrics: Metrics::default(),
        failures: FailureWindow::new(started),
        failure_alerts: FailureAlerts::new(tunable.failures),
        told: Told::default(),
        events: Events::default(),
        back_off: BackOff::default(),
        key_usage: usage,
        usage: Use::default(),
        refusals: Mutex::new(Refusals::default()),
        started,
        stopping: AtomicBool::new(false),
        seen: timers::Seen::default(),
        stop: Notify::new(),
        reload: Notify::new(),
        lock: Notify::new(),
        rotations: Notify::new(),
        timers: Notify::new(),
    });
    begin(&shared)?;
    warn_of_weaknesses(backing);
    let result = serve(&shared, workers);
    drop(store_lock);
    result
}

/// What makes this daemon less than it should be.
fn warn_of_weaknesses(backing: Backing) {
    if backing == Backing::Unlocked {
        crate::report::warn(&"DEGRADED: memory is not locked (--allow-unlocked-memory)");
    }
    if cfg!(feature = "benchmark-without-audit") {
        crate::report::warn(&"DEGRADED: built for benchmarks: operations are not recorded");
    }
    if thread::CONTROL_UNSCRUBBED {
        crate::report::warn(&"DANGER: a control build of the memory test: keys lie open on ordinary stacks");
    }
}

/// What the log says of a start beyond its first lines: the policy that holds, and who gained or lost access.
fn begin(shared: &Shared) -> Result<(), Report> {
    let policy = shared.policy();
    let event = Event::PolicyChange { digest: policy.digest(), reason: Some("start") };
    shared.audit.append(&[Line::own(event)]).map_err(|error| store::unrecorded(&error))?;
    if shared.maintenance.is_on() {
        let event = Event::Maintenance { on: true, reason: Some("found at start") };
        shared.audit.append(&[Line::own(event)]).map_err(|error| store::unrecorded(&error))?;
    }
    if let Err(report) = access::record(shared) {
        // Nobody is served worse for it; the next reload or start tries again.
        alarm::failed(shared, "access_not_recorded", &report);
    }
    scrub_stack();
    Ok(())
}

/// Listens until asked to stop, then ends: requests in flight first, then keys, then the socket.
fn serve(shared: &Arc<Shared>, workers: usize) -> Result<(), Report> {
    // Before the socket exists: whoever can connect can rely on an orderly end.
    signals::watch(shared).map_err(|error| {
        Report::new(ErrorCode::Internal, "cannot listen for signals").why(error.to_string())
    })?;
    let (endpoints, doors) = Endpoints::bind(&shared.settings.listeners)?;
    let served = serve_on(shared, doors, workers);
    let ended = end(shared);
    endpoints.remove();
    served.and(ended)
}

/// Until everything is stopped and every worker has ended.
fn serve_on(shared: &Arc<Shared>, doors: Vec<Door>, workers: usize) -> Result<(), Report> {
    let handles =
        (0..workers).map(|number| worker::start(shared, number)).collect::<Result<Vec<Handle>, _>>();
    let handles = handles.map_err(|error| {
        Report::new(ErrorCode::MemoryNotLocked, "refusing to start: a worker cannot be started")
            .why(error.to_string())
            .fix(crate::MEMLOCK_FIX)
    })?;
    let stopped = accept_until_stopped(shared, doors, &handles);
    let (senders, threads): (Vec<_>, Vec<_>) =
        handles.into_iter().map(|Handle { sender, thread }| (sender, thread)).unzip();
    // Workers end once no more connections can come.
    drop(senders);
    for thread in threads {
        if let Err(error) = thread.join() {
            crate::report::warn(&error);
        }
    }
    stopped
}

fn accept_until_stopped(shared: &Arc<Shared>, doors: Vec<Door>, handles: &[Handle]) -> Result<(), Report> {
    let failed =
        |error: std::io::Error| Report::new(ErrorCode::Internal, "cannot accept").why(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .on_thread_park(clear_vector_registers)
        .build()
        .map_err(failed)?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let doors = Doors::open(doors).map_err(failed)?;
        let asked = Arc::clone(shared);
        let admit = move |principal: &Principal| asked.policy().rights(&principal.subject());
        let senders = handles.iter().map(|handle| handle.sender.clone()).collect();
        let accepting = tasks.spawn_local(listen::accept_all(Arc::clone(shared), doors, senders, admit));
        let by_itself = [
            accepting,
            tasks.spawn_local(pinning::pin_when_active(Arc::clone(shared))),
            tasks.spawn_local(reload_by_signal(Arc::clone(shared))),
            tasks.spawn_local(timers::lock_by_signal(Arc::clone(shared))),
            tasks.spawn_local(timers::lock_in_time(Arc::clone(shared))),
            tasks.spawn_local(timers::keep_log(Arc::clone(shared))),
            tasks.spawn_local(timers::mind_rotations(Arc::clone(shared))),
            tasks.spawn_local(usage::settle_in_time(Arc::clone(shared))),
        ];
        shared.stop.notified().await;
        for task in by_itself {
            task.abort();
        }
        Ok(())
    })
}

/// Wipes the keys, with a last pin, and says so in the log.
fn end(shared: &Shared) -> Result<(), Report> {
    listen::write_refusals(shared);
    let summed = shared.audit.append_sums();
    let recorded = shared.audit.append(&[Line::own(Event::DaemonStop { reason: Some("end") })]).and(summed);
    if let Err(error) = pinning::pin_now(shared) {
        crate::report::warn(&error);
    }
    close_usage(shared);
    *shared.engine.write().unwrap_or_else(PoisonError::into_inner) = EngineState::Locked(LockedEngine);
    scrub_stack();
    clear_vector_registers();
    recorded.map_err(|error| crate::store::unrecorded(&error))
}

/// Locked, everything was stored before.
fn close_usage(shared: &Shared) {
    let key = match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Unlocked(engine) => engine.keyring().counter_key(),
        EngineState::Locked(_) => return,
    };
    usage::close(shared, &key);
}

/// SIGHUP: the same as the operation `reload`.
async fn reload_by_signal(shared: Arc<Shared>) {
    loop {
        shared.reload.notified().await;
        if let Err(report) = control::reload(&shared, None, "signal") {
            // Nobody waits for an answer.
            alarm::failed(&shared, "reload_failed", &report);
        }
        scrub_stack();
    }
}
