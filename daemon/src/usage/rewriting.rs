//! The counts under the next root of the keyring: written beside the file before that keyring is put in place, and
//! renamed after it was. Killed in between, the next start finds the one of the two that belongs to its keyring.

use std::{
    path::{Path, PathBuf},
    sync::MutexGuard,
};

use keyagent_core::usage::{Journal, Rewrite};
use keyagent_sys::memory::LockedArena;

use super::{Key, KeyUsage, place::Place};
use crate::{
    clock,
    files::{self, FileError},
};

/// Counts under two roots. Dropped without [`Self::finish`], those of the present one stay.
#[must_use]
pub(crate) struct Rewriting<'u> {
    usage: &'u KeyUsage,
    /// Held: what is reserved meanwhile would be missing under the next root.
    journal: MutexGuard<'u, Journal<LockedArena, Place>>,
    key: Key,
    rewrite: Rewrite,
    /// Whether the file for the next root is there.
    staged: bool,
}

impl<'u> Rewriting<'u> {
    pub(super) fn begin(usage: &'u KeyUsage, key: Key) -> Self {
        let journal = usage.journal();
        let rewrite = usage.with_everything(|all| journal.rewrite(&key, all));
        let written = files::replace(&next(&usage.path), &rewrite.bytes);
        if let Err(error) = &written {
            // The counts are written under the new root as soon as something is reserved; only a crash before that
            // loses them.
            crate::report::warn(error);
        }
        Self { usage, journal, key, rewrite, staged: written.is_ok() }
    }

    /// The keyring with the next root is in place: its counts are those that count.
    pub(crate) fn finish(mut self) {
        if !std::mem::take(&mut self.staged) {
            return;
        }
        if place(&next(&self.usage.path), &self.usage.path) {
            self.journal.file().forget();
            self.journal.rewritten(&self.key, &self.rewrite);
        } else {
            self.journal.not_rewritten(clock::unix_seconds());
        }
        self.usage.mirror(&self.journal);
        self.usage.active.notify_one();
    }
}

impl Drop for Rewriting<'_> {
    fn drop(&mut self) {
        if self.staged
            && let Err(error) = files::remove(&next(&self.usage.path))
        {
            crate::report::warn(&error);
        }
    }
}

/// Where the file for the next root lies.
pub(crate) fn next(path: &Path) -> PathBuf {
    path.with_extension("next")
}

/// Puts it in the place of the present one; whether that is certain.
pub(super) fn place(next: &Path, path: &Path) -> bool {
    let placed: Result<(), FileError> = files::rename(next, path);
    placed.inspect_err(|error| crate::report::warn(error)).is_ok()
}
