//! Frame bodies: the only file that knows bincode (docs/PROTOCOL.md, "Bodies").
//!
//! Fixed-width little-endian integers, one encoding per value, a limit on what a body may claim, and
//! every byte consumed. bincode is unmaintained (RUSTSEC-2025-0141); any crate that writes these very
//! bytes can replace it here, without touching another file.

use alloc::vec;
use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use zeroize::Zeroizing;

pub use bincode::{BorrowDecode, Encode};

use crate::frame::{self, FrameError, Header};

type Config = Configuration<LittleEndian, Fixint, Limit<{ frame::MAX_BODY_BYTES }>>;
const CONFIG: Config = bincode::config::legacy().with_limit();

/// A body that does not follow the protocol. Says nothing about the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes do not decode, or claim more than there is.
    #[error("the body does not decode")]
    Malformed,
    /// Bytes are left over after the last field.
    #[error("the body has bytes after its last field")]
    Trailing,
    /// The value does not fit the room given or the limit of a frame.
    #[error("the value does not fit into a frame")]
    NoRoom,
}

/// Decodes a body, borrowing from it; every byte must be consumed.
pub fn decode<'a, T: BorrowDecode<'a, ()>>(body: &'a [u8]) -> Result<T, CodecError> {
    let (value, used) =
        bincode::borrow_decode_from_slice::<T, Config>(body, CONFIG).map_err(|_| CodecError::Malformed)?;
    if used == body.len() { Ok(value) } else { Err(CodecError::Trailing) }
}

/// Decodes a value at the front of a body, borrowing from it; and what follows it.
pub fn decode_front<'a, T: BorrowDecode<'a, ()>>(body: &'a [u8]) -> Result<(T, &'a [u8]), CodecError> {
    let (value, used) =
        bincode::borrow_decode_from_slice::<T, Config>(body, CONFIG).map_err(|_| CodecError::Malformed)?;
    Ok((value, body.get(used..).unwrap_or_default()))
}

/// Encodes into the front of `out`; the number of bytes written.
pub fn encode<T: Encode>(value: &T, out: &mut [u8]) -> Result<usize, CodecError> {
    bincode::encode_into_slice(value, out, CONFIG).map_err(|_| CodecError::NoRoom)
}

/// The number of bytes that [`encode`] would write.
pub fn encoded_bytes<T: Encode>(value: &T) -> Result<usize, CodecError> {
    let mut counter = bincode::enc::EncoderImpl::new(bincode::enc::write::SizeWriter::default(), CONFIG);
    value.encode(&mut counter).map_err(|_| CodecError::NoRoom)?;
    Ok(counter.into_writer().bytes_written)
}

/// A whole frame in a buffer that is wiped when dropped and never reallocated.
pub fn frame<T: Encode>(
    request_id: u32,
    code: u16,
    value: &T,
) -> Result<Zeroizing<vec::Vec<u8>>, CodecError> {
    let body_bytes = encoded_bytes(value)?;
    let header = Header { body_bytes, request_id, code, on_behalf_of: false }
        .encode()
        .map_err(|_: FrameError| CodecError::NoRoom)?;
    let mut bytes = Zeroizing::new(vec![0; frame::HEADER_BYTES + body_bytes]);
    let (head, body) = bytes.split_at_mut_checked(frame::HEADER_BYTES).ok_or(CodecError::NoRoom)?;
    head.copy_from_slice(&header);
    encode(value, body)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, BorrowDecode)]
    struct Sample<'a> {
        text: &'a str,
        number: u32,
        bytes: &'a [u8],
    }

    #[test]
    fn bytes_are_fixed_width_little_endian() {
        let sample = Sample { text: "ab", number: 7, bytes: &[9] };
        let mut out = [0; 64];
        let length = encode(&sample, &mut out).unwrap();
        assert_eq!(
            hex::encode(&out[..length]),
            "020000000000000061620700000001000000000000000 9".replace(' ', "")
        );
        assert_eq!(encoded_bytes(&sample).unwrap(), length);
        assert_eq!(decode::<Sample<'_>>(&out[..length]), Ok(sample));
        assert_eq!(decode::<Sample<'_>>(&out[..=length]), Err(CodecError::Trailing));
        for cut in 0..length {
            assert_eq!(decode::<Sample<'_>>(&out[..cut]), Err(CodecError::Malformed));
        }
    }

    #[test]
    fn a_claim_larger_than_the_frame_is_refused_without_allocating() {
        let claim = [0xff; 16];
        assert_eq!(decode::<&[u8]>(&claim), Err(CodecError::Malformed));
        assert_eq!(decode::<vec::Vec<u64>>(&claim), Err(CodecError::Malformed));
    }
}
