//! Requests that change keys: each turns a keyring into a changed [`Draft`] and what to answer and to
//! record (docs/FORMATS.md, section 3 "Keyring file").
//!
//! Nothing is committed here: the caller stores the draft, confirms it, then answers. Must never let a
//! brake be weakened or a timer be put off by asking again.

use alloc::string::String;

use keyagent_common::name::KeyName;

use crate::{
    arena::Arena,
    keyring::{self, Draft, Key, Keyring, KeyringError},
};

mod access;
mod brake;
mod create;

pub use access::{AccessChange, RecordedAccess, begin_access, record_access};
pub use brake::{Enabled, disable, enable};
pub use create::{Created, MAX_KEYS, MAX_NOTE_BYTES, create_key};

/// Which keys a change is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection<'n> {
    /// The key of this name, which must exist.
    One(KeyName<'n>),
    /// All keys: the kill switch.
    All,
}

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// A key of this name exists.
    #[error("a key of this name exists")]
    Exists,
    /// No key of this name exists.
    #[error("no key of this name exists")]
    NoSuchKey,
    /// The key is compromised, and lifting that was not asked for.
    #[error("the key is marked as compromised")]
    IsCompromised,
    /// The note is longer than [`MAX_NOTE_BYTES`].
    #[error("the note is longer than {MAX_NOTE_BYTES} bytes")]
    NoteTooLong,
    /// The reason is longer than [`keyring::MAX_REASON_BYTES`] or holds control characters.
    #[error(
        "a reason has at most {} bytes and neither control characters nor line ends",
        keyring::MAX_REASON_BYTES
    )]
    UnfitReason,
    /// The keyring holds [`MAX_KEYS`] already.
    #[error("the keyring holds {MAX_KEYS} keys already")]
    TooManyKeys,
    /// No operation exists for keys of this class yet.
    #[error("keys of this class cannot be made yet")]
    ClassNotOffered,
    /// A subject is empty or holds control characters.
    #[error("somebody with access to the key {key} has a name that cannot be written down")]
    UnfitSubject {
        /// Name of the key.
        key: String,
    },
    /// The list of subjects is longer than [`keyring::MAX_ACCESS_BYTES`].
    #[error("the list of who has access to the key {key} is longer than {} bytes", keyring::MAX_ACCESS_BYTES)]
    AccessTooLong {
        /// Name of the key.
        key: String,
    },
    /// The keyring refused, is full, or there were no random bytes.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

impl Selection<'_> {
    fn covers(self, key: &Key) -> bool {
        match self {
            Self::One(name) => key.name == name.as_str(),
            Self::All => true,
        }
    }

    /// A draft of a keyring that holds what is selected.
    fn draft<A: Arena>(self, keyring: &Keyring<A>) -> Result<Draft<A>, ChangeError> {
        match self {
            Self::One(name) if keyring.find(name.as_str()).is_none() => Err(ChangeError::NoSuchKey),
            _ => Ok(keyring.draft()),
        }
    }
}

fn check_reason(reason: &str) -> Result<(), ChangeError> {
    if keyring::is_reason(reason) { Ok(()) } else { Err(ChangeError::UnfitReason) }
}

#[cfg(test)]
mod tests;
