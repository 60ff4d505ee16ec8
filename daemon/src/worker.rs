//! A worker: one thread on a locked stack with its own single-threaded runtime.
//!
//! Connections are spread over workers at accept and never move, so a request never changes threads,
//! and key bytes never leave the worker's stack, its scratch and the key arena.

use std::{cell::RefCell, collections::BTreeSet, os::fd::RawFd, rc::Rc, sync::Arc, time::Duration};

use keyagent_sys::{
    memory::{LockError, LockPolicy, LockedBuffer},
    thread::{LockedThread, ThreadError, clear_vector_registers, scrub_stack, spawn_on_locked_stack},
};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::{
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::LocalSet,
    time::timeout,
};

use crate::{
    buffers::{MEDIUM_BYTES, MEDIUM_FRAME, Reserve},
    burst::{ENTROPY_BYTES, Speaker},
    listen::Accepted,
    session,
    state::{Counters, Shared},
};

/// Stack of every thread that may touch a key.
pub(crate) const STACK_BYTES: usize = 256 << 10;
/// Most bytes read at once.
const INPUT_BYTES: usize = 64 << 10;
/// Room for the replies of one burst.
const OUTPUT_BYTES: usize = 66 << 10;
/// What a worker locks: its stack and its scratch.
pub(crate) const LOCKED_BYTES: usize = STACK_BYTES + INPUT_BYTES + OUTPUT_BYTES + ENTROPY_BYTES;
/// How long a stopping daemon waits for requests in flight.
const STOP_DEADLINE: Duration = Duration::from_secs(3);

/// Scratch of a worker: used within one burst, wiped after it, never held across an await.
pub(crate) struct WorkerScratch {
    pub(crate) input: LockedBuffer,
    pub(crate) output: LockedBuffer,
    pub(crate) stock: LockedBuffer,
    pub(crate) associated_data: Vec<u8>,
    /// Where input and output go when they have to wait.
    pub(crate) reserve: Reserve,
}

/// What has to move out of the scratch finds room in a buffer that was set aside.
const _: () = assert!(INPUT_BYTES == MEDIUM_FRAME && OUTPUT_BYTES <= MEDIUM_BYTES);

impl WorkerScratch {
    fn new(policy: LockPolicy) -> Result<Self, LockError> {
        Ok(Self {
            input: LockedBuffer::locked(INPUT_BYTES, policy)?,
            output: LockedBuffer::locked(OUTPUT_BYTES, policy)?,
            stock: LockedBuffer::locked(ENTROPY_BYTES, policy)?,
            associated_data: Vec::with_capacity(256),
            reserve: Reserve::default(),
        })
    }
}

/// What the connections of one worker share.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) scratch: RefCell<WorkerScratch>,
    sockets: RefCell<BTreeSet<RawFd>>,
    quiet: Notify,
}

/// Keeps a connection on its worker's list.
pub(crate) struct Registered<'w>(&'w Worker, RawFd);

impl Worker {
    /// Puts a socket on the list of those to be shut down when the daemon ends.
    pub(crate) fn register(&self, socket: RawFd) -> Registered<'_> {
        self.sockets.borrow_mut().insert(socket);
        Registered(self, socket)
    }

    /// Lets every connection read to the end of what has arrived, and waits until all have ended.
    async fn finish(&self) {
        for socket in self.sockets.borrow().iter() {
            // Fails only if the peer is gone already.
            let _ = shutdown(*socket, Shutdown::Read);
        }
        while !self.sockets.borrow().is_empty() {
            self.quiet.notified().await;
        }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let Self(worker, socket) = self;
        worker.sockets.borrow_mut().remove(socket);
        if worker.sockets.borrow().is_empty() {
            worker.quiet.notify_one();
        }
    }
}

/// A running worker and the way to it.
pub(crate) struct Handle {
    /// Takes connections; dropping it ends the worker.
    pub(crate) sender: UnboundedSender<Accepted>,
    /// Joined at the end.
    pub(crate) thread: LockedThread,
}

/// Starts a worker.
pub(crate) fn start(shared: &Arc<Shared>, number: usize) -> Result<Handle, WorkerError> {
    let policy = shared.settings.lock_policy;
    let (sender, receiver) = unbounded_channel();
    let scratch = WorkerScratch::new(policy)?;
    let shared = Arc::clone(shared);
    let thread = spawn_on_locked_stack(&format!("worker-{number}"), STACK_BYTES, policy, move || {
        run(shared, scratch, receiver);
    })?;
    Ok(Handle { sender, thread })
}

/// A worker could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    /// Its scratch could not be locked.
    #[error(transparent)]
    Memory(#[from] LockError),
    /// Its thread could not be made.
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

fn run(shared: Arc<Shared>, scratch: WorkerScratch, mut receiver: UnboundedReceiver<Accepted>) {
    // Before the thread sleeps, nothing of a key may be left in its registers.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .on_thread_park(clear_vector_registers)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::report::warn(&format!("a worker cannot start: {error}"));
            shared.begin_stop();
            return;
        }
    };
    let worker = Rc::new(Worker {
        shared,
        scratch: RefCell::new(scratch),
        sockets: RefCell::new(BTreeSet::new()),
        quiet: Notify::new(),
    });
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        while let Some(accepted) = receiver.recv().await {
            tasks.spawn_local(connection(Rc::clone(&worker), accepted));
        }
        // Connections that stall past the deadline are dropped with the runtime.
        let _ = timeout(STOP_DEADLINE, worker.finish()).await;
    });
    drop(tasks);
    scrub_stack();
    clear_vector_registers();
}

async fn connection(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { socket, principal, rights, seat } = accepted;
    let shared = Arc::clone(&worker.shared);
    Counters::add(&shared.counters.connections, 1);
    let instance = shared.settings.instance;
    let policy_generation = shared.policy_in_use.generation();
    let mut speaker =
        Speaker { principal, rights, policy_generation, client: String::new(), greeted: false, instance };
    if !std::ptr::eq(Arc::as_ptr(speaker.rights.policy()), Arc::as_ptr(&shared.policy())) {
        // The policy was exchanged between the door and here: asked again before the first byte is read.
        speaker.policy_generation = 0;
    }
    session::serve(worker, socket, speaker).await;
    shared.counters.connections.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    drop(seat);
}
