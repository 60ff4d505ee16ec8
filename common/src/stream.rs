//! The stream format (docs/FORMATS.md, "Stream"): sealed data of any length, in independent chunks.
//!
//! `header 177 || chunk*`: the published standard C2SP chunked encryption, Cobblestone-256
//! (<https://c2sp.org/chunked-encryption>), behind a header that carries the sealed data key. Bytes in,
//! bytes out: nothing here reads, writes, draws randomness or opens the sealed data key.
//!
//! It must never release a byte that was not authenticated, treat a stream that ends on a full chunk as
//! whole, or leave plaintext in a buffer whose chunk failed.
//!
//! [`Sealer`] and [`Opener`] work on chunks in any order and on any number of threads;
//! [`StreamSealer`] and [`StreamOpener`] count the chunks of a pipe.

mod aead;
mod derivation;
mod header;
mod random_access;
mod sequential;

pub use aead::{Backend, ChunkAead, Refused, portable};
pub use header::StreamHeader;
pub use random_access::{Opener, Sealer};
pub use sequential::{StreamOpener, StreamSealer};

use crate::envelope;

/// The first 16 bytes of a stream of this version.
pub const MAGIC: &[u8; 16] = b"keyagent/stream\x01";
/// Bytes of the sealed data key in the header: an envelope of kind 02.
pub const SEALED_KEY_BYTES: usize = envelope::DATA_KEY_BYTES;
/// Bytes of the salt in the header.
pub const SALT_BYTES: usize = 24;
/// Bytes of the commitment in the header.
pub const COMMITMENT_BYTES: usize = 32;
/// Bytes before the first chunk.
pub const HEADER_BYTES: usize = 177;
/// Plaintext bytes of every chunk but the last, which is always shorter.
pub const CHUNK_PLAINTEXT_BYTES: usize = 16_384;
/// Bytes of the tag after each chunk.
pub const TAG_BYTES: usize = 16;
/// Sealed bytes of every chunk but the last.
pub const CHUNK_SEALED_BYTES: usize = CHUNK_PLAINTEXT_BYTES + TAG_BYTES;
/// Most chunks of one stream, the last included (C2SP chunked encryption, "Message chunking").
pub const MAX_CHUNKS: u64 = 1 << 38;

const _: () = assert!(HEADER_BYTES == MAGIC.len() + SEALED_KEY_BYTES + SALT_BYTES + COMMITMENT_BYTES);

/// Why bytes are no stream, or a chunk was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Fewer than [`HEADER_BYTES`] bytes.
    #[error("too short for an encrypted stream: the header alone has 177 bytes")]
    HeaderTooShort,
    /// The first 15 bytes are not those of a stream.
    #[error("not an encrypted stream")]
    NotAStream,
    /// A stream, but of a version that this code does not know.
    #[error("an encrypted stream of version {0}; this program knows version 1")]
    UnknownVersion(u8),
    /// The sealed data key is not an envelope of kind 02.
    #[error("the encrypted data key of the stream is not of the kind for streams")]
    SealedKeyKind,
    /// The commitment differs: another data key, another context, or a changed header.
    #[error("the stream does not open: another key, another context, or a changed header")]
    Commitment,
    /// A chunk is changed, moved, or from another stream.
    #[error("the stream does not open: chunk {index} was changed or moved")]
    Chunk {
        /// Which chunk, from 0.
        index: u64,
    },
    /// The stream ends inside a tag or on a full chunk: something behind it is missing.
    #[error("the stream is cut off")]
    Truncated,
    /// The length of a chunk does not fit its place: only the last one is short, and it always is.
    #[error("a chunk of {length} bytes cannot stand there")]
    ChunkLength {
        /// Bytes of the chunk that was given.
        length: usize,
    },
    /// A chunk number at or above [`MAX_CHUNKS`].
    #[error("a stream has at most 2^38 chunks (4 PiB)")]
    TooManyChunks,
}

/// Where a chunk stands. The length must agree, so that a short read is an error and not a broken stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkPlace {
    /// Before the last: exactly [`CHUNK_PLAINTEXT_BYTES`] of plaintext.
    Middle,
    /// The end of the stream: 0 to [`CHUNK_PLAINTEXT_BYTES`] - 1 bytes of plaintext.
    Last,
}

impl ChunkPlace {
    /// Where a chunk of this many plaintext bytes must stand; `None` if there is no such chunk.
    pub const fn of_plaintext(length: usize) -> Option<Self> {
        match length {
            0..CHUNK_PLAINTEXT_BYTES => Some(Self::Last),
            CHUNK_PLAINTEXT_BYTES => Some(Self::Middle),
            _ => None,
        }
    }

    /// Where a chunk of this many sealed bytes must stand; `None` if there is no such chunk.
    pub const fn of_sealed(length: usize) -> Option<Self> {
        match length.checked_sub(TAG_BYTES) {
            Some(plaintext) => Self::of_plaintext(plaintext),
            None => None,
        }
    }
}

/// Length in bytes of the whole stream that seals `plaintext_len` bytes: 193 for none.
///
/// `None` at 2^52 (4 PiB) and above, which no stream holds.
pub const fn sealed_len(plaintext_len: u64) -> Option<u64> {
    let chunks = plaintext_len / CHUNK_PLAINTEXT_BYTES as u64 + 1;
    if chunks > MAX_CHUNKS {
        return None;
    }
    Some(HEADER_BYTES as u64 + plaintext_len + chunks * TAG_BYTES as u64)
}

/// Plaintext length in bytes of a whole stream of `sealed_len` bytes; `None` if no stream has that length.
///
/// A claim until the last chunk, number `plaintext_len / 16384`, has been opened as
/// [`ChunkPlace::Last`]: sizes and offsets from the end open that one first.
pub const fn plaintext_len(sealed_len: u64) -> Option<u64> {
    let Some(body) = sealed_len.checked_sub(HEADER_BYTES as u64) else { return None };
    let middle = body / CHUNK_SEALED_BYTES as u64;
    let Some(last) = (body % CHUNK_SEALED_BYTES as u64).checked_sub(TAG_BYTES as u64) else { return None };
    if middle >= MAX_CHUNKS { None } else { Some(middle * CHUNK_PLAINTEXT_BYTES as u64 + last) }
}

/// Offset in bytes of chunk `index` from the beginning of the stream; `None` if there is no such chunk.
pub const fn chunk_offset(index: u64) -> Option<u64> {
    if index >= MAX_CHUNKS { None } else { Some(HEADER_BYTES as u64 + index * CHUNK_SEALED_BYTES as u64) }
}

#[cfg(test)]
mod tests;
