//! The way to a folder of our own: every component of its path, from `/` on.
//!
//! Whoever can replace one component replaces everything below it, and all files there are opened by
//! path. So nobody but root and this process's user may be able to (docs/ARCHITECTURE.md, "Files").

use std::{
    io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sys::stat::{FileStat, Mode, SFlag, fstat},
};

use super::FileError;

/// To look at a folder without opening it; a link is looked at itself.
const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// Group or others may write.
const WRITABLE: u32 = 0o022;
/// Only its owner, the folder's and root may rename or remove what is in a folder.
const STICKY: u32 = 0o1000;
const ROOT: u32 = 0;

/// Checks a folder and everything above it. `Ok(false)` when the path ends before its last component.
pub(super) fn check(path: &Path, me: u32) -> Result<bool, FileError> {
    let failed = |at: &Path, errno: Errno| FileError::new("examine folder", at, errno);
    let mut components = path.components().peekable();
    if components.next() != Some(Component::RootDir) {
        return Err(refused(path, "its path is not absolute"));
    }
    let mut at = PathBuf::from("/");
    let mut folder = open("/", LOOK, Mode::empty()).map_err(|errno| failed(&at, errno))?;
    let mut shared = check_one(&at, &folder, me, false, components.peek().is_none())?;
    while let Some(component) = components.next() {
        // `..` is the folder that was passed before: no link leads anywhere else.
        at.push(component);
        folder = match openat(&folder, component.as_os_str(), LOOK, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::ENOENT) => return Ok(false),
            Err(errno) => return Err(failed(&at, errno)),
        };
        shared = check_one(&at, &folder, me, shared, components.peek().is_none())?;
    }
    Ok(true)
}

/// Checks one component; whether it is a folder in which everybody may make files, as `/tmp`.
fn check_one(at: &Path, folder: &OwnedFd, me: u32, in_shared: bool, last: bool) -> Result<bool, FileError> {
    let found = fstat(folder).map_err(|errno| FileError::new("examine folder", at, errno))?;
    judge(&found, me, in_shared, last).map_err(|why| refused(at, &why))
}

fn judge(found: &FileStat, me: u32, in_shared: bool, last: bool) -> Result<bool, String> {
    let (owner, mode) = (found.st_uid, found.st_mode & 0o7777);
    match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => {}
        SFlag::S_IFLNK => return Err("it is a symbolic link; use the path behind it".into()),
        _ => return Err("it is no folder".into()),
    }
    if owner != me && owner != ROOT {
        return Err(format!("it belongs to another user (uid {owner})"));
    }
    if in_shared && owner != me {
        return Err(format!("in a folder for everybody it must be your own (uid {owner})"));
    }
    if mode & WRITABLE == 0 {
        return Ok(false);
    }
    if owner == ROOT && mode & STICKY != 0 && !last {
        return Ok(true);
    }
    Err(format!("others may write to it (mode {mode:04o})"))
}

fn refused(path: &Path, why: &str) -> FileError {
    FileError::new("use folder", path, io::Error::new(io::ErrorKind::PermissionDenied, why))
}

#[cfg(test)]
mod tests;
