//! Why changes are refused.
//!
//! Must never say more than names, numbers and states.

use alloc::string::String;

use super::{Action, MAX_KEYS, MAX_NOTE_BYTES};
use crate::keyring::{self, KeyringError, MAX_VERSIONS, State};

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
    /// The life of the key or version does not go on like that.
    #[error(transparent)]
    Life(#[from] LifeError),
    /// The keyring refused, is full, or there were no random bytes.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// Why the life of a key does not go on as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifeError {
    /// Only the key's name is left.
    #[error("the key is destroyed; its name stays taken")]
    KeyDestroyed,
    /// The key has no version of this number.
    #[error("the key has no version {version}")]
    NoSuchVersion {
        /// Its number.
        version: u32,
    },
    /// The state of the version does not allow it.
    #[error("version {version} is {} and cannot be {action}", .state.as_str())]
    WrongState {
        /// Its number.
        version: u32,
        /// The state it is in.
        state: State,
        /// What was asked for.
        action: Action,
    },
    /// A version is staged already.
    #[error("version {version} is staged already: promote it, or disable and destroy it")]
    StagedExists {
        /// Its number.
        version: u32,
    },
    /// A rotation because of a compromise came after this version was made.
    #[error("version {version} is older than a rotation because of a compromise: stage another one")]
    OlderThanCompromise {
        /// Its number.
        version: u32,
    },
    /// [`crate::keyring::Reason::None`] was given.
    #[error("a rotation has a reason")]
    NoReason,
    /// A staged version changes nothing yet, so it is no ground to serve a stopped key again.
    #[error("staging a version lifts no brake")]
    StagingLiftsNothing,
    /// The key's secret came from somewhere else, and so must the next one.
    #[error("a foreign program's key is not rotated")]
    ClassNotRotated,
    /// The key has [`MAX_VERSIONS`] already.
    #[error("the key has {MAX_VERSIONS} versions already: make a new key")]
    TooManyVersions,
    /// Somebody still needs what would be destroyed.
    #[error("version {version} is still needed: {why}")]
    StillNeeded {
        /// Its number.
        version: u32,
        /// What needs it, for the operator.
        why: String,
    },
    /// A key is stopped before it is destroyed.
    #[error("a key is destroyed only while it is disabled or compromised")]
    NotStopped,
    /// The key `default` is used wherever none is named.
    #[error("the key default is never destroyed as a whole")]
    DefaultStays,
    /// A setting that cannot be.
    #[error("{setting} {rule}")]
    UnfitSetting {
        /// Its name.
        setting: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
    /// A key of another environment holds the same secret.
    #[error("the key {other} of another environment has the same secret")]
    SameSecret {
        /// Name of that key.
        other: String,
    },
}
