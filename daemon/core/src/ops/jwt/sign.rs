//! `jwt_sign`: a token under the primary version of a class 03 key.

use base64ct::{Base64UrlUnpadded, Encoding};
use keyagent_common::{
    context::{self, Context},
    envelope::Kind,
    op::{JwtSign, JwtSignRequest, MAX_TOKEN_BYTES},
};

use super::{
    super::{DataOperation, OperationError, Target, Used, Work, mac},
    KEY_NAME_BYTES, SIGNATURE_TEXT_BYTES, claims, key_name,
};
use crate::{arena::Arena, authorize::Authorized, keyring::Class, layout, reply::ReplyBuffer};

const HEADER_BEGIN: &[u8] = br#"{"alg":"HS256","typ":"JWT","kid":""#;
const HEADER_END: &[u8] = br#""}"#;
const HEADER_BYTES: usize = HEADER_BEGIN.len() + 2 * KEY_NAME_BYTES + HEADER_END.len();
const HEADER_TEXT_BYTES: usize = text_bytes(HEADER_BYTES);

impl DataOperation for JwtSign {
    const CLASS: Class = Class::Hs256;

    /// A token is kept nowhere: what maintenance is for does not mind it.
    fn seals(_: bool) -> bool {
        false
    }

    fn target<'a>(request: &Self::Request<'a>) -> Target<'a> {
        Target::Primary(request.key)
    }

    fn context<'a>(_: &Self::Request<'a>) -> &'a [u8] {
        context::EMPTY
    }

    fn payload_bytes(request: &JwtSignRequest<'_>) -> usize {
        request.claims.len()
    }

    fn opens(_: Kind, _: usize) -> bool {
        false
    }

    fn run<'k, A: Arena>(
        authorized: &Authorized<'k, A, Self>,
        request: &JwtSignRequest<'_>,
        _: Context<'_>,
        request_id: u32,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<Used<'k>, OperationError> {
        if request.claims.len() > MAX_TOKEN_BYTES {
            return Err(OperationError::TokenTooLong);
        }
        let signed_bytes = HEADER_TEXT_BYTES + 1 + text_bytes(request.claims.len());
        let token_bytes = signed_bytes + 1 + SIGNATURE_TEXT_BYTES;
        if token_bytes > MAX_TOKEN_BYTES {
            return Err(OperationError::TokenTooLong);
        }
        claims::check(request.claims, None, work.now_unix).map_err(OperationError::ClaimsRefused)?;
        // The reply is `version u32, token (u64 length, bytes)`: the head ends with the length.
        let head = (authorized.version(), token_bytes as u64);
        let place = replies.payload(request_id, &head, token_bytes).map_err(|_| OperationError::Internal)?;
        let (signed, rest) = place.split_at_mut_checked(signed_bytes).ok_or(OperationError::Internal)?;
        let (header, body) =
            signed.split_at_mut_checked(HEADER_TEXT_BYTES).ok_or(OperationError::Internal)?;
        let name = key_name(authorized.key_id());
        let plain: [u8; HEADER_BYTES] = layout::join(&[HEADER_BEGIN, &name, HEADER_END]);
        encode(&plain, header)?;
        encode(request.claims, after_stop(body)?)?;
        let mac = authorized.with_secret(|secret| mac::hmac_sha256(secret, &[&*signed]))?;
        encode(&*mac, after_stop(rest)?)?;
        Ok(Used::Asked)
    }
}

/// The start of the key id that the header names, if a header is written letter for letter as it is here: nothing is
/// parsed. Not yet signed by anybody.
pub(super) fn named_by(header: &str) -> Option<[u8; KEY_NAME_BYTES]> {
    let mut place = [0; HEADER_BYTES];
    // First the length: other headers are not looked at.
    let plain = Some(header).filter(|header| header.len() == HEADER_TEXT_BYTES)?;
    let plain = Base64UrlUnpadded::decode(plain, &mut place).ok()?;
    let name = plain.strip_prefix(HEADER_BEGIN)?.strip_suffix(HEADER_END)?;
    let mut start = [0; KEY_NAME_BYTES];
    for (byte, pair) in start.iter_mut().zip(name.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(start)
}

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

/// Puts a full stop at the front; the place behind it.
fn after_stop(place: &mut [u8]) -> Result<&mut [u8], OperationError> {
    let (stop, behind) = place.split_first_mut().ok_or(OperationError::Internal)?;
    *stop = b'.';
    Ok(behind)
}

fn encode(bytes: &[u8], place: &mut [u8]) -> Result<(), OperationError> {
    let wanted = place.len();
    match Base64UrlUnpadded::encode(bytes, place) {
        Ok(text) if text.len() == wanted => Ok(()),
        _ => Err(OperationError::Internal),
    }
}

/// Bytes of some bytes in base64url without padding.
const fn text_bytes(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}
