//! Sealing a stream: its data key from the agent, its chunks on all cores.
//!
//! It must never give two chunks one number.

use std::io::Read;

use keyagent_client::DataKeyPair;
use keyagent_common::{
    envelope::Kind,
    error::ErrorCode,
    report::Report,
    stream::{
        CHUNK_PLAINTEXT_BYTES, CHUNK_SEALED_BYTES, ChunkPlace, HEADER_BYTES, SALT_BYTES, Sealer, StreamError,
        TAG_BYTES,
    },
};
use secrecy::ExposeSecret;

use super::{
    CHUNKS_AT_ONCE, bulk,
    turns::{self, Block, Steps},
};
use crate::{
    armor::{ArmorEncoder, STREAM_PREFIX},
    failure::{Failure, cannot_read},
    input::{Input, fill},
    output::Output,
    progress::Progress,
    seal::{SealRequest, Sealed, not_sealed},
    session::Session,
};

/// Plaintext of a whole block.
const BLOCK_PLAINTEXT_BYTES: usize = CHUNKS_AT_ONCE * CHUNK_PLAINTEXT_BYTES;

/// Encrypts the input, of any length, into the output; the output still has to be finished.
pub(crate) fn seal_stream(
    session: &mut Session<'_>,
    request: &SealRequest<'_>,
    input: &mut Input,
    output: &mut Output,
) -> Result<Sealed, Failure> {
    let (sealer, header, version) = begin(session, request)?;
    let mut progress = Progress::new(session.console, input.name(), input.length(), output);
    let mut writer = Writer { output, armor: request.armor.then(ArmorEncoder::default) };
    if writer.armor.is_some() {
        writer.output.write(STREAM_PREFIX.as_bytes())?;
    }
    writer.write(&header)?;
    let stop = input.interruptible(request.threads)?;
    let name = input.name().to_owned();
    let mut plaintext_bytes = 0;
    let steps = Steps {
        read: |block: &mut [u8]| read_block(input, block).map_err(|error| cannot_read(&name, &error).into()),
        work: |block: &mut Block| Ok(seal_block(&sealer, block).map_err(stream_failure)?),
        write: |block: &Block| {
            plaintext_bytes += block.filled as u64;
            progress.advance(block.filled as u64);
            writer.write(block.bytes.get(..block.ready).unwrap_or_default())
        },
        whole: BLOCK_PLAINTEXT_BYTES,
        stop,
    };
    turns::run(request.threads, steps)?;
    writer.finish()?;
    Ok(Sealed { kind: "stream", plaintext_bytes, version })
}

fn begin(
    session: &mut Session<'_>,
    request: &SealRequest<'_>,
) -> Result<(Sealer, [u8; HEADER_BYTES], u32), Failure> {
    let DataKeyPair { plain, envelope, version } =
        session.data_connection()?.data_key(request.key, request.context, Kind::StreamKey)?;
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| {
        Report::new(ErrorCode::Internal, "the system gives no randomness").why(error.to_string())
    })?;
    let sealer =
        Sealer::with_backend(bulk::backend(), plain.expose_secret(), &envelope, &salt, request.context);
    let (sealer, header) = sealer.map_err(|error| not_sealed(&error))?;
    Ok((sealer, header, version))
}

/// Each chunk where its ciphertext will stand, with room for the tag behind it.
pub(super) fn read_block(input: &mut impl Read, block: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    for slot in block.chunks_exact_mut(CHUNK_SEALED_BYTES) {
        let count = fill(input, slot.get_mut(..CHUNK_PLAINTEXT_BYTES).unwrap_or_default())?;
        filled += count;
        if count < CHUNK_PLAINTEXT_BYTES {
            break;
        }
    }
    Ok(filled)
}

/// Seals what [`read_block`] has read. Nothing of the block may be written unless all of it was sealed.
pub(super) fn seal_block(sealer: &Sealer, block: &mut Block) -> Result<(), StreamError> {
    let (mut left, mut ready) = (block.filled, 0);
    let indices = block.number * CHUNKS_AT_ONCE as u64..;
    for (index, slot) in indices.zip(block.bytes.chunks_exact_mut(CHUNK_SEALED_BYTES)) {
        let count = left.min(CHUNK_PLAINTEXT_BYTES);
        let place = ChunkPlace::of_plaintext(count).ok_or(StreamError::ChunkLength { length: count })?;
        let (chunk, rest) = slot.split_at_mut_checked(count).ok_or(StreamError::Truncated)?;
        let tag = rest.first_chunk_mut::<TAG_BYTES>().ok_or(StreamError::Truncated)?;
        *tag = sealer.seal_chunk(index, place, chunk)?;
        (left, ready) = (left - count, ready + count + TAG_BYTES);
        if place == ChunkPlace::Last {
            break;
        }
    }
    block.ready = ready;
    Ok(())
}

fn stream_failure(error: StreamError) -> Report {
    let code = match error {
        StreamError::TooManyChunks => ErrorCode::TooLarge,
        _ => ErrorCode::Internal,
    };
    Report::new(code, "the input cannot be encrypted").why(error.to_string())
}

/// The output of a stream, as bytes or as text.
struct Writer<'o> {
    output: &'o mut Output,
    armor: Option<ArmorEncoder>,
}

impl Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match &mut self.armor {
            Some(armor) => self.output.write(armor.push(bytes).as_bytes()),
            None => self.output.write(bytes),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        let Some(armor) = self.armor else { return Ok(()) };
        let mut text = armor.finish();
        text.push('\n');
        self.output.write(text.as_bytes())
    }
}
