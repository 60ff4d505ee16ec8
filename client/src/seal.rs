//! Encrypting one input: up to 1 MiB as one message, beyond that as a stream in constant memory.
//!
//! Plaintext is kept in buffers that are wiped; nothing plain is ever written.

use keyagent_client::{Connection, DataKeyPair};
use keyagent_common::{
    context::Context,
    envelope::{Envelope, Kind, OVERHEAD_BYTES, to_text},
    error::ErrorCode,
    frame::MAX_MESSAGE_BYTES,
    name::KeyName,
    op::{Encrypt, EncryptRequest},
    report::Report,
    stream::{CHUNK_PLAINTEXT_BYTES, CHUNK_SEALED_BYTES, SALT_BYTES, Sealer, StreamError, StreamSealer},
};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::{
    armor::{ArmorEncoder, STREAM_PREFIX},
    failure::{Failure, cannot_read},
    input::{Input, fill},
    output::Output,
    session::Session,
};

/// Chunks that are written at once.
const CHUNKS_AT_ONCE: usize = 16;

/// What to seal with.
pub(crate) struct SealRequest<'a> {
    pub(crate) key: KeyName<'a>,
    pub(crate) context: Context<'a>,
    pub(crate) armor: bool,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// `message` or `stream`.
    pub(crate) kind: &'static str,
    pub(crate) plaintext_bytes: u64,
    pub(crate) version: u32,
}

/// Encrypts the input into the output; the output still has to be finished.
pub(crate) fn seal(
    session: &mut Session<'_>,
    request: &SealRequest<'_>,
    input: &mut Input,
    output: &mut Output,
) -> Result<Sealed, Failure> {
    if input.look_ahead(MAX_MESSAGE_BYTES + 1)?.len() > MAX_MESSAGE_BYTES {
        return seal_stream(session, request, input, output);
    }
    let plaintext = input.look_ahead(0)?;
    let connection = session.data_connection()?;
    let call = EncryptRequest { key: request.key.as_str(), context: request.context.as_bytes(), plaintext };
    let reply = connection.call::<Encrypt>(&call)?;
    check_envelope(reply.envelope, plaintext.len())?;
    if request.armor {
        let mut text = to_text(reply.envelope).map_err(|error| not_sealed(&error))?;
        text.push('\n');
        output.write(text.as_bytes())?;
    } else {
        output.write(reply.envelope)?;
    }
    Ok(Sealed { kind: "message", plaintext_bytes: plaintext.len() as u64, version: reply.version })
}

/// A reply that is no ciphertext of the right size must never be taken for one.
fn check_envelope(envelope: &[u8], plaintext_bytes: usize) -> Result<(), Failure> {
    match Envelope::parse(envelope) {
        Ok(parsed) if parsed.kind == Kind::Message && envelope.len() == plaintext_bytes + OVERHEAD_BYTES => {
            Ok(())
        }
        _ => Err(not_sealed(&"the reply is no encrypted message of the right size").into()),
    }
}

fn not_sealed(why: &dyn ToString) -> Report {
    Report::new(ErrorCode::Malformed, "the agent's reply is no ciphertext; nothing was written")
        .why(why.to_string())
}

fn seal_stream(
    session: &mut Session<'_>,
    request: &SealRequest<'_>,
    input: &mut Input,
    output: &mut Output,
) -> Result<Sealed, Failure> {
    let (sealer, header, version) = begin(session.data_connection()?, request)?;
    let mut writer = Writer { output, armor: request.armor.then(ArmorEncoder::default) };
    if writer.armor.is_some() {
        writer.output.write(STREAM_PREFIX.as_bytes())?;
    }
    writer.write(&header)?;
    let mut block = Zeroizing::new(vec![0; CHUNKS_AT_ONCE * CHUNK_SEALED_BYTES]);
    let mut sealer = StreamSealer::new(sealer);
    let mut plaintext_bytes = 0;
    loop {
        let (state, filled, plain) = seal_block(sealer, input, &mut block)?;
        plaintext_bytes += plain;
        writer.write(block.get(..filled).unwrap_or_default())?;
        match state {
            Some(next) => sealer = next,
            None => break,
        }
    }
    writer.finish()?;
    Ok(Sealed { kind: "stream", plaintext_bytes, version })
}

fn begin(
    connection: &mut Connection,
    request: &SealRequest<'_>,
) -> Result<(Sealer, [u8; keyagent_common::stream::HEADER_BYTES], u32), Failure> {
    let DataKeyPair { plain, envelope, version } =
        connection.data_key(request.key, request.context, Kind::StreamKey)?;
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| {
        Report::new(ErrorCode::Internal, "the system gives no randomness").why(error.to_string())
    })?;
    let (sealer, header) = Sealer::new(plain.expose_secret(), &envelope, &salt, request.context)
        .map_err(|error| not_sealed(&error))?;
    Ok((sealer, header, version))
}

/// Seals up to [`CHUNKS_AT_ONCE`] chunks; no state is left after the last one.
/// Also the sealed bytes in the block and the plaintext bytes they hold.
fn seal_block(
    mut sealer: StreamSealer,
    input: &mut Input,
    block: &mut [u8],
) -> Result<(Option<StreamSealer>, usize, u64), Failure> {
    let (mut filled, mut plain) = (0, 0);
    for slot in block.chunks_exact_mut(CHUNK_SEALED_BYTES) {
        let Some((chunk, tag)) = slot.split_first_chunk_mut::<CHUNK_PLAINTEXT_BYTES>() else { break };
        let count = read_chunk(input, chunk)?;
        plain += count as u64;
        if count < CHUNK_PLAINTEXT_BYTES {
            let (rest, _) = slot.split_at_mut_checked(count).ok_or_else(too_long)?;
            let last = sealer.finish(rest).map_err(stream_failure)?;
            let end = slot.get_mut(count..count + last.len()).ok_or_else(too_long)?;
            end.copy_from_slice(&last);
            return Ok((None, filled + count + last.len(), plain));
        }
        tag.copy_from_slice(&sealer.seal(chunk).map_err(stream_failure)?);
        filled += CHUNK_SEALED_BYTES;
    }
    Ok((Some(sealer), filled, plain))
}

fn read_chunk(input: &mut Input, chunk: &mut [u8]) -> Result<usize, Failure> {
    let count = fill(input, chunk);
    count.map_err(|error| cannot_read(input.name(), &error).into())
}

fn stream_failure(error: StreamError) -> Report {
    let code = match error {
        StreamError::TooManyChunks => ErrorCode::TooLarge,
        _ => ErrorCode::Internal,
    };
    Report::new(code, "the input cannot be encrypted").why(error.to_string())
}

fn too_long() -> Report {
    stream_failure(StreamError::Truncated)
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
