//! Sealing and opening a pipe in constant memory: one chunk after the other, counted here.
//!
//! The caller fills a buffer of one chunk; a full one goes to `seal` or `open`, and what is left at the
//! end of the input, possibly nothing, to `finish`. The types hold the rule that only the last chunk is
//! short: full chunks are arrays, and `finish` takes the state away, so nothing can follow the end. It
//! must never be dropped without `finish`: the stream would be cut off, or a cut-off stream accepted.

use super::{CHUNK_PLAINTEXT_BYTES, CHUNK_SEALED_BYTES, ChunkPlace, Opener, Sealer, StreamError, TAG_BYTES};
use zeroize::Zeroize;

/// Seals a stream from beginning to end.
#[must_use = "a stream without `finish` is cut off and will not open"]
pub struct StreamSealer {
    sealer: Sealer,
    next: u64,
}

impl StreamSealer {
    /// Begins at chunk 0.
    pub const fn new(sealer: Sealer) -> Self {
        Self { sealer, next: 0 }
    }

    /// Encrypts the next full chunk in place and returns its tag; errors as [`Sealer::seal_chunk`].
    pub fn seal(&mut self, chunk: &mut [u8; CHUNK_PLAINTEXT_BYTES]) -> Result<[u8; TAG_BYTES], StreamError> {
        let tag = self.sealer.seal_chunk(self.next, ChunkPlace::Middle, chunk)?;
        self.next += 1;
        Ok(tag)
    }

    /// Encrypts what is left, 0 to 16383 bytes, in place and returns the tag that ends the stream.
    ///
    /// A full chunk belongs to [`StreamSealer::seal`]: here it is [`StreamError::ChunkLength`].
    #[must_use = "the tag ends the stream; without it the stream is cut off"]
    pub fn finish(self, rest: &mut [u8]) -> Result<[u8; TAG_BYTES], StreamError> {
        self.sealer.seal_chunk(self.next, ChunkPlace::Last, rest)
    }
}

/// Opens a stream from beginning to end.
#[must_use = "only `finish` tells a whole stream from one that was cut off"]
pub struct StreamOpener {
    opener: Opener,
    next: u64,
    failed: Option<StreamError>,
}

impl StreamOpener {
    /// Begins at chunk 0.
    pub const fn new(opener: Opener) -> Self {
        Self { opener, next: 0, failed: None }
    }

    /// Opens the next full chunk in place and returns its plaintext; errors as [`Opener::open_chunk`],
    /// and after the first one every call is refused with it.
    ///
    /// What it returns is an authenticated prefix: a cut further on shows only in
    /// [`StreamOpener::finish`].
    pub fn open<'c>(&mut self, chunk: &'c mut [u8; CHUNK_SEALED_BYTES]) -> Result<&'c mut [u8], StreamError> {
        let opened = self.next(ChunkPlace::Middle, chunk);
        self.failed = opened.as_ref().err().copied();
        self.next += 1;
        opened
    }

    /// Opens what is left at the end of the input, 16 to 16399 bytes, and with it the stream is whole.
    ///
    /// [`StreamError::Truncated`] if less is left, also nothing: the stream ended on a full chunk.
    #[must_use = "only the result tells a whole stream from one that was cut off"]
    pub fn finish(self, rest: &mut [u8]) -> Result<&mut [u8], StreamError> {
        self.next(ChunkPlace::Last, rest)
    }

    fn next<'c>(&self, place: ChunkPlace, chunk: &'c mut [u8]) -> Result<&'c mut [u8], StreamError> {
        if let Some(error) = self.failed {
            chunk.zeroize();
            return Err(error);
        }
        self.opener.open_chunk(self.next, place, chunk)
    }
}
