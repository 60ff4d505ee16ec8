//! Threads on stacks of our own.
//!
//! Must never let a panic cross into C (it aborts), and never free a stack that may still be in use.

#![expect(unsafe_code, reason = "std cannot start a thread on a given stack")]

use std::ffi::{CString, c_void};
use std::fmt;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::memory::{Backing, LockError, LockPolicy, Region};

/// Longest thread name the kernel keeps, in bytes.
const MAX_NAME: usize = 15;

/// A thread could not be started or waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ThreadError {
    /// Its stack could not be had.
    #[error("cannot map the stack of a worker thread: {0}")]
    Stack(#[from] LockError),
    /// The name contains a NUL byte.
    #[error("a thread name cannot contain a NUL byte")]
    Name,
    /// A call failed.
    #[error("{call} failed: {errno}")]
    Failed {
        /// The call that failed.
        call: &'static str,
        /// What it said; `EINVAL` from `pthread_attr_setstack` means that the stack is too small.
        errno: Errno,
    },
}

/// A running thread on a locked stack; waits for the thread on drop, then wipes and unmaps the stack.
#[must_use = "dropping this waits for the thread to end"]
pub struct LockedThread {
    running: Option<Running>,
    backing: Backing,
}

struct Running {
    id: ThreadId,
    stack: Region,
    start: Arc<Start>,
}

/// A number with glibc, a pointer with musl.
struct ThreadId(libc::pthread_t);

// SAFETY: POSIX lets any thread of the process join by this value.
unsafe impl Send for ThreadId {}
// SAFETY: through a shared reference nothing can be done with it.
unsafe impl Sync for ThreadId {}

/// What stands in a `pthread_t` before `pthread_create` writes it.
#[cfg(target_env = "musl")]
const NO_THREAD: libc::pthread_t = ptr::null_mut();
/// What stands in a `pthread_t` before `pthread_create` writes it.
#[cfg(not(target_env = "musl"))]
const NO_THREAD: libc::pthread_t = 0;

/// What the new thread needs; shared, so that it lives until the thread has ended.
struct Start {
    name: CString,
    work: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// Runs `work` on a new thread whose stack of `stack_bytes` bytes is locked, undumped, guarded, and wiped at the end.
///
/// The thread's local storage lies on that stack too; 256 KiB are enough for a tokio runtime. Every signal is
/// blocked in the thread. `name` is cut to 15 bytes. A panic in `work` aborts the process.
pub fn spawn_on_locked_stack<F>(
    name: &str,
    stack_bytes: usize,
    policy: LockPolicy,
    work: F,
) -> Result<LockedThread, ThreadError>
where
    F: FnOnce() + Send + 'static,
{
    let name = CString::new(name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or_default())
        .map_err(|_| ThreadError::Name)?;
    let stack = stack(stack_bytes, policy)?;
    let backing = stack.backing();
    let start = Arc::new(Start { name, work: Mutex::new(Some(Box::new(work))) });
    let before = SigSet::all()
        .thread_swap_mask(SigmaskHow::SIG_SETMASK)
        .map_err(|errno| ThreadError::Failed { call: "pthread_sigmask", errno })?;
    let created = create(&stack, &start);
    let restored = before.thread_set_mask();
    let thread = LockedThread { running: Some(Running { id: created?, stack, start }), backing };
    restored.map_err(|errno| ThreadError::Failed { call: "pthread_sigmask", errno })?;
    Ok(thread)
}

/// The pages of a stack: locked, except in the control build of the memory test.
fn stack(bytes: usize, policy: LockPolicy) -> Result<Region, LockError> {
    #[cfg(feature = "control-unscrubbed")]
    let pages = Region::ordinary(bytes, policy);
    #[cfg(not(feature = "control-unscrubbed"))]
    let pages = Region::locked(bytes, policy);
    pages
}

impl LockedThread {
    /// Waits until the thread has ended, then wipes and unmaps its stack.
    pub fn join(mut self) -> Result<(), ThreadError> {
        self.finish()
    }

    /// How the stack is protected.
    pub fn backing(&self) -> Backing {
        self.backing
    }

    fn finish(&mut self) -> Result<(), ThreadError> {
        let Some(running) = self.running.take() else { return Ok(()) };
        // SAFETY: the id comes from pthread_create, and `take` makes this the only join.
        let result = unsafe { libc::pthread_join(running.id.0, ptr::null_mut()) };
        check("pthread_join", result).inspect_err(|_| {
            // The thread may still run (it tried to join itself): its stack must stay for ever.
            mem::forget(running.stack);
            mem::forget(running.start);
        })
    }
}

impl Drop for LockedThread {
    fn drop(&mut self) {
        let _already_safe_when_it_failed = self.finish();
    }
}

impl fmt::Debug for LockedThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockedThread(stack {})", self.backing)
    }
}

fn create(stack: &Region, start: &Arc<Start>) -> Result<ThreadId, ThreadError> {
    let mut place = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = place.as_mut_ptr();
    // SAFETY: `attributes` points to writable room for one pthread_attr_t.
    check("pthread_attr_init", unsafe { libc::pthread_attr_init(attributes) })?;
    // SAFETY: initialised above; the stack is mapped and writable, and outlives the thread (see `finish`).
    let set = unsafe { libc::pthread_attr_setstack(attributes, stack.start().cast(), stack.len()) };
    let outcome = check("pthread_attr_setstack", set).and_then(|()| {
        let mut id = NO_THREAD;
        let argument = Arc::as_ptr(start).cast_mut().cast::<c_void>();
        // SAFETY: the attributes are valid; the argument is a `Start` that `Running` keeps until the thread has ended.
        check("pthread_create", unsafe { libc::pthread_create(&raw mut id, attributes, run, argument) })?;
        Ok(ThreadId(id))
    });
    // SAFETY: initialised above and not used again.
    let destroyed = unsafe { libc::pthread_attr_destroy(attributes) };
    debug_assert_eq!(destroyed, 0, "pthread_attr_destroy of valid attributes");
    outcome
}

/// First function of the thread. `extern "C"` makes a panic abort instead of unwinding into C.
extern "C" fn run(argument: *mut c_void) -> *mut c_void {
    // SAFETY: `create` passed a pointer to a `Start` that outlives this thread and is only shared, never moved.
    let start = unsafe { &*argument.cast::<Start>() };
    // A thread without its name still works.
    let _ = nix::sys::prctl::set_name(&start.name);
    let work = start.work.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(work) = work {
        work();
    }
    super::clear_vector_registers();
    ptr::null_mut()
}

/// pthread functions return the error instead of setting errno.
fn check(call: &'static str, result: libc::c_int) -> Result<(), ThreadError> {
    if result == 0 { Ok(()) } else { Err(ThreadError::Failed { call, errno: Errno::from_raw(result) }) }
}

#[cfg(test)]
mod tests;
