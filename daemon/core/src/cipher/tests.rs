use alloc::{vec, vec::Vec};

use shake::{ExtendableOutput, Shake128, Update, XofReader};

use super::*;
use crate::arena::HeapArena;

/// C2SP XAES-256-GCM (c2sp.org/XAES-256-GCM), the two published test vectors:
/// byte that fills the key, associated data, ciphertext and tag.
const PUBLISHED: [(u8, &str, &str); 2] = [
    (1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
    (3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
];
const NONCE: &[u8; 24] = b"ABCDEFGHIJKLMNOPQRSTUVWX";
/// Same source: SHAKE-128 over the ciphertexts of 10 000 cases drawn from a SHAKE-128 of nothing.
const ACCUMULATED_10_000: &str = "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939";

#[test]
fn reproduces_the_published_vectors() {
    for (byte, ad, sealed) in PUBLISHED {
        let mut buf = *b"XAES-256-GCM";
        let tag = seal_with(&[byte; 32], NONCE, ad.as_bytes(), &mut buf).unwrap();
        assert_eq!(hex::encode(buf) + &hex::encode(tag), sealed);
        open_with(&[byte; 32], NONCE, ad.as_bytes(), &mut buf, &tag).unwrap();
        assert_eq!(&buf, b"XAES-256-GCM");
    }
}

#[test]
fn reproduces_the_accumulated_hash_of_10_000_random_cases() {
    let mut random = Shake128::default().finalize_xof();
    let mut hash = Shake128::default();
    for _ in 0..10_000 {
        let (mut key, mut nonce) = ([0; 32], [0; 24]);
        random.read(&mut key);
        random.read(&mut nonce);
        let mut buf = sized(&mut random);
        let plaintext = buf.clone();
        let ad = sized(&mut random);
        let tag = seal_with(&key, &nonce, &ad, &mut buf).unwrap();
        hash.update(&buf);
        hash.update(&tag);
        open_with(&key, &nonce, &ad, &mut buf, &tag).unwrap();
        assert_eq!(buf, plaintext);
    }
    let mut out = [0; 32];
    hash.finalize_xof().read(&mut out);
    assert_eq!(hex::encode(out), ACCUMULATED_10_000);
}

fn sized(random: &mut impl XofReader) -> Vec<u8> {
    let mut length = [0];
    random.read(&mut length);
    let mut bytes = vec![0; usize::from(length[0])];
    random.read(&mut bytes);
    bytes
}

#[test]
fn a_message_cipher_uses_the_derived_message_key() {
    let secret = [7; 32];
    let mut key = [0; 32];
    kdf::derive(&secret, "message", &[], &mut key);
    let cipher = MessageCipher::new(&HeapArena, &secret).unwrap();
    let (mut a, mut b) = (*b"secret", *b"secret");
    let tag = cipher.seal_in_place(NONCE, b"ad", &mut a).unwrap();
    assert_eq!(seal_with(&key, NONCE, b"ad", &mut b).unwrap(), tag);
    assert_eq!(a, b);
    cipher.open_in_place(NONCE, b"ad", &mut a, &tag).unwrap();
    assert_eq!(&a, b"secret");
}

#[test]
fn what_does_not_open_leaves_zeros() {
    let cipher = MessageCipher::new(&HeapArena, &[7; 32]).unwrap();
    let mut sealed = *b"a plaintext that must not leave before its tag is right";
    let tag = cipher.seal_in_place(NONCE, b"ad", &mut sealed).unwrap();
    let zeros = vec![0; sealed.len()];
    let refuse = |mut buf: Vec<u8>, nonce: [u8; 24], ad: &[u8], tag: [u8; 16]| {
        assert_eq!(cipher.open_in_place(&nonce, ad, &mut buf, &tag), Err(DoesNotOpen));
        assert!(buf.iter().all(|&byte| byte == 0));
    };
    for bit in 0..sealed.len() * 8 {
        let mut bad = sealed;
        bad[bit / 8] ^= 1 << (bit % 8);
        refuse(bad.to_vec(), *NONCE, b"ad", tag);
    }
    for bit in 0..128 {
        let mut bad = tag;
        bad[bit / 8] ^= 1 << (bit % 8);
        refuse(sealed.to_vec(), *NONCE, b"ad", bad);
    }
    for bit in 0..192 {
        let mut bad = *NONCE;
        bad[bit / 8] ^= 1 << (bit % 8);
        refuse(sealed.to_vec(), bad, b"ad", tag);
    }
    for ad in [&b""[..], b"a", b"Ad", b"ad\0"] {
        refuse(sealed.to_vec(), *NONCE, ad, tag);
    }
    refuse(sealed[..sealed.len() - 1].to_vec(), *NONCE, b"ad", tag);
    refuse(zeros, *NONCE, b"ad", [0; 16]);
}
