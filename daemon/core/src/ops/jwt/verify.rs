//! `jwt_verify`: checks a token against the version of a class 03 key that it names, or against those in use.
//!
//! The signature first, over the bytes as they were received; only then is read what they say.

use keyagent_common::{
    context::{self, Context},
    envelope::Kind,
    op::{JwtVerify, JwtVerifyRequest, MAX_LEEWAY_SECONDS, MAX_TOKEN_BYTES},
};

use super::{
    super::{DataOperation, OperationError, Target, TokenFault, Used, Work, mac, records::MAX_TRIED},
    Parts, claims,
};
use crate::{arena::Arena, authorize::Authorized, keyring::Class, reply::ReplyBuffer};

impl DataOperation for JwtVerify {
    const CLASS: Class = Class::Hs256;

    fn seals(_: bool) -> bool {
        false
    }

    fn target<'a>(request: &Self::Request<'a>) -> Target<'a> {
        Target::Primary(request.key)
    }

    fn context<'a>(_: &Self::Request<'a>) -> &'a [u8] {
        context::EMPTY
    }

    fn payload_bytes(request: &JwtVerifyRequest<'_>) -> usize {
        request.token.len()
    }

    fn opens(_: Kind, _: usize) -> bool {
        false
    }

    fn run<'k, A: Arena>(
        authorized: &Authorized<'k, A, Self>,
        request: &JwtVerifyRequest<'_>,
        _: Context<'_>,
        request_id: u32,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<Used<'k>, OperationError> {
        if request.token.len() > MAX_TOKEN_BYTES {
            return Err(OperationError::TokenTooLong);
        }
        if request.leeway_seconds > MAX_LEEWAY_SECONDS {
            return Err(OperationError::InvalidLeeway);
        }
        let parts = Parts::split(request.token)?;
        let signer =
            signer(authorized, &parts)?.ok_or(OperationError::TokenRefused(TokenFault::Signature))?;
        parts.check_header(Some(signer.key_id()))?;
        let claims_bytes = parts.claims_bytes()?;
        // The reply is `version u32, current bool, claims (u64 length, bytes)`: the head ends with the length.
        let head = (signer.version(), signer.is_primary(), claims_bytes as u64);
        let place = replies.payload(request_id, &head, claims_bytes).map_err(|_| OperationError::Internal)?;
        parts.decode_claims(place)?;
        let leeway = u64::from(request.leeway_seconds);
        let (begins_by, expires_after) =
            (work.now_unix.saturating_add(leeway), work.now_unix.saturating_sub(leeway));
        claims::check(place, Some(begins_by), expires_after)
            .map_err(|fault| OperationError::TokenRefused(TokenFault::Claims(fault)))?;
        Ok(Used::Version(signer.key_id(), signer.version()))
    }
}

/// The version that made the signature, of those that may have: none is opened that is not tried.
///
/// A header of our own names its version. Nobody vouches for that yet, but it is only asked which one HMAC to compare:
/// a good signature of that version is what makes the token genuine, as it would be had every version been tried, and
/// [`Parts::check_header`] refuses a token in any case that names another version than the one that signed it. So a
/// wrong name fails, and what it costs is one record. Any other header has every version tried, up to a limit.
fn signer<'k, A: Arena>(
    authorized: &Authorized<'k, A, JwtVerify>,
    parts: &Parts<'_>,
) -> Result<Option<Authorized<'k, A, JwtVerify>>, OperationError> {
    let named = parts.named();
    let may_have = |version: &Authorized<'k, A, JwtVerify>| {
        named.is_none_or(|start| version.key_id().starts_with(&start))
    };
    // The limit is checked before anything is opened.
    if authorized.every_version().filter(may_have).nth(MAX_TRIED).is_some() {
        return Err(OperationError::TooManyVersions);
    }
    let mut found = None;
    for version in authorized.every_version().filter(may_have) {
        let mac = version.with_secret(|secret| mac::hmac_sha256(secret, &[parts.signed]))?;
        if mac::is_equal(&mac, parts.signature()) && found.is_none() {
            found = Some(version);
        }
    }
    Ok(found)
}
