//! Connecting to a socket within a time limit.
//!
//! A listener whose queue is full must never hold a caller for longer than the limit.

use std::{
    fs,
    os::{
        fd::AsRawFd,
        unix::{fs::FileTypeExt, net::UnixStream},
    },
    path::Path,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, sockopt},
        time::TimeVal,
    },
};

use crate::address::{Found, too_long};

/// The longest wait for a connection; a listener that lives takes one at once.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Connects. The stream's send timeout stays at the limit that held for connecting.
pub(crate) fn dial(path: &Path, timeout: Duration) -> Result<UnixStream, Found> {
    if too_long(path) {
        return Err(Found::PathTooLong);
    }
    let address = UnixAddr::new(path).map_err(other)?;
    let descriptor =
        socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(other)?;
    let limit = timeval(timeout.min(LONGEST_WAIT));
    socket::setsockopt(&descriptor, sockopt::SendTimeout, &limit).map_err(other)?;
    loop {
        match socket::connect(descriptor.as_raw_fd(), &address) {
            Ok(()) => return Ok(UnixStream::from(descriptor)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(explain(path, error)),
        }
    }
}

fn explain(path: &Path, error: Errno) -> Found {
    match error {
        Errno::ENOENT | Errno::ENOTDIR => Found::NoSuchFile,
        Errno::EACCES | Errno::EPERM => Found::PermissionDenied,
        Errno::EAGAIN => Found::Overloaded,
        // The kernel gives the same number for a file that is no socket.
        Errno::ECONNREFUSED => match fs::metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => Found::NotASocket,
            _ => Found::Stale,
        },
        error => other(error),
    }
}

fn other(error: Errno) -> Found {
    Found::Other(error.desc().to_owned())
}

/// At least one microsecond: zero would mean no limit.
fn timeval(limit: Duration) -> TimeVal {
    let seconds = limit.as_secs().try_into().unwrap_or(i64::MAX);
    let microseconds = limit.subsec_micros().into();
    TimeVal::new(seconds, if seconds == 0 { std::cmp::max(microseconds, 1) } else { microseconds })
}
