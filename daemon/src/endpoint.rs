//! The socket in the file system: one listener, made private before it is visible, removed at the end.
//!
//! Must never unlink anything but a socket of ours, and only under the lock beside it.

use std::{
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use keyagent_common::{error::ErrorCode, layout::MAX_SOCKET_PATH_BYTES, report::Report};
use keyagent_sys::peer;
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
};

use crate::{
    files::{self, LockFile},
    store,
};

/// A bound socket and the lock that guards its place.
pub(crate) struct Endpoint {
    path: PathBuf,
    inode: u64,
    _lock: LockFile,
}

impl Endpoint {
    /// Takes the lock, clears a stale socket away, and listens.
    pub(crate) fn bind(path: &Path) -> Result<(Self, OwnedFd), Report> {
        check_path(path)?;
        let folder = path.parent().unwrap_or(path);
        files::make_private_folder(folder).map_err(|error| store::failed(&error))?;
        files::check_private_folder(folder, peer::effective_uid()).map_err(|error| store::failed(&error))?;
        let mut lock_path = path.as_os_str().to_os_string();
        lock_path.push(".lock");
        let lock = files::try_lock(Path::new(&lock_path)).map_err(|error| store::failed(&error))?;
        let lock = lock.ok_or_else(|| already_running(path))?;
        clear_stale(path)?;
        let listener = keyagent_sys::socket::listen_private(path, 0o600).map_err(|error| {
            Report::new(ErrorCode::Configuration, "cannot listen on the socket")
                .fact("socket", path.display().to_string())
                .why(error.to_string())
                .fix("choose another place with --socket")
        })?;
        let metadata = std::fs::symlink_metadata(path).map_err(|error| {
            Report::new(ErrorCode::InputOutput, "the socket vanished while it was made")
                .why(error.to_string())
        })?;
        Ok((Self { path: path.to_path_buf(), inode: metadata.ino(), _lock: lock }, listener))
    }

    /// Removes the socket if it is still the one that was bound.
    pub(crate) fn remove(self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            // If it cannot be removed it is stale, and the next start clears it away.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn check_path(path: &Path) -> Result<(), Report> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let why = if bytes.len() > MAX_SOCKET_PATH_BYTES {
        format!("it has {} bytes; the kernel takes {MAX_SOCKET_PATH_BYTES}", bytes.len())
    } else if !path.is_absolute() || bytes.contains(&0) {
        "it is not an absolute path in the file system".to_owned()
    } else {
        return Ok(());
    };
    Err(Report::new(ErrorCode::Configuration, "the socket's path cannot be used")
        .fact("socket", path.display().to_string())
        .why(why)
        .fix("choose another place with --socket"))
}

/// Under the lock nobody of ours listens: a socket of mine at the path that takes no connection is a left-over.
fn clear_stale(path: &Path) -> Result<(), Report> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let mine = metadata.file_type().is_socket() && metadata.uid() == peer::effective_uid();
    if mine && is_answered(path) {
        // Its lock was removed, or it is another program's.
        return Err(already_running(path));
    }
    if mine && std::fs::remove_file(path).is_ok() {
        return Ok(());
    }
    Err(Report::new(ErrorCode::Configuration, "something else stands where the socket belongs")
        .fact("socket", path.display().to_string())
        .why("it is no socket of this user, so it is left alone")
        .fix("remove it, or choose another place with --socket"))
}

/// Whether somebody listens there; asked without waiting, since a full queue is an answer too.
fn is_answered(path: &Path) -> bool {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let asked = UnixAddr::new(path).and_then(|address| {
        let asking = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(asking.as_raw_fd(), &address)
    });
    !matches!(asked, Err(Errno::ECONNREFUSED | Errno::ENOENT))
}

fn already_running(path: &Path) -> Report {
    Report::new(ErrorCode::AlreadyRunning, "refusing to start: another daemon listens on this socket")
        .fact("socket", path.display().to_string())
        .fix("keyagent status")
}
