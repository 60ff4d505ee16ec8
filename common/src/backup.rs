//! A backup: the bytes of its file and of the pages in it (docs/FORMATS.md, section 3 "Backup").
//!
//! Splits, joins, and checks what needs no cipher: lengths, checksum, and the code over the whole file. Must never
//! hold a secret of a key; the backup key is borrowed and never kept. What is read is a claim until
//! [`Backup::verify`] agreed.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::kdf;

mod fields;
mod file;
pub mod page;
mod protection;
pub mod share;
#[cfg(test)]
mod tests;

pub use file::{Backup, Contents, assemble, is_backup};
pub use protection::{PassphraseProtection, Protection};

/// Bytes of a backup key.
pub const KEY_BYTES: usize = 32;
/// Most bytes of a file.
pub const MAX_FILE_BYTES: usize = 96 << 20;
/// Bytes of a sealed master key: nonce, key, tag.
pub const SEALED_MASTER_BYTES: usize = 24 + 32 + 16;

/// Derives the key that seals the body of pages.
pub const PAGE_LABEL: &str = "backup page";
/// Derives the key that seals each secret in a page.
pub const RECORD_LABEL: &str = "backup record";
/// Derives the key that seals the master key.
pub const MASTER_LABEL: &str = "backup master";
/// Derives the key of the code over the whole file.
const WHOLE_LABEL: &str = "backup whole";

/// Why bytes are no backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// Another beginning than a backup has.
    #[error("it is no backup of keyagent")]
    NotABackup,
    /// Made by a newer program.
    #[error("it is a backup of version {0}, which this program does not know")]
    UnknownVersion(u8),
    /// It ends early.
    #[error("it ends early")]
    Truncated,
    /// It is not what was written.
    #[error("its checksum is wrong: it was damaged, or changed")]
    Checksum,
    /// A field that cannot be.
    #[error("{0}")]
    Malformed(&'static str),
    /// The backup key is that of another backup.
    #[error("the key is that of another backup")]
    AnotherKey,
    /// Somebody changed it and made the checksum anew.
    #[error("it was changed by somebody without its key")]
    Changed,
}

/// Which keyring a backup is of, and which state of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Random id of the keyring.
    pub keyring_id: [u8; 16],
    /// How often its master key was rotated, from 1.
    pub epoch: u32,
    /// Number of the commit.
    pub generation: u64,
}

/// Bytes of an [`Origin`].
const ORIGIN_BYTES: usize = 28;

impl Origin {
    /// As it stands in files and pages.
    pub fn bytes(&self) -> [u8; ORIGIN_BYTES] {
        let Self { keyring_id, epoch, generation } = self;
        fields::join(&[keyring_id, &epoch.to_le_bytes(), &generation.to_le_bytes()])
    }
}

/// The public name of a backup; it commits to the backup key.
pub fn id(backup_key: &[u8; KEY_BYTES]) -> [u8; 32] {
    let mut id = [0; 32];
    kdf::derive(backup_key, "backup id", &[], &mut id);
    id
}

/// How the audit log names a backup: the first 16 bytes of SHA-256 of its id.
pub fn fingerprint(id: &[u8; 32]) -> [u8; 16] {
    let mut short = [0; 16];
    for (place, byte) in short.iter_mut().zip(Sha256::digest(id)) {
        *place = byte;
    }
    short
}

/// Associated data of the sealed master key: label, id of the backup, fingerprint of the master key.
pub fn master_associated_data(id: &[u8; 32], fingerprint: &[u8; 16]) -> Vec<u8> {
    [b"keyagent/v1 backup master\0".as_slice(), id, fingerprint].concat()
}
