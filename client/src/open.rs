//! Decrypting one input, whatever form of ciphertext it has.
//!
//! No byte is written before the message or chunk it stands in was authenticated, and success is said
//! only after the end of the input was.

use std::io::Read;

use keyagent_client::Error;
use keyagent_common::{
    context::Context,
    envelope::{self, Envelope, Kind, OVERHEAD_BYTES},
    error::ErrorCode,
    frame::MAX_MESSAGE_BYTES,
    report::Report,
};

use crate::{
    armor::{ArmorReader, STREAM_PREFIX},
    failure::{Failure, usage},
    input::Input,
    output::Output,
    recognise::{Form, TELLING_BYTES, recognise},
    session::Session,
    stream::{self, Range, Source},
};

/// Longest envelope of a message.
pub(crate) const MAX_ENVELOPE_BYTES: usize = MAX_MESSAGE_BYTES + OVERHEAD_BYTES;
/// Longest text form of a message, with its final newline.
pub(crate) const MAX_TEXT_BYTES: usize = 4 + MAX_ENVELOPE_BYTES.div_ceil(3) * 4 + 1;

/// What to open with.
pub(crate) struct OpenRequest<'a> {
    pub(crate) context: Context<'a>,
    /// For a stream; at least 1.
    pub(crate) threads: usize,
    /// Only this part of the plaintext.
    pub(crate) range: Option<Range>,
}

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
    request: &OpenRequest<'_>,
    input: &mut Input,
    output: &mut Output,
) -> Result<Opened, Failure> {
    let name = input.name().to_owned();
    match recognise(input.look_ahead(TELLING_BYTES)?) {
        Some(Form::Message) => {
            let envelope = input.look_ahead(MAX_ENVELOPE_BYTES + 1)?;
            open_message(session, request, &name, envelope, output)
        }
        Some(Form::MessageText) => {
            let envelope = read_text(input)?;
            open_message(session, request, &name, &envelope, output)
        }
        Some(Form::Stream) => {
            if let Some(range) = request.range {
                return stream::open_range(session, request, range, input, output);
            }
            let (length, stop) = (input.length(), input.interruptible(request.threads)?);
            let source = Source { bytes: input, name: &name, length, stop };
            stream::open_stream(session, request, source, output)
        }
        Some(Form::StreamText) => open_stream_text(session, request, &name, input, output),
        Some(Form::DataKeyText) => Err(data_key(&name).into()),
        Some(Form::DataKey) if is_data_key(input.look_ahead(TELLING_BYTES)?) => Err(data_key(&name).into()),
        Some(Form::DataKey) | None => Err(not_ciphertext(&name).into()),
    }
}

fn open_stream_text(
    session: &mut Session<'_>,
    request: &OpenRequest<'_>,
    name: &str,
    input: &mut Input,
    output: &mut Output,
) -> Result<Opened, Failure> {
    if request.range.is_some() {
        return Err(no_range_of_text(name).into());
    }
    input.skip(STREAM_PREFIX.len());
    let stop = input.interruptible(request.threads)?;
    let mut bytes = ArmorReader::new(input.by_ref());
    let source = Source { bytes: &mut bytes, name, length: None, stop };
    stream::open_stream(session, request, source, output)
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
    request: &OpenRequest<'_>,
    name: &str,
    envelope: &[u8],
    output: &mut Output,
) -> Result<Opened, Failure> {
    if envelope.len() > MAX_ENVELOPE_BYTES || Envelope::parse(envelope).is_err() {
        return Err(not_ciphertext(name).into());
    }
    let opened = session.open_message(request.context, envelope)?;
    let opened = opened.map_err(|error| refused(error, name, envelope))?;
    let plaintext = request.range.map_or(opened.as_slice(), |range| range.slice(&opened));
    output.write(plaintext)?;
    Ok(Opened { kind: "message", plaintext_bytes: plaintext.len() as u64 })
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

/// What the agent said about an envelope, with the key id that stands in it where that is what matters.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn refused(error: Error, name: &str, envelope: &[u8]) -> Failure {
    let report = key_id_of(error.report(), envelope);
    if report.facts.is_empty() { report.into() } else { report.fact("input", name).into() }
}

/// Adds the key id of an envelope to a report that is about the version behind it.
pub(crate) fn key_id_of(report: Report, envelope: &[u8]) -> Report {
    let about_versions = [ErrorCode::UnknownKeyId, ErrorCode::VersionRetired, ErrorCode::VersionStopped]
        .contains(&report.code);
    match Envelope::parse(envelope) {
        Ok(envelope) if about_versions => report.fact("key id", envelope::encode_base64(envelope.key_id)),
        _ => report,
    }
}

fn no_range_of_text(name: &str) -> Report {
    usage("a part can be taken from a stream only as bytes, not as text")
        .fact("input", name)
        .fix("keyagent decrypt FILE | tail -c +N | head -c M")
}

/// Authentication failed, or what stands there cannot be a ciphertext.
#[expect(clippy::needless_pass_by_value, reason = "errors and texts alike")]
pub(crate) fn does_not_open(name: &str, why: impl ToString) -> Report {
    Report::new(ErrorCode::DoesNotOpen, "the input does not decrypt").fact("input", name).why(why.to_string())
}
