//! One rotation of a master key at a time: who holds the lock may believe what it saw.
//!
//! A locked file beside the next key, removed at the end. Killed, the lock is gone with the process, and the file that
//! stays means nothing. Must never wait: who comes second is told so.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use keyagent_common::{error::ErrorCode, report::Report};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag},
};

use crate::key_file;

/// How often the file may be taken away by whoever had it before, between being opened and being locked.
const TRIES: u32 = 8;

/// The right to change the files of one rotation; given back when dropped.
pub(super) struct Lock {
    path: PathBuf,
    /// Held until the name is gone.
    file: Flock<File>,
}

impl Lock {
    /// Takes it, for the rotation whose next key is in this file; none where nobody can change the files at all.
    ///
    /// Errors: `BUSY` if another command has it, `CANNOT_CREATE` if there is no file to lock, and what the folders
    /// above a key file may be refused for.
    pub(super) fn take(next: &Path) -> Result<Option<Self>, Report> {
        key_file::examine_folders(next)?;
        let mut path = next.as_os_str().to_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        for _ in 0..TRIES {
            let opened = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
                .open(&path);
            let file = match opened {
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => return Ok(None),
                Err(error) => return Err(no_lock(&path, &error)),
                Ok(file) => file,
            };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) if is_named(&file, &path) => return Ok(Some(Self { path, file })),
                Ok(_) => {}
                Err((_, Errno::EWOULDBLOCK)) => return Err(busy(&path)),
                Err((_, errno)) => return Err(no_lock(&path, &errno.into())),
            }
        }
        Err(busy(&path))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if is_named(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a file still has its name: a lock on another one keeps nobody out.
fn is_named(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(file), Ok(named)) => identity(file) == identity(named),
        _ => false,
    }
}

fn busy(path: &Path) -> Report {
    Report::new(ErrorCode::Busy, "another command is rotating this master key, or giving a rotation up")
        .fact("lock", path.display().to_string())
        .why("two at once would take each other's key files away")
        .fix("wait until it has ended, look with keyagent status, then run this again")
}

fn no_lock(path: &Path, error: &io::Error) -> Report {
    Report::new(ErrorCode::CannotCreate, "cannot lock the files of the rotation")
        .fact("lock", path.display().to_string())
        .why(error.to_string())
        .fix("run this as the owner of the key file; a lock file of a killed command can be removed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_and_nothing_is_left_behind() {
        let base = std::env::var_os("HOME").map(PathBuf::from).unwrap().join(".cache");
        fs::create_dir_all(&base).unwrap();
        let folder = tempfile::tempdir_in(base).unwrap();
        let next = folder.path().join("key.next");
        let first = Lock::take(&next).unwrap().unwrap();
        assert_eq!(Lock::take(&next).map(|_| ()).unwrap_err().code, ErrorCode::Busy);
        drop(first);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        // What a killed command left is no lock.
        fs::write(folder.path().join("key.next.lock"), "").unwrap();
        let second = Lock::take(&next).unwrap().unwrap();
        // Somebody took the file away: it is no longer the one that others lock.
        fs::remove_file(&second.path).unwrap();
        fs::write(&second.path, "").unwrap();
        assert!(!is_named(&second.file, &second.path));
    }
}
