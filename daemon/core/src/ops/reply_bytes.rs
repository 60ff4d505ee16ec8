//! How long a reply can get, before anything is done.
//!
//! By the request alone: what a caller learns of a limit must not depend on keys that it may not know of.

use keyagent_common::{
    codec,
    envelope::{DATA_KEY_BYTES, OVERHEAD_BYTES},
    frame::HEADER_BYTES,
    op::{HmacRequest, MAX_RANDOM_BYTES, MAX_TOKEN_BYTES, OperationCode, RandomRequest},
};

use super::hmac::{MAX_ENTRY_BYTES, MAX_TAGS};

/// Most bytes of a frame with an error of [`super::OperationError`].
pub(super) const ERROR_BYTES: usize = 384;
/// Most bytes of the fields that stand around a payload.
const FIELDS_BYTES: usize = 32;

/// Most bytes of the whole frame that answers an operation on data with a body of this length.
pub fn frame_bytes_at_most(operation: OperationCode, body_bytes: usize) -> usize {
    let payload = match operation {
        OperationCode::Encrypt => body_bytes + OVERHEAD_BYTES,
        OperationCode::DataKey => 32 + DATA_KEY_BYTES,
        OperationCode::Hmac => MAX_TAGS * MAX_ENTRY_BYTES,
        OperationCode::JwtSign => MAX_TOKEN_BYTES.min(body_bytes.saturating_mul(2) + 160),
        OperationCode::Random => length(MAX_RANDOM_BYTES),
        _ => body_bytes,
    };
    (HEADER_BYTES + FIELDS_BYTES + payload).max(ERROR_BYTES)
}

/// The same for a body that is there, which may say itself how much it asks for.
pub fn item_bytes_at_most(operation: OperationCode, body: &[u8]) -> usize {
    let most = frame_bytes_at_most(operation, body.len());
    let payload = match operation {
        OperationCode::Hmac
            if !codec::decode(body).is_ok_and(|HmacRequest { every_version, .. }| every_version) =>
        {
            MAX_ENTRY_BYTES
        }
        OperationCode::Random => {
            codec::decode(body).map_or(0, |RandomRequest { bytes }| length(bytes.min(MAX_RANDOM_BYTES)))
        }
        _ => return most,
    };
    (HEADER_BYTES + FIELDS_BYTES + payload).max(ERROR_BYTES)
}

fn length(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
