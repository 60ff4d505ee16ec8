//! Why an operation on data fails, and what a peer is told about it.
//!
//! Must never tell more of a failed opening than that it failed.

use keyagent_common::error::ErrorCode;

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
    /// The tag of an `hmac` shall be too short or too long.
    #[error("not a length of a tag")]
    InvalidTagLength,
    /// No random byte was asked for, or too many.
    #[error("not a number of random bytes")]
    InvalidRandomLength,
    /// The clocks may differ by less than that.
    #[error("more leeway than is given")]
    InvalidLeeway,
    /// The claims of a new token.
    #[error("these claims cannot be signed")]
    ClaimsRefused(ClaimsFault),
    /// A batch of an operation that is not on data, or of batches.
    #[error("this operation cannot be asked for in a batch")]
    NotInBatch,
    /// More items, or longer replies to them, than one batch may have.
    #[error("the batch is larger than the limit")]
    BatchTooLarge,
    /// The plaintext is longer than a message may be.
    #[error("the message is longer than the limit")]
    TooLarge,
    /// The token is longer than one may be, or would be.
    #[error("the token is longer than the limit")]
    TokenTooLong,
    /// More versions of a key open data than are tried for one request.
    #[error("too many versions of this key are in use")]
    TooManyVersions,
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
    /// The key is one for other operations.
    #[error("this key is not one for this operation")]
    WrongClass,
    /// The version was retired.
    #[error("this version of the key is retired")]
    VersionRetired,
    /// The version was disabled by an operator.
    #[error("this version of the key is disabled")]
    VersionDisabled,
    /// Somebody else may know the version.
    #[error("this version of the key is marked as compromised")]
    VersionCompromised,
    /// The token is not one that the key signed, or its time is over.
    #[error("this token is refused")]
    TokenRefused(TokenFault),
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
            Self::NotForOthers
            | Self::NotInBatch
            | Self::InvalidName
            | Self::InvalidContext
            | Self::InvalidKind
            | Self::InvalidTagLength
            | Self::InvalidRandomLength
            | Self::InvalidLeeway
            | Self::ClaimsRefused(_) => ErrorCode::InvalidRequest,
            Self::TooLarge | Self::TokenTooLong | Self::TooManyVersions | Self::BatchTooLarge => {
                ErrorCode::TooLarge
            }
            Self::UnknownKey => ErrorCode::UnknownKey,
            Self::UnknownKeyId => ErrorCode::UnknownKeyId,
            Self::DoesNotOpen => ErrorCode::DoesNotOpen,
            Self::Denied | Self::ContextRequired => ErrorCode::Denied,
            Self::RateLimited => ErrorCode::RateLimited,
            Self::Maintenance => ErrorCode::Maintenance,
            Self::KeyDisabled => ErrorCode::KeyDisabled,
            Self::KeyCompromised => ErrorCode::KeyCompromised,
            Self::WrongClass => ErrorCode::WrongClass,
            Self::VersionRetired => ErrorCode::VersionRetired,
            Self::VersionDisabled | Self::VersionCompromised => ErrorCode::VersionStopped,
            Self::TokenRefused(_) => ErrorCode::TokenRefused,
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
            Self::InvalidTagLength => "not a length of a tag",
            Self::InvalidRandomLength => "not a number of random bytes",
            Self::InvalidLeeway => "more leeway than is given",
            Self::ClaimsRefused(_) => "these claims cannot be signed",
            Self::NotInBatch => "this operation cannot be asked for in a batch",
            Self::BatchTooLarge => "the batch is larger than the limit",
            Self::TooLarge => "the message is longer than the limit",
            Self::TokenTooLong => "the token is longer than the limit",
            Self::TooManyVersions => "too many versions of this key are in use",
            Self::UnknownKey => "there is no key of this name",
            Self::UnknownKeyId => "encrypted with a key that this agent does not hold",
            Self::DoesNotOpen => "this value does not open",
            Self::Denied => "not allowed",
            Self::ContextRequired => "not allowed without more context",
            Self::RateLimited => "too many requests",
            Self::Maintenance => "the agent is in maintenance",
            Self::KeyDisabled => "this key is disabled",
            Self::KeyCompromised => "this key is marked as compromised",
            Self::WrongClass => "this key is not one for this operation",
            Self::VersionRetired => "this version of the key is retired",
            Self::VersionDisabled => "this version of the key is disabled",
            Self::VersionCompromised => "this version of the key is marked as compromised",
            Self::TokenRefused(_) => "this token is refused",
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
            Self::KeyDisabled | Self::VersionDisabled => "an operator disabled it",
            Self::KeyCompromised | Self::VersionCompromised => {
                "somebody else may know it, so nothing is done with it"
            }
            Self::NotInBatch => "a batch is of one operation on data",
            Self::BatchTooLarge => {
                "it has 1024 items at most, 64 that try every version, and the replies to all of them fit into a frame"
            }
            Self::InvalidTagLength => "a tag has 8 to 32 bytes",
            Self::InvalidRandomLength => "one reply has 1 to 4096 of them",
            Self::InvalidLeeway => "a clock may be wrong by 300 seconds at most",
            Self::ClaimsRefused(fault) => fault.why(),
            Self::TokenTooLong => {
                "claims and header in base64url, with the signature, are 16384 bytes at most"
            }
            Self::TooManyVersions => "each of them would have to be tried, and for one request 64 are",
            Self::WrongClass => {
                "a key of class 1 encrypts, one of class 2 makes tags, one of class 3 signs tokens"
            }
            Self::VersionRetired => "what it sealed is refused until it is reinstated",
            Self::TokenRefused(fault) => fault.why(),
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
            Self::KeyCompromised | Self::VersionCompromised => {
                "ask an operator; docs/RUNBOOK.md, \"A compromised key\""
            }
            Self::Locked => "keyagent unlock",
            Self::BatchTooLarge => "send it in parts",
            Self::TokenTooLong => "sign fewer claims",
            Self::TooManyVersions => "retire old ones: keyagent keys retire NAME VERSION",
            Self::WrongClass => {
                "keyagent keys list shows the class of every key; create one of another class"
            }
            Self::VersionRetired => "an operator can reinstate it: keyagent keys reinstate NAME VERSION",
            Self::VersionDisabled => {
                "an operator can enable it: keyagent keys enable NAME --version N --reason TEXT"
            }
            Self::ClaimsRefused(_) => "give a JSON object with \"exp\": seconds since 1970, in the future",
            Self::TokenRefused(fault) => fault.fix(),
            Self::UnknownKeyId => "compare `keyagent fingerprint` here and where the value was encrypted",
            Self::DoesNotOpen => {
                "give the same -c NAME=VALUE pairs as when it was encrypted; compare with the original"
            }
            _ => "",
        }
    }
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// Not three parts in canonical base64url, the last of 32 bytes.
    Form,
    /// No version of the key made the signature.
    Signature,
    /// The header is no JSON object of the form this reads.
    Header,
    /// The header names no algorithm, or another one than HS256.
    Algorithm,
    /// The header has `crit` or `b64`: what they demand is not known here.
    Critical,
    /// The header names another key than the one that signed it.
    KeyId,
    /// The claims, which this key signed.
    Claims(ClaimsFault),
}

/// What is wrong with claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimsFault {
    /// No JSON object of the form this reads.
    NotAnObject,
    /// No `exp`.
    NoExpiry,
    /// `exp` or `nbf` is no number of seconds.
    NotATime,
    /// `exp` has come.
    Expired,
    /// `nbf` has not come.
    NotYet,
}

impl TokenFault {
    const fn why(self) -> &'static str {
        match self {
            Self::Form => "it is not three parts of base64url without padding, joined by full stops",
            Self::Signature => "this key did not sign it, or it was changed since",
            Self::Header => "its header is not a JSON object, or names something twice",
            Self::Algorithm => "its header does not name the algorithm HS256",
            Self::Critical => "its header demands something that is not known here (crit, b64)",
            Self::KeyId => "its header names another key than the one that signed it",
            Self::Claims(fault) => fault.why(),
        }
    }

    const fn fix(self) -> &'static str {
        match self {
            Self::Signature => "name the key that signed it; ask its sender for another one",
            Self::Claims(ClaimsFault::Expired) => "ask its sender for a new one",
            Self::Claims(ClaimsFault::NotYet) => "compare the clocks, or give some leeway",
            _ => "",
        }
    }
}

impl ClaimsFault {
    const fn why(self) -> &'static str {
        match self {
            Self::NotAnObject => "its claims are not a JSON object, or name something twice",
            Self::NoExpiry => "its claims do not say when it expires (exp)",
            Self::NotATime => "exp or nbf is not a number of seconds since 1970",
            Self::Expired => "it has expired (exp)",
            Self::NotYet => "it is not valid yet (nbf)",
        }
    }
}

#[cfg(test)]
mod tests;
