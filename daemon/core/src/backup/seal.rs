//! The ciphers of a backup: its page and its secrets, under keys that the backup key gives.

use alloc::vec::Vec;

use keyagent_common::{
    backup::{
        PAGE_LABEL, RECORD_LABEL,
        page::{Page, PageHeader, SealedSecret},
    },
    kdf,
};
use zeroize::Zeroizing;

use super::BackupError;
use crate::{
    cipher::{self, NONCE_BYTES},
    entropy::Entropy,
};

/// Longest secret of any class, in bytes.
const MAX_SECRET_BYTES: usize = 1024;

/// What a backup key gives. To live on the stack alone.
pub(super) struct BackupKeys {
    page: Zeroizing<[u8; 32]>,
    record: Zeroizing<[u8; 32]>,
}

impl BackupKeys {
    pub(super) fn derive(backup_key: &[u8; 32]) -> Self {
        let derived = |label| {
            let mut key = Zeroizing::new([0; 32]);
            kdf::derive(backup_key, label, &[], &mut *key);
            key
        };
        Self { page: derived(PAGE_LABEL), record: derived(RECORD_LABEL) }
    }

    /// Seals a body, which holds no open secret.
    pub(super) fn seal_page(
        &self,
        header: &PageHeader,
        mut body: Vec<u8>,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, BackupError> {
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce)?;
        let sealed = cipher::seal_with(&self.page, &nonce, &header.associated_data(), &mut body);
        let tag = sealed.map_err(|error| BackupError::Keyring(error.into()))?;
        Ok([&header.bytes()[..], &nonce, &body, &tag].concat())
    }

    /// Opens a page's body.
    pub(super) fn open_page(&self, page: &Page<'_>) -> Result<Vec<u8>, BackupError> {
        let mut body = Vec::from(page.body);
        cipher::open_with(&self.page, page.nonce, &page.header.associated_data(), &mut body, page.tag)
            .map_err(|_| BackupError::DoesNotOpen)?;
        Ok(body)
    }

    /// Seals a secret on the stack, and lets `then` see it sealed.
    pub(super) fn seal_secret<R>(
        &self,
        (key_id, associated_data): (&[u8; 32], &[u8]),
        secret: &[u8],
        entropy: &mut dyn Entropy,
        then: impl FnOnce(SealedSecret<'_>) -> R,
    ) -> Result<R, BackupError> {
        let mut buffer = Zeroizing::new([0; MAX_SECRET_BYTES]);
        let sealed = buffer.get_mut(..secret.len()).ok_or(BackupError::Malformed("a secret is too long"))?;
        sealed.copy_from_slice(secret);
        let mut nonce = [0; NONCE_BYTES];
        if let Err(failed) = entropy.fill(&mut nonce) {
            return Err(failed.into());
        }
        let tag = cipher::seal_with(&self.record, &nonce, associated_data, sealed)
            .map_err(|error| BackupError::Keyring(error.into()))?;
        Ok(then(SealedSecret { key_id, nonce: &nonce, sealed, tag: &tag }))
    }

    /// Opens a secret on the stack, lets `then` see it, and wipes it.
    pub(super) fn with_secret<R>(
        &self,
        sealed: &SealedSecret<'_>,
        associated_data: &[u8],
        then: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, BackupError> {
        let mut buffer = Zeroizing::new([0; MAX_SECRET_BYTES]);
        let place = buffer.get_mut(..sealed.sealed.len());
        let secret = place.ok_or(BackupError::Malformed("a secret is too long"))?;
        secret.copy_from_slice(sealed.sealed);
        cipher::open_with(&self.record, sealed.nonce, associated_data, secret, sealed.tag)
            .map_err(|_| BackupError::Malformed("a secret does not open"))?;
        Ok(then(secret))
    }
}
