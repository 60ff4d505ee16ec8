use super::*;
use crate::{arena::HeapArena, audit::bridge::BridgeSecret};

const ID: [u8; 16] = [9; 16];

struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        self.0 = self.0.wrapping_add(1);
        out.fill(self.0);
        Ok(())
    }
}

fn root(epoch: u32) -> [u8; 32] {
    let mut root = [7; 32];
    root[..4].copy_from_slice(&epoch.to_le_bytes());
    root
}

/// The archive of an epoch whose epochs before had ten segments and five keyrings each.
fn archive_of(epoch: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for ended in 1..epoch {
        let ending = Ending {
            keyring_id: &ID,
            epoch: ended,
            generation: u64::from(ended) * 5,
            last_segment: u64::from(ended) * 10,
            root: &root(ended),
            archive: &bytes,
        };
        bytes = rotate(&ending, &root(ended + 1), &mut Fixed(0)).unwrap();
    }
    bytes
}

fn audit_root(epoch: u32) -> AuditRoot<HeapArena> {
    let made = AuditRoot::derive(&HeapArena, &root(epoch)).unwrap();
    made.with_archive(ID, epoch, archive_of(epoch))
}

fn key_of(audit: &AuditRoot<HeapArena>, segment: u64) -> Result<[u8; 32], NoKey> {
    let mut key = [0; 32];
    audit.segment_key(&Place { keyring_id: ID, segment, salt: [1; 16] }, &mut key).map(|()| key)
}

/// The key by the words of the format.
fn expected(epoch: u32, segment: u64) -> [u8; 32] {
    let (mut audit, mut key) = ([0; 32], [0; 32]);
    kdf::derive(&root(epoch), "audit", &[], &mut audit);
    let extra = [&ID[..], &segment.to_le_bytes(), &[1; 16]].concat();
    kdf::derive(&audit, "audit segment", &extra, &mut key);
    key
}

#[test]
fn the_number_of_a_segment_says_which_root_it_has() {
    let audit = audit_root(4);
    for (segment, epoch) in [(1, 1), (10, 1), (11, 2), (20, 2), (21, 3), (30, 3), (31, 4), (u64::MAX, 4)] {
        assert_eq!(key_of(&audit, segment), Ok(expected(epoch, segment)), "segment {segment}");
    }
    let first = AuditRoot::derive(&HeapArena, &root(1)).unwrap();
    assert_eq!(key_of(&first, 5), Ok(expected(1, 5)));
}

#[test]
fn an_epoch_is_sealed_as_documented() {
    let bytes = archive_of(2);
    assert_eq!(bytes.len(), 196);
    let span = [&[1, 0, 0, 0][..], &1u64.to_le_bytes(), &10u64.to_le_bytes(), &5u64.to_le_bytes()].concat();
    assert_eq!(bytes[..28], span);
    let mut key = [0; 32];
    kdf::derive(&root(2), "audit archive", &[], &mut key);
    let ad = [b"keyagent/v1 audit archive\0", &ID[..], &2u32.to_le_bytes(), &span].concat();
    let (nonce, mut keys) =
        (bytes[28..52].try_into().unwrap(), <[u8; 128]>::try_from(&bytes[52..180]).unwrap());
    cipher::open_with(&key, &nonce, &ad, &mut keys, &bytes[180..].try_into().unwrap()).unwrap();
    for (place, label) in keys.chunks(32).zip(["audit", "audit bridge", "pin", "counters"]) {
        let mut key = [0; 32];
        kdf::derive(&root(1), label, &[], &mut key);
        assert_eq!(place, key);
    }
}

#[test]
fn every_changed_bit_of_an_epoch_makes_its_keys_unusable() {
    let bytes = archive_of(2);
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let made = AuditRoot::derive(&HeapArena, &root(2)).unwrap().with_archive(ID, 2, bad);
        assert_ne!(key_of(&made, 10), Ok(expected(1, 10)), "bit {bit}");
    }
}

#[test]
fn the_oldest_epoch_goes_first() {
    let last = u32::try_from(MAX_EPOCHS).unwrap() + 3;
    let bytes = archive_of(last);
    assert!(is_archive(&bytes));
    assert_eq!(bytes.len(), MAX_EPOCHS * EPOCH_BYTES);
    assert!(u16::try_from(bytes.len()).is_ok(), "it fits into an attribute");
    let audit = AuditRoot::derive(&HeapArena, &root(last)).unwrap().with_archive(ID, last, bytes);
    assert_eq!(key_of(&audit, 20), Err(NoKey));
    assert_eq!(key_of(&audit, 21), Ok(expected(3, 21)));
}

#[test]
fn only_a_gapless_list_is_an_archive() {
    let bytes = archive_of(4);
    assert!(is_archive(&bytes) && is_archive(&bytes[..196]) && is_archive(&bytes[196..]));
    assert!(!is_archive(b"") && !is_archive(&bytes[1..]) && !is_archive(&bytes[..195]));
    let gap = [&bytes[..196], &bytes[392..]].concat();
    let doubled = [&bytes[..196], &bytes[..196]].concat();
    assert!(!is_archive(&gap) && !is_archive(&doubled));
    // An epoch without a segment of its own, since its first line could not be written.
    let mut none = bytes.clone();
    none[196 + 12..196 + 20].copy_from_slice(&10u64.to_le_bytes());
    none[392 + 4..392 + 12].copy_from_slice(&11u64.to_le_bytes());
    assert!(is_archive(&none));
}

#[test]
fn a_bridge_is_opened_by_the_root_of_the_segment_behind_it() {
    for (bridge, stated_under) in [(8, 1), (10, 2), (30, 4)] {
        let secret = BridgeSecret::random(&HeapArena, &mut Fixed(0x60), &ID, bridge).unwrap();
        let by = AuditRoot::derive(&HeapArena, &root(stated_under)).unwrap();
        let sealed = by.seal_bridge(&secret, &mut Fixed(0x70)).unwrap();
        let mut key = [0; 32];
        audit_root(4).open_bridge(&secret.place(), &sealed.bytes, &mut key).unwrap();
        assert_eq!(key, *secret.key());
    }
}
