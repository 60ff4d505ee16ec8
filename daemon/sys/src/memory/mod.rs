//! Memory for secrets: locked, left out of core dumps, gone after fork, guarded on both sides, wiped on drop.
//!
//! [`Region`] is the mapping, [`LockedBuffer`] a byte buffer over one, [`LockedArena`] hands out slots of
//! one to typed values. Must never hand out memory that is less protected than the policy asked for.

mod arena;
mod buffer;
mod free_list;
mod mapping;
mod region;

use std::fmt;

use nix::errno::Errno;

pub use arena::{ArenaSlot, LockedArena, SLOT_GRANULARITY};
pub use buffer::LockedBuffer;
pub use region::Region;

/// What to do when memory cannot be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockPolicy {
    /// Fail: secrets must not reach swap.
    Required,
    /// Go on with ordinary memory that is left out of core dumps (`--allow-unlocked`).
    AllowUnlocked,
}

/// How a region is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// `memfd_secret(2)`: locked, and unreadable even for root's debugger and for the kernel's own copies.
    MemfdSecret,
    /// Anonymous memory locked by mlock(2).
    LockedPages,
    /// Anonymous memory that may be swapped out.
    Unlocked,
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MemfdSecret => "memfd_secret",
            Self::LockedPages => "mlock",
            Self::Unlocked => "unlocked",
        })
    }
}

/// Protected memory could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// The pages could not be locked and the policy requires it.
    #[error("{call} of {bytes} bytes failed: {errno} (RLIMIT_MEMLOCK is {})", Limit(*.limit))]
    Lock {
        /// The call that failed.
        call: &'static str,
        /// Bytes wanted, whole pages.
        bytes: usize,
        /// What the kernel said.
        errno: Errno,
        /// `RLIMIT_MEMLOCK` at that moment in bytes, `None` when unlimited.
        limit: Option<u64>,
    },
    /// The pages could not be mapped or protected.
    #[error("{call} of {bytes} bytes failed: {errno}")]
    Map {
        /// The call that failed.
        call: &'static str,
        /// Bytes wanted, whole pages.
        bytes: usize,
        /// What the kernel said.
        errno: Errno,
    },
    /// Nothing, or more than the address space holds, was asked for.
    #[error("a locked region of {bytes} bytes makes no sense")]
    Size {
        /// Bytes wanted.
        bytes: usize,
    },
}

struct Limit(Option<u64>);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "{bytes} bytes"),
            None => f.write_str("unlimited"),
        }
    }
}
