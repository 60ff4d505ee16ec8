//! Reads the text of a master key from a file, into locked memory.
//!
//! What is checked is what is read: every component is opened from the folder before it, links are not
//! followed, and owner, mode and type are those of the open descriptor. Must never create or change a
//! file, never call a file that is present but unreadable absent, and never put a key byte anywhere
//! but into the caller's buffer.

mod error;

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use keyagent_sys::{bytes, descriptor};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{getegid, geteuid, getgroups, read};

use error::Kind;

pub(crate) use error::KeyFileError;

/// To look at a path without opening what it names; a link is looked at itself.
const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// To read a key file: no waiting for the writer of a pipe, no controlling terminal.
const READ: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);
/// Everything but "the owner may read and write".
const FORBIDDEN: u32 = 0o7177;
/// Group or others may write.
const WRITABLE: u32 = 0o022;
/// What a credential folder's manager may give to a group.
const GROUP_READ: u32 = 0o040;

/// Who looks after the file, and so which rules hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileRules {
    /// `~/.config/keyagent/key`, `/etc/keyagent/key`, `--key-file`: nobody but its owner has any right to it.
    Private,
    /// A folder filled by systemd, Kubernetes or a container runtime: links may stay beneath it, a group may read.
    CredentialFolder {
        /// The folder; the key's path must begin with it.
        folder: PathBuf,
    },
}

/// Reads a key file into `out` (a locked buffer) and returns its length in bytes.
///
/// A file longer than `out` is an error. On every error `out` is wiped.
#[expect(clippy::needless_pass_by_value, reason = "callers name the rules on the spot")]
pub(crate) fn read_key_text(path: &Path, rules: FileRules, out: &mut [u8]) -> Result<usize, KeyFileError> {
    Reader::this_process(path)?.read_key_text(path, &rules, out)
}

/// Checks the folders of a key file that is yet to be made, as reading it would check them.
///
/// Folders that do not exist yet are no error.
pub(crate) fn check_folders(path: &Path) -> Result<(), KeyFileError> {
    let folder = path.parent().ok_or_else(|| KeyFileError::new(path, Kind::NotPlain))?;
    match Reader::this_process(path)?.walk(folder, |_, _| false) {
        Err(error) if !error.missing() => Err(error),
        _ => Ok(()),
    }
}

/// As whom files are judged.
struct Reader {
    uid: u32,
    groups: Vec<u32>,
}

impl Reader {
    fn this_process(path: &Path) -> Result<Self, KeyFileError> {
        let groups = getgroups().map_err(|errno| failed("getgroups", path, errno))?;
        let groups = groups.into_iter().chain([getegid()]).map(nix::unistd::Gid::as_raw).collect();
        Ok(Self { uid: geteuid().as_raw(), groups })
    }

    fn read_key_text(&self, path: &Path, rules: &FileRules, out: &mut [u8]) -> Result<usize, KeyFileError> {
        let result = match rules {
            FileRules::Private => self.open_private(path),
            FileRules::CredentialFolder { folder } => self.open_credential(path, folder),
        }
        .and_then(|(file, before)| {
            self.check_file(path, rules, &file, &before)?;
            read_unchanged(path, &file, &before, out)
        });
        if result.is_err() {
            bytes::wipe(out);
        }
        result
    }

    /// Walks to the file's folder without links and opens the file in it.
    fn open_private(&self, path: &Path) -> Result<(OwnedFd, FileStat), KeyFileError> {
        let not_plain = || KeyFileError::new(path, Kind::NotPlain);
        let (folder, name) = path.parent().zip(path.file_name()).ok_or_else(not_plain)?;
        let folder = self.walk(folder, |_, _| false)?;
        let file = openat(&folder, name, READ | OFlag::O_RDONLY | OFlag::O_NOFOLLOW, Mode::empty());
        examine(path, file)
    }

    /// Walks to the credential folder without links and opens the file, wherever beneath it that is.
    fn open_credential(&self, path: &Path, folder: &Path) -> Result<(OwnedFd, FileStat), KeyFileError> {
        let outside = || KeyFileError::new(path, Kind::OutsideFolder { folder: folder.to_owned() });
        let name =
            path.strip_prefix(folder).ok().filter(|name| is_relative_and_plain(name)).ok_or_else(outside)?;
        // Kubernetes mounts its folders with mode 1777, but so that nobody can write.
        let read_only = |at: &Path, fd: &OwnedFd| {
            at == folder && fstatvfs(fd).is_ok_and(|system| system.flags().contains(FsFlags::ST_RDONLY))
        };
        let beneath = self.walk(folder, read_only)?;
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let file = openat2(&beneath, name, OpenHow::new().flags(READ | OFlag::O_RDONLY).resolve(resolve));
        match file {
            Err(Errno::EXDEV) => Err(outside()),
            // A link that leads nowhere is present, so the credential is not absent.
            Err(errno @ Errno::ENOENT) if openat(&beneath, name, LOOK, Mode::empty()).is_ok() => {
                Err(KeyFileError::new(path, Kind::Failed { call: "openat2", errno }))
            }
            file => examine(path, file),
        }
    }

    /// Opens a folder from `/` on, one component at a time, and checks each. `excused` folders may be writable.
    fn walk(&self, path: &Path, excused: impl Fn(&Path, &OwnedFd) -> bool) -> Result<OwnedFd, KeyFileError> {
        let not_plain = || KeyFileError::new(path, Kind::NotPlain);
        let mut at = PathBuf::from("/");
        let mut components = path.components();
        if components.next() != Some(Component::RootDir) {
            return Err(not_plain());
        }
        let root = open("/", LOOK, Mode::empty()).map_err(|errno| failed("open", &at, errno))?;
        self.check_folder(&at, &root, &excused)?;
        components.try_fold(root, |folder, component| {
            let Component::Normal(name) = component else { return Err(not_plain()) };
            at.push(name);
            let next =
                openat(&folder, name, LOOK, Mode::empty()).map_err(|errno| failed("open", &at, errno))?;
            self.check_folder(&at, &next, &excused)?;
            Ok(next)
        })
    }

    fn check_folder(
        &self,
        path: &Path,
        folder: &OwnedFd,
        excused: &impl Fn(&Path, &OwnedFd) -> bool,
    ) -> Result<(), KeyFileError> {
        let found = fstat(folder).map_err(|errno| failed("fstat", path, errno))?;
        let refuse = |kind| Err(KeyFileError::new(path, kind));
        match file_type(&found) {
            SFlag::S_IFDIR => {}
            SFlag::S_IFLNK => return refuse(Kind::Link),
            _ => return refuse(Kind::NotAFolder),
        }
        if !self.trusts(found.st_uid) {
            return refuse(Kind::ForeignFolder { owner: found.st_uid });
        }
        // The sticky bit does not help: it protects existing names, not those that are yet to come.
        if found.st_mode & WRITABLE != 0 && !excused(path, folder) {
            return refuse(Kind::WritableFolder { mode: found.st_mode & 0o7777, owner: found.st_uid });
        }
        Ok(())
    }

    fn check_file(
        &self,
        path: &Path,
        rules: &FileRules,
        file: &OwnedFd,
        found: &FileStat,
    ) -> Result<(), KeyFileError> {
        let refuse = |kind| Err(KeyFileError::new(path, kind));
        let mode = found.st_mode & 0o7777;
        if file_type(found) != SFlag::S_IFREG {
            return refuse(Kind::NotAFile { what: type_name(file_type(found)) });
        }
        if found.st_nlink != 1 {
            return refuse(Kind::HardLinks { count: found.st_nlink });
        }
        if !self.trusts(found.st_uid) {
            return refuse(Kind::ForeignFile { mode, owner: found.st_uid });
        }
        let managed = matches!(rules, FileRules::CredentialFolder { .. });
        let mut forbidden = mode & FORBIDDEN;
        if managed && forbidden & GROUP_READ != 0 && self.may_be_grouped(path, file, found)? {
            forbidden &= !GROUP_READ;
        }
        if forbidden == 0 { Ok(()) } else { refuse(Kind::Mode { mode, owner: found.st_uid, managed }) }
    }

    /// Whether the group that may read is one of mine, or no group at all but the mask of an access list.
    fn may_be_grouped(&self, path: &Path, file: &OwnedFd, found: &FileStat) -> Result<bool, KeyFileError> {
        if self.groups.contains(&found.st_gid) {
            return Ok(true);
        }
        descriptor::has_access_list(file.as_fd()).map_err(|error| {
            let errno = match error {
                descriptor::DescriptorError::Failed { errno, .. } => errno,
                descriptor::DescriptorError::Reserved { .. } => Errno::EBADF,
            };
            failed("fgetxattr", path, errno)
        })
    }

    fn trusts(&self, owner: u32) -> bool {
        owner == self.uid || owner == 0
    }
}

/// Takes the facts of the descriptor that will be read; nothing is looked up by name after this.
fn examine(path: &Path, file: Result<OwnedFd, Errno>) -> Result<(OwnedFd, FileStat), KeyFileError> {
    let file = file.map_err(|errno| match errno {
        Errno::ELOOP => KeyFileError::new(path, Kind::Link),
        // What the kernel says of a socket, or of a device without a driver.
        Errno::ENXIO | Errno::ENODEV => {
            KeyFileError::new(path, Kind::NotAFile { what: "a socket or device" })
        }
        _ => failed("open", path, errno),
    })?;
    let found = fstat(&file).map_err(|errno| failed("fstat", path, errno))?;
    Ok((file, found))
}

/// Reads the whole file straight into `out`, and makes sure that it stayed the same meanwhile.
fn read_unchanged(
    path: &Path,
    file: &OwnedFd,
    before: &FileStat,
    out: &mut [u8],
) -> Result<usize, KeyFileError> {
    let size = u64::try_from(before.st_size).unwrap_or(u64::MAX);
    let too_long = || KeyFileError::new(path, Kind::TooLong { size, room: out.len() });
    let wanted = usize::try_from(size).ok().filter(|wanted| *wanted <= out.len()).ok_or_else(too_long)?;
    let mut got = 0;
    while let Some(room) = out.get_mut(got..wanted).filter(|room| !room.is_empty()) {
        match read(file, room) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("read", path, errno)),
        }
    }
    let after = fstat(file).map_err(|errno| failed("fstat", path, errno))?;
    if got != wanted || identity(before) != identity(&after) {
        return Err(KeyFileError::new(path, Kind::Changed));
    }
    Ok(got)
}

/// Everything about a file that a writer, a chmod or a link would change.
fn identity(found: &FileStat) -> impl PartialEq + use<> {
    (
        (found.st_dev, found.st_ino, found.st_nlink, found.st_uid, found.st_mode),
        [found.st_size, found.st_mtime, found.st_mtime_nsec, found.st_ctime, found.st_ctime_nsec],
    )
}

fn is_relative_and_plain(name: &Path) -> bool {
    name != OsStr::new("") && name.components().all(|component| matches!(component, Component::Normal(_)))
}

fn file_type(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
}

fn type_name(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFDIR => "a folder",
        SFlag::S_IFIFO => "a pipe",
        SFlag::S_IFCHR | SFlag::S_IFBLK => "a device",
        SFlag::S_IFSOCK => "a socket",
        _ => "something else",
    }
}

fn failed(call: &'static str, path: &Path, errno: Errno) -> KeyFileError {
    KeyFileError::new(path, if errno == Errno::ENOENT { Kind::Missing } else { Kind::Failed { call, errno } })
}

#[cfg(test)]
mod tests;
