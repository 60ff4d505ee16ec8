//! Decrypting one input, whatever form of ciphertext it has.
//!
//! No byte is written before the message or chunk it stands in was authenticated, and success is said
//! only after the end of the input was.

use std::io::{ErrorKind, Read};

use keyagent_common::{
    context::Context,
    envelope::{self, Envelope, Kind, OVERHEAD_BYTES},
    error::ErrorCode,
    frame::MAX_MESSAGE_BYTES,
    op::{Decrypt, DecryptRequest},
    report::Report,
    stream::{CHUNK_SEALED_BYTES, HEADER_BYTES, Opener, StreamHeader, StreamOpener},
};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::{
    armor::{ArmorReader, STREAM_PREFIX},
    failure::{Failure, cannot_read},
    input::{Input, fill},
    output::Output,
    recognise::{Form, TELLING_BYTES, recognise},
    session::Session,
};

/// Chunks that are written at once.
const CHUNKS_AT_ONCE: usize = 16;
/// Longest envelope of a message.
pub(crate) const MAX_ENVELOPE_BYTES: usize = MAX_MESSAGE_BYTES + OVERHEAD_BYTES;
/// Longest text form of a message, with its final newline.
pub(crate) const MAX_TEXT_BYTES: usize = 4 + MAX_ENVELOPE_BYTES.div_ceil(3) * 4 + 1;

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    /// `message` or `stream`.
    pub(crate) kind: &'static str,
    pub(crate) plaintext_bytes: u64,
}

/// Decrypts the input into the output; the output still has to be finished.
pub(crate) fn open(
    session: &mut Session<'_>,
    context: Context<'_>,
    input: &mut Input,
    output: &mut Output,
) -> Result<Opened, Failure> {
    let name = input.name().to_owned();
    match recognise(input.look_ahead(TELLING_BYTES)?) {
        Some(Form::Message) => {
            let envelope = input.look_ahead(MAX_ENVELOPE_BYTES + 1)?;
            open_message(session, context, &name, envelope, output)
        }
        Some(Form::MessageText) => {
            let envelope = read_text(input)?;
            open_message(session, context, &name, &envelope, output)
        }
        Some(Form::Stream) => open_stream(session, context, &name, input, output),
        Some(Form::StreamText) => {
            input.skip(STREAM_PREFIX.len());
            open_stream(session, context, &name, &mut ArmorReader::new(input.by_ref()), output)
        }
        Some(Form::DataKeyText) => Err(data_key(&name).into()),
        Some(Form::DataKey) if is_data_key(input.look_ahead(TELLING_BYTES)?) => Err(data_key(&name).into()),
        Some(Form::DataKey) | None => Err(not_ciphertext(&name).into()),
    }
}

/// The envelope behind a text form; one final newline is allowed.
pub(crate) fn read_text(input: &mut Input) -> Result<Vec<u8>, Failure> {
    let name = input.name().to_owned();
    let text = input.look_ahead(MAX_TEXT_BYTES + 1)?;
    if text.len() > MAX_TEXT_BYTES {
        return Err(does_not_open(&name, "it is longer than any message").into());
    }
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text =
        str::from_utf8(text).map_err(|_| does_not_open(&name, envelope::EnvelopeError::NotCanonical))?;
    envelope::from_text(text).map_err(|error| does_not_open(&name, error).into())
}

/// Whether bytes are a sealed data key and not something that begins by chance like one.
pub(crate) fn is_data_key(bytes: &[u8]) -> bool {
    bytes.len() == envelope::DATA_KEY_BYTES && Envelope::parse(bytes).is_ok_and(|e| e.kind != Kind::Message)
}

fn open_message(
    session: &mut Session<'_>,
    context: Context<'_>,
    name: &str,
    envelope: &[u8],
    output: &mut Output,
) -> Result<Opened, Failure> {
    if envelope.len() > MAX_ENVELOPE_BYTES || Envelope::parse(envelope).is_err() {
        return Err(not_ciphertext(name).into());
    }
    let call = DecryptRequest { context: context.as_bytes(), envelope };
    let reply = session.data_connection()?.call::<Decrypt>(&call)?;
    output.write(reply.plaintext)?;
    Ok(Opened { kind: "message", plaintext_bytes: reply.plaintext.len() as u64 })
}

fn open_stream(
    session: &mut Session<'_>,
    context: Context<'_>,
    name: &str,
    input: &mut impl Read,
    output: &mut Output,
) -> Result<Opened, Failure> {
    let mut header = [0; HEADER_BYTES];
    let count = read_chunk(input, name, &mut header)?;
    let header = StreamHeader::parse(header.get(..count).unwrap_or_default())
        .map_err(|error| does_not_open(name, error))?;
    let data_key = session.data_connection()?.data_key_open(context, header.sealed_key)?;
    let opener = Opener::new(data_key.expose_secret(), &header, context)
        .map_err(|error| does_not_open(name, error))?;
    drop(data_key);
    let mut opener = StreamOpener::new(opener);
    let mut chunk = Zeroizing::new(vec![0; CHUNK_SEALED_BYTES]);
    let mut ready = Zeroizing::new(Vec::with_capacity(CHUNKS_AT_ONCE * CHUNK_SEALED_BYTES));
    let mut plaintext_bytes = 0;
    loop {
        let count = read_chunk(input, name, &mut chunk)?;
        if count < CHUNK_SEALED_BYTES {
            let rest = chunk.get_mut(..count).unwrap_or_default();
            let plaintext = opener.finish(rest).map_err(|error| does_not_open(name, error));
            // What was authenticated before goes out even if the end is missing; the exit code says so.
            output.write(&ready)?;
            let plaintext = plaintext?;
            output.write(plaintext)?;
            return Ok(Opened { kind: "stream", plaintext_bytes: plaintext_bytes + plaintext.len() as u64 });
        }
        let plaintext = opener.open(whole(&mut chunk)?).map_err(|error| does_not_open(name, error))?;
        plaintext_bytes += plaintext.len() as u64;
        ready.extend_from_slice(plaintext);
        if ready.len() + CHUNK_SEALED_BYTES > ready.capacity() {
            output.write(&ready)?;
            ready.clear();
        }
    }
}

/// The buffer of a chunk as what it is.
fn whole(chunk: &mut [u8]) -> Result<&mut [u8; CHUNK_SEALED_BYTES], Report> {
    let wrong = |_| Report::new(ErrorCode::Internal, "the buffer of a chunk has the wrong size");
    chunk.try_into().map_err(wrong)
}

fn read_chunk(input: &mut impl Read, name: &str, chunk: &mut [u8]) -> Result<usize, Failure> {
    fill(input, chunk).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => does_not_open(name, error).into(),
        _ => cannot_read(name, &error).into(),
    })
}

/// The input is nothing that keyagent made.
pub(crate) fn not_ciphertext(name: &str) -> Report {
    Report::new(ErrorCode::NotCiphertext, "the input is no ciphertext of keyagent")
        .fact("input", name)
        .why("ciphertext begins with ka1., ks1., keyagent/stream or the byte 01, and has at least 73 bytes")
        .fix("keyagent inspect FILE")
}

/// A sealed data key is opened by those who use it.
pub(crate) fn data_key(name: &str) -> Report {
    Report::new(ErrorCode::NotCiphertext, "the input is a sealed data key, not a message")
        .fact("input", name)
        .why("only the operation data_key_open opens it, for the application that made it")
}

#[expect(clippy::needless_pass_by_value, reason = "errors and texts alike")]
fn does_not_open(name: &str, why: impl ToString) -> Report {
    Report::new(ErrorCode::DoesNotOpen, "the input does not decrypt").fact("input", name).why(why.to_string())
}
