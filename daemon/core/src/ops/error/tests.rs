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
];

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
