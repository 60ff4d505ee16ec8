//! Wiping and comparing bytes.
//!
//! Must never compare secrets with `==`, and never wipe in a way the compiler may leave out.

#![expect(unsafe_code, reason = "memsec's functions take raw pointers")]

/// Overwrites every byte with zero; the compiler cannot leave it out.
pub fn wipe(bytes: &mut [u8]) {
    // SAFETY: pointer and length come from one exclusive slice, valid for writes of that length.
    unsafe { memsec::memzero(bytes.as_mut_ptr(), bytes.len()) }
}

/// Compares two byte strings in a time that depends on their lengths only.
///
/// Lengths are compared first, and are therefore not hidden.
pub fn equal_constant_time(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    // SAFETY: both slices are valid for reads of `left.len()` bytes, since the lengths are equal.
    unsafe { memsec::memeq(left.as_ptr(), right.as_ptr(), left.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wipe_leaves_zeros() {
        let mut bytes = *b"a secret of some length";
        wipe(&mut bytes);
        assert_eq!(bytes, [0; 23]);
        wipe(&mut []);
    }

    #[test]
    fn equality_of_bytes_and_lengths() {
        assert!(equal_constant_time(b"", b""));
        assert!(equal_constant_time(b"abc", b"abc"));
        assert!(!equal_constant_time(b"abc", b"abd"));
        assert!(!equal_constant_time(b"bbc", b"abc"));
        assert!(!equal_constant_time(b"abc", b"abcd"));
    }
}
