//! The peer's process, by a descriptor that never comes to mean another one.

#![expect(unsafe_code, reason = "nix has no PIDFD_GET_INFO")]

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};

/// Asks for the control group (`PIDFD_INFO_CGROUPID`).
const CGROUP_ID: u64 = 1 << 2;

/// `struct pidfd_info` in its first version, of 64 bytes; libc's grows with the kernel's.
#[repr(C)]
struct Info {
    mask: u64,
    cgroup: u64,
    /// Numbers of the process and its users, which change over its life.
    _rest: [u64; 6],
}

/// `PIDFD_GET_INFO`.
const GET_INFO: libc::Ioctl = libc::_IOWR::<Info>(0xFF, 11);

/// A descriptor of the process that connected (`SO_PEERPIDFD`, Linux 6.5).
///
/// `None` where the kernel does not know it, or gives none for a process that is gone.
pub fn pidfd(socket: BorrowedFd<'_>) -> Option<OwnedFd> {
    getsockopt(&socket, PeerPidfd).ok()
}

/// The number of the control group (of version 2) that a process is in now (`PIDFD_GET_INFO`, Linux 6.13).
///
/// `None` on older kernels, and for a process that is gone or outside of this pid namespace.
pub fn cgroup_id(pidfd: BorrowedFd<'_>) -> Option<u64> {
    let mut info = Info { mask: CGROUP_ID, cgroup: 0, _rest: [0; 6] };
    // SAFETY: the number holds the size of `info`, so the kernel reads and writes only there; any bit pattern is
    // valid in its integers, and it lives for the call.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO, &raw mut info) };
    // What the kernel filled in, it says.
    (Errno::result(result).is_ok() && info.mask & CGROUP_ID != 0).then_some(info.cgroup)
}

/// Whether a process has not ended. While it has not, nobody else has its number.
///
/// `false` whenever that is not certain.
pub fn is_alive(pidfd: BorrowedFd<'_>) -> bool {
    // Readable once the last thread has ended, whoever asks: a signal 0 would need permission.
    poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(0)
}
