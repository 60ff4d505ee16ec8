//! The cipher under the chunks: AES-256-GCM with 12-byte nonces (NIST SP 800-38D, RFC 5116).
//!
//! [`portable`] is the one of this crate; whoever seals in bulk may bring a faster one as a [`Backend`].
//! Neither chooses a nonce, and neither may be called twice to seal with the same one.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use alloc::boxed::Box;

/// A chunk was not sealed or does not open; nothing more is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// AES-256-GCM under one key, for any number of threads. It wipes the key when it is dropped.
pub trait ChunkAead: Send + Sync {
    /// Encrypts in place and returns the tag.
    fn seal(&self, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> Result<[u8; 16], Refused>;

    /// Checks the tag and decrypts in place. On a refusal `data` holds no plaintext.
    fn open(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), Refused>;
}

/// Makes the cipher for a 32-byte key. Every backend gives the same bytes.
pub type Backend = fn(&[u8; 32]) -> Box<dyn ChunkAead>;

/// The backend that works on every processor: the crate `aes-gcm`.
pub fn portable(key: &[u8; 32]) -> Box<dyn ChunkAead> {
    Box::new(Aead::new(key))
}

/// Expanded key; on the heap so that a move copies a pointer and no key schedule, wiped on drop.
pub(super) struct Aead(Box<Aes256Gcm>);

impl Aead {
    /// Expands a 32-byte key.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Box::new(Aes256Gcm::new(key.into())))
    }
}

impl ChunkAead for Aead {
    fn seal(&self, nonce: &[u8; 12], associated: &[u8], data: &mut [u8]) -> Result<[u8; 16], Refused> {
        let tag =
            self.0.encrypt_inout_detached(nonce.into(), associated, data.into()).map_err(|_| Refused)?;
        Ok(tag.into())
    }

    /// On a refusal `data` is untouched ciphertext.
    fn open(
        &self,
        nonce: &[u8; 12],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), Refused> {
        self.0.decrypt_inout_detached(nonce.into(), associated, data.into(), tag.into()).map_err(|_| Refused)
    }
}
