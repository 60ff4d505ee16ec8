//! Writes JSON: numbers, hexadecimal and strings that no terminal or log viewer can stumble over.
//!
//! Must never write a raw control character, a line separator or a bidirectional override.

use alloc::vec::Vec;

/// Appends a decimal number.
pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    // Written from the end of a place for the longest number.
    let mut place = [0; 20];
    let (mut rest, mut digits) = (number, 0);
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        digits += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(place.split_at(place.len() - digits).1);
}

/// Appends lower-case hexadecimal, without quotes.
pub(super) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Appends a quoted string of at most `cap` bytes of `text`, cut at a character.
///
/// Escaped as `\uXXXX`: U+0000-U+001F, U+007F-U+009F, U+2028, U+2029 and every bidirectional control
/// (Unicode Standard Annex 9, section 2); quotes and backslashes by a backslash.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str, cap: usize) {
    let (text, _) = text.split_at(text.floor_char_boundary(cap));
    out.push(b'"');
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_escaped(out, text);
    }
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
            ' '..='~' => out.push(character as u8),
            _ if is_dangerous(character) => push_escape(out, character),
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn is_dangerous(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// All dangerous characters lie below U+10000, so four digits suffice.
fn push_escape(out: &mut Vec<u8>, character: char) {
    let [_, _, high, low] = u32::from(character).to_be_bytes();
    out.extend_from_slice(b"\\u");
    push_hex(out, &[high, low]);
}

/// The digit of a value below 16.
const fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' - 10 + value }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn text(text: &str, cap: usize) -> String {
        let mut out = Vec::new();
        push_text(&mut out, text, cap);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_and_hex() {
        for number in [0, 1, 9, 10, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, alloc::format!("{number}").as_bytes());
        }
        let mut out = Vec::new();
        push_hex(&mut out, &[0, 0x9a, 0xff]);
        assert_eq!(out, b"009aff");
    }

    #[test]
    fn every_character_survives_and_none_is_dangerous() {
        for character in ('\0'..='\u{2100}').chain(['😀', '\u{fffd}']) {
            let source = String::from(character);
            let written = text(&source, 256);
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), source);
            assert!(!written.chars().any(is_dangerous), "{character:?}");
        }
        assert_eq!(text("a\n\x1b[2J\"\\\u{202e}", 256), r#""a\u000a\u001b[2J\"\\\u202e""#);
    }

    #[test]
    fn cuts_at_a_character() {
        assert_eq!(text("aäb", 2), "\"a\"");
        assert_eq!(text("aäb", 3), "\"aä\"");
        assert_eq!(text("aäb", 9), "\"aäb\"");
        assert_eq!(text("a", 0), "\"\"");
    }
}
