//! Operations on data: `encrypt`, `decrypt`, `data_key`, `data_key_open`.
//!
//! Every one takes a context (canonical bytes, see [`crate::context`]); `Debug` of a payload shows its
//! length only.

use super::{Operation, OperationCode};
use crate::codec::{BorrowDecode, Encode};

/// `encrypt`: seals a message under the primary version of a key.
#[derive(Debug)]
pub enum Encrypt {}

impl Operation for Encrypt {
    const CODE: OperationCode = OperationCode::Encrypt;
    type Request<'a> = EncryptRequest<'a>;
    type Reply<'a> = EncryptReply<'a>;
}

/// What to seal.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct EncryptRequest<'a> {
    /// Name of the key.
    pub key: &'a str,
    /// Canonical context bytes.
    pub context: &'a [u8],
    /// At most 1 MiB.
    pub plaintext: &'a [u8],
}

/// The sealed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct EncryptReply<'a> {
    /// Version of the key that sealed it.
    pub version: u32,
    /// Kind-01 envelope, 73 bytes longer than the plaintext.
    pub envelope: &'a [u8],
}

/// What stands before the envelope's bytes in an [`EncryptReply`]: the daemon seals in place behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct EncryptReplyHead {
    /// Version of the key that sealed it.
    pub version: u32,
    /// Bytes of the envelope.
    pub envelope_bytes: u64,
}

/// `decrypt`: opens a kind-01 envelope.
#[derive(Debug)]
pub enum Decrypt {}

impl Operation for Decrypt {
    const CODE: OperationCode = OperationCode::Decrypt;
    type Request<'a> = DecryptRequest<'a>;
    type Reply<'a> = DecryptReply<'a>;
}

/// What to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct DecryptRequest<'a> {
    /// The context it was sealed with.
    pub context: &'a [u8],
    /// Kind-01 envelope.
    pub envelope: &'a [u8],
}

/// The opened message.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct DecryptReply<'a> {
    /// Version of the key that had sealed it.
    pub version: u32,
    /// Whether that version is the key's primary one; if not, `rewrap` would move it on.
    pub current: bool,
    /// The message.
    pub plaintext: &'a [u8],
}

/// What stands before the plaintext's bytes in a [`DecryptReply`]: the daemon opens in place behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct DecryptReplyHead {
    /// Version of the key that had sealed it.
    pub version: u32,
    /// Whether that version is primary.
    pub current: bool,
    /// Bytes of the plaintext.
    pub plaintext_bytes: u64,
}

/// `data_key`: makes a random 32-byte key, plain and sealed.
#[derive(Debug)]
pub enum DataKey {}

impl Operation for DataKey {
    const CODE: OperationCode = OperationCode::DataKey;
    type Request<'a> = DataKeyRequest<'a>;
    type Reply<'a> = DataKeyReply<'a>;
}

/// Which data key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct DataKeyRequest<'a> {
    /// Name of the key that seals it.
    pub key: &'a str,
    /// Canonical context bytes.
    pub context: &'a [u8],
    /// 2 for a stream, 3 for an application (the kinds of the envelope).
    pub kind: u8,
}

/// A new data key.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct DataKeyReply<'a> {
    /// Version of the key that sealed it.
    pub version: u32,
    /// The data key, 32 bytes. To be wiped after use and never stored.
    pub plain: &'a [u8],
    /// The same, sealed: 105 bytes, to be stored beside the data.
    pub envelope: &'a [u8],
}

/// `data_key_open`: opens a kind-02 or kind-03 envelope.
#[derive(Debug)]
pub enum DataKeyOpen {}

impl Operation for DataKeyOpen {
    const CODE: OperationCode = OperationCode::DataKeyOpen;
    type Request<'a> = DataKeyOpenRequest<'a>;
    type Reply<'a> = DataKeyOpenReply<'a>;
}

/// Which data key to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct DataKeyOpenRequest<'a> {
    /// The context it was sealed with.
    pub context: &'a [u8],
    /// Kind-02 or kind-03 envelope, 105 bytes.
    pub envelope: &'a [u8],
}

/// The opened data key.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct DataKeyOpenReply<'a> {
    /// Version of the key that had sealed it.
    pub version: u32,
    /// Whether that version is the key's primary one.
    pub current: bool,
    /// The data key, 32 bytes.
    pub plain: &'a [u8],
}

super::redacted::redacted_debug!(
    EncryptRequest.plaintext,
    DecryptReply.plaintext,
    DataKeyReply.plain,
    DataKeyOpenReply.plain
);
