//! Operations on data beside sealing and opening: `rewrap`, `hmac`, `jwt_sign`, `jwt_verify`, `random`, `batch`.
//!
//! `Debug` of a payload shows its length only.

use alloc::vec::Vec;

use super::{Operation, OperationCode};
use crate::codec::{BorrowDecode, Encode};

/// Shortest and longest tag of `hmac` without its 8 id bytes.
pub const HMAC_TAG_BYTES: core::ops::RangeInclusive<u8> = 8..=32;
/// Bytes of the key id that stand before each tag of `hmac`.
pub const HMAC_ID_BYTES: usize = 8;
/// Most random bytes in one reply.
pub const MAX_RANDOM_BYTES: u32 = 4096;
/// Most bytes of the claims or of a whole token.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;
/// Most seconds by which `jwt_verify` forgives a clock.
pub const MAX_LEEWAY_SECONDS: u32 = 300;

/// `rewrap`: seals anew, under the primary version of its key, what an older version sealed. Nothing comes out in
/// the clear.
#[derive(Debug)]
pub enum Rewrap {}

impl Operation for Rewrap {
    const CODE: OperationCode = OperationCode::Rewrap;
    type Request<'a> = RewrapRequest<'a>;
    type Reply<'a> = RewrapReply<'a>;
}

/// What to move to the primary version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct RewrapRequest<'a> {
    /// The context it was sealed with; it stays.
    pub context: &'a [u8],
    /// Envelope of any kind.
    pub envelope: &'a [u8],
}

/// The envelope under the primary version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct RewrapReply<'a> {
    /// The primary version.
    pub version: u32,
    /// Whether it is another envelope than the one given; one that is current opens and comes back as it was.
    pub changed: bool,
    /// As long as the one given.
    pub envelope: &'a [u8],
}

/// What stands before the envelope's bytes in a [`RewrapReply`]: the daemon seals in place behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct RewrapReplyHead {
    /// The primary version.
    pub version: u32,
    /// Whether it is another envelope than the one given.
    pub changed: bool,
    /// Bytes of the envelope.
    pub envelope_bytes: u64,
}

/// `hmac`: a blind index: the tag of a value under a key of class 2 (docs/FORMATS.md, section 6).
#[derive(Debug)]
pub enum HmacTag {}

impl Operation for HmacTag {
    const CODE: OperationCode = OperationCode::Hmac;
    type Request<'a> = HmacRequest<'a>;
    type Reply<'a> = HmacReply<'a>;
}

/// What to take the tag of.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct HmacRequest<'a> {
    /// Name of the key.
    pub key: &'a str,
    /// Canonical context bytes.
    pub context: &'a [u8],
    /// At most 1 MiB.
    pub value: &'a [u8],
    /// Bytes of the tag, in [`HMAC_TAG_BYTES`].
    pub tag_bytes: u8,
    /// For a look-up: the tags of every version that opens data, not of the primary one alone.
    pub every_version: bool,
}

/// The tags.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct HmacReply<'a> {
    /// The primary version's first.
    pub tags: Vec<VersionTag<'a>>,
}

/// A tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct VersionTag<'a> {
    /// The version that made it.
    pub version: u32,
    /// The first [`HMAC_ID_BYTES`] bytes of the version's id, then the tag.
    pub tag: &'a [u8],
}

/// `jwt_sign`: a JSON Web Token with HS256, under a key of class 3.
#[derive(Debug)]
pub enum JwtSign {}

impl Operation for JwtSign {
    const CODE: OperationCode = OperationCode::JwtSign;
    type Request<'a> = JwtSignRequest<'a>;
    type Reply<'a> = JwtSignReply<'a>;
}

/// What to sign. The daemon builds the header itself.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct JwtSignRequest<'a> {
    /// Name of the key.
    pub key: &'a str,
    /// A JSON object with `exp`; signed byte for byte.
    pub claims: &'a [u8],
}

/// A token.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct JwtSignReply<'a> {
    /// Version of the key that signed it.
    pub version: u32,
    /// Header, claims and signature in base64url, joined by full stops.
    pub token: &'a str,
}

/// `jwt_verify`: checks a token with HS256 against every usable version of a key of class 3.
#[derive(Debug)]
pub enum JwtVerify {}

impl Operation for JwtVerify {
    const CODE: OperationCode = OperationCode::JwtVerify;
    type Request<'a> = JwtVerifyRequest<'a>;
    type Reply<'a> = JwtVerifyReply<'a>;
}

/// What to check.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct JwtVerifyRequest<'a> {
    /// Name of the key; never taken from the token.
    pub key: &'a str,
    /// The whole token.
    pub token: &'a str,
    /// By how much a clock may be wrong, at most [`MAX_LEEWAY_SECONDS`].
    pub leeway_seconds: u32,
}

/// What a token says.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct JwtVerifyReply<'a> {
    /// Version of the key that signed it.
    pub version: u32,
    /// Whether that version is primary.
    pub current: bool,
    /// The JSON object, as it was signed.
    pub claims: &'a [u8],
}

/// `random`: bytes of the operating system's generator.
#[derive(Debug)]
pub enum Random {}

impl Operation for Random {
    const CODE: OperationCode = OperationCode::Random;
    type Request<'a> = RandomRequest;
    type Reply<'a> = RandomReply<'a>;
}

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct RandomRequest {
    /// 1 to [`MAX_RANDOM_BYTES`].
    pub bytes: u32,
}

/// Random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct RandomReply<'a> {
    /// As many as were asked for.
    pub random: &'a [u8],
}

/// `batch`: many requests of one operation on data, a result for each, one record for all.
#[derive(Debug)]
pub enum Batch {}

impl Operation for Batch {
    const CODE: OperationCode = OperationCode::Batch;
    type Request<'a> = BatchRequest<'a>;
    type Reply<'a> = BatchReply<'a>;
}

/// The requests.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BatchRequest<'a> {
    /// Number of the operation of all of them; one on data, not `batch`.
    pub operation: u16,
    /// Request frames as on the connection (docs/PROTOCOL.md), with the ids 0, 1, 2 and so on, that operation's code
    /// and no flags; 1 to as many as `hello` allows in flight.
    pub items: &'a [u8],
}

/// The results.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BatchReply<'a> {
    /// A reply frame for each item, in order; each has a code of its own.
    pub results: &'a [u8],
}

super::redacted::redacted_debug!(
    HmacRequest.value,
    JwtSignRequest.claims,
    JwtSignReply.token,
    JwtVerifyRequest.token,
    JwtVerifyReply.claims,
    RandomReply.random,
    BatchRequest.items,
    BatchReply.results
);
