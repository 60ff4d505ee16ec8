//! XAES-256-GCM behind one file (docs/FORMATS.md, section 1 "Message envelope").
//!
//! The only place that names the crate `xaes-256-gcm`: thirty lines over `aes-gcm` could replace it.
//! Must never choose a nonce, copy an expanded key out of its slot, or leave anything but zeros in a
//! buffer that did not open (RUSTSEC-2023-0096).

use keyagent_common::kdf;
use xaes_256_gcm::{
    Xaes256Gcm,
    aead::{AeadInOut, KeyInit, inout::InOutBuf},
};
use zeroize::{Zeroize, Zeroizing};

use crate::arena::{Arena, ArenaFull};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;
/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;

/// The input is longer than the cipher can seal (64 GiB); no input below the caps of the formats is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too long to be sealed in one piece")]
pub struct SealError;

/// Wrong key, nonce, associated data, ciphertext or tag: not told apart, to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("does not open")]
pub struct DoesNotOpen;

/// The expanded state of one sealing key, in an arena slot (496 bytes; wiped when dropped).
pub struct MessageCipher<A: Arena> {
    state: A::Slot<Xaes256Gcm>,
}

impl<A: Arena> MessageCipher<A> {
    /// Expands `KDF(secret, "message", 32)` of a class 01 secret.
    pub fn new(arena: &A, secret: &[u8; 32]) -> Result<Self, ArenaFull> {
        let state = arena.place(|| {
            let mut key = Zeroizing::new([0; 32]);
            kdf::derive(secret, "message", &[], &mut *key);
            expand(&key)
        })?;
        Ok(Self { state })
    }

    /// Expands a key as it is: for subkeys that already are keys of the cipher.
    pub(crate) fn from_key(arena: &A, key: &[u8; 32]) -> Result<Self, ArenaFull> {
        Ok(Self { state: arena.place(|| expand(key))? })
    }

    /// Encrypts `buf` in place and returns the tag of `ad` and ciphertext.
    ///
    /// The nonce is 24 uniform random bytes, never used before with this key.
    pub fn seal_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        ad: &[u8],
        buf: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], SealError> {
        seal(&self.state, nonce, ad, buf.into())
    }

    /// Encrypts `plaintext` into `out` of the same length; else as [`Self::seal_in_place`].
    pub fn seal_into(
        &self,
        nonce: &[u8; NONCE_BYTES],
        ad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], SealError> {
        seal(&self.state, nonce, ad, InOutBuf::new(plaintext, out).map_err(|_| SealError)?)
    }

    /// Decrypts `buf` in place; on failure `buf` is all zeros.
    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        ad: &[u8],
        buf: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), DoesNotOpen> {
        open(&self.state, nonce, ad, buf, tag)
    }
}

/// Seals `buf` in place under a key used once or rarely (slots, head, records); returns the tag.
pub fn seal_with(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    ad: &[u8],
    buf: &mut [u8],
) -> Result<[u8; TAG_BYTES], SealError> {
    seal(&expand(key), nonce, ad, buf.into())
}

/// Opens `buf` in place under a key used once or rarely; on failure `buf` is all zeros.
pub fn open_with(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    ad: &[u8],
    buf: &mut [u8],
    tag: &[u8; TAG_BYTES],
) -> Result<(), DoesNotOpen> {
    open(&expand(key), nonce, ad, buf, tag)
}

fn expand(key: &[u8; 32]) -> Xaes256Gcm {
    Xaes256Gcm::new(key.into())
}

fn seal(
    state: &Xaes256Gcm,
    nonce: &[u8; 24],
    ad: &[u8],
    buf: InOutBuf<'_, '_, u8>,
) -> Result<[u8; 16], SealError> {
    match state.encrypt_inout_detached(nonce.into(), ad, buf) {
        Ok(tag) => Ok(tag.into()),
        Err(_) => Err(SealError),
    }
}

fn open(
    state: &Xaes256Gcm,
    nonce: &[u8; 24],
    ad: &[u8],
    buf: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), DoesNotOpen> {
    let opened = state.decrypt_inout_detached(nonce.into(), ad, (&mut *buf).into(), tag.into());
    if opened.is_err() {
        buf.zeroize();
        return Err(DoesNotOpen);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
