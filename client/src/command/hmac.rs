//! `keyagent hmac [FILE] -k NAME`: the tag of a value, for an index that finds it without showing it.
//!
//! The value is taken as it is, byte for byte: one newline more is another value.

use std::path::PathBuf;

use clap::Args;
use keyagent_client::Tag;
use keyagent_common::{
    envelope::encode_base64,
    error::ErrorCode,
    frame::MAX_MESSAGE_BYTES,
    op::{HmacRequest, HmacTag},
    report::Report,
};
use serde::Serialize;

use crate::{
    arguments::KeyArguments,
    command::{OK, encrypt::parse_context},
    console,
    failure::Failure,
    input::Input,
    session::Session,
};

/// `keyagent hmac`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) key: KeyArguments,
    /// Bytes of the tag, 8 to 32; 8 more in front of it name the version
    #[arg(long, value_name = "NUMBER", default_value = "16", value_parser = clap::value_parser!(u8).range(8..=32))]
    bytes: u8,
    /// One line for each version that opens data, the primary one first: for a look-up
    #[arg(long)]
    all_versions: bool,
    /// Write hexadecimal digits instead of base64url
    #[arg(long)]
    hex: bool,
    /// File with the value; none or - is standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    tags: Vec<TagDocument>,
}

#[derive(Serialize)]
struct TagDocument {
    version: u32,
    tag: String,
}

pub(crate) fn run(
    session: &mut Session<'_>,
    before: KeyArguments,
    arguments: Arguments,
) -> Result<u8, Failure> {
    let Arguments { key, bytes, all_versions, hex, file } = arguments;
    let key = before.merge(key);
    let context = key.context_bytes()?;
    let request = HmacRequest {
        key: key.named("a key for indexes, made with: keyagent keys create --class index NAME")?.as_str(),
        context: parse_context(&context)?.as_bytes(),
        value: &[],
        tag_bytes: bytes,
        every_version: all_versions,
    };
    let mut input = Input::open(file.as_deref())?;
    let name = input.name().to_owned();
    let value = input.look_ahead(MAX_MESSAGE_BYTES + 1)?;
    if value.len() > MAX_MESSAGE_BYTES {
        return Err(too_large(&name).into());
    }
    let tags = session.data_connection()?.data::<HmacTag>(&HmacRequest { value, ..request })?;
    let text = |tag: &Tag| if hex { to_hex(&tag.bytes) } else { encode_base64(&tag.bytes) };
    if session.console.json {
        let document = |tag: &Tag| TagDocument { version: tag.version, tag: text(tag) };
        console::print_json(&Document {
            schema: "keyagent.hmac/1",
            tags: tags.iter().map(document).collect(),
        })?;
    } else {
        console::print(&tags.iter().map(|tag| text(tag) + "\n").collect::<String>())?;
    }
    Ok(OK)
}

/// Two lower-case digits for each byte.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn too_large(name: &str) -> Report {
    Report::new(ErrorCode::TooLarge, "the value is too large for a tag")
        .fact("input", name)
        .why("a value has at most 1 MiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_lower_case_and_complete() {
        assert_eq!(to_hex(&[0, 0x0f, 0xa0, 0xff]), "000fa0ff");
    }
}
