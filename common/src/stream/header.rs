//! The 177 bytes before the first chunk (docs/FORMATS.md, "Stream").
//!
//! `"keyagent/stream" || 01 || sealed data key 105 || salt 24 || commitment 32`. This module lays bytes
//! out and reads them; what it returns is not authenticated until [`super::Opener::new`] has compared
//! the commitment.

use super::{COMMITMENT_BYTES, HEADER_BYTES, MAGIC, SALT_BYTES, SEALED_KEY_BYTES, StreamError};
use crate::envelope::{Envelope, Kind};

const NAME: &[u8; 15] = b"keyagent/stream";

/// A received header, split into its fields. Only [`StreamHeader::parse`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamHeader<'a> {
    /// The data key, sealed in an envelope of kind 02; opened by the operation `data_key_open`.
    pub sealed_key: &'a [u8; SEALED_KEY_BYTES],
    /// Fresh and random for each stream.
    pub salt: &'a [u8; SALT_BYTES],
    /// Binds data key, salt and context.
    pub commitment: &'a [u8; COMMITMENT_BYTES],
}

impl<'a> StreamHeader<'a> {
    /// Whether bytes begin like a stream, of whatever version: 15 of them tell.
    pub fn is_stream(beginning: &[u8]) -> bool {
        beginning.starts_with(NAME)
    }

    /// Reads the first [`HEADER_BYTES`] of a stream; what follows them is not looked at.
    ///
    /// Errors: [`StreamError::NotAStream`], [`StreamError::UnknownVersion`],
    /// [`StreamError::HeaderTooShort`], [`StreamError::SealedKeyKind`], in this order.
    pub fn parse(beginning: &'a [u8]) -> Result<Self, StreamError> {
        if beginning.len() >= NAME.len() && !Self::is_stream(beginning) {
            return Err(StreamError::NotAStream);
        }
        let (magic, rest) = beginning.split_first_chunk::<16>().ok_or(StreamError::HeaderTooShort)?;
        if let ([.., version], true) = (magic, magic != MAGIC) {
            return Err(StreamError::UnknownVersion(*version));
        }
        let (sealed_key, rest) = rest.split_first_chunk().ok_or(StreamError::HeaderTooShort)?;
        let (salt, rest) = rest.split_first_chunk().ok_or(StreamError::HeaderTooShort)?;
        let commitment = rest.first_chunk().ok_or(StreamError::HeaderTooShort)?;
        check_sealed_key(sealed_key)?;
        Ok(Self { sealed_key, salt, commitment })
    }
}

/// Refuses a sealed key that [`StreamHeader::parse`] would refuse.
pub(super) fn check_sealed_key(sealed_key: &[u8; SEALED_KEY_BYTES]) -> Result<(), StreamError> {
    match Envelope::parse(sealed_key) {
        Ok(Envelope { kind: Kind::StreamKey, .. }) => Ok(()),
        _ => Err(StreamError::SealedKeyKind),
    }
}

/// The header of a new stream.
pub(super) fn encode(
    sealed_key: &[u8; SEALED_KEY_BYTES],
    salt: &[u8; SALT_BYTES],
    commitment: &[u8; COMMITMENT_BYTES],
) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let fields = MAGIC.iter().chain(sealed_key).chain(salt).chain(commitment);
    for (to, from) in bytes.iter_mut().zip(fields) {
        *to = *from;
    }
    bytes
}
