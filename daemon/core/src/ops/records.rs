//! How many secrets a request can have opened, before anything is done.
//!
//! Each one costs some microseconds while the engine is held, and nothing else is answered by that worker. By the request
//! alone, as for the length of replies: no limit tells of keys that a caller may not know of.

use keyagent_common::{
    codec,
    op::{HmacRequest, JwtVerifyRequest, OperationCode},
};

use super::jwt;

/// Most versions that are tried for one request.
pub(super) const MAX_TRIED: usize = 64;

/// Most secrets that are opened for an operation with this body.
pub(crate) fn records_at_most(operation: OperationCode, body: &[u8]) -> usize {
    let tries_every = match operation {
        OperationCode::Hmac => {
            codec::decode(body).is_ok_and(|HmacRequest { every_version, .. }| every_version)
        }
        OperationCode::JwtVerify => {
            codec::decode(body).is_ok_and(|JwtVerifyRequest { token, .. }| jwt::names_no_key(token))
        }
        _ => false,
    };
    if tries_every { MAX_TRIED } else { 1 }
}
