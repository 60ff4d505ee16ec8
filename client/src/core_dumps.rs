//! No core dump of a process that handles keys and plaintexts; programs that it starts keep theirs.
//!
//! `RLIMIT_CORE` alone does not do: a handler in `core_pattern` is fed whatever the limit is. Only the
//! soft limit is lowered, so that a program started from here gets back what the user had set.

use std::sync::OnceLock;

use keyagent_common::{error::ErrorCode, report::Report};
use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, rlim_t, setrlimit},
};

/// The soft limit that was found.
static FOUND: OnceLock<rlim_t> = OnceLock::new();

/// Makes this process one that leaves no dump and that only root may look into. An exec undoes the latter.
pub(crate) fn forbid() -> Result<(), Report> {
    let refuse = |errno: nix::Error| {
        Report::new(ErrorCode::Internal, "refusing to go on: core dumps of this process cannot be prevented")
            .why(errno.to_string())
    };
    prctl::set_dumpable(false).map_err(refuse)?;
    let (soft, hard) = getrlimit(Resource::RLIMIT_CORE).map_err(refuse)?;
    let _ = FOUND.set(soft);
    if soft == 0 { Ok(()) } else { setrlimit(Resource::RLIMIT_CORE, 0, hard).map_err(refuse) }
}

/// The soft limit as it was before [`forbid`].
pub(crate) fn found() -> rlim_t {
    FOUND.get().copied().unwrap_or_default()
}

/// Sets the soft limit for the program that is about to replace this one. Dumps stay off if that fails.
pub(crate) fn restore(limit: rlim_t) {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_CORE) {
        let _ = setrlimit(Resource::RLIMIT_CORE, limit.min(hard), hard);
    }
}
