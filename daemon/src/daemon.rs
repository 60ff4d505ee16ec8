//! The control thread: opens everything, starts the workers, accepts, and ends in order.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::AtomicBool},
    time::Instant,
};

use interprocess::os::unix::uds_local_socket::tokio::Listener;
use keyagent_common::{error::ErrorCode, fingerprint, layout::Layout, report::Report};
use keyagent_core::{audit::record::Event, authorize::Policy, engine::LockedEngine};
use keyagent_sys::{
    memory::{Backing, LockPolicy, LockedArena},
    peer, random,
    thread::{self, clear_vector_registers, scrub_stack},
};
use tokio::{sync::Notify, task::LocalSet};

use crate::{
    audit_log::Line,
    buffers::{self, Buffers},
    control,
    endpoint::Endpoint,
    events::Events,
    failures::FailureWindow,
    listen::{self, Refusals},
    options::Options,
    pinning::{self, PinFile},
    signals,
    source::Sources,
    start::{Allowed, Opened, Plan},
    state::{Counters, EngineState, Settings, Shared},
    worker::{self, Handle},
};

/// Locked memory for keys.
const ARENA_BYTES: usize = 256 << 10;
/// Most workers; each locks its own stack and scratch.
const MAX_WORKERS: usize = 2;

/// What main found out before this thread existed.
pub(crate) struct Setup {
    pub(crate) options: Options,
    pub(crate) layout: Layout,
    pub(crate) sources: Sources,
    pub(crate) lock_policy: LockPolicy,
    pub(crate) host: String,
    pub(crate) expected_key_id: Option<String>,
}

/// Runs the daemon to its end.
pub(crate) fn run(setup: Setup) -> Result<(), Report> {
    let Setup { options, layout, sources, lock_policy, host, expected_key_id } = setup;
    let arena =
        LockedArena::new(ARENA_BYTES, lock_policy).map_err(|error| crate::memory_not_locked(&error))?;
    let policy = Policy::owner_only(peer::effective_uid());
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
        policy,
        host: &host,
        expected_key_id: expected,
        allowed,
    };
    let opened = plan.open(sources);
    scrub_stack();
    clear_vector_registers();
    let Opened { engine, audit, known, origin, store_lock } = opened?;
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
    let settings = Settings {
        layout,
        origin,
        policy,
        lock_policy,
        host,
        instance,
        expected_key_id,
        backing,
        locked_bytes,
    };
    let pin_file = PinFile::new(&settings.layout.audit_pin);
    let shared = Arc::new(Shared {
        engine: RwLock::new(EngineState::Unlocked(Box::new(engine))),
        known,
        audit,
        pin_file,
        arena,
        buffers,
        settings,
        counters: Counters::default(),
        failures: FailureWindow::new(Instant::now()),
        events: Events::default(),
        refusals: Mutex::new(Refusals::default()),
        started: Instant::now(),
        stopping: AtomicBool::new(false),
        stop: Notify::new(),
        reload: Notify::new(),
    });
    if backing == Backing::Unlocked {
        crate::report::warn(&"DEGRADED: memory is not locked (--allow-unlocked-memory)");
    }
    if cfg!(feature = "benchmark-without-audit") {
        crate::report::warn(&"DEGRADED: built for benchmarks: operations are not recorded");
    }
    if thread::CONTROL_UNSCRUBBED {
        crate::report::warn(&"DANGER: a control build of the memory test: keys lie open on ordinary stacks");
    }
    let result = serve(&shared, workers);
    drop(store_lock);
    result
}

/// Listens until asked to stop, then ends: requests in flight first, then keys, then the socket.
fn serve(shared: &Arc<Shared>, workers: usize) -> Result<(), Report> {
    // Before the socket exists: whoever can connect can rely on an orderly end.
    signals::watch(shared).map_err(|error| {
        Report::new(ErrorCode::Internal, "cannot listen for signals").why(error.to_string())
    })?;
    let (endpoint, listener) = Endpoint::bind(&shared.settings.layout.socket)?;
    let served = serve_on(shared, listener, workers);
    let ended = end(shared);
    endpoint.remove();
    served.and(ended)
}

/// Until everything is stopped and every worker has ended.
fn serve_on(shared: &Arc<Shared>, listener: OwnedFd, workers: usize) -> Result<(), Report> {
    let handles =
        (0..workers).map(|number| worker::start(shared, number)).collect::<Result<Vec<Handle>, _>>();
    let handles = handles.map_err(|error| {
        Report::new(ErrorCode::MemoryNotLocked, "refusing to start: a worker cannot be started")
            .why(error.to_string())
            .fix(crate::MEMLOCK_FIX)
    })?;
    let stopped = accept_until_stopped(shared, listener, &handles);
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

fn accept_until_stopped(shared: &Arc<Shared>, listener: OwnedFd, handles: &[Handle]) -> Result<(), Report> {
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
        let listener = Listener::try_from(listener).map_err(failed)?;
        let senders = handles.iter().map(|handle| handle.sender.clone()).collect();
        let accepting = tasks.spawn_local(listen::accept_all(Arc::clone(shared), listener, senders));
        let pinning = tasks.spawn_local(pinning::pin_when_active(Arc::clone(shared)));
        let reloading = tasks.spawn_local(reload_by_signal(Arc::clone(shared)));
        shared.stop.notified().await;
        for task in [accepting, pinning, reloading] {
            task.abort();
        }
        Ok(())
    })
}

/// Wipes the keys, with a last pin, and says so in the log.
fn end(shared: &Shared) -> Result<(), Report> {
    listen::write_refusals(shared);
    let recorded = shared.audit.append(&[Line::own(Event::DaemonStop { reason: Some("end") })]);
    if let Err(error) = pinning::pin_now(shared) {
        crate::report::warn(&error);
    }
    *shared.engine.write().unwrap_or_else(PoisonError::into_inner) = EngineState::Locked(LockedEngine);
    scrub_stack();
    clear_vector_registers();
    recorded.map_err(|error| crate::store::unrecorded(&error))
}

/// SIGHUP: the same as the operation `reload`.
async fn reload_by_signal(shared: Arc<Shared>) {
    loop {
        shared.reload.notified().await;
        if let Err(report) = control::reload(&shared, None, "signal") {
            crate::report::failure(&report);
        }
        scrub_stack();
    }
}
