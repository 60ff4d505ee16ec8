//! The bytes of the file, and what is believed of damaged ones; `model` has the life of the counts.

use alloc::{sync::Arc, vec, vec::Vec};

use keyagent_common::kdf;

use super::{
    entry::{Entry, Header, Stored},
    *,
};
use crate::arena::HeapArena;

mod model;

const NOW: u64 = 1_795_302_600;

fn key(root: u8, epoch: u32) -> CounterKey<HeapArena> {
    let mut derived = alloc::boxed::Box::new([0; 32]);
    kdf::derive(&[root; 32], "counters", &[], &mut *derived);
    CounterKey::new(Arc::new(derived), [1; 16], epoch)
}

fn stored(count: u64, at: u64) -> Stored {
    Stored { count, at, ahead: false, upper: false }
}

fn entry(id: u8) -> Entry {
    Entry { key_id: [id; 32], encryptions: stored(64, 1_700_000_000), decryptions: stored(3, 1_600_000_000) }
}

/// A file with entries about these versions.
fn file(ids: &[u8]) -> Vec<u8> {
    let key = key(7, 1);
    let mut bytes = Header { first_sequence: 5, unknown_until: 9 }.seal(&key).to_vec();
    for (id, sequence) in ids.iter().zip(5..) {
        bytes.extend_from_slice(&entry(*id).seal(sequence, &key));
    }
    bytes
}

fn ids(recovered: &Recovered) -> Vec<u8> {
    recovered.entries.keys().map(|id| id[0]).collect()
}

#[test]
fn the_bytes_are_those_of_another_implementation() {
    // Made with Python's hmac and hashlib from the table in docs/FORMATS.md.
    let header = "6b65796167656e742f636f756e7465727301000101010101010101010101010101010105000000000000000900000000000000\
                  0e7478320a662cdb854cd39e4367b08f";
    assert_eq!(hex::encode(Header { first_sequence: 5, unknown_until: 9 }.seal(&key(7, 1))), header);
    let line = "05000000000000000202020202020202020202020202020202020202020202020202020202020202400000000000000003000000\
                0000000000f153650000000000105e5f00000000092c46497a8f42e57a830a49d5ee8ef850";
    let mut entry = entry(2);
    (entry.encryptions.ahead, entry.decryptions.upper) = (true, true);
    let sealed = entry.seal(5, &key(7, 1));
    assert_eq!(hex::encode(sealed), line);
    assert_eq!(Entry::open(&sealed, 5, &key(7, 1)), Some(entry));
    assert_eq!(Entry::open(&sealed, 6, &key(7, 1)), None);
}

#[test]
fn a_cut_at_any_byte_leaves_the_entries_before_it() {
    let whole = file(&[1, 2, 3]);
    for length in 0..=whole.len() {
        let read = read(&whole[..length], &key(7, 1));
        let Ok(recovered) = read else {
            assert!(length < HEADER_BYTES, "{length}");
            continue;
        };
        let entries = (length - HEADER_BYTES) / ENTRY_BYTES;
        assert_eq!(ids(&recovered), [1, 2, 3][..entries], "{length}");
        let torn = !(length - HEADER_BYTES).is_multiple_of(ENTRY_BYTES);
        assert_eq!(recovered.finding, if torn { Finding::Torn } else { Finding::Complete }, "{length}");
        assert_eq!((recovered.unknown_until, recovered.next_sequence), (9, 5 + entries as u64));
    }
}

#[test]
fn every_changed_bit_is_noticed_and_the_other_entries_stay() {
    let whole = file(&[1, 2, 3]);
    for bit in 0..whole.len() * 8 {
        let mut bad = whole.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let read = read(&bad, &key(7, 1));
        if bit / 8 < HEADER_BYTES {
            assert_eq!(read.err(), Some(Unreadable), "bit {bit}");
            continue;
        }
        let recovered = read.unwrap();
        assert_eq!(recovered.finding, Finding::Damaged, "bit {bit}");
        let missing = 1 + u8::try_from((bit / 8 - HEADER_BYTES) / ENTRY_BYTES).unwrap();
        assert_eq!(ids(&recovered), [1, 2, 3].into_iter().filter(|id| *id != missing).collect::<Vec<_>>());
    }
}

#[test]
fn an_entry_left_out_or_moved_is_damage() {
    let whole = file(&[1, 2, 3]);
    let (header, entries) = whole.split_at(HEADER_BYTES);
    let entries: Vec<&[u8]> = entries.chunks(ENTRY_BYTES).collect();
    for (order, kept) in [(vec![1, 2], vec![]), (vec![0, 2], vec![1]), (vec![0, 2, 1], vec![1])] {
        let parts = order.iter().map(|place: &usize| entries[*place]);
        let bytes = [header].into_iter().chain(parts).collect::<Vec<_>>().concat();
        let recovered = read(&bytes, &key(7, 1)).unwrap();
        assert_eq!((recovered.finding, ids(&recovered)), (Finding::Damaged, kept), "{order:?}");
    }
    // Nobody can tell that the last one is missing: what a power loss leaves of a write looks the same.
    assert_eq!(read(&whole[..whole.len() - ENTRY_BYTES], &key(7, 1)).unwrap().finding, Finding::Complete);
}

#[test]
fn a_file_of_another_root_or_keyring_is_unreadable() {
    let whole = file(&[1]);
    assert_eq!(read(&whole, &key(8, 1)).err(), Some(Unreadable));
    let mut other = key(7, 1);
    other = CounterKey::new(Arc::new(alloc::boxed::Box::new([3; 32])), [2; 16], other.epoch());
    assert_eq!(read(&whole, &other).err(), Some(Unreadable));
}
