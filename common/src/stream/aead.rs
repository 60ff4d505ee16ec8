//! The cipher under the chunks: AES-256-GCM with 12-byte nonces (NIST SP 800-38D, RFC 5116).
//!
//! The one file to change for another backend. It chooses no nonce and must never be called twice to
//! seal with the same one.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use alloc::boxed::Box;

/// A chunk was not sealed or does not open; nothing more is said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// Expanded key; on the heap so that a move copies a pointer and no key schedule, wiped on drop.
pub(super) struct Aead(Box<Aes256Gcm>);

impl Aead {
    /// Expands a 32-byte key.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Box::new(Aes256Gcm::new(key.into())))
    }

    /// Encrypts in place and returns the tag.
    pub(super) fn seal(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; 16], Refused> {
        let tag =
            self.0.encrypt_inout_detached(nonce.into(), associated, data.into()).map_err(|_| Refused)?;
        Ok(tag.into())
    }

    /// Checks the tag, then decrypts in place; on a refusal `data` is untouched ciphertext.
    pub(super) fn open(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), Refused> {
        self.0.decrypt_inout_detached(nonce.into(), associated, data.into(), tag.into()).map_err(|_| Refused)
    }
}
