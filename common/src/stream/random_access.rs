//! Sealing and opening single chunks, in any order and on any number of threads.
//!
//! The caller gives each chunk its number and says whether it is the last. It must never seal two
//! different chunks under one number: that repeats a nonce. [`super::StreamSealer`] counts by itself.

use super::{
    Backend, ChunkPlace, HEADER_BYTES, MAGIC, SALT_BYTES, SEALED_KEY_BYTES, StreamError, StreamHeader,
    TAG_BYTES, derivation::ChunkCipher, header, portable,
};
use crate::context::Context;
use subtle::ConstantTimeEq;

/// Seals the chunks of one stream (docs/FORMATS.md, "Stream"; <https://c2sp.org/chunked-encryption>).
pub struct Sealer(ChunkCipher);

impl Sealer {
    /// Begins a stream; returns its 177-byte header, which is written first.
    ///
    /// `data_key`: 32 uniform bytes. `sealed_key`: the same key in an envelope of kind 02, else
    /// [`StreamError::SealedKeyKind`]. `salt`: 24 fresh random bytes, never used before under this data
    /// key. `context` is bound by the commitment and not stored.
    pub fn new(
        data_key: &[u8; 32],
        sealed_key: &[u8; SEALED_KEY_BYTES],
        salt: &[u8; SALT_BYTES],
        context: Context<'_>,
    ) -> Result<(Self, [u8; HEADER_BYTES]), StreamError> {
        Self::with_backend(portable, data_key, sealed_key, salt, context)
    }

    /// As [`Sealer::new`], with a cipher of the caller's choice; the stream has the same bytes.
    pub fn with_backend(
        backend: Backend,
        data_key: &[u8; 32],
        sealed_key: &[u8; SEALED_KEY_BYTES],
        salt: &[u8; SALT_BYTES],
        context: Context<'_>,
    ) -> Result<(Self, [u8; HEADER_BYTES]), StreamError> {
        header::check_sealed_key(sealed_key)?;
        let (cipher, commitment) = ChunkCipher::derive(backend, data_key, salt, [MAGIC, context.as_bytes()]);
        Ok((Self(cipher), header::encode(sealed_key, salt, &commitment)))
    }

    /// Encrypts chunk `index` in place and returns its tag; the stream holds `chunk || tag`.
    ///
    /// A middle chunk has exactly 16384 bytes, the last one 0 to 16383; every stream ends with a last
    /// chunk. Errors: [`StreamError::ChunkLength`], [`StreamError::TooManyChunks`]; `chunk` is then wiped,
    /// so that no caller writes plaintext where ciphertext belongs.
    pub fn seal_chunk(
        &self,
        index: u64,
        place: ChunkPlace,
        chunk: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], StreamError> {
        self.0.seal(index, place, chunk)
    }
}

/// Opens the chunks of one stream (docs/FORMATS.md, "Stream"; <https://c2sp.org/chunked-encryption>).
pub struct Opener(ChunkCipher);

impl Opener {
    /// Compares the commitment, in constant time, before any chunk; [`StreamError::Commitment`] if data
    /// key, salt or context are not those of the sealer.
    pub fn new(
        data_key: &[u8; 32],
        header: &StreamHeader<'_>,
        context: Context<'_>,
    ) -> Result<Self, StreamError> {
        Self::with_backend(portable, data_key, header, context)
    }

    /// As [`Opener::new`], with a cipher of the caller's choice.
    pub fn with_backend(
        backend: Backend,
        data_key: &[u8; 32],
        header: &StreamHeader<'_>,
        context: Context<'_>,
    ) -> Result<Self, StreamError> {
        let (cipher, commitment) =
            ChunkCipher::derive(backend, data_key, header.salt, [MAGIC, context.as_bytes()]);
        if commitment.ct_eq(header.commitment).into() {
            Ok(Self(cipher))
        } else {
            Err(StreamError::Commitment)
        }
    }

    /// Opens chunk `index` in place: `chunk` is ciphertext and tag; returns the plaintext in it.
    ///
    /// A middle chunk has exactly 16400 bytes, the last one 16 to 16399. Errors:
    /// [`StreamError::Truncated`] for a last chunk that is full or shorter than a tag,
    /// [`StreamError::ChunkLength`], [`StreamError::TooManyChunks`], [`StreamError::Chunk`]; `chunk` is
    /// then wiped. The stream is whole only once its chunk in the place [`ChunkPlace::Last`] has opened.
    pub fn open_chunk<'c>(
        &self,
        index: u64,
        place: ChunkPlace,
        chunk: &'c mut [u8],
    ) -> Result<&'c mut [u8], StreamError> {
        self.0.open(index, place, chunk)
    }
}
