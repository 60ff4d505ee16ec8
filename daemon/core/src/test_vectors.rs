//! Reads `common/vectors/formats.json` for the tests of this crate.

use serde_json::Value;

/// The whole file.
pub(crate) fn formats() -> Value {
    serde_json::from_str(include_str!("../../../common/vectors/formats.json")).unwrap()
}

/// A hex string as bytes.
pub(crate) fn bytes(value: &Value) -> alloc::vec::Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// A hex string of exactly `N` bytes.
pub(crate) fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}
