//! The effects: one file per operation on data, on an immutable keyring.
//!
//! An operation runs only with an [`Authorized`] of its own type and writes its reply in place. It
//! never does I/O, and what it learned of a failure it tells as an [`OperationError`], nothing more.

mod data_key;
mod data_key_open;
mod decrypt;
mod encrypt;
mod sealing;

use alloc::vec::Vec;

use keyagent_common::{context::Context, envelope::Kind, error::ErrorCode, op::Operation};

use crate::{arena::Arena, authorize::Authorized, entropy::Entropy, reply::ReplyBuffer};

/// What an operation needs beside its request: randomness and scratch space.
pub struct Work<'w> {
    /// Nonces and data keys of the burst being answered.
    pub entropy: &'w mut dyn Entropy,
    /// Cleared and filled with the associated data of each operation; holds nothing secret.
    pub associated_data: &'w mut Vec<u8>,
}

/// Which key a request is about.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// The primary version of a named key.
    Primary(&'a str),
    /// The version that sealed an envelope, found by its id.
    Sealed(&'a [u8]),
}

/// An operation on data.
pub trait DataOperation: Operation {
    /// The key the request is about.
    fn target<'a>(request: &Self::Request<'a>) -> Target<'a>;
    /// The context bytes as received.
    fn context<'a>(request: &Self::Request<'a>) -> &'a [u8];
    /// Payload bytes: of the plaintext where one is given, else of the envelope.
    fn payload_bytes(request: &Self::Request<'_>) -> usize;
    /// Whether this operation opens envelopes of a kind and a length in bytes; none where it does not open.
    fn opens(kind: Kind, sealed_bytes: usize) -> bool;
    /// Does it: writes one success reply, or nothing.
    fn run<A: Arena>(
        authorized: &Authorized<'_, A, Self>,
        request: &Self::Request<'_>,
        context: Context<'_>,
        request_id: u32,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<(), OperationError>
    where
        Self: Sized;
}

/// Why an operation failed, as far as a peer may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// The body does not decode.
    #[error("the request does not follow the protocol")]
    Malformed,
    /// The key's name is none.
    #[error("not a valid key name")]
    InvalidName,
    /// The context bytes are not canonical.
    #[error("not a valid context")]
    InvalidContext,
    /// The kind of data key is not 2 or 3.
    #[error("not a kind of data key")]
    InvalidKind,
    /// The plaintext is longer than a message may be.
    #[error("the message is longer than the limit")]
    TooLarge,
    /// No key of that name.
    #[error("there is no key of this name")]
    UnknownKey,
    /// No version with that id.
    #[error("encrypted with a key that this agent does not hold")]
    UnknownKeyId,
    /// Malformed, changed, cut, of another kind, or bound to another context: not told apart.
    #[error("this value does not open")]
    DoesNotOpen,
    /// The policy does not allow it.
    #[error("not allowed")]
    Denied,
    /// No key is in memory.
    #[error("the agent is locked")]
    Locked,
    /// The operating system gave no randomness, or the reply found no room.
    #[error("internal failure")]
    Internal,
}

impl OperationError {
    /// Row of the error table.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Malformed => ErrorCode::Malformed,
            Self::InvalidName | Self::InvalidContext | Self::InvalidKind => ErrorCode::InvalidRequest,
            Self::TooLarge => ErrorCode::TooLarge,
            Self::UnknownKey => ErrorCode::UnknownKey,
            Self::UnknownKeyId => ErrorCode::UnknownKeyId,
            Self::DoesNotOpen => ErrorCode::DoesNotOpen,
            Self::Denied => ErrorCode::Denied,
            Self::Locked => ErrorCode::Locked,
            Self::Internal => ErrorCode::Internal,
        }
    }

    /// What happened, in words for the peer and the log.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Malformed => "the request does not follow the protocol",
            Self::InvalidName => "not a valid key name",
            Self::InvalidContext => "not a valid context",
            Self::InvalidKind => "not a kind of data key",
            Self::TooLarge => "the message is longer than the limit",
            Self::UnknownKey => "there is no key of this name",
            Self::UnknownKeyId => "encrypted with a key that this agent does not hold",
            Self::DoesNotOpen => "this value does not open",
            Self::Denied => "not allowed",
            Self::Locked => "the agent is locked",
            Self::Internal => "the agent failed internally",
        }
    }

    /// Why, for the peer.
    pub const fn why(self) -> &'static str {
        match self {
            Self::InvalidName => {
                "a key name has parts of a-z, 0-9, '.', '_' and '-' (1 to 64 characters) joined by '/', 128 in all"
            }
            Self::InvalidContext => {
                "names ascend, are unique and made of a-z, 0-9, '.', '_', '-'; 16 pairs, 4096 bytes a value, 8192 in all"
            }
            Self::UnknownKeyId => {
                "another master key is loaded here, or the value comes from another agent's keyring"
            }
            Self::DoesNotOpen => "it was changed or cut, or it was encrypted with another context",
            Self::Locked => "`keyagent lock` wiped its keys from memory",
            _ => "",
        }
    }

    /// What to do, for the peer.
    pub const fn fix(self) -> &'static str {
        match self {
            Self::TooLarge => {
                "data beyond one message is a stream: let keyagent encrypt it as a file or pipe"
            }
            Self::Locked => "keyagent unlock",
            Self::UnknownKeyId => "compare `keyagent fingerprint` here and where the value was encrypted",
            Self::DoesNotOpen => {
                "give the same -c NAME=VALUE pairs as when it was encrypted; compare with the original"
            }
            _ => "",
        }
    }
}
