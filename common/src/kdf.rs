//! The one key derivation of the formats (docs/FORMATS.md, "Derivation").

use hkdf::Hkdf;
use sha2::Sha256;

/// Length in bytes of every secret that [`derive`] starts from.
pub const SECRET_BYTES: usize = 32;

/// `KDF(k, label, n, extra) = HKDF-Expand-SHA-256(k, "keyagent/v1 " || label || 00 || extra, n)`.
///
/// `n` is the length of `out`, at most 64 bytes everywhere in the formats (HKDF itself allows 8160).
/// The result is written in place so that a caller can derive straight into locked memory.
pub fn derive(secret: &[u8; SECRET_BYTES], label: &str, extra: &[u8], out: &mut [u8]) {
    let Ok(expander) = Hkdf::<Sha256>::from_prk(secret) else {
        unreachable!("32 bytes are a valid pseudorandom key for SHA-256 (RFC 5869, section 2.3)")
    };
    let info: [&[u8]; 4] = [b"keyagent/v1 ", label.as_bytes(), &[0], extra];
    let Ok(()) = expander.expand_multi_info(&info, out) else {
        unreachable!("every length in the formats is below the limit of HKDF-Expand")
    };
}

/// Domain-separated id of a key: commits to the secret and its class byte.
pub fn key_id(secret: &[u8; SECRET_BYTES], class: u8) -> [u8; 32] {
    let mut id = [0; 32];
    derive(secret, "key id", &[class], &mut id);
    id
}

/// Public fingerprint of a master key.
pub fn master_fingerprint(master: &[u8; SECRET_BYTES]) -> [u8; 16] {
    let mut fingerprint = [0; 16];
    derive(master, "master fingerprint", &[], &mut fingerprint);
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reproduces_the_published_vectors() {
        let vectors = crate::test_vectors::formats();
        let secret = crate::test_vectors::array(&vectors["kdf"]["secret"]);
        assert_eq!(hex::encode(key_id(&secret, 1)), vectors["kdf"]["key_id_class1"]);
        assert_eq!(hex::encode(key_id(&secret, 2)), vectors["kdf"]["key_id_class2"]);
        let mut message = [0; 32];
        derive(&secret, "message", &[], &mut message);
        assert_eq!(hex::encode(message), vectors["kdf"]["message_key"]);
        let master = crate::test_vectors::array(&vectors["master"]["master"]);
        assert_eq!(hex::encode(master_fingerprint(&master)), vectors["master"]["fingerprint"]);
    }
}
