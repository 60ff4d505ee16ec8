//! The frame around every request and reply (docs/PROTOCOL.md, "Frames").
//!
//! `length u32 | request id u32 | code u16 | flags u16 | body`, little-endian; `length` counts what
//! follows it. It is checked before anything is allocated.

/// Bytes of a frame before its body.
pub const HEADER_BYTES: usize = 12;
/// Bytes of the length field, which does not count itself.
pub const LENGTH_BYTES: usize = 4;
/// Largest plaintext of one message, in bytes; longer data is a stream.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Largest value of the length field: one message, its context and what stands around them.
pub const MAX_LENGTH: usize = MAX_MESSAGE_BYTES + (64 << 10);
/// Largest whole frame, length field included.
pub const MAX_FRAME_BYTES: usize = LENGTH_BYTES + MAX_LENGTH;
/// Largest body.
pub const MAX_BODY_BYTES: usize = MAX_FRAME_BYTES - HEADER_BYTES;

/// The first 12 bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the body.
    pub body_bytes: usize,
    /// Chosen by the client; the reply carries it back.
    pub request_id: u32,
    /// Request: the operation. Reply: 0 for success, else a number of the error table.
    pub code: u16,
    /// Request: the body begins with the caller for whom a bridge asks. Never set in a reply.
    pub on_behalf_of: bool,
}

/// The one flag of version 1: the request's body begins with an [`crate::op::OnBehalfOf`].
const FLAG_ON_BEHALF_OF: u16 = 1;

/// Why bytes begin no frame. The connection cannot be used any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field is above [`MAX_LENGTH`].
    #[error("the frame is longer than the limit")]
    TooLong,
    /// The length field does not cover the rest of the header.
    #[error("the frame is shorter than its header")]
    TooShort,
    /// A flag is set that version 1 does not know.
    #[error("the frame has a flag that this protocol version does not know")]
    UnknownFlags,
}

impl Header {
    /// Reads a header; `None` while fewer than [`HEADER_BYTES`] bytes are there and nothing is wrong yet.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_LENGTH {
            return Err(FrameError::TooLong);
        }
        let Some(body_bytes) = length.checked_sub(HEADER_BYTES - LENGTH_BYTES) else {
            return Err(FrameError::TooShort);
        };
        let Some((request_id, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let Some((code, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        let Some((flags, _)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        let on_behalf_of = match u16::from_le_bytes(*flags) {
            0 => false,
            FLAG_ON_BEHALF_OF => true,
            _ => return Err(FrameError::UnknownFlags),
        };
        let request_id = u32::from_le_bytes(*request_id);
        Ok(Some(Self { body_bytes, request_id, code: u16::from_le_bytes(*code), on_behalf_of }))
    }

    /// Bytes of the whole frame.
    pub const fn frame_bytes(self) -> usize {
        HEADER_BYTES + self.body_bytes
    }

    /// The 12 bytes.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when the body exceeds [`MAX_BODY_BYTES`].
    pub fn encode(self) -> Result<[u8; HEADER_BYTES], FrameError> {
        if self.body_bytes > MAX_BODY_BYTES {
            return Err(FrameError::TooLong);
        }
        let length =
            u32::try_from(self.body_bytes + HEADER_BYTES - LENGTH_BYTES).map_err(|_| FrameError::TooLong)?;
        let [l0, l1, l2, l3] = length.to_le_bytes();
        let [r0, r1, r2, r3] = self.request_id.to_le_bytes();
        let [c0, c1] = self.code.to_le_bytes();
        let [f0, f1] = if self.on_behalf_of { FLAG_ON_BEHALF_OF.to_le_bytes() } else { [0, 0] };
        Ok([l0, l1, l2, l3, r0, r1, r2, r3, c0, c1, f0, f1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_before_the_whole_header_is_there() {
        assert_eq!(Header::parse(&0xffff_ffff_u32.to_le_bytes()), Err(FrameError::TooLong));
        assert_eq!(Header::parse(&0x0011_0001_u32.to_le_bytes()), Err(FrameError::TooLong));
        for length in 0..8_u32 {
            assert_eq!(Header::parse(&length.to_le_bytes()), Err(FrameError::TooShort));
        }
        assert_eq!(Header::parse(&[8, 0, 0]), Ok(None));
        assert_eq!(Header::parse(&[8, 0, 0, 0, 1, 0, 0, 0, 1, 0, 2, 0]), Err(FrameError::UnknownFlags));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(body_bytes in 0..=MAX_BODY_BYTES, request_id: u32, code: u16, on_behalf_of: bool) {
            let header = Header { body_bytes, request_id, code, on_behalf_of };
            let bytes = header.encode().unwrap();
            prop_assert_eq!(Header::parse(&bytes), Ok(Some(header)));
            for cut in 0..HEADER_BYTES {
                prop_assert_eq!(Header::parse(&bytes[..cut]), Ok(None));
            }
        }
    }
}
