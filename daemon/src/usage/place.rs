//! The bytes of the file `counters` on the disk.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use keyagent_core::usage::{CounterFile, NotReplaced};
use nix::fcntl::OFlag;

use crate::files::{self, FileError};

/// The file, opened when something is first appended to it.
pub(super) struct Place {
    path: PathBuf,
    file: Option<File>,
}

impl Place {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), file: None }
    }

    /// Another file has the name now.
    pub(super) fn forget(&mut self) {
        self.file = None;
    }

    fn open(&mut self) -> Result<&mut File, FileError> {
        if self.file.is_none() {
            let flags = OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits() | OFlag::O_NOCTTY.bits();
            let opened = OpenOptions::new().append(true).custom_flags(flags).open(&self.path);
            self.file = Some(opened.map_err(|error| FileError::new("open", &self.path, error))?);
        }
        self.file.as_mut().ok_or_else(|| FileError::new("open", &self.path, std::io::ErrorKind::NotFound))
    }
}

impl CounterFile for Place {
    type Error = FileError;

    fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let path = self.path.clone();
        let file = self.open()?;
        file.write_all(bytes).map_err(|error| FileError::new("write", &path, error))?;
        file.sync_data().map_err(|error| FileError::new("sync", &path, error))
    }

    fn replace(&mut self, bytes: &[u8]) -> Result<(), NotReplaced<FileError>> {
        let staged = files::stage(&self.path, bytes).map_err(NotReplaced::Untouched)?;
        self.forget();
        staged.place().map_err(NotReplaced::Unclear)
    }

    fn remove(&mut self) -> Result<(), FileError> {
        self.forget();
        files::remove(&self.path)
    }
}
