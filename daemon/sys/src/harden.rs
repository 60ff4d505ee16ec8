//! What a process that will hold keys does before anything else.
//!
//! [`forbid_dumps`] is the first act of `main`, [`sanitize_process`] the second. Must never run after
//! the daemon has opened files or started threads, and never leave a failure unreported: a daemon
//! that could not be hardened does not start.

#![expect(unsafe_code, reason = "close_range, signal and mallopt")]

use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::chdir;

/// The first descriptor that is not a standard stream.
const FIRST_OWN: RawFd = 3;

/// The process could not be hardened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HardenError {
    /// A system call failed.
    #[error("{call} failed: {errno}")]
    Failed {
        /// The call and its argument.
        call: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// A call succeeded but reading the setting back shows it did not take.
    #[error("{call} succeeded but had no effect")]
    NoEffect {
        /// The call and its argument.
        call: &'static str,
    },
}

/// Makes sure that nobody else can read this process: no core dumps, no ptrace by the same user, no new privileges.
///
/// Also moves `/proc/self/*` to root. Must be repeated after a change of uid, which resets it.
pub fn forbid_dumps() -> Result<(), HardenError> {
    prctl::set_dumpable(false).map_err(failed("prctl(PR_SET_DUMPABLE, 0)"))?;
    confirm(prctl::get_dumpable() == Ok(false), "prctl(PR_SET_DUMPABLE, 0)")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed("setrlimit(RLIMIT_CORE, 0)"))?;
    confirm(getrlimit(Resource::RLIMIT_CORE) == Ok((0, 0)), "setrlimit(RLIMIT_CORE, 0)")?;
    prctl::set_no_new_privs().map_err(failed("prctl(PR_SET_NO_NEW_PRIVS)"))?;
    confirm(prctl::get_no_new_privs() == Ok(true), "prctl(PR_SET_NO_NEW_PRIVS)")
}

/// Undoes whatever the parent process left behind.
///
/// In this order: every inherited descriptor above the standard streams except those in `keep` is closed
/// (there may be so many that no other can be opened); standard streams that are closed become `/dev/null`;
/// the signal mask is emptied; the umask becomes 077; the working folder becomes `/`. Call it before anything opens a file: descriptors opened earlier are closed too.
pub fn sanitize_process(keep: &[RawFd]) -> Result<(), HardenError> {
    close_all_except(keep)?;
    open_standard_streams()?;
    SigSet::empty().thread_set_mask().map_err(failed("pthread_sigmask"))?;
    umask(Mode::from_bits_truncate(0o077));
    chdir("/").map_err(failed("chdir(/)"))
}

/// Ignores a signal for the whole process (SIGPIPE and SIGXFSZ: the failed write then reports it).
///
/// `number` is a signal number as in `signal_hook::consts`; unknown ones give `EINVAL`.
pub fn ignore_signal(number: i32) -> Result<(), HardenError> {
    let name = Signal::try_from(number).map_err(failed("signal(SIG_IGN)"))?;
    // SAFETY: no handler is installed, so no code will run in signal context.
    unsafe { signal(name, SigHandler::SigIgn) }.map(drop).map_err(failed("signal(SIG_IGN)"))
}

/// Keeps glibc's malloc to one arena, whose trimming needs no file; does nothing with other C libraries.
///
/// Further arenas read `/proc/sys/vm/overcommit_memory` when they shrink, which a system call filter kills.
/// Call it before any other thread exists.
pub fn limit_malloc_arenas() -> Result<(), HardenError> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt takes two integers; it is called before other threads use malloc.
        let accepted = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
        confirm(accepted == 1, "mallopt(M_ARENA_MAX, 1)")?;
    }
    Ok(())
}

fn failed(call: &'static str) -> impl Fn(Errno) -> HardenError {
    move |errno| HardenError::Failed { call, errno }
}

fn confirm(holds: bool, call: &'static str) -> Result<(), HardenError> {
    if holds { Ok(()) } else { Err(HardenError::NoEffect { call }) }
}

/// `open` gives the lowest free number: as long as that is a standard stream, it stays open.
fn open_standard_streams() -> Result<(), HardenError> {
    loop {
        let null = open("/dev/null", OFlag::O_RDWR, Mode::empty()).map_err(failed("open(/dev/null)"))?;
        if null.as_raw_fd() >= FIRST_OWN {
            return Ok(());
        }
        let _standard_stream = null.into_raw_fd();
    }
}

fn close_all_except(keep: &[RawFd]) -> Result<(), HardenError> {
    let mut kept: Vec<RawFd> = keep.iter().copied().filter(|number| *number >= FIRST_OWN).collect();
    kept.sort_unstable();
    let mut first = FIRST_OWN;
    for number in kept {
        if number > first {
            close_range(first, number - 1)?;
        }
        first = number.saturating_add(1);
    }
    close_range(first, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> Result<(), HardenError> {
    // SAFETY: touches no memory; called at the start of the process, when no Rust value owns a descriptor above 2.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    Errno::result(result).map(drop).map_err(failed("close_range"))
}
