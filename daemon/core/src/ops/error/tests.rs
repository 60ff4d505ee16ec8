use keyagent_common::{codec, op::ErrorReply};

use super::*;

const ALL: &[OperationError] = &[
    OperationError::WrongClass,
    OperationError::VersionRetired,
    OperationError::VersionDisabled,
    OperationError::VersionCompromised,
    OperationError::TokenTooLong,
    OperationError::TooManyVersions,
    OperationError::InvalidTagLength,
    OperationError::InvalidRandomLength,
    OperationError::InvalidLeeway,
    OperationError::NotInBatch,
    OperationError::BatchTooLarge,
];

/// Every error that there is: a new one is to be added here.
const OTHERS: &[OperationError] = &[
    OperationError::BadAssertion,
    OperationError::NotForOthers,
    OperationError::Malformed,
    OperationError::InvalidName,
    OperationError::InvalidContext,
    OperationError::InvalidKind,
    OperationError::TooLarge,
    OperationError::UnknownKey,
    OperationError::UnknownKeyId,
    OperationError::DoesNotOpen,
    OperationError::Denied,
    OperationError::ContextRequired,
    OperationError::RateLimited,
    OperationError::Maintenance,
    OperationError::KeyDisabled,
    OperationError::KeyCompromised,
    OperationError::Locked,
    OperationError::Busy,
    OperationError::Internal,
    OperationError::ClaimsRefused(ClaimsFault::NotAnObject),
    OperationError::ClaimsRefused(ClaimsFault::NoExpiry),
    OperationError::ClaimsRefused(ClaimsFault::NotATime),
    OperationError::ClaimsRefused(ClaimsFault::Expired),
    OperationError::TokenRefused(TokenFault::Form),
    OperationError::TokenRefused(TokenFault::Signature),
    OperationError::TokenRefused(TokenFault::Critical),
    OperationError::TokenRefused(TokenFault::KeyId),
    OperationError::TokenRefused(TokenFault::Claims(ClaimsFault::NotYet)),
];

#[test]
fn no_error_is_longer_than_the_room_that_a_batch_keeps_for_it() {
    for failure in ALL.iter().chain(OTHERS) {
        let reply = ErrorReply { what: failure.what(), why: failure.why(), fix: failure.fix() };
        let frame = codec::frame(0, failure.code() as u16, &reply).unwrap();
        assert!(frame.len() <= super::super::reply_bytes::ERROR_BYTES, "{failure:?}: {}", frame.len());
    }
}

#[test]
fn what_went_wrong_is_said_with_its_reason() {
    for failure in ALL {
        assert!(!failure.what().is_empty() && !failure.why().is_empty(), "{failure:?}");
        assert_eq!(alloc::format!("{failure}"), failure.what());
    }
    for fault in [
        TokenFault::Form,
        TokenFault::Signature,
        TokenFault::Header,
        TokenFault::Algorithm,
        TokenFault::Critical,
        TokenFault::KeyId,
        TokenFault::Claims(ClaimsFault::Expired),
    ] {
        let failure = OperationError::TokenRefused(fault);
        assert_eq!((failure.code(), failure.what()), (ErrorCode::TokenRefused, "this token is refused"));
        assert!(!failure.why().is_empty());
    }
}
