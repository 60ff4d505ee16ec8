//! A file that nobody can see until it is whole.
//!
//! Without a name where the file system can do that, so that even a killed process leaves nothing;
//! else under a random name beside the target, removed on drop. It must never touch the target before
//! [`Temporary::persist`].

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};

const MODE: u32 = 0o600;

/// An unfinished file beside its target.
pub(crate) struct Temporary {
    file: File,
    folder: PathBuf,
    /// Where it stands, if it has a name; removed on drop.
    name: Option<PathBuf>,
}

impl Temporary {
    /// Makes an empty file, readable by its owner only, in the target's folder.
    pub(crate) fn beside(target: &Path) -> io::Result<Self> {
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let nameless = OpenOptions::new()
            .read(true)
            .write(true)
            .mode(MODE)
            .custom_flags(OFlag::O_TMPFILE.bits())
            .open(&folder);
        if let Ok(file) = nameless
            && fs::symlink_metadata(descriptor_path(&file)).is_ok()
        {
            return Ok(Self { file, folder, name: None });
        }
        let name = random_name(&folder)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&name)?;
        Ok(Self { file, folder, name: Some(name) })
    }

    /// Writes to the end.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Lets others read it, too; call it before [`Self::persist`].
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.file.set_permissions(fs::Permissions::from_mode(mode))
    }

    /// Owner, group and permissions of the file that it will replace; call it before [`Self::persist`].
    ///
    /// Who may not give files away keeps what is allowed: a group or user that could not be kept gets no
    /// permission, so that nobody reads it who could not read the old one.
    pub(crate) fn resemble(&self, old: &Metadata) -> io::Result<()> {
        let own = self.file.metadata()?;
        let changes = |new: u32, old: u32| (new != old).then_some(old);
        let (user, group) = (changes(own.uid(), old.uid()), changes(own.gid(), old.gid()));
        let mut mode = old.permissions().mode() & 0o777;
        if group.is_some() && std::os::unix::fs::fchown(&self.file, None, group).is_err() {
            mode &= 0o707;
        }
        if user.is_some() && std::os::unix::fs::fchown(&self.file, user, None).is_err() {
            mode |= MODE;
        }
        self.set_mode(mode)
    }

    /// Syncs the content, then gives it the target's name. An existing target is an error unless `replace`.
    pub(crate) fn persist(self, target: &Path, replace: bool) -> io::Result<()> {
        self.sync()?;
        sync_folder(&self.place(target, replace)?)
    }

    /// Makes the content last; the first of two steps, for whoever has several files.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Makes everything last that lies on its file system, as far as that can be had; [`Self::sync`] tells whether this
    /// file does, and then has nothing left to do.
    pub(crate) fn sync_file_system(&self) {
        let _ = nix::unistd::syncfs(&self.file);
    }

    /// Which file system it lies on.
    pub(crate) fn device(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.dev())
    }

    /// Gives it the target's name, after [`Self::sync`]; the folder, which is still to be synced.
    pub(crate) fn place(mut self, target: &Path, replace: bool) -> io::Result<PathBuf> {
        if replace {
            let name = self.named()?;
            fs::rename(name, target)?;
            self.name = None;
        } else {
            self.link(target)?;
        }
        Ok(self.folder.clone())
    }

    fn link(&mut self, target: &Path) -> io::Result<()> {
        let Some(name) = &self.name else { return link_descriptor(&self.file, target) };
        match fs::hard_link(name, target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) => Ok(()),
            // A file system without links.
            Err(_) if fs::symlink_metadata(target).is_err() => {
                fs::rename(name, target)?;
                self.name = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The name it has, given now if it had none.
    fn named(&mut self) -> io::Result<&Path> {
        if self.name.is_none() {
            let name = random_name(&self.folder)?;
            link_descriptor(&self.file, &name)?;
            self.name = Some(name);
        }
        self.name.as_deref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = fs::remove_file(name);
        }
    }
}

/// Makes the names in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn link_descriptor(file: &File, name: &Path) -> io::Result<()> {
    let path = descriptor_path(file);
    Ok(nix::unistd::linkat(AT_FDCWD, &path, AT_FDCWD, name, AtFlags::AT_SYMLINK_FOLLOW)?)
}

fn descriptor_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn random_name(folder: &Path) -> io::Result<PathBuf> {
    let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(folder.join(format!(".keyagent-{number:016x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    fn named(folder: &Path) -> Temporary {
        let mut temporary = Temporary::beside(&folder.join("x")).unwrap();
        temporary.named().unwrap();
        temporary
    }

    #[test]
    fn nothing_is_left_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        for mut temporary in [Temporary::beside(&folder.path().join("x")).unwrap(), named(folder.path())] {
            temporary.write_all(b"secret").unwrap();
            drop(temporary);
        }
        assert_eq!(entries(folder.path()), 0);
    }

    #[test]
    fn an_existing_target_is_kept_unless_it_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::write(&target, "old").unwrap();
        for make in [|folder: &Path| Temporary::beside(&folder.join("target")).unwrap(), named] {
            let error = make(folder.path()).persist(&target, false).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&target).unwrap(), b"old");
        }
        let mut temporary = Temporary::beside(&target).unwrap();
        temporary.write_all(b"new").unwrap();
        temporary.persist(&target, true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(entries(folder.path()), 1);
    }
}
