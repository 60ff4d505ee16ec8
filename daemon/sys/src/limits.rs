//! Resource limits of this process, as numbers for messages and budgets.
//!
//! Must never change a limit: `harden` does that.

use nix::sys::resource::{Resource, getrlimit};

/// Bytes an unprivileged process may lock (`RLIMIT_MEMLOCK`, soft), or `None` when unlimited or unreadable.
///
/// A process with `CAP_IPC_LOCK` is not held to it.
pub fn memlock_limit() -> Option<u64> {
    soft(Resource::RLIMIT_MEMLOCK)
}

/// Descriptors this process may have open (`RLIMIT_NOFILE`, soft), or `None` when unlimited or unreadable.
pub fn descriptor_limit() -> Option<u64> {
    soft(Resource::RLIMIT_NOFILE)
}

fn soft(resource: Resource) -> Option<u64> {
    getrlimit(resource).ok().map(|(soft, _)| soft).filter(|soft| *soft != nix::libc::RLIM_INFINITY)
}
