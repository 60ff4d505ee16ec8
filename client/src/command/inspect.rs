//! `keyagent inspect [FILE]`: what a ciphertext or backup is. Needs no key and asks no agent; nothing it says is
//! authenticated.

use std::{
    io::{ErrorKind, Read},
    path::PathBuf,
};

use clap::Args;
use keyagent_common::{
    backup::{MAX_FILE_BYTES, is_backup},
    envelope::{self, Envelope, Kind},
    error::ErrorCode,
    report::Report,
    stream::{self, StreamHeader},
};
use serde::Serialize;

use crate::{
    armor::{ArmorReader, STREAM_PREFIX},
    command::{OK, backup},
    console::{self, Console},
    failure::{Failure, cannot_read},
    input::{Input, fill},
    open::{MAX_ENVELOPE_BYTES, MAX_TEXT_BYTES, is_data_key, not_ciphertext},
    recognise::{Form, TELLING_BYTES, recognise},
};

/// `keyagent inspect`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// File to look at; none or - is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Document {
    schema: &'static str,
    input: String,
    kind: &'static str,
    form: &'static str,
    key_id: String,
    ciphertext_bytes: u64,
    plaintext_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks: Option<u64>,
    authenticated: bool,
}

#[derive(Debug, Serialize)]
struct BackupDocument {
    schema: &'static str,
    input: String,
    kind: &'static str,
    #[serde(flatten)]
    header: backup::HeaderDocument,
    authenticated: bool,
}

pub(crate) fn run(console: &Console, arguments: &Arguments) -> Result<u8, Failure> {
    let mut input = Input::open(arguments.file.as_deref())?;
    if is_backup(input.look_ahead(TELLING_BYTES)?) {
        return inspect_backup(console, &mut input);
    }
    let document = inspect(input)?;
    if console.json {
        console::print_json(&document)?;
        return Ok(OK);
    }
    let chunks = document.chunks.map(|chunks| format!(" in {chunks} chunks")).unwrap_or_default();
    console::print(&format!(
        "kind        {}\nform        {}\nkey id      {}\nciphertext  {} bytes\nplaintext   {} bytes{chunks}, if it is whole\n",
        document.kind, document.form, document.key_id, document.ciphertext_bytes, document.plaintext_bytes,
    ))?;
    Ok(OK)
}

/// What a backup says of itself; its keys' names are sealed.
fn inspect_backup(console: &Console, input: &mut Input) -> Result<u8, Failure> {
    let name = input.name().to_owned();
    let (header, text) = backup::describe(input.look_ahead(MAX_FILE_BYTES + 1)?, &name)?;
    if console.json {
        let schema = "keyagent.inspect/1";
        console::print_json(&BackupDocument {
            schema,
            input: name,
            kind: "backup",
            header,
            authenticated: false,
        })?;
    } else {
        console::print(&format!("kind        backup\n{text}"))?;
    }
    Ok(OK)
}

fn inspect(mut input: Input) -> Result<Document, Failure> {
    let name = input.name().to_owned();
    let form = recognise(input.look_ahead(TELLING_BYTES)?).ok_or_else(|| not_ciphertext(&name))?;
    match form {
        Form::Stream => inspect_stream(&name, form, &mut input),
        Form::StreamText => {
            input.skip(STREAM_PREFIX.len());
            inspect_stream(&name, form, &mut ArmorReader::new(input.by_ref()))
        }
        Form::MessageText | Form::DataKeyText => {
            let text = input.look_ahead(MAX_TEXT_BYTES + 1)?;
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            let text =
                str::from_utf8(text).map_err(|_| malformed(&name, &envelope::EnvelopeError::NotCanonical))?;
            let bytes = envelope::from_text(text).map_err(|error| malformed(&name, &error))?;
            inspect_envelope(&name, form, &bytes)
        }
        Form::Message => inspect_envelope(&name, form, input.look_ahead(MAX_ENVELOPE_BYTES + 1)?),
        Form::DataKey => match input.look_ahead(TELLING_BYTES)? {
            bytes if is_data_key(bytes) => inspect_envelope(&name, form, bytes),
            _ => Err(not_ciphertext(&name).into()),
        },
    }
}

fn inspect_envelope(name: &str, form: Form, bytes: &[u8]) -> Result<Document, Failure> {
    let parsed = Envelope::parse(bytes).map_err(|_| not_ciphertext(name))?;
    if bytes.len() > MAX_ENVELOPE_BYTES {
        return Err(not_ciphertext(name).into());
    }
    let kind = match parsed.kind {
        Kind::Message => "message",
        Kind::StreamKey => "stream key",
        Kind::DataKey => "data key",
    };
    Ok(document(name, kind, form, parsed.key_id, bytes.len() as u64, parsed.ciphertext.len() as u64, None))
}

fn inspect_stream(name: &str, form: Form, input: &mut impl Read) -> Result<Document, Failure> {
    let mut block = vec![0; 64 << 10];
    let mut read = |block: &mut [u8]| {
        fill(input, block).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => Failure::from(malformed(name, &error)),
            _ => cannot_read(name, &error).into(),
        })
    };
    let mut count = read(&mut block)?;
    let header = StreamHeader::parse(block.get(..count).unwrap_or_default())
        .map_err(|error| malformed(name, &error))?;
    let sealed_key = Envelope::parse(header.sealed_key).map_err(|error| malformed(name, &error))?;
    let key_id = *sealed_key.key_id;
    let mut total = 0;
    while count > 0 {
        total += count as u64;
        count = read(&mut block)?;
    }
    let plaintext =
        stream::plaintext_len(total).ok_or_else(|| malformed(name, &stream::StreamError::Truncated))?;
    let chunks = plaintext / stream::CHUNK_PLAINTEXT_BYTES as u64 + 1;
    Ok(document(name, "stream", form, &key_id, total, plaintext, Some(chunks)))
}

fn document(
    name: &str,
    kind: &'static str,
    form: Form,
    key_id: &[u8; 32],
    ciphertext_bytes: u64,
    plaintext_bytes: u64,
    chunks: Option<u64>,
) -> Document {
    Document {
        schema: "keyagent.inspect/1",
        input: name.to_owned(),
        kind,
        form: if form.is_text() { "text" } else { "binary" },
        key_id: envelope::encode_base64(key_id),
        ciphertext_bytes,
        plaintext_bytes,
        chunks,
        authenticated: false,
    }
}

fn malformed(name: &str, why: &dyn ToString) -> Report {
    Report::new(ErrorCode::DoesNotOpen, "the ciphertext is malformed")
        .fact("input", name)
        .why(why.to_string())
}
