//! Hashing key ids without hashing them.

use std::hash::{BuildHasher, Hasher};

/// Key ids are uniform: their first bytes are as good as any hash. Only ids of our own keyring are looked up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FirstBytes;

impl BuildHasher for FirstBytes {
    type Hasher = First;

    fn build_hasher(&self) -> First {
        First(0)
    }
}

/// The first eight bytes of the only thing that is hashed.
#[derive(Debug, Clone, Copy)]
pub(super) struct First(u64);

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length of the array.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_hashed_to_its_first_bytes() {
        let mut id = [0_u8; 32];
        id[..8].copy_from_slice(&7_u64.to_le_bytes());
        assert_eq!(FirstBytes.hash_one(id), 7);
    }
}
