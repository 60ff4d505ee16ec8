//! Bridges: segments begun while the daemon is locked, with a random first key that is sealed into the
//! next segment at unlock (docs/FORMATS.md, section 4 "Bridges").
//!
//! A first key lives in an arena slot until then; the caller drops it as soon as the next segment's first
//! line is in the log. Must never write one anywhere but sealed.

use core::fmt;

use zeroize::Zeroizing;

use super::AuditRoot;
use crate::{
    arena::{Arena, ArenaFull},
    cipher::{self, DoesNotOpen, NONCE_BYTES, SealError, TAG_BYTES},
    entropy::{Entropy, EntropyFailed},
    layout::join,
};

/// Bytes of a sealed first key: nonce 24, sealed key 32, tag 16.
pub const SEALED_BYTES: usize = 72;
const LABEL: &[u8] = b"keyagent/v1 audit bridge\0";
const AD_BYTES: usize = LABEL.len() + 40;

/// The first key of a bridge, sealed under `KDF(R, "audit bridge", 32)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedBridge {
    /// Number of the bridge's segment.
    pub segment: u64,
    /// Nonce, sealed key, tag.
    pub bytes: [u8; SEALED_BYTES],
}

/// A bridge cannot be begun or sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BridgeError {
    /// No locked memory left.
    #[error(transparent)]
    Arena(#[from] ArenaFull),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyFailed),
    /// The cipher refused; no 32 bytes are too long for it.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The random first key of a segment begun while locked, kept until the next unlock seals it.
///
/// Whoever reads it from live memory can rewrite the lines of this one segment, and no others.
pub struct BridgeSecret<A: Arena> {
    key: A::Slot<[u8; 32]>,
    place: Place,
}

/// Which segment a first key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) keyring_id: [u8; 16],
    pub(super) segment: u64,
    pub(super) salt: [u8; 16],
}

impl<A: Arena> BridgeSecret<A> {
    /// Draws first key and salt for segment `segment`; the keyring's id stands in the clear in its file.
    pub fn random(
        arena: &A,
        entropy: &mut dyn Entropy,
        keyring_id: &[u8; 16],
        segment: u64,
    ) -> Result<Self, BridgeError> {
        let mut key = arena.place(|| [0; 32])?;
        entropy.fill(&mut *key)?;
        let mut salt = [0; 16];
        entropy.fill(&mut salt)?;
        Ok(Self { key, place: Place { keyring_id: *keyring_id, segment, salt } })
    }

    /// Number of the bridge's segment.
    pub fn segment(&self) -> u64 {
        self.place.segment
    }

    /// The salt that the bridge's first line states.
    pub fn salt(&self) -> &[u8; 16] {
        &self.place.salt
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn key(&self) -> &[u8; 32] {
        &self.key
    }
}

impl<A: Arena> fmt::Debug for BridgeSecret<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BridgeSecret(segment {})", self.place.segment)
    }
}

impl<A: Arena> AuditRoot<A> {
    /// Seals a bridge's first key, to be stated by the first line of the segment right behind it.
    pub fn seal_bridge(
        &self,
        secret: &BridgeSecret<A>,
        entropy: &mut dyn Entropy,
    ) -> Result<SealedBridge, BridgeError> {
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce)?;
        Ok(self.seal_bridge_with(secret, &nonce)?)
    }

    fn seal_bridge_with(
        &self,
        secret: &BridgeSecret<A>,
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<SealedBridge, SealError> {
        let mut sealed = Zeroizing::new(*secret.key);
        let tag = cipher::seal_with(&self.bridge, nonce, &associated_data(&secret.place), &mut *sealed)?;
        Ok(SealedBridge { segment: secret.place.segment, bytes: join(&[nonce, &*sealed, &tag]) })
    }

    /// Opens a bridge's first key into `key`, which is zeros on failure.
    pub(super) fn open_bridge(
        &self,
        place: &Place,
        sealed: &[u8; SEALED_BYTES],
        key: &mut [u8; 32],
    ) -> Result<(), DoesNotOpen> {
        key.fill(0);
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(DoesNotOpen)?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(DoesNotOpen)?;
        key.copy_from_slice(body);
        // It is sealed into the segment right behind it, which may be the first of another epoch.
        let stated_in = place.segment.saturating_add(1);
        let opened = self.with_bridge_key(stated_in, |bridge| {
            cipher::open_with(bridge, nonce, &associated_data(place), key, tag)
        });
        opened.unwrap_or_else(|_| {
            key.fill(0);
            Err(DoesNotOpen)
        })
    }
}

/// `"keyagent/v1 audit bridge" || 00 || keyring id || segment u64 || salt`.
fn associated_data(place: &Place) -> [u8; AD_BYTES] {
    join(&[LABEL, &place.keyring_id, &place.segment.to_le_bytes(), &place.salt])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::HeapArena;

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
            self.0 += 1;
            out.fill(self.0);
            Ok(())
        }
    }

    fn secret(segment: u64) -> BridgeSecret<HeapArena> {
        BridgeSecret::random(&HeapArena, &mut Fixed(0), &[9; 16], segment).unwrap()
    }

    #[test]
    fn a_sealed_key_opens_in_its_place_only() {
        let root = AuditRoot::derive(&HeapArena, &[1; 32]).unwrap();
        let secret = secret(7);
        assert_eq!((*secret.key, *secret.salt(), secret.segment()), ([1; 32], [2; 16], 7));
        let sealed = root.seal_bridge(&secret, &mut Fixed(2)).unwrap();
        assert_eq!(sealed.segment, 7);
        assert_eq!(sealed.bytes[..24], [3; 24]);
        let open = |root: &AuditRoot<HeapArena>, place: &Place, bytes: &[u8; SEALED_BYTES]| {
            let mut key = [0xaa; 32];
            let opened = root.open_bridge(place, bytes, &mut key);
            assert_eq!(key, if opened.is_ok() { [1; 32] } else { [0; 32] });
            opened
        };
        let place = secret.place();
        assert_eq!(open(&root, &place, &sealed.bytes), Ok(()));
        for wrong in [
            Place { keyring_id: [8; 16], ..place },
            Place { segment: 8, ..place },
            Place { salt: [0; 16], ..place },
        ] {
            assert_eq!(open(&root, &wrong, &sealed.bytes), Err(DoesNotOpen));
        }
        let other = AuditRoot::derive(&HeapArena, &[2; 32]).unwrap();
        assert_eq!(open(&other, &place, &sealed.bytes), Err(DoesNotOpen));
        for bit in 0..SEALED_BYTES * 8 {
            let mut bad = sealed.bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&root, &place, &bad), Err(DoesNotOpen), "bit {bit}");
        }
    }

    #[test]
    fn the_associated_data_is_as_documented() {
        let root = AuditRoot::derive(&HeapArena, &[1; 32]).unwrap();
        let mut key = [0; 32];
        keyagent_common::kdf::derive(&[1; 32], "audit bridge", &[], &mut key);
        assert_eq!(*root.bridge, key);
        let ad = [&b"keyagent/v1 audit bridge\0"[..], &[9; 16], &[7, 0, 0, 0, 0, 0, 0, 0], &[2; 16]].concat();
        let mut body = [1; 32];
        let tag = cipher::seal_with(&key, &[5; 24], &ad, &mut body).unwrap();
        let sealed = root.seal_bridge_with(&secret(7), &[5; 24]).unwrap();
        assert_eq!(sealed.bytes[..], [&[5; 24][..], &body, &tag].concat());
    }

    #[test]
    fn its_key_is_not_shown() {
        assert_eq!(alloc::format!("{:?}", secret(7)), "BridgeSecret(segment 7)");
    }
}
