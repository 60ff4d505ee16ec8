//! Files and folders of our own: made private, opened without following links, replaced whole.
//!
//! Write new, fsync, rename, fsync the folder (docs/ARCHITECTURE.md, "Crash discipline"). An error of
//! fsync is final: nothing here tries again and believes it.

mod walk;

use std::{
    ffi::{OsStr, OsString},
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

#[cfg(target_env = "gnu")]
use nix::fcntl::{RenameFlags, renameat2};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, Flock, FlockArg, OFlag, openat, renameat},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, geteuid, linkat, unlinkat},
};

/// What could not be done, to which path, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {error}", path.display())]
pub(crate) struct FileError {
    /// Verb and object, such as `open`.
    pub(crate) action: &'static str,
    /// The path concerned.
    pub(crate) path: PathBuf,
    /// The system's reason.
    pub(crate) error: io::Error,
}

impl FileError {
    /// Verb and object, the path concerned, and why.
    pub(crate) fn new(action: &'static str, path: &Path, error: impl Into<io::Error>) -> Self {
        Self { action, path: path.to_path_buf(), error: error.into() }
    }
}

/// Makes a folder and its parents with mode 0700; what exists stays as it is and must be safe.
pub(crate) fn make_private_folder(path: &Path) -> Result<(), FileError> {
    if walk::check(path, geteuid().as_raw())? {
        return Ok(());
    }
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| FileError::new("create folder", path, error))?;
    // A file in a folder that a power loss takes away is lost with it.
    for parent in missing.iter().filter_map(|folder| folder.parent()) {
        let synced = open_folder(parent)?.sync_all();
        synced.map_err(|error| FileError::new("sync folder", parent, error))?;
    }
    Ok(())
}

/// Refuses a folder that somebody else could change, or put another one in its place.
pub(crate) fn check_private_folder(path: &Path, me: u32) -> Result<(), FileError> {
    if walk::check(path, me)? {
        return Ok(());
    }
    Err(FileError::new("examine folder", path, io::Error::from(io::ErrorKind::NotFound)))
}

/// A lock held for life on a file of its own.
pub(crate) struct LockFile(#[expect(dead_code, reason = "held, never read")] Flock<File>);

/// Takes an exclusive lock; `None` when another process holds it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<LockFile>, FileError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|error| FileError::new("open lock file", path, error))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(LockFile(lock))),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(FileError::new("lock", path, errno)),
    }
}

/// Reads a regular file of at most `limit` bytes; `None` when it does not exist.
pub(crate) fn read_whole(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    let flags = OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits() | OFlag::O_NOCTTY.bits();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::new("open", path, error)),
    };
    let metadata = file.metadata().map_err(|error| FileError::new("examine", path, error))?;
    if !metadata.is_file() {
        return Err(FileError::new(
            "read",
            path,
            io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"),
        ));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| FileError::new("read", path, error))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::new(
            "read",
            path,
            io::Error::new(io::ErrorKind::FileTooLarge, "larger than it can be"),
        ));
    }
    Ok(Some(bytes))
}

/// A new content beside its target: written and synced, not yet in place.
#[must_use]
pub(crate) struct Staged {
    folder: File,
    temporary: OsString,
    name: OsString,
    path: PathBuf,
    placed: bool,
}

/// Writes a whole new file `<name>.tmp` beside `path` and syncs it.
pub(crate) fn stage(path: &Path, content: &[u8]) -> Result<Staged, FileError> {
    stage_as(path, ".tmp", content)
}

/// The same with another ending of the temporary name.
fn stage_as(path: &Path, ending: &str, content: &[u8]) -> Result<Staged, FileError> {
    let (folder_path, name) = split(path)?;
    let folder = open_folder(folder_path)?;
    let mut temporary = name.to_os_string();
    temporary.push(ending);
    remove_if_there(&folder, &temporary, path)?;
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_WRONLY;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = openat(&folder, temporary.as_os_str(), flags, mode)
        .map_err(|error| FileError::new("create", path, error))?;
    // From here on the guard removes the temporary file unless it is placed.
    let staged =
        Staged { folder, temporary, name: name.to_os_string(), path: path.to_path_buf(), placed: false };
    let mut file = File::from(file);
    file.write_all(content).map_err(|error| FileError::new("write", path, error))?;
    file.sync_all().map_err(|error| FileError::new("sync", path, error))?;
    Ok(staged)
}

impl Staged {
    /// Renames it into place, replacing what was there, and syncs the folder.
    pub(crate) fn place(mut self) -> Result<(), FileError> {
        renameat(&self.folder, self.temporary.as_os_str(), &self.folder, self.name.as_os_str())
            .map_err(|error| FileError::new("rename", &self.path, error))?;
        self.placed = true;
        self.sync_folder()
    }

    /// Gives it its name unless something has that name already, and syncs the folder.
    fn place_new(mut self) -> Result<(), FileError> {
        let (from, to) = (self.temporary.as_os_str(), self.name.as_os_str());
        match rename_new(&self.folder, from, to) {
            Ok(()) => self.placed = true,
            // Not with this file system (NFS) or C library: a second name, and the first one goes on drop.
            Err(Errno::EINVAL) => linkat(&self.folder, from, &self.folder, to, AtFlags::empty())
                .map_err(|error| FileError::new("create", &self.path, error))?,
            Err(error) => return Err(FileError::new("create", &self.path, error)),
        }
        self.sync_folder()
    }

    fn sync_folder(&self) -> Result<(), FileError> {
        self.folder.sync_all().map_err(|error| FileError::new("sync the folder of", &self.path, error))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.placed {
            // The error that led here is the one to tell; a left-over `.tmp` is removed at the next start.
            let _ = unlinkat(&self.folder, self.temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Replaces a file whole: stage and place.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    stage(path, content)?.place()
}

/// Makes a file that must not exist yet, with mode 0600, synced together with its folder.
///
/// No lock: whoever may read a folder may hold a lock on it for ever. Each caller writes a temporary file
/// of its own, and only one of them gets the name. One that is killed may leave a `.tmp` that nobody uses.
pub(crate) fn create_new(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut random = [0; 8];
    keyagent_sys::random::fill(&mut random).map_err(|error| FileError::new("create", path, error.errno))?;
    let staged = stage_as(path, &format!(".{:016x}.tmp", u64::from_ne_bytes(random)), content)?;
    staged.place_new()
}

/// Removes a file and syncs the folder; nothing there is no error.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    let (folder_path, name) = split(path)?;
    let folder = open_folder(folder_path)?;
    match unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => folder.sync_all().map_err(|error| FileError::new("sync the folder of", path, error)),
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(FileError::new("remove", path, errno)),
    }
}

/// Gives a file another name in the same folder, replacing what has it, and syncs the folder.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    std::fs::rename(from, to).map_err(|error| FileError::new("rename", to, error))?;
    let synced = open_folder(split(to)?.0)?.sync_all();
    synced.map_err(|error| FileError::new("sync the folder of", to, error))
}

/// Removes a `.tmp` that a killed predecessor left; only under the store's lock.
pub(crate) fn remove_stale_temporary(path: &Path) -> Result<(), FileError> {
    let (folder_path, name) = split(path)?;
    let mut temporary = name.to_os_string();
    temporary.push(".tmp");
    remove_if_there(&open_folder(folder_path)?, &temporary, path)
}

fn split(path: &Path) -> Result<(&Path, &OsStr), FileError> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok((folder, name)),
        _ => Err(FileError::new("use path", path, io::Error::from(io::ErrorKind::InvalidInput))),
    }
}

/// Renames, but never over something; `EINVAL` where that cannot be done in one step.
#[cfg(target_env = "gnu")]
fn rename_new(folder: &File, from: &OsStr, to: &OsStr) -> nix::Result<()> {
    renameat2(folder, from, folder, to, RenameFlags::RENAME_NOREPLACE)
}

/// nix knows renameat2 with the GNU library only.
#[cfg(not(target_env = "gnu"))]
fn rename_new(_: &File, _: &OsStr, _: &OsStr) -> nix::Result<()> {
    Err(Errno::EINVAL)
}

fn open_folder(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_DIRECTORY.bits())
        .open(path)
        .map_err(|error| FileError::new("open folder", path, error))
}

fn remove_if_there(folder: &File, name: &OsStr, path: &Path) -> Result<(), FileError> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(FileError::new("remove the temporary file of", path, errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_replaced_file_is_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(create_new(&path, b"x").is_err());
    }

    #[test]
    fn a_staged_file_that_is_not_placed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"old").unwrap();
        drop(stage(&path, b"new").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_on_the_folder_of_a_new_file_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let (path, open) = (folder.path().join("key"), File::open(folder.path()).unwrap());
        let lock = Flock::lock(open, FlockArg::LockExclusiveNonblock).unwrap();
        let (sender, made) = std::sync::mpsc::channel();
        let there = path.clone();
        std::thread::spawn(move || sender.send(create_new(&there, b"new").is_ok()));
        assert_eq!(made.recv_timeout(std::time::Duration::from_secs(10)), Ok(true));
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        drop(lock);
    }

    #[test]
    fn of_many_who_make_a_file_one_does_and_what_is_there_is_never_replaced() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let (path, gate) = (folder.path().join("key"), std::sync::Barrier::new(4));
            let contents: Vec<Vec<u8>> = (1..5).map(|n: u8| vec![n; 1000 * usize::from(n)]).collect();
            let made: Vec<Vec<u8>> = std::thread::scope(|scope| {
                let make = |content: &Vec<u8>| {
                    gate.wait();
                    create_new(&path, content).is_ok().then(|| content.clone())
                };
                let all: Vec<_> = contents.iter().map(|content| scope.spawn(move || make(content))).collect();
                all.into_iter().filter_map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(made, [std::fs::read(&path).unwrap()]);
            let refused = create_new(&path, b"later").unwrap_err();
            assert_eq!(refused.error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(&path).unwrap(), made[0]);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
        }
    }

    #[test]
    fn links_and_large_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("f"), folder.path().join("l"));
        std::fs::write(&file, [0; 10]).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(read_whole(&link, 100).is_err());
        assert!(read_whole(&file, 9).is_err());
        assert_eq!(read_whole(&file, 10).unwrap().unwrap().len(), 10);
        assert!(read_whole(&folder.path().join("none"), 9).unwrap().is_none());
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = try_lock(&path).unwrap();
        assert!(first.is_some() && try_lock(&path).unwrap().is_none());
        drop(first);
        assert!(try_lock(&path).unwrap().is_some());
    }
}
