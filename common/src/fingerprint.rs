//! How a master key's public fingerprint is written for people.

use alloc::{format, string::String};
use base64ct::{Base64UrlUnpadded, Encoding};

/// The short form, such as `h3ZD-81KA`: base64url of the first 6 bytes, four and four.
pub fn short(fingerprint: &[u8; 16]) -> String {
    let text = Base64UrlUnpadded::encode_string(fingerprint.first_chunk::<6>().unwrap_or(&[0; 6]));
    match text.split_at_checked(4) {
        Some((first, second)) => format!("{first}-{second}"),
        None => text,
    }
}

/// The full form: 32 hexadecimal digits.
pub fn full(fingerprint: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*fingerprint))
}

/// Whether a text that a person wrote names this fingerprint, in short or full form.
pub fn matches(text: &str, fingerprint: &[u8; 16]) -> bool {
    let text = text.trim();
    text == short(fingerprint) || text.eq_ignore_ascii_case(&full(fingerprint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_the_same_key() {
        let fingerprint =
            crate::test_vectors::array(&crate::test_vectors::formats()["master"]["fingerprint"]);
        assert_eq!(full(&fingerprint), "a83629bc061e08c49aa1ab899fea5ee6");
        assert_eq!(short(&fingerprint), "qDYp-vAYe");
        assert!(
            matches("qDYp-vAYe", &fingerprint) && matches("A83629BC061E08C49AA1AB899FEA5EE6\n", &fingerprint)
        );
        assert!(!matches("qDYp-vAYf", &fingerprint) && !matches("", &fingerprint));
    }
}
