//! Backups: keys that leave sealed, and keys that come back (docs/FORMATS.md, section 3 "Backup").
//!
//! A page is sealed under a key that the asking client made; each secret in it once more by itself, from record to
//! record on the stack. Must never put an opened secret on the heap, take in half a page, or put anything in the
//! place of a key that differs.

use alloc::string::String;

use keyagent_common::backup::{self as format, page::MAX_KEY_BYTES};

use crate::{change::ChangeError, entropy::EntropyFailed, keyring::KeyringError};

mod create;
mod cursor;
mod elsewhere;
mod restore;
mod seal;
mod translate;

pub use create::{CreatedPage, Wanted, create_page};
pub use restore::{Restoration, RestoreRequest, Restored, Taken, restore};

/// Why a page is not made or not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// No key of this name exists.
    #[error("no key of the name {0} exists")]
    NoSuchKey(String),
    /// The names are not in order, or one occurs twice.
    #[error("the names of the keys do not ascend")]
    NamesNotAscending,
    /// What says where the page before ended is not from here.
    #[error("the request does not go on from a page of this backup")]
    BadCursor,
    /// The keyring is another one than when the first page was made.
    #[error("the keyring was changed while it was backed up")]
    ChangedMeanwhile,
    /// More is said about the key than a page can hold.
    #[error("more than {MAX_KEY_BYTES} bytes are said about the key {0}")]
    TooMuchSaid(String),
    /// Wrong key, changed page: not told apart.
    #[error("the page does not open with this backup key")]
    DoesNotOpen,
    /// It opens, and what it says cannot be.
    #[error("the page is none that this program makes: {0}")]
    Malformed(&'static str),
    /// The bytes are no page.
    #[error("not a page of a backup: {0}")]
    NotAPage(#[from] format::BackupError),
    /// The keyring cannot hold it, or refuses.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The keyring refuses, is full, or there were no random bytes.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

impl From<EntropyFailed> for BackupError {
    fn from(failed: EntropyFailed) -> Self {
        Self::Keyring(failed.into())
    }
}

#[cfg(test)]
mod tests;
