//! A token taken apart: three parts of canonical base64url (RFC 7515, section 7.1).
//!
//! base64ct refuses padding, white space, foreign letters and spare bits that are not zero, in constant time.

use base64ct::{Base64UrlUnpadded, Encoding};

use super::{
    super::{OperationError, TokenFault, mac::MAC_BYTES},
    KEY_NAME_BYTES, SIGNATURE_TEXT_BYTES,
    json::{self, Value},
    key_name, sign,
};

/// Most bytes of a header.
const MAX_HEADER_BYTES: usize = 1024;

/// The parts of a token, as it was received.
pub(super) struct Parts<'t> {
    /// Header and claims with the full stop between them: what was signed.
    pub(super) signed: &'t [u8],
    header: &'t str,
    claims: &'t str,
    signature: [u8; MAC_BYTES],
}

impl<'t> Parts<'t> {
    /// Takes a token apart and decodes the signature; the rest is read once that was found good.
    pub(super) fn split(token: &'t str) -> Result<Self, OperationError> {
        let form = OperationError::TokenRefused(TokenFault::Form);
        let (signed, signature_text) = token.rsplit_once('.').ok_or(form)?;
        let (header, claims) = signed.split_once('.').ok_or(form)?;
        if claims.contains('.') || signature_text.len() != SIGNATURE_TEXT_BYTES {
            return Err(form);
        }
        let mut signature = [0; MAC_BYTES];
        Base64UrlUnpadded::decode(signature_text, &mut signature).map_err(|_| form)?;
        Ok(Self { signed: signed.as_bytes(), header, claims, signature })
    }

    /// The signature.
    pub(super) fn signature(&self) -> &[u8; MAC_BYTES] {
        &self.signature
    }

    /// The start of the id of the version that a header of our own names. A hint, before the signature was checked.
    pub(super) fn named(&self) -> Option<[u8; KEY_NAME_BYTES]> {
        sign::named_by(self.header)
    }

    /// Reads the header: `alg` is HS256, nothing is demanded that is not known here, and `kid`, if it is there, names
    /// the version that signed it.
    pub(super) fn check_header(&self, signer: Option<&[u8; 32]>) -> Result<(), OperationError> {
        let mut place = [0; MAX_HEADER_BYTES];
        let length = decoded_bytes(self.header).filter(|length| *length <= MAX_HEADER_BYTES);
        let place = length.and_then(|length| place.get_mut(..length));
        let header = decode(self.header, place.ok_or(OperationError::TokenRefused(TokenFault::Form))?)?;
        let (mut algorithm, mut critical, mut key) = (None, false, None);
        let read = json::read_object(header, &mut |name, value| {
            if name.is("alg") {
                algorithm = Some(value);
            } else if name.is("crit") || name.is("b64") {
                critical = true;
            } else if name.is("kid") {
                key = Some(value);
            }
        });
        let fault = if read.is_err() {
            TokenFault::Header
        } else if !matches!(algorithm, Some(Value::Text(name)) if name.is("HS256")) {
            TokenFault::Algorithm
        } else if critical {
            TokenFault::Critical
        } else if key.is_some_and(|named| !names(named, signer)) {
            TokenFault::KeyId
        } else {
            return Ok(());
        };
        Err(OperationError::TokenRefused(fault))
    }

    /// Bytes of the claims.
    pub(super) fn claims_bytes(&self) -> Result<usize, OperationError> {
        decoded_bytes(self.claims).ok_or(OperationError::TokenRefused(TokenFault::Form))
    }

    /// Decodes the claims into `place` of [`Self::claims_bytes`].
    pub(super) fn decode_claims(&self, place: &mut [u8]) -> Result<(), OperationError> {
        decode(self.claims, place).map(|_| ())
    }
}

/// Whether a token has a header other than `jwt_sign` writes, so that every version is tried.
pub(in crate::ops) fn names_no_key(token: &str) -> bool {
    Parts::split(token).is_ok_and(|parts| parts.named().is_none())
}

/// Whether a `kid` names this version; without one, any string does.
fn names(key: Value<'_>, signer: Option<&[u8; 32]>) -> bool {
    let Value::Text(named) = key else { return false };
    signer.is_none_or(|id| named.characters().eq(key_name(id).iter().copied().map(char::from)))
}

/// How many bytes some base64url without padding stands for; none if it is of no such length.
fn decoded_bytes(text: &str) -> Option<usize> {
    let tail = match text.len() % 4 {
        0 => 0,
        2 => 1,
        3 => 2,
        _ => return None,
    };
    Some(text.len() / 4 * 3 + tail)
}

fn decode<'p>(text: &str, place: &'p mut [u8]) -> Result<&'p [u8], OperationError> {
    let wanted = place.len();
    let decoded = Base64UrlUnpadded::decode(text, place).ok().filter(|decoded| decoded.len() == wanted);
    decoded.ok_or(OperationError::TokenRefused(TokenFault::Form))
}
