use alloc::{format, vec::Vec};

use base64ct::{Base64UrlUnpadded, Encoding};

use super::*;
use crate::ops::{ClaimsFault, mac};

/// RFC 7515, appendix A.1.
const PUBLISHED: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const PUBLISHED_KEY: &str =
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";

#[test]
fn the_published_example_is_read_and_its_signature_is_right() {
    let key: Vec<u8> = Base64UrlUnpadded::decode_vec(PUBLISHED_KEY).unwrap();
    let parts = Parts::split(PUBLISHED).unwrap();
    assert!(mac::is_equal(&mac::hmac_sha256(&key, &[parts.signed]), parts.signature()));
    assert_eq!(check_token_parts(PUBLISHED, 1_300_819_379), Ok(()));
    let expired = OperationError::TokenRefused(TokenFault::Claims(ClaimsFault::Expired));
    assert_eq!(check_token_parts(PUBLISHED, 1_300_819_380), Err(expired));
    let mut claims = alloc::vec![0; parts.claims_bytes().unwrap()];
    parts.decode_claims(&mut claims).unwrap();
    assert_eq!(claims, b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}");
}

/// RFC 7515, appendix A.5: an unsecured token.
#[test]
fn the_published_unsecured_token_is_refused() {
    let unsecured = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";
    assert_eq!(check_token_parts(unsecured, 0), Err(OperationError::TokenRefused(TokenFault::Form)));
    let signature = format!("{unsecured}{}", &PUBLISHED[PUBLISHED.len() - 43..]);
    assert_eq!(check_token_parts(&signature, 0), Err(OperationError::TokenRefused(TokenFault::Algorithm)));
}

#[test]
fn a_key_is_named_by_the_first_half_of_its_id() {
    let id = core::array::from_fn(|place| u8::try_from(place * 8 + 7).unwrap_or(0xff));
    assert_eq!(key_name(&id)[..], *hex::encode(&id[..16]).as_bytes());
}
