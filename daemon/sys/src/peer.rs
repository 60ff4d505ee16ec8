//! Who is at the other end of a local socket, by the kernel's word only.
//!
//! Must never look at a name, a message or anything else the peer itself could have written.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// What Linux uses when a user or group has no number in this namespace, unless configured otherwise.
const DEFAULT_OVERFLOW_ID: u32 = 65_534;

/// The credentials of a peer at the moment it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id; advisory, since numbers are used again.
    pub pid: i32,
}

/// The kernel did not say who the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("getsockopt(SO_PEERCRED) failed: {errno}")]
pub struct PeerError {
    /// What the kernel said.
    pub errno: Errno,
}

/// Reads the credentials of the peer of a connected Unix socket (`SO_PEERCRED`).
pub fn credentials(socket: BorrowedFd<'_>) -> Result<Peer, PeerError> {
    let found = getsockopt(&socket, PeerCredentials).map_err(|errno| PeerError { errno })?;
    Ok(Peer { uid: found.uid(), gid: found.gid(), pid: found.pid() })
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn names_this_process() {
        let (one, _two) = UnixStream::pair().unwrap();
        let peer = credentials(one.as_fd()).unwrap();
        assert_eq!(peer.uid, effective_uid());
        assert_eq!(peer.gid, nix::unistd::getegid().as_raw());
        assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
    }

    #[test]
    fn a_file_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(credentials(file.as_fd()).unwrap_err().errno, Errno::ENOTSOCK);
    }

    #[test]
    fn overflow_numbers_are_read() {
        let text = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap();
        assert_eq!(overflow_ids().0.to_string(), text.trim());
        assert_eq!(overflow_id("/nonexistent"), DEFAULT_OVERFLOW_ID);
    }
}
