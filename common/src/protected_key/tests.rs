//! Layout and limits; that a changed byte does not open is shown where it is opened, in the client.

use alloc::{string::ToString, vec::Vec};

use super::*;

fn example() -> ProtectedKey {
    ProtectedKey {
        parameters: Parameters::DEFAULT,
        salt: [1; SALT_BYTES],
        fingerprint: [2; 16],
        nonce: [3; NONCE_BYTES],
        sealed: [4; 32],
        tag: [5; TAG_BYTES],
    }
}

/// The text of these 116 bytes.
fn text_of(bytes: &[u8]) -> String {
    format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(bytes))
}

fn bytes_of(key: &ProtectedKey) -> Vec<u8> {
    Base64UrlUnpadded::decode_vec(key.to_text().trim_end().strip_prefix(PREFIX).unwrap()).unwrap()
}

#[test]
fn every_byte_has_its_place() {
    let key = example();
    let text = key.to_text();
    assert_eq!(text.len(), MAX_TEXT_BYTES);
    assert_eq!(ProtectedKey::parse(text.as_bytes()), Ok(key.clone()));
    assert_eq!(ProtectedKey::parse(text.trim_end().as_bytes()), Ok(key.clone()));
    let mut expected = Vec::new();
    for number in [64_u32 << 10, 3, 1] {
        expected.extend(number.to_le_bytes());
    }
    for (byte, count) in [(1, 16), (2, 16), (3, 24), (4, 32), (5, 16)] {
        expected.extend(core::iter::repeat_n(byte, count));
    }
    assert_eq!(bytes_of(&key), expected);
    assert_eq!(key.associated_data()[..26], *b"keyagent/v1 protected key\0");
    assert_eq!(key.associated_data()[26..], expected[..68]);
}

#[test]
fn a_changed_bit_gives_another_key_or_none() {
    let key = example();
    let bytes = bytes_of(&key);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = ProtectedKey::parse(text_of(&changed).as_bytes()) {
            assert_ne!(other, key, "bit {bit}");
            assert_eq!(bytes_of(&other), changed, "bit {bit}");
            let bound = other.associated_data() != key.associated_data();
            assert_eq!(bound, bit / 8 < HEADER_BYTES, "bit {bit}");
        }
    }
    let text = key.to_text();
    for bit in 0..text.len() * 8 {
        let mut changed = text.clone().into_bytes();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(ProtectedKey::parse(&changed), Ok(key.clone()), "bit {bit} of the text");
    }
}

#[test]
fn nothing_is_missing_and_nothing_is_added() {
    let text = example().to_text();
    let text = text.trim_end();
    for length in 0..text.len() {
        assert!(ProtectedKey::parse(&text.as_bytes()[..length]).is_err(), "{length}");
    }
    for more in ["\n\n", " ", "=", "A", "\r\n", "\0"] {
        let longer = format!("{text}{more}");
        assert_eq!(ProtectedKey::parse(longer.as_bytes()), Err(ProtectedKeyError::Length), "{more:?}");
    }
    for (from, to) in [("kp1.", "kp1. "), ("kp1.", " kp1."), ("kp1.", "KP1."), ("kp1.", "\u{feff}kp1.")] {
        assert!(ProtectedKey::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{to:?}");
    }
    // Two bits of the last character are spare.
    let mut spare = text.as_bytes().to_vec();
    let last = spare.last_mut().unwrap();
    *last = if *last == b'U' { b'V' } else { *last + 1 };
    assert_eq!(ProtectedKey::parse(&spare), Err(ProtectedKeyError::Characters));
}

#[test]
fn other_versions_and_other_files_are_told_apart() {
    let text = example().to_text();
    for (prefix, error) in [
        ("kp2.", ProtectedKeyError::UnknownVersion),
        ("kp10.", ProtectedKeyError::UnknownVersion),
        ("kp01.", ProtectedKeyError::UnknownVersion),
        ("kp.", ProtectedKeyError::NotProtectedKey),
        ("ka1.", ProtectedKeyError::NotProtectedKey),
        ("", ProtectedKeyError::NotProtectedKey),
    ] {
        let other = text.replacen(PREFIX, prefix, 1);
        assert_eq!(ProtectedKey::parse(other.as_bytes()), Err(error), "{prefix}");
        assert_eq!(is_protected(other.as_bytes()), error == ProtectedKeyError::UnknownVersion, "{prefix}");
    }
    assert!(is_protected(text.as_bytes()) && !is_protected(b"") && !is_protected(b"kp1"));
}

#[test]
fn costs_are_bounded_when_the_file_is_read() {
    let bytes = bytes_of(&example());
    let with = |memory_kib: u32, passes: u32, lanes: u32| {
        let mut changed = bytes.clone();
        changed[..12].copy_from_slice([memory_kib, passes, lanes].map(u32::to_le_bytes).as_flattened());
        ProtectedKey::parse(text_of(&changed).as_bytes()).map(|key| key.parameters)
    };
    for (memory_kib, passes, lanes) in [(19_456, 2, 1), (1_048_576, 16, 8), (65_536, 3, 1)] {
        let parameters = with(memory_kib, passes, lanes).unwrap();
        assert_eq!(
            (parameters.memory_kib(), parameters.passes(), parameters.lanes()),
            (memory_kib, passes, lanes)
        );
    }
    for (memory_kib, passes, lanes) in [
        (19_455, 3, 1),
        (1_048_577, 3, 1),
        (u32::MAX, 3, 1),
        (0, 3, 1),
        (65_536, 1, 1),
        (65_536, 0, 1),
        (65_536, 17, 1),
        (65_536, u32::MAX, 1),
        (65_536, 3, 0),
        (65_536, 3, 9),
        (65_536, 3, u32::MAX),
    ] {
        let error = with(memory_kib, passes, lanes).unwrap_err();
        assert_eq!(error, ProtectedKeyError::Parameters { memory_kib, passes, lanes });
        assert!(error.to_string().contains(&memory_kib.to_string()));
    }
}

#[test]
fn the_protected_file_stands_beside_the_plain_one() {
    assert_eq!(beside("/etc/keyagent/key".as_ref()), std::path::Path::new("/etc/keyagent/key.protected"));
    assert_eq!(beside("/k/my.key".as_ref()), std::path::Path::new("/k/my.key.protected"));
}
