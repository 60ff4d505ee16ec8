//! What an input is, told by its first bytes. Nothing here is authenticated.

use keyagent_common::{envelope::Kind, stream::StreamHeader};

use crate::armor::STREAM_PREFIX;

/// Bytes that tell every form apart.
pub(crate) const TELLING_BYTES: usize = 177;

/// A form of ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A message as bytes.
    Message,
    /// A message as text, `ka1.`.
    MessageText,
    /// A stream as bytes.
    Stream,
    /// A stream as text, `ks1.`.
    StreamText,
    /// A sealed data key as bytes.
    DataKey,
    /// A sealed data key as text, `kd1.`.
    DataKeyText,
}

impl Form {
    /// Whether it is text.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::MessageText | Self::StreamText | Self::DataKeyText)
    }
}

/// The form that a beginning promises; `None` for everything that is no ciphertext of keyagent.
pub(crate) fn recognise(beginning: &[u8]) -> Option<Form> {
    if StreamHeader::is_stream(beginning) {
        return Some(Form::Stream);
    }
    match beginning.first_chunk::<4>() {
        Some(b"ka1.") => return Some(Form::MessageText),
        Some(b"kd1.") => return Some(Form::DataKeyText),
        Some(prefix) if prefix == STREAM_PREFIX.as_bytes() => return Some(Form::StreamText),
        _ => {}
    }
    match beginning.first().copied().and_then(Kind::from_byte)? {
        Kind::Message => Some(Form::Message),
        Kind::StreamKey | Kind::DataKey => Some(Form::DataKey),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_tell() {
        for (bytes, form) in [
            (&b"ka1.AQ"[..], Some(Form::MessageText)),
            (b"kd1.", Some(Form::DataKeyText)),
            (b"ks1.", Some(Form::StreamText)),
            (b"keyagent/stream\x01", Some(Form::Stream)),
            (b"keyagent/stream\x02", Some(Form::Stream)),
            (b"\x01", Some(Form::Message)),
            (b"\x03", Some(Form::DataKey)),
            (b"keyagent/strea", None),
            (b"ka2.", None),
            (b"KA1.", None),
            (b"\x04", None),
            (b"", None),
            (b"hello", None),
        ] {
            assert_eq!(recognise(bytes), form, "{bytes:?}");
        }
    }
}
