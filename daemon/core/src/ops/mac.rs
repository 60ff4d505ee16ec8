//! HMAC-SHA-256 (RFC 2104, FIPS 198-1) for the operations that derive tags and signatures.
//!
//! Must never compare a mac with anything but [`is_equal`], nor keep one.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a whole mac.
pub(super) const MAC_BYTES: usize = 32;

/// The mac of some parts, one behind the other, under a key of any length. On the stack, wiped when dropped.
pub(super) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; MAC_BYTES]> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC accepts keys of any length (RFC 2104)")
    };
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// Compares in a time that does not depend on where they differ.
pub(super) fn is_equal(one: &[u8; MAC_BYTES], other: &[u8; MAC_BYTES]) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, sections 4.2 to 4.8 (test case 5 publishes the first 16 bytes only).
    const PUBLISHED: [(&str, &str, &str); 7] = [
        (
            "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            "4869205468657265",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            "4a656665",
            "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        ),
        (
            "0102030405060708090a0b0c0d0e0f10111213141516171819",
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
        (
            "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",
            "546573742057697468205472756e636174696f6e",
            "a3b6167473100ee06e0c796c2955552b",
        ),
        (
            "*131",
            "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368204b6579204669727374",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            "*131",
            "5468697320697320612074657374207573696e672061206c6172676572207468616e20626c6f636b2d73697a65206b657920616e642061206c6172676572207468616e20626c6f636b2d73697a6520646174612e20546865206b6579206e6565647320746f20626520686173686564206265666f7265206265696e6720757365642062792074686520484d414320616c676f726974686d2e",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ];

    #[test]
    fn equals_the_published_vectors() {
        for (key, data, expected) in PUBLISHED {
            let key = if key == "*131" { alloc::vec![0xaa; 131] } else { hex::decode(key).unwrap() };
            let data = hex::decode(data).unwrap();
            let whole = hmac_sha256(&key, &[&data]);
            let expected = hex::decode(expected).unwrap();
            assert_eq!(whole[..expected.len()], expected);
            for cut in 0..=data.len() {
                let (front, rest) = data.split_at(cut);
                assert!(is_equal(&whole, &hmac_sha256(&key, &[front, rest])), "parts are joined");
            }
        }
    }

    #[test]
    fn one_bit_makes_a_difference() {
        let mac = hmac_sha256(b"key", &[b"data"]);
        for bit in 0..256 {
            let mut other = *mac;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_equal(&mac, &other));
        }
    }
}
