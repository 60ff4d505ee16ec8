//! The message envelope: what a sealed value looks like (docs/FORMATS.md, "Envelope").
//!
//! `kind 1 || key id 32 || nonce 24 || ciphertext n || tag 16`. This module lays bytes out and reads
//! them; it holds no key and opens nothing.

use alloc::{string::String, vec::Vec};
use base64ct::{Base64UrlUnpadded, Encoding};

/// Bytes before the ciphertext.
pub const HEADER_BYTES: usize = 57;
/// Bytes of the tag after the ciphertext.
pub const TAG_BYTES: usize = 16;
/// Bytes an envelope is longer than its plaintext.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;
/// Bytes of a sealed 32-byte data key.
pub const DATA_KEY_BYTES: usize = OVERHEAD_BYTES + 32;
/// Bytes of kind and key id: the authenticated prefix.
pub const PREFIX_BYTES: usize = 33;
const LABEL: &[u8] = b"keyagent/v1 envelope\0";

/// What an envelope holds. The numbers are the first byte of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A message of a caller; opened by `decrypt`.
    Message = 1,
    /// The data key of a stream; opened by `data_key_open`.
    StreamKey = 2,
    /// A data key that an application uses itself; opened by `data_key_open`.
    DataKey = 3,
}

impl Kind {
    /// The kind of a first byte.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Message),
            2 => Some(Self::StreamKey),
            3 => Some(Self::DataKey),
            _ => None,
        }
    }

    /// The prefix of the text form.
    pub const fn text_prefix(self) -> &'static str {
        match self {
            Self::Message => "ka1.",
            Self::StreamKey | Self::DataKey => "kd1.",
        }
    }
}

/// The bytes are no envelope, or the text no text form of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Shorter than the overhead.
    #[error("too short for an encrypted value")]
    TooShort,
    /// The first byte names no kind of this version.
    #[error("not a kind of encrypted value that this version knows")]
    UnknownKind,
    /// The text does not begin with a known prefix.
    #[error("the text begins with none of ka1., kd1. and ks1.")]
    UnknownPrefix,
    /// The prefix says one kind, the bytes another.
    #[error("prefix and content of the text do not agree")]
    PrefixMismatch,
    /// Padding, white space, a foreign character or non-zero spare bits.
    #[error("the text is not canonical base64url")]
    NotCanonical,
}

/// A received envelope, split into its fields.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// What it holds.
    pub kind: Kind,
    /// Kind and key id: the authenticated prefix.
    pub prefix: &'a [u8; PREFIX_BYTES],
    /// Which key version sealed it.
    pub key_id: &'a [u8; 32],
    /// The XAES nonce.
    pub nonce: &'a [u8; 24],
    /// Ciphertext, as long as the plaintext.
    pub ciphertext: &'a [u8],
    /// Authentication tag.
    pub tag: &'a [u8; TAG_BYTES],
}

impl<'a> Envelope<'a> {
    /// Splits bytes: length first, then the kind.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let (body, tag) = bytes.split_last_chunk::<TAG_BYTES>().ok_or(EnvelopeError::TooShort)?;
        let (prefix, rest) = body.split_first_chunk::<PREFIX_BYTES>().ok_or(EnvelopeError::TooShort)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<24>().ok_or(EnvelopeError::TooShort)?;
        let (kind, key_id) = prefix.split_first().ok_or(EnvelopeError::TooShort)?;
        let kind = Kind::from_byte(*kind).ok_or(EnvelopeError::UnknownKind)?;
        let key_id = key_id.first_chunk().ok_or(EnvelopeError::TooShort)?;
        Ok(Self { kind, prefix, key_id, nonce, ciphertext, tag })
    }
}

/// The first 57 bytes of an envelope.
pub fn header(kind: Kind, key_id: &[u8; 32], nonce: &[u8; 24]) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let (first, rest) = bytes.split_at_mut(1);
    first.fill(kind as u8);
    let (id, place) = rest.split_at_mut(32);
    id.copy_from_slice(key_id);
    place.copy_from_slice(nonce);
    bytes
}

/// Writes the associated data of an envelope: `"keyagent/v1 envelope" || 00 || kind || key id || context`.
///
/// `prefix` is kind and key id, `context` the canonical context bytes.
pub fn associated_data(prefix: &[u8; PREFIX_BYTES], context: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(LABEL);
    out.extend_from_slice(prefix);
    out.extend_from_slice(context);
}

/// The text form: prefix and unpadded base64url.
pub fn to_text(envelope: &[u8]) -> Result<String, EnvelopeError> {
    let parsed = Envelope::parse(envelope)?;
    let mut text = String::from(parsed.kind.text_prefix());
    text.push_str(&Base64UrlUnpadded::encode_string(envelope));
    Ok(text)
}

/// Reads a text form; nothing but the exact canonical text is accepted.
pub fn from_text(text: &str) -> Result<Vec<u8>, EnvelopeError> {
    let (prefix, data) = text.split_at_checked(4).ok_or(EnvelopeError::UnknownPrefix)?;
    if !matches!(prefix, "ka1." | "kd1.") {
        return Err(EnvelopeError::UnknownPrefix);
    }
    let bytes = decode_base64(data)?;
    let parsed = Envelope::parse(&bytes)?;
    if parsed.kind.text_prefix() == prefix { Ok(bytes) } else { Err(EnvelopeError::PrefixMismatch) }
}

/// Bytes to canonical unpadded base64url. Texts of whole groups of 3 bytes may be joined.
pub fn encode_base64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// Canonical unpadded base64url to bytes.
pub fn decode_base64(text: &str) -> Result<Vec<u8>, EnvelopeError> {
    Base64UrlUnpadded::decode_vec(text).map_err(|_| EnvelopeError::NotCanonical)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_vectors;

    #[test]
    fn text_forms_equal_the_published_vectors() {
        for case in test_vectors::formats()["envelope"].as_array().unwrap() {
            let bytes = test_vectors::bytes(&case["envelope"]);
            assert_eq!(to_text(&bytes).unwrap(), case["text"].as_str().unwrap());
            assert_eq!(from_text(case["text"].as_str().unwrap()).unwrap(), bytes);
            let parsed = Envelope::parse(&bytes).unwrap();
            assert_eq!(header(parsed.kind, parsed.key_id, parsed.nonce), bytes[..HEADER_BYTES]);
        }
    }

    #[test]
    fn refuses_text_that_is_not_canonical() {
        let good = test_vectors::formats()["envelope"][0]["text"].as_str().unwrap().to_owned();
        let body = &good[4..];
        let spare = alloc::format!("ka1.{}B", &body[..body.len() - 1]);
        for (bad, why) in [
            (alloc::format!("{good}="), EnvelopeError::NotCanonical),
            (alloc::format!("{good}\n"), EnvelopeError::NotCanonical),
            (alloc::format!("ka1. {body}"), EnvelopeError::NotCanonical),
            (good.replace('-', "+"), EnvelopeError::NotCanonical),
            (spare, EnvelopeError::NotCanonical),
            (alloc::format!("kd1.{body}"), EnvelopeError::PrefixMismatch),
            (alloc::format!("KA1.{body}"), EnvelopeError::UnknownPrefix),
            (alloc::format!("ka2.{body}"), EnvelopeError::UnknownPrefix),
            ("ka1.AQ".into(), EnvelopeError::TooShort),
            (String::new(), EnvelopeError::UnknownPrefix),
        ] {
            assert_eq!(from_text(&bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn refuses_short_bytes_and_unknown_kinds() {
        let good = test_vectors::bytes(&test_vectors::formats()["envelope"][0]["envelope"]);
        for length in 0..OVERHEAD_BYTES {
            assert_eq!(Envelope::parse(&good[..length]).unwrap_err(), EnvelopeError::TooShort);
        }
        for kind in (0..=255).filter(|kind| !(1..=3).contains(kind)) {
            let mut bad = good.clone();
            bad[0] = kind;
            assert_eq!(Envelope::parse(&bad).unwrap_err(), EnvelopeError::UnknownKind);
        }
    }
}
