//! Moving one input to the primary version of its key: the envelope is sealed anew by the agent, the rest stays.
//!
//! No plaintext comes here, and of a stream only the 105 bytes of its sealed data key change: they are all that
//! depends on a version, and the right to move data gives no right to read it.

pub(crate) mod in_place;
pub(crate) mod lines;

use std::io::Read;

use keyagent_common::{
    context::Context,
    envelope::{Envelope, to_text},
    op::{Rewrap, RewrapRequest},
    stream::{self, HEADER_BYTES, MAGIC, SEALED_KEY_BYTES, StreamError, StreamHeader},
};

use crate::{
    armor::{ArmorEncoder, ArmorReader, STREAM_PREFIX},
    failure::{Failure, cannot_read},
    input::{Input, fill},
    open::{
        MAX_ENVELOPE_BYTES, MAX_TEXT_BYTES, does_not_open, is_data_key, not_ciphertext, read_text, refused,
    },
    output::Output,
    progress::Progress,
    recognise::{Form, TELLING_BYTES, recognise},
    seal::not_sealed,
    session::Session,
};

const BLOCK_BYTES: usize = 256 << 10;

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    /// `message`, `data key` or `stream`.
    pub(crate) kind: &'static str,
    /// The primary version.
    pub(crate) version: u32,
    /// False if that version had sealed it before.
    pub(crate) changed: bool,
}

/// Writes the input, moved, into the output; the output still has to be finished.
pub(crate) fn rewrap(
    session: &mut Session<'_>,
    context: Context<'_>,
    input: &mut Input,
    output: &mut Output,
) -> Result<Moved, Failure> {
    let name = input.name().to_owned();
    match recognise(input.look_ahead(TELLING_BYTES)?) {
        Some(form @ (Form::MessageText | Form::DataKeyText)) => {
            let newline = input.look_ahead(MAX_TEXT_BYTES + 1)?.last() == Some(&b'\n');
            let sealed = ask(session, context, &name, &read_text(input)?)?;
            let mut text = to_text(&sealed.envelope).map_err(|error| not_sealed(&error))?;
            if newline {
                text.push('\n');
            }
            output.write(text.as_bytes())?;
            Ok(sealed.moved(if form == Form::MessageText { "message" } else { "data key" }))
        }
        Some(form @ (Form::Message | Form::DataKey)) => {
            let envelope = input.look_ahead(MAX_ENVELOPE_BYTES + 1)?;
            let is_one =
                if form == Form::Message { Envelope::parse(envelope).is_ok() } else { is_data_key(envelope) };
            if !is_one || envelope.len() > MAX_ENVELOPE_BYTES {
                return Err(not_ciphertext(&name).into());
            }
            let sealed = ask(session, context, &name, envelope)?;
            output.write(&sealed.envelope)?;
            Ok(sealed.moved(if form == Form::Message { "message" } else { "data key" }))
        }
        Some(Form::Stream) => {
            let (length, mut writer) = (input.length(), Writer { output, armor: None });
            copy_stream(session, context, &name, length, input, &mut writer)
        }
        Some(Form::StreamText) => {
            input.skip(STREAM_PREFIX.len());
            output.write(STREAM_PREFIX.as_bytes())?;
            let mut writer = Writer { output, armor: Some(ArmorEncoder::default()) };
            copy_stream(session, context, &name, None, &mut ArmorReader::new(input.by_ref()), &mut writer)
        }
        None => Err(not_ciphertext(&name).into()),
    }
}

/// An envelope that the agent gave back.
struct Sealed {
    version: u32,
    changed: bool,
    envelope: Vec<u8>,
}

impl Sealed {
    fn moved(&self, kind: &'static str) -> Moved {
        Moved { kind, version: self.version, changed: self.changed }
    }
}

fn ask(
    session: &mut Session<'_>,
    context: Context<'_>,
    name: &str,
    envelope: &[u8],
) -> Result<Sealed, Failure> {
    let request = RewrapRequest { context: context.as_bytes(), envelope };
    let reply = session.data_connection()?.data::<Rewrap>(&request);
    let reply = reply.map_err(|error| refused(error, name, envelope))?;
    check(envelope, &reply.envelope, reply.changed)?;
    Ok(Sealed { version: reply.version, changed: reply.changed, envelope: reply.envelope })
}

/// A reply of another kind or length, or one that says that nothing changed, must never replace what there is.
pub(super) fn check(old: &[u8], new: &[u8], changed: bool) -> Result<(), Failure> {
    let kind = |bytes: &[u8]| Envelope::parse(bytes).ok().map(|envelope| envelope.kind as u8);
    if kind(old).is_some() && kind(old) == kind(new) && old.len() == new.len() && (old != new) == changed {
        return Ok(());
    }
    Err(not_sealed(&"the reply is no envelope of the same kind and size").into())
}

/// Copies a stream with another sealed data key in its header.
fn copy_stream(
    session: &mut Session<'_>,
    context: Context<'_>,
    name: &str,
    length: Option<u64>,
    input: &mut impl Read,
    writer: &mut Writer<'_>,
) -> Result<Moved, Failure> {
    let mut header = [0; HEADER_BYTES];
    let count = read(input, name, &mut header)?;
    let (sealed, header) = rewrap_header(session, context, name, header.get(..count).unwrap_or_default())?;
    let mut progress = Progress::new(session.console, name, length, writer.output);
    writer.write(&header)?;
    let (mut total, mut block) = (HEADER_BYTES as u64, vec![0; BLOCK_BYTES]);
    loop {
        let count = read(input, name, &mut block)?;
        writer.write(block.get(..count).unwrap_or_default())?;
        total += count as u64;
        progress.advance(count as u64);
        if count < BLOCK_BYTES {
            break;
        }
    }
    // All that can be told of the rest without its key.
    stream::plaintext_len(total).ok_or_else(|| does_not_open(name, StreamError::Truncated))?;
    writer.finish()?;
    Ok(sealed.moved("stream"))
}

/// The header of a stream with its data key under the primary version.
fn rewrap_header(
    session: &mut Session<'_>,
    context: Context<'_>,
    name: &str,
    bytes: &[u8],
) -> Result<(Sealed, [u8; HEADER_BYTES]), Failure> {
    let header = StreamHeader::parse(bytes).map_err(|error| does_not_open(name, error))?;
    let sealed = ask(session, context, name, header.sealed_key)?;
    let mut anew = [0; HEADER_BYTES];
    let rest = bytes.get(MAGIC.len() + SEALED_KEY_BYTES..).unwrap_or_default();
    for (to, from) in anew.iter_mut().zip(MAGIC.iter().chain(&sealed.envelope).chain(rest)) {
        *to = *from;
    }
    Ok((sealed, anew))
}

fn read(input: &mut impl Read, name: &str, block: &mut [u8]) -> Result<usize, Failure> {
    fill(input, block).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => does_not_open(name, error).into(),
        _ => cannot_read(name, &error).into(),
    })
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

    fn finish(&mut self) -> Result<(), Failure> {
        let Some(armor) = self.armor.take() else { return Ok(()) };
        let mut text = armor.finish();
        text.push('\n');
        self.output.write(text.as_bytes())
    }
}
