//! Operations on data as a library hands their answers out: owned, and wiped when dropped where they are secret.
//!
//! It must never hand out a reply that is not what was asked for: a wrong kind or length is a violation of the
//! protocol.

use std::path::Path;

use keyagent_common::{
    codec,
    envelope::{DATA_KEY_BYTES, Envelope, Kind},
    error::ErrorCode,
    frame::HEADER_BYTES,
    op::{
        DataKey, DataKeyOpen, DataKeyOpenReply, DataKeyReply, Decrypt, DecryptReply, Encrypt, EncryptReply,
        ErrorReply, HMAC_ID_BYTES, HmacReply, HmacTag, JwtSign, JwtSignReply, JwtVerify, JwtVerifyReply,
        Operation, OperationCode, Random, RandomReply, Rewrap, RewrapReply,
    },
};
use secrecy::SecretBox;
use zeroize::Zeroizing;

use crate::error::{AgentError, Error};

/// A 32-byte data key; wiped when dropped.
pub type DataKeySecret = SecretBox<[u8; 32]>;

/// A new data key, plain and sealed.
pub struct DataKeyPair {
    /// The key. To be dropped after use and never stored.
    pub plain: DataKeySecret,
    /// The same, sealed; to be stored beside the data.
    pub envelope: [u8; DATA_KEY_BYTES],
    /// Version of the key that sealed it.
    pub version: u32,
}

/// What `rewrap` made of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapped {
    /// The primary version, which sealed it.
    pub version: u32,
    /// Whether it is another envelope than the one given; if not there is nothing to store.
    pub changed: bool,
    /// As long as the one given.
    pub envelope: Vec<u8>,
}

/// A tag of `hmac`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The version that made it.
    pub version: u32,
    /// 8 bytes that name the version, then the tag; this is what an index stores.
    pub bytes: Vec<u8>,
}

/// What a token says that `jwt_verify` accepted.
pub struct Claims {
    /// Version of the key that signed it.
    pub version: u32,
    /// Whether that version is primary.
    pub current: bool,
    /// The JSON object, byte for byte as it was signed.
    pub json: Zeroizing<Vec<u8>>,
}

/// Why a reply of success cannot be handed out.
#[doc(hidden)]
#[derive(Debug)]
pub enum Unusable {
    /// It is not what the protocol promises; the connection is not to be used again.
    Violation(&'static str),
    /// It was refused after all.
    Refused(AgentError),
}

impl Unusable {
    /// The error, on the connection to this socket.
    pub(crate) fn on(self, socket: &Path) -> Error {
        match self {
            Self::Refused(error) => Error::Agent(error),
            Self::Violation(what) => Error::Protocol { path: socket.to_path_buf(), what: what.to_owned() },
        }
    }
}

/// An operation on data: it can be repeated, queued and put into a batch.
///
/// The list is closed; see [`keyagent_common::op`] for the shapes of requests.
pub trait DataOperation: Operation {
    /// What the caller gets.
    type Output;

    /// Turns the reply into it.
    #[doc(hidden)]
    fn take(reply: Self::Reply<'_>) -> Result<Self::Output, Unusable>;

    /// Most bytes of a reply of success to a request of so many bytes, both as frames.
    #[doc(hidden)]
    fn reply_bytes(request_frame_bytes: usize) -> usize {
        request_frame_bytes + 128
    }
}

impl DataOperation for Encrypt {
    /// A kind-01 envelope.
    type Output = Vec<u8>;

    fn take(reply: EncryptReply<'_>) -> Result<Vec<u8>, Unusable> {
        envelope(reply.envelope, |kind| kind == Kind::Message)
    }
}

impl DataOperation for Decrypt {
    /// The message.
    type Output = Zeroizing<Vec<u8>>;

    fn take(reply: DecryptReply<'_>) -> Result<Self::Output, Unusable> {
        Ok(Zeroizing::new(reply.plaintext.to_vec()))
    }
}

impl DataOperation for Rewrap {
    type Output = Rewrapped;

    fn take(reply: RewrapReply<'_>) -> Result<Rewrapped, Unusable> {
        let RewrapReply { version, changed, envelope: bytes } = reply;
        Ok(Rewrapped { version, changed, envelope: envelope(bytes, |_| true)? })
    }
}

impl DataOperation for DataKey {
    type Output = DataKeyPair;

    fn take(reply: DataKeyReply<'_>) -> Result<DataKeyPair, Unusable> {
        if reply.plain.is_empty() {
            return Err(Unusable::Refused(sealed_only()));
        }
        let sealed = reply.envelope.try_into().map_err(|_| Unusable::Violation(KEY_LENGTH))?;
        Ok(DataKeyPair { plain: secret(reply.plain)?, envelope: sealed, version: reply.version })
    }

    fn reply_bytes(_: usize) -> usize {
        HEADER_BYTES + 256
    }
}

impl DataOperation for DataKeyOpen {
    type Output = DataKeySecret;

    fn take(reply: DataKeyOpenReply<'_>) -> Result<DataKeySecret, Unusable> {
        secret(reply.plain)
    }
}

impl DataOperation for HmacTag {
    /// The primary version's tag first.
    type Output = Vec<Tag>;

    fn take(reply: HmacReply<'_>) -> Result<Vec<Tag>, Unusable> {
        if reply.tags.is_empty() || reply.tags.iter().any(|tag| tag.tag.len() <= HMAC_ID_BYTES) {
            return Err(Unusable::Violation("no tag, or one that is too short"));
        }
        Ok(reply.tags.iter().map(|tag| Tag { version: tag.version, bytes: tag.tag.to_vec() }).collect())
    }

    /// With the tags of every version it is as long as there are versions.
    fn reply_bytes(_: usize) -> usize {
        HEADER_BYTES + 16 * 64
    }
}

impl DataOperation for JwtSign {
    /// The token.
    type Output = Zeroizing<String>;

    fn take(reply: JwtSignReply<'_>) -> Result<Self::Output, Unusable> {
        Ok(Zeroizing::new(reply.token.to_owned()))
    }

    fn reply_bytes(request_frame_bytes: usize) -> usize {
        request_frame_bytes.div_ceil(3) * 4 + 256
    }
}

impl DataOperation for JwtVerify {
    type Output = Claims;

    fn take(reply: JwtVerifyReply<'_>) -> Result<Claims, Unusable> {
        let json = Zeroizing::new(reply.claims.to_vec());
        Ok(Claims { version: reply.version, current: reply.current, json })
    }
}

impl DataOperation for Random {
    /// As many bytes as were asked for.
    type Output = Zeroizing<Vec<u8>>;

    fn take(reply: RandomReply<'_>) -> Result<Self::Output, Unusable> {
        Ok(Zeroizing::new(reply.random.to_vec()))
    }

    fn reply_bytes(_: usize) -> usize {
        HEADER_BYTES + 8 + keyagent_common::op::MAX_RANDOM_BYTES as usize
    }
}

/// Decodes the body of a reply of success.
pub(crate) fn owned<O: DataOperation>(body: &[u8]) -> Result<O::Output, Unusable> {
    let reply = codec::decode::<O::Reply<'_>>(body).map_err(|_| Unusable::Violation(NOT_DECODED))?;
    O::take(reply)
}

/// Decodes the body of a reply whose code is not 0.
pub(crate) fn refusal(operation: OperationCode, code: u16, body: &[u8]) -> Result<AgentError, Unusable> {
    let reply = codec::decode::<ErrorReply<'_>>(body).map_err(|_| Unusable::Violation(NOT_DECODED))?;
    Ok(AgentError {
        number: code,
        operation: operation.name(),
        what: reply.what.to_owned(),
        why: reply.why.to_owned(),
        fix: reply.fix.to_owned(),
    })
}

const NOT_DECODED: &str = "a reply whose body does not decode";
const KEY_LENGTH: &str = "a data key of the wrong length";

fn envelope(bytes: &[u8], is_wanted: impl Fn(Kind) -> bool) -> Result<Vec<u8>, Unusable> {
    match Envelope::parse(bytes) {
        Ok(envelope) if is_wanted(envelope.kind) => Ok(bytes.to_vec()),
        _ => Err(Unusable::Violation("a reply that is no envelope of the kind asked for")),
    }
}

fn secret(bytes: &[u8]) -> Result<DataKeySecret, Unusable> {
    let bytes: &[u8; 32] = bytes.try_into().map_err(|_| Unusable::Violation(KEY_LENGTH))?;
    Ok(DataKeySecret::init_with_mut(|place| place.copy_from_slice(bytes)))
}

/// A rule may give data keys in their sealed form only; there is nothing then to seal data with.
fn sealed_only() -> AgentError {
    AgentError {
        number: ErrorCode::Denied as u16,
        operation: OperationCode::DataKey.name(),
        what: "the policy gives this caller sealed data keys only".to_owned(),
        why: "a rule with no_reveal never shows the key itself".to_owned(),
        fix: "keyagent policy explain".to_owned(),
    }
}
