//! Opening a stream from its beginning to its end, its chunks on all cores.
//!
//! It must never let a byte out whose chunk was not authenticated, nor call a stream whole whose last
//! chunk was not opened.

use std::io::{ErrorKind, PipeWriter, Read};

use keyagent_common::{
    context::Context,
    stream::{CHUNK_SEALED_BYTES, ChunkPlace, HEADER_BYTES, Opener, StreamError, StreamHeader},
};
use secrecy::ExposeSecret;
use zeroize::Zeroize;

use super::{
    BLOCK_BYTES, CHUNKS_AT_ONCE, bulk,
    turns::{self, Block, Steps},
};
use crate::{
    failure::{Failure, cannot_read},
    input::fill,
    open::{OpenRequest, Opened, does_not_open, refused},
    output::Output,
    progress::Progress,
    session::Session,
};

/// Where a stream comes from.
pub(crate) struct Source<'i, R> {
    /// From its first byte.
    pub(crate) bytes: &'i mut R,
    /// How errors call it.
    pub(crate) name: &'i str,
    /// Its length in bytes, where that is known.
    pub(crate) length: Option<u64>,
    /// Ends a read that waits, when dropped.
    pub(crate) stop: Option<PipeWriter>,
}

/// Decrypts a stream, of any length, into the output; the output still has to be finished.
pub(crate) fn open_stream<R: Read + Send>(
    session: &mut Session<'_>,
    request: &OpenRequest<'_>,
    source: Source<'_, R>,
    output: &mut Output,
) -> Result<Opened, Failure> {
    let Source { bytes, name, length, stop } = source;
    let mut header = [0; HEADER_BYTES];
    let count = read_block(bytes, name, &mut header)?;
    let opener = begin(session, request.context, name, header.get(..count).unwrap_or_default())?;
    let mut progress = Progress::new(session.console, name, length, output);
    let mut plaintext_bytes = 0;
    let steps = Steps {
        read: |block: &mut [u8]| read_block(bytes, name, block),
        work: |block: &mut Block| Ok(open_block(&opener, block).map_err(|error| does_not_open(name, error))?),
        write: |block: &Block| {
            plaintext_bytes += block.ready as u64;
            progress.advance(block.filled as u64);
            output.write(block.bytes.get(..block.ready).unwrap_or_default())
        },
        whole: BLOCK_BYTES,
        stop,
    };
    turns::run(request.threads, steps)?;
    Ok(Opened { kind: "stream", plaintext_bytes })
}

/// The opener of a stream that begins like this; the agent opens its data key.
pub(super) fn begin(
    session: &mut Session<'_>,
    context: Context<'_>,
    name: &str,
    header: &[u8],
) -> Result<Opener, Failure> {
    let header = StreamHeader::parse(header).map_err(|error| does_not_open(name, error))?;
    let data_key = session.open_data_key(context, header.sealed_key)?;
    let data_key = data_key.map_err(|error| refused(error, name, header.sealed_key))?;
    let opener = Opener::with_backend(bulk::backend(), data_key.expose_secret(), &header, context);
    Ok(opener.map_err(|error| does_not_open(name, error))?)
}

fn read_block(input: &mut impl Read, name: &str, block: &mut [u8]) -> Result<usize, Failure> {
    fill(input, block).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => does_not_open(name, error).into(),
        _ => cannot_read(name, &error).into(),
    })
}

/// Opens the chunks of a block and moves their plaintext together. At the first one that does not open,
/// what was authenticated before it is ready all the same: a pipe gets it, and the exit code tells.
pub(super) fn open_block(opener: &Opener, block: &mut Block) -> Result<(), StreamError> {
    let Block { number, bytes, filled, ready } = block;
    let sealed = bytes.get_mut(..*filled).unwrap_or_default();
    let (mut index, mut at) = (*number * CHUNKS_AT_ONCE as u64, 0);
    loop {
        let left = sealed.len() - at;
        let (place, length) = match left {
            0 if *filled == BLOCK_BYTES => return Ok(()),
            CHUNK_SEALED_BYTES.. => (ChunkPlace::Middle, CHUNK_SEALED_BYTES),
            _ => (ChunkPlace::Last, left),
        };
        let chunk = sealed.get_mut(at..at + length).unwrap_or_default();
        let plaintext = match opener.open_chunk(index, place, chunk) {
            Ok(plaintext) => plaintext.len(),
            Err(error) => {
                // Nothing behind a chunk that was changed is worth keeping.
                sealed.get_mut(at..).unwrap_or_default().zeroize();
                return Err(error);
            }
        };
        sealed.copy_within(at..at + plaintext, *ready);
        *ready += plaintext;
        if place == ChunkPlace::Last {
            return Ok(());
        }
        (index, at) = (index + 1, at + length);
    }
}
