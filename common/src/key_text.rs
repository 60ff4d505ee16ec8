//! The text of a master key: 64 hexadecimal digits, or base64 or base64url of 32 bytes, one trailing
//! newline allowed (docs/FORMATS.md, "Key file").
//!
//! The key is written straight into the caller's (locked) place and never into a variable here.

use base64ct::{Base64, Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding};
use subtle::ConstantTimeEq;

/// Bytes of a master key.
pub const KEY_BYTES: usize = 32;
/// Most bytes a key text can have: 64 digits and a newline.
pub const MAX_TEXT_BYTES: usize = 65;

/// Why a text is no master key. Holds no byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// Nothing there.
    #[error("the key is empty")]
    Empty,
    /// Neither 43, 44 nor 64 characters before an optional newline.
    #[error(
        "the key has {characters} characters; 64 hexadecimal digits or the base64 of 32 bytes are needed"
    )]
    Length {
        /// Characters found, the trailing newline not counted.
        characters: usize,
    },
    /// A character that the form does not have, or bits beyond 32 bytes.
    #[error("the key has the right length but is neither hexadecimal nor base64 of 32 bytes")]
    Characters,
    /// Every byte is the same.
    #[error("the key repeats one byte 32 times")]
    Constant,
    /// The key was published somewhere as an example.
    #[error("the key is a published example")]
    Published,
}

/// Keys that documents and test suites have published: anybody may know them.
const PUBLISHED: [[u8; KEY_BYTES]; 5] = [
    ascending(0x00),
    ascending(0x01),
    ascending(0x20),
    *b"\x93\xb2\x66\xf5\x7a\x4b\xe3\x34\x76\xbc\xdf\x2a\x63\x01\x39\xb9\x3d\xe1\x4b\xa8\x05\xd5\xa0\xf4\x6c\x2e\x31\x33\xba\x0f\xda\x70",
    *b"\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08",
];

/// Reads a key text into `out`. On an error `out` is zero.
pub fn parse(text: &[u8], out: &mut [u8; KEY_BYTES]) -> Result<(), KeyTextError> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let result = decode(text, out).and_then(|()| check(out));
    if result.is_err() {
        out.fill(0);
    }
    result
}

fn decode(text: &[u8], out: &mut [u8; KEY_BYTES]) -> Result<(), KeyTextError> {
    let done = match text.len() {
        0 => return Err(KeyTextError::Empty),
        64 => decode_hex(text, out),
        44 => is_32(Base64::decode(text, out)) || is_32(Base64Url::decode(text, out)),
        43 => is_32(Base64Unpadded::decode(text, out)) || is_32(Base64UrlUnpadded::decode(text, out)),
        characters => return Err(KeyTextError::Length { characters }),
    };
    if done { Ok(()) } else { Err(KeyTextError::Characters) }
}

fn is_32<E>(decoded: Result<&[u8], E>) -> bool {
    decoded.is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

fn decode_hex(text: &[u8], out: &mut [u8; KEY_BYTES]) -> bool {
    let mut good = true;
    for (place, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let digits = pair.iter().map(|digit| hex_value(*digit));
        *place = digits.fold(0, |byte, digit| {
            (byte << 4)
                | digit.unwrap_or_else(|| {
                    good = false;
                    0
                })
        });
    }
    good
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The rules every master key must pass, whatever its source: not constant, not published.
pub fn check(key: &[u8; KEY_BYTES]) -> Result<(), KeyTextError> {
    let [first, ..] = key;
    if bool::from(key.ct_eq(&[*first; KEY_BYTES])) {
        return Err(KeyTextError::Constant);
    }
    if PUBLISHED.iter().any(|known| bool::from(key.ct_eq(known))) {
        return Err(KeyTextError::Published);
    }
    Ok(())
}

const fn ascending(start: u8) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let mut index = 0;
    while index < KEY_BYTES {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated at compile time; a bad index would not compile"
        )]
        {
            #[expect(clippy::cast_possible_truncation, reason = "index is below 32")]
            let step = index as u8;
            key[index] = start + step;
        }
        index += 1;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::String, vec::Vec};

    const HEX: &str = "8f1d3c5b7a9988776655443322110fe1d2c3b4a5968778695a4b3c2d1e0f1234";

    fn read(text: &[u8]) -> Result<Vec<u8>, KeyTextError> {
        let mut out = [7; 32];
        let result = parse(text, &mut out);
        assert!(result.is_ok() || out == [0; 32], "nothing is left after an error");
        result.map(|()| out.to_vec())
    }

    #[test]
    fn reads_every_documented_form() {
        let key = hex::decode(HEX).unwrap();
        for text in [
            HEX.into(),
            HEX.to_uppercase(),
            format!("{HEX}\n"),
            Base64::encode_string(&key),
            Base64Unpadded::encode_string(&key),
            Base64Url::encode_string(&key),
            Base64UrlUnpadded::encode_string(&key),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap(), key, "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        let spaced = format!(" {}", &HEX[1..]);
        for (text, why) in [
            (String::new(), KeyTextError::Empty),
            ("\n".into(), KeyTextError::Empty),
            (HEX[1..].into(), KeyTextError::Length { characters: 63 }),
            (format!("{HEX}\n\n"), KeyTextError::Length { characters: 65 }),
            (format!("{HEX}\r\n"), KeyTextError::Length { characters: 65 }),
            (spaced, KeyTextError::Characters),
            ("00".repeat(32), KeyTextError::Constant),
            ("ab".repeat(32), KeyTextError::Constant),
            ("!".repeat(43), KeyTextError::Characters),
            ("k7Jm9XpL4zR2vN8qYwE5uT3hS6gF1aD0bC4xM7oP2nA=".into(), KeyTextError::Published),
            (hex::encode(ascending(0)), KeyTextError::Published),
        ] {
            assert_eq!(read(text.as_bytes()), Err(why), "{text}");
        }
    }
}
