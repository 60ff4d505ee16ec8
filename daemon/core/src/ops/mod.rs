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

use crate::{arena::Arena, authorize::Authorized, entropy::Entropy, policy::Meter, reply::ReplyBuffer};

/// What an operation needs beside its request: randomness and scratch space.
pub struct Work<'w> {
    /// Nonces and data keys of the burst being answered.
    pub entropy: &'w mut dyn Entropy,
    /// Cleared and filled with the associated data of each operation; holds nothing secret.
    pub associated_data: &'w mut Vec<u8>,
    /// Keeps the rates of rules.
    pub meter: &'w mut dyn Meter,
    /// Nothing new is sealed.
    pub maintenance: bool,
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
    /// Whether it makes new ciphertext: then maintenance refuses it.
    const SEALS: bool;
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
    /// It does not say for whom it is asked, although its frame says so.
    #[error("the request does not follow the protocol")]
    BadAssertion,
    /// Not an operation on data, and asked for somebody else.
    #[error("this operation cannot be asked for on behalf of somebody else")]
    NotForOthers,
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
    /// A rule would allow it, with more names in the context.
    #[error("not allowed without more context")]
    ContextRequired,
    /// A rule would allow it, less often.
    #[error("too many requests")]
    RateLimited,
    /// Nothing new is sealed now.
    #[error("the agent is in maintenance")]
    Maintenance,
    /// The key was disabled by an operator.
    #[error("this key is disabled")]
    KeyDisabled,
    /// Somebody else may know the key.
    #[error("this key is marked as compromised")]
    KeyCompromised,
    /// No key is in memory.
    #[error("the agent is locked")]
    Locked,
    /// No locked memory is free for the state of a key that is not kept.
    #[error("the agent is busy")]
    Busy,
    /// The operating system gave no randomness, or the reply found no room.
    #[error("internal failure")]
    Internal,
}

impl OperationError {
    /// Row of the error table.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Malformed | Self::BadAssertion => ErrorCode::Malformed,
            Self::NotForOthers | Self::InvalidName | Self::InvalidContext | Self::InvalidKind => {
                ErrorCode::InvalidRequest
            }
            Self::TooLarge => ErrorCode::TooLarge,
            Self::UnknownKey => ErrorCode::UnknownKey,
            Self::UnknownKeyId => ErrorCode::UnknownKeyId,
            Self::DoesNotOpen => ErrorCode::DoesNotOpen,
            Self::Denied | Self::ContextRequired => ErrorCode::Denied,
            Self::RateLimited => ErrorCode::RateLimited,
            Self::Maintenance => ErrorCode::Maintenance,
            Self::KeyDisabled => ErrorCode::KeyDisabled,
            Self::KeyCompromised => ErrorCode::KeyCompromised,
            Self::Locked => ErrorCode::Locked,
            Self::Busy => ErrorCode::Busy,
            Self::Internal => ErrorCode::Internal,
        }
    }

    /// What happened, in words for the peer and the log.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Malformed | Self::BadAssertion => "the request does not follow the protocol",
            Self::NotForOthers => "this operation cannot be asked for on behalf of somebody else",
            Self::InvalidName => "not a valid key name",
            Self::InvalidContext => "not a valid context",
            Self::InvalidKind => "not a kind of data key",
            Self::TooLarge => "the message is longer than the limit",
            Self::UnknownKey => "there is no key of this name",
            Self::UnknownKeyId => "encrypted with a key that this agent does not hold",
            Self::DoesNotOpen => "this value does not open",
            Self::Denied => "not allowed",
            Self::ContextRequired => "not allowed without more context",
            Self::RateLimited => "too many requests",
            Self::Maintenance => "the agent is in maintenance",
            Self::KeyDisabled => "this key is disabled",
            Self::KeyCompromised => "this key is marked as compromised",
            Self::Locked => "the agent is locked",
            Self::Busy => "the agent is busy",
            Self::Internal => "the agent failed internally",
        }
    }

    /// Why, for the peer.
    pub const fn why(self) -> &'static str {
        match self {
            Self::BadAssertion => "it does not say for whom it asks",
            Self::NotForOthers => "only operations on data can",
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
            Self::Denied => "no rule of the policy allows you this operation on this key",
            Self::ContextRequired => "the rule that allows it demands names in the context that are missing",
            Self::RateLimited => "the rule that allows it has a limit on the rate, and it is reached",
            Self::Maintenance => "nothing new is encrypted; decryption goes on",
            Self::UnknownKey => "no key is made because a name was mistyped",
            Self::KeyDisabled => "an operator disabled it",
            Self::KeyCompromised => "somebody else may know it, so nothing is done with it",
            Self::Locked => "no key is in its memory",
            Self::Busy => "no locked memory is free for this key",
            _ => "",
        }
    }

    /// What to do, for the peer.
    pub const fn fix(self) -> &'static str {
        match self {
            Self::TooLarge => {
                "data beyond one message is a stream: let keyagent encrypt it as a file or pipe"
            }
            Self::Denied => "ask an administrator; `keyagent policy explain` says what the rules give",
            Self::ContextRequired => "give the pairs that the rule demands: -c NAME=VALUE",
            Self::RateLimited | Self::Busy => "wait, then try again",
            Self::Maintenance => "try again later; an operator ends it with `keyagent maintenance off`",
            Self::UnknownKey => "keyagent keys list; an administrator makes one: keyagent keys create NAME",
            Self::KeyDisabled => "an operator can enable it: keyagent keys enable NAME --reason TEXT",
            Self::KeyCompromised => "ask an operator; docs/RUNBOOK.md, \"A compromised key\"",
            Self::Locked => "keyagent unlock",
            Self::UnknownKeyId => "compare `keyagent fingerprint` here and where the value was encrypted",
            Self::DoesNotOpen => {
                "give the same -c NAME=VALUE pairs as when it was encrypted; compare with the original"
            }
            _ => "",
        }
    }
}
