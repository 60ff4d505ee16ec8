//! A listening Unix socket whose file is never more open than it is meant to be.
//!
//! Must never unlink anything, never make an abstract socket, and never touch the process's umask:
//! folder checks, the lock file and stale sockets are the caller's work.

#![expect(unsafe_code, reason = "nix has no SO_PASSRIGHTS")]

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstat};
use nix::unistd::{Gid, fchownat};

/// Longest path that fits into a socket address with its closing NUL, in bytes.
pub const MAX_SOCKET_PATH: usize = 107;

/// `SO_PASSRIGHTS`, Linux 6.16: whether descriptors may be received (the libc crate lacks it for x86-64).
const SO_PASSRIGHTS: libc::c_int = 83;

/// The listening socket could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// The path does not fit into a socket address.
    #[error("socket path {path:?} is {bytes} bytes long, at most {MAX_SOCKET_PATH} fit")]
    PathTooLong {
        /// The path asked for.
        path: PathBuf,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The path is empty, relative, abstract (`@`) or contains a NUL byte.
    #[error("socket path {path:?} is not an absolute file path")]
    NotAFilePath {
        /// The path asked for.
        path: PathBuf,
    },
    /// The mode has bits outside 0777.
    #[error("socket mode {mode:o} has bits outside 0777")]
    BadMode {
        /// The mode asked for.
        mode: u32,
    },
    /// A system call failed.
    #[error("{call} for socket {path:?} failed: {errno}")]
    Failed {
        /// The call that failed.
        call: &'static str,
        /// The path asked for; empty when the socket has none yet.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
}

/// Makes a non-blocking, close-on-exec stream listener at `path`, whose file ends with exactly `mode` and, where
/// one is given, `group`.
///
/// At no moment is the file open to anybody whom that would not let in: it is bound with the owner's part of the
/// mode alone (set on the socket before `bind`; a umask can take away from it but add nothing), is given to the
/// group, only then gets its mode, and nobody can connect before the last step, `listen`. Expects a folder in which
/// nobody but root and this user can replace a file. Whatever already exists at `path` stays and makes `bind` fail
/// with `EADDRINUSE`; after a later failure the file stays as it is then. Passed descriptors are refused where the
/// kernel can do it.
pub fn make_listener(path: &Path, mode: u32, group: Option<u32>) -> Result<OwnedFd, SocketError> {
    let failed = |call| move |errno| SocketError::Failed { call, path: path.to_owned(), errno };
    check_path(path)?;
    let mode = Mode::from_bits(mode)
        .filter(|bits| Mode::from_bits_truncate(0o777).contains(*bits))
        .ok_or(SocketError::BadMode { mode })?;
    let address = UnixAddr::new(path).map_err(failed("sockaddr_un"))?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed("socket"))?;
    fchmod(&listener, mode & Mode::S_IRWXU).map_err(failed("fchmod"))?;
    set_pass_rights_off(&listener).map_err(failed("setsockopt(SO_PASSRIGHTS)"))?;
    bind(listener.as_raw_fd(), &address).map_err(failed("bind"))?;
    open_to_group(path, mode, group).map_err(|(call, errno)| failed(call)(errno))?;
    // -1 asks for the system's maximum (net.core.somaxconn, 4096); musl's SOMAXCONN is only 128.
    listen(&listener, Backlog::MAXALLOWABLE).map_err(failed("listen"))?;
    Ok(listener)
}

/// Gives the socket file just bound its group, then its mode, and looks whether both arrived.
fn open_to_group(path: &Path, mode: Mode, group: Option<u32>) -> Result<(), (&'static str, Errno)> {
    let look = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = open(path, look, Mode::empty()).map_err(|errno| ("open", errno))?;
    let look_again = || fstat(&file).map_err(|errno| ("fstat", errno));
    let bound = look_again()?;
    if SFlag::from_bits_truncate(bound.st_mode) & SFlag::S_IFMT != SFlag::S_IFSOCK {
        return Err(("open", Errno::ENOTSOCK));
    }
    if let Some(group) = group.filter(|group| *group != bound.st_gid) {
        let group = Some(Gid::from_raw(group));
        // By its descriptor: a socket cannot be opened for fchown.
        fchownat(&file, "", None, group, AtFlags::AT_EMPTY_PATH).map_err(|errno| ("chown", errno))?;
    }
    let has_mode = |found: &FileStat| found.st_mode & 0o7777 == mode.bits();
    if !has_mode(&bound) {
        // A path, since a descriptor of O_PATH takes no mode before Linux 6.6; never through a link.
        fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink).map_err(|errno| ("chmod", errno))?;
    }
    let found = look_again()?;
    let same_group = group.is_none_or(|group| group == found.st_gid);
    if has_mode(&found) && same_group { Ok(()) } else { Err(("chmod", Errno::ESTALE)) }
}

/// Tells the kernel to refuse descriptors sent to this socket; connections accepted from it inherit that.
///
/// Returns whether the kernel knows the option (Linux 6.16 and later).
pub fn refuse_passed_descriptors(socket: BorrowedFd<'_>) -> Result<bool, SocketError> {
    set_pass_rights_off(&socket).map_err(|errno| SocketError::Failed {
        call: "setsockopt(SO_PASSRIGHTS)",
        path: PathBuf::new(),
        errno,
    })
}

fn check_path(path: &Path) -> Result<(), SocketError> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.first() != Some(&b'/') || bytes.contains(&0) {
        return Err(SocketError::NotAFilePath { path: path.to_owned() });
    }
    if bytes.len() > MAX_SOCKET_PATH {
        return Err(SocketError::PathTooLong { path: path.to_owned(), bytes: bytes.len() });
    }
    Ok(())
}

fn set_pass_rights_off(socket: &impl AsRawFd) -> Result<bool, Errno> {
    let off: libc::c_int = 0;
    let length = libc::socklen_t::try_from(mem::size_of_val(&off)).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel reads one c_int from `off`, which lives for the call and has the length given.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, (&raw const off).cast(), length)
    };
    match Errno::result(result) {
        Ok(_) => Ok(true),
        Err(Errno::ENOPROTOOPT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests;
