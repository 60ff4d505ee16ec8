//! Who is at the other end of a local socket, by the kernel's word only.
//!
//! Must never look at a name, a message or anything else the peer itself could have written, and must
//! never fill in what the kernel did not say.

#![expect(unsafe_code, reason = "nix has no SO_PEERGROUPS")]

mod process;
#[cfg(test)]
mod tests;

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

pub use process::{cgroup_id, is_alive, pidfd};

/// What Linux uses when a user or group has no number in this namespace, unless configured otherwise.
const DEFAULT_OVERFLOW_ID: u32 = 65_534;
/// Most supplementary groups a process can have (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;
/// Room for groups at the first attempt; hardly anybody has more.
const USUAL_GROUPS: usize = 32;

/// The credentials of a peer at the moment it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id; advisory, since numbers are used again. 0 when it has none in this namespace.
    pub pid: i32,
}

/// The kernel did not say who the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("getsockopt({option}) failed: {errno}")]
pub struct PeerError {
    /// What was asked.
    pub option: &'static str,
    /// What the kernel said.
    pub errno: Errno,
}

/// Reads the credentials of the peer of a connected Unix socket (`SO_PEERCRED`).
pub fn credentials(socket: BorrowedFd<'_>) -> Result<Peer, PeerError> {
    let found =
        getsockopt(&socket, PeerCredentials).map_err(|errno| PeerError { option: "SO_PEERCRED", errno })?;
    Ok(Peer { uid: found.uid(), gid: found.gid(), pid: found.pid() })
}

/// Reads the supplementary groups that the peer held when it connected (`SO_PEERGROUPS`, Linux 4.13).
///
/// In the kernel's order, and without the primary group unless it is a supplementary one too. A group without a
/// number in this namespace shows as the overflow group. Fails rather than leave one out.
pub fn groups(socket: BorrowedFd<'_>) -> Result<Vec<u32>, PeerError> {
    let mut found = vec![0; USUAL_GROUPS];
    loop {
        let room = found.len();
        match read_groups(socket, &mut found) {
            Ok(count) => {
                found.truncate(count);
                return Ok(found);
            }
            // They do not change after connecting, so the second attempt has room enough.
            Err((Errno::ERANGE, needed)) if needed > room && needed <= MAX_GROUPS => found.resize(needed, 0),
            Err((errno, _)) => return Err(PeerError { option: "SO_PEERGROUPS", errno }),
        }
    }
}

/// The number of groups read; or the error, with the number of groups there are when it is `ERANGE`.
fn read_groups(socket: BorrowedFd<'_>, room: &mut [u32]) -> Result<usize, (Errno, usize)> {
    let invalid = |_| (Errno::EINVAL, 0);
    let mut bytes = libc::socklen_t::try_from(mem::size_of_val(room)).map_err(invalid)?;
    // SAFETY: the kernel writes at most `bytes` bytes to `room`, which is that long, lives for the call and
    // takes any bit pattern; it writes the length to `bytes`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            room.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    let count = usize::try_from(bytes).map_err(invalid)? / mem::size_of::<libc::gid_t>();
    match Errno::result(result) {
        Ok(_) => Ok(count),
        Err(errno) => Err((errno, count)),
    }
}

/// The user and group numbers that stand for "somebody without a number here"; refuse both always.
///
/// Opens two files: call it before a system call filter is in place. Unreadable files give 65534.
pub fn overflow_ids() -> (u32, u32) {
    (overflow_id("/proc/sys/kernel/overflowuid"), overflow_id("/proc/sys/kernel/overflowgid"))
}

/// The effective user id of this process.
pub fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn overflow_id(path: &str) -> u32 {
    std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(DEFAULT_OVERFLOW_ID)
}
