//! The sockets in the file system: listeners that are never more open than configured, removed at the end.
//!
//! Must never unlink anything but a socket of ours, and only under the lock beside it. The file's mode only keeps
//! strangers away earlier: who is served is decided by the policy, connection by connection.

use std::{
    fs::{DirBuilder, Permissions, set_permissions},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use keyagent_common::{error::ErrorCode, layout::MAX_SOCKET_PATH_BYTES, report::Report};
use keyagent_sys::{
    peer,
    socket::{SocketError, make_listener},
};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
};

use crate::{
    files::{self, LockFile},
    store,
};

/// A socket file for the daemon's user alone.
pub(crate) const OWNER_ONLY: u32 = 0o600;
/// A folder through which others may pass.
const PASSABLE: u32 = 0o755;

/// A listener to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenSpec {
    /// Name that rules and the audit log call it by.
    pub(crate) name: Arc<str>,
    /// Absolute path of its socket.
    pub(crate) path: PathBuf,
    /// Mode of the socket's file: 0600, 0660 or 0666.
    pub(crate) mode: u32,
    /// Group of the socket's file; without one that of the daemon.
    pub(crate) gid: Option<u32>,
}

impl ListenSpec {
    fn admits_others(&self) -> bool {
        self.mode & !OWNER_ONLY != 0
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }
}

/// A listening socket and the name of its door.
pub(crate) struct Door {
    /// As in [`ListenSpec`].
    pub(crate) name: Arc<str>,
    /// Non-blocking, close-on-exec.
    pub(crate) listener: OwnedFd,
}

/// All bound sockets.
pub(crate) struct Endpoints(Vec<Endpoint>);

/// A bound socket and the lock that guards its place.
struct Endpoint {
    path: PathBuf,
    inode: u64,
    _lock: LockFile,
}

impl Endpoints {
    /// Listens on every socket, or on none.
    pub(crate) fn bind(specs: &[ListenSpec]) -> Result<(Self, Vec<Door>), Report> {
        check_apart(specs)?;
        let (mut bound, mut doors) = (Self(Vec::with_capacity(specs.len())), Vec::with_capacity(specs.len()));
        for spec in specs {
            let shared = |other: &ListenSpec| other.admits_others() && other.folder() == spec.folder();
            match Endpoint::bind(spec, specs.iter().any(shared)) {
                Ok((endpoint, listener)) => {
                    bound.0.push(endpoint);
                    doors.push(Door { name: Arc::clone(&spec.name), listener });
                }
                Err(report) => {
                    bound.remove();
                    return Err(report);
                }
            }
        }
        Ok((bound, doors))
    }

    /// Removes each socket that is still the one that was bound.
    pub(crate) fn remove(self) {
        self.0.into_iter().for_each(Endpoint::remove);
    }
}

impl Endpoint {
    /// Takes the lock, clears a stale socket away, and listens.
    fn bind(spec: &ListenSpec, passable: bool) -> Result<(Self, OwnedFd), Report> {
        let path = spec.path.as_path();
        check_path(path)?;
        make_folder(spec.folder(), passable)?;
        let mut lock_path = path.as_os_str().to_os_string();
        lock_path.push(".lock");
        let lock = files::try_lock(Path::new(&lock_path)).map_err(|error| store::failed(&error))?;
        let lock = lock.ok_or_else(|| already_running(path))?;
        clear_stale(path)?;
        let listener = make_listener(path, spec.mode, spec.gid).map_err(|error| {
            // What was bound but could not be opened to its group; already reported.
            let _ = clear_stale(path);
            cannot_listen(spec, &error)
        })?;
        let metadata = std::fs::symlink_metadata(path).map_err(|error| {
            Report::new(ErrorCode::InputOutput, "the socket vanished while it was made")
                .why(error.to_string())
        })?;
        Ok((Self { path: path.to_path_buf(), inode: metadata.ino(), _lock: lock }, listener))
    }

    fn remove(self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            // If it cannot be removed it is stale, and the next start clears it away.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Two doors with one name or one place could not be told apart.
fn check_apart(specs: &[ListenSpec]) -> Result<(), Report> {
    let refused = |what: &str, spec: &ListenSpec| {
        Report::new(ErrorCode::Configuration, what)
            .fact("listener", spec.name.to_string())
            .fact("socket", spec.path.display().to_string())
            .fact("mode", format!("{:04o}", spec.mode))
    };
    if specs.is_empty() {
        return Err(Report::new(ErrorCode::Configuration, "no socket to listen on is configured"));
    }
    for (number, spec) in specs.iter().enumerate() {
        if specs.iter().take(number).any(|other| other.name == spec.name || other.path == spec.path) {
            return Err(refused("two listeners have the same name or path", spec));
        }
        if !matches!(spec.mode, 0o600 | 0o660 | 0o666) {
            return Err(refused("a socket's mode is 0600, 0660 or 0666", spec));
        }
    }
    Ok(())
}

/// Makes the socket's folder where it is missing, and refuses one that others could change. It is 0700, unless
/// somebody else is to pass; an existing one keeps its mode.
fn make_folder(folder: &Path, passable: bool) -> Result<(), Report> {
    let failed = |error: files::FileError| store::failed(&error);
    if passable && std::fs::symlink_metadata(folder).is_err() {
        files::make_private_folder(folder.parent().unwrap_or(folder)).map_err(failed)?;
        let made = DirBuilder::new().mode(PASSABLE).create(folder);
        // Whatever the umask left of it.
        let made = made.and_then(|()| set_permissions(folder, Permissions::from_mode(PASSABLE)));
        made.map_err(|error| {
            Report::new(ErrorCode::InputOutput, "cannot make the socket's folder")
                .fact("folder", folder.display().to_string())
                .why(error.to_string())
        })?;
    }
    files::make_private_folder(folder).map_err(failed)?;
    files::check_private_folder(folder, peer::effective_uid()).map_err(failed)?;
    let closed = std::fs::symlink_metadata(folder).is_ok_and(|found| found.mode() & 0o011 == 0);
    if passable && closed {
        crate::report::warn(&format!(
            "nobody else gets to the socket in {}: the folder is closed to them (chmod 0755)",
            folder.display()
        ));
    }
    Ok(())
}

fn cannot_listen(spec: &ListenSpec, error: &SocketError) -> Report {
    let report = Report::new(ErrorCode::Configuration, "cannot listen on the socket")
        .fact("socket", spec.path.display().to_string())
        .why(error.to_string());
    match (error, spec.gid) {
        (SocketError::Failed { call: "chown", .. }, Some(gid)) => report.fix(format!(
            "make the daemon's user a member of group {gid} (SupplementaryGroups= in the unit)"
        )),
        _ => report.fix("choose another place with --socket"),
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

#[cfg(test)]
mod tests;
