//! `jwt_sign` and `jwt_verify`: JSON Web Tokens with HS256 and nothing else (RFC 7519, RFC 7515; docs/FORMATS.md,
//! section 6 "Tokens").
//!
//! The key is named by the request, never by the token. What a token says is read only when its signature is found
//! good. Must never accept another algorithm, an extension it does not know, or text that is not canonical.

mod claims;
mod json;
mod parts;
mod sign;
mod verify;

use parts::Parts;
pub(super) use parts::names_no_key;

use super::{OperationError, TokenFault};

/// Bytes of the signature in base64url.
const SIGNATURE_TEXT_BYTES: usize = 43;
/// Bytes of the key id that `kid` names, in hexadecimal.
const KEY_NAME_BYTES: usize = 16;

/// `kid` of a version.
fn key_name(key_id: &[u8; 32]) -> [u8; 2 * KEY_NAME_BYTES] {
    let mut text = [0; 2 * KEY_NAME_BYTES];
    for (pair, byte) in text.chunks_exact_mut(2).zip(key_id) {
        let digits =
            [byte >> 4, byte & 15].map(|value| if value < 10 { b'0' + value } else { b'a' - 10 + value });
        pair.copy_from_slice(&digits);
    }
    text
}

/// Takes a token apart and reads it as [`keyagent_common::op::JwtVerify`] does, without a key: whether it would be
/// accepted if this key had signed it. Proves nothing; it is there for tests of what strangers can write.
pub fn check_token_parts(token: &str, now_unix: u64) -> Result<(), OperationError> {
    let parts = Parts::split(token)?;
    parts.check_header(None)?;
    let mut place = alloc::vec![0; parts.claims_bytes()?];
    parts.decode_claims(&mut place)?;
    let checked = claims::check(&place, Some(now_unix), now_unix);
    checked.map_err(|fault| OperationError::TokenRefused(TokenFault::Claims(fault)))
}

#[cfg(test)]
mod tests;
