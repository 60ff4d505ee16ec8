use alloc::{string::ToString, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    arena::HeapArena,
    audit::{
        chain::{Chain, NO_PREVIOUS_MAC},
        record::{Bridging, Details, Event, Record, Via},
    },
};

const ID: [u8; 16] = [9; 16];
const DIGEST: [u8; 32] = [0xd1; 32];
/// Lines of each group; the first line of the first and of the fourth begins a segment.
const GROUPS: [usize; 6] = [1, 3, 1, 2, 1, 2];

fn root() -> AuditRoot<HeapArena> {
    AuditRoot::derive(&HeapArena, &[1; 32]).unwrap()
}

/// Two segments, six groups, ten lines.
fn log() -> (Vec<u8>, Pin) {
    let (mut log, mut seq, mut segment, mut mac) = (Vec::new(), 0, 0, NO_PREVIOUS_MAC);
    let mut chain: Option<Chain<HeapArena>> = None;
    for (group, lines) in GROUPS.into_iter().enumerate() {
        let mut bytes = Vec::new();
        for line in 0..lines {
            let salt = [0x50; 16];
            seq += 1;
            let event = match (group, line) {
                (0 | 3, 0) => {
                    segment += 1;
                    chain = Some(Chain::begin(&HeapArena, &root(), &ID, segment, &salt, mac).unwrap());
                    Event::Segment {
                        salt: &salt,
                        host: "h",
                        epoch: 1,
                        previous_mac: &mac,
                        keyring_id: &ID,
                        bridging: Bridging::default(),
                    }
                }
                (2, 0) => Event::KeyringIntent { generation: 4, digest: &DIGEST },
                (3, 1) => Event::KeyringCommit { generation: 4, digest: &DIGEST },
                (4, 0) => Event::KeyringIntent { generation: 5, digest: &[7; 32] },
                _ => Event::Operation { name: "encrypt", details: Details::default() },
            };
            let record = Record {
                segment,
                seq,
                unix_micros: 1_795_302_600_123_456,
                event,
                provider: Some("default"),
                peer: None,
                via: Via::default(),
                user_agent: Some("a \"quoted\" agent"),
                error_message: None,
            };
            record.push_to_group(&mut bytes);
        }
        let chain = chain.as_mut().unwrap();
        let sealed = chain.seal_group(&mut bytes);
        chain.advance(sealed);
        mac = chain.last_mac();
        log.extend_from_slice(&bytes);
    }
    (log, Pin { segment, seq, mac, generation: 5, head_digest: [7; 32] })
}

fn check(log: &[u8], pin: Option<&Pin>) -> Result<Verified, AuditError> {
    verify(&[log], Start::Oldest, &root(), &ID, pin)
}

fn expected<'e>(root: &'e AuditRoot<HeapArena>, pin: Option<&'e Pin>) -> Expected<'e, HeapArena> {
    static NONE: FoundBridges = FoundBridges::none();
    Expected { root: Some(root), keyring_id: &ID, pin, bridges: &NONE, own_bridge: None }
}

fn lines(log: &[u8]) -> Vec<&[u8]> {
    log.split_inclusive(|&byte| byte == b'\n').collect()
}

#[test]
fn a_log_in_order_verifies() {
    let (log, pin) = log();
    let verified = check(&log, Some(&pin)).unwrap();
    let tail = Tail { segment: 2, seq: 10, mac: pin.mac };
    assert_eq!(verified.tail, Some(tail));
    assert_eq!((verified.groups, verified.lines, verified.unfinished_bytes), (6, 10, 0));
    let mark = |seq, generation, digest| Some(KeyringMark { seq, generation, digest });
    assert_eq!(verified.last_intent, mark(8, 5, [7; 32]));
    assert_eq!(verified.last_commit, mark(7, 4, DIGEST));
    assert!(verified.accepts_keyring(4, &DIGEST));
    assert!(verified.accepts_keyring(5, &[7; 32]));
    assert!(!verified.accepts_keyring(5, &DIGEST));
    assert!(!verified.accepts_keyring(3, &DIGEST));
}

#[test]
fn every_changed_bit_is_noticed() {
    let (mut log, pin) = log();
    for bit in 0..log.len() * 8 {
        log[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&log, Some(&pin)).is_err(), "bit {bit}");
        log[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_removed_doubled_or_swapped_line_is_noticed() {
    let (log, pin) = log();
    let lines = lines(&log);
    for place in 0..lines.len() {
        let mut removed = lines.clone();
        removed.remove(place);
        assert!(check(&removed.concat(), Some(&pin)).is_err(), "removed {place}");
        let mut doubled = lines.clone();
        doubled.insert(place, lines[place]);
        assert!(check(&doubled.concat(), Some(&pin)).is_err(), "doubled {place}");
        if place > 0 {
            let mut swapped = lines.clone();
            swapped.swap(place - 1, place);
            assert!(check(&swapped.concat(), Some(&pin)).is_err(), "swapped {place}");
        }
    }
}

#[test]
fn every_cut_is_noticed_by_the_pin_and_told_apart_from_tampering_without() {
    let (log, pin) = log();
    let mut group_ends = Vec::from([0]);
    for line in log.split_inclusive(|&byte| byte == b'\n') {
        let end = line.as_ptr() as usize - log.as_ptr() as usize + line.len();
        if split_mac(&line[..line.len() - 1]).is_some() {
            group_ends.push(end);
        }
    }
    assert_eq!(group_ends.len(), GROUPS.len() + 1);
    for length in 0..log.len() {
        let error = check(&log[..length], Some(&pin)).unwrap_err();
        assert_eq!(error.why, Why::ShorterThanPin { pinned: 10 });
        let kept = group_ends.iter().rfind(|&&end| end <= length).unwrap();
        let verified = check(&log[..length], None).unwrap();
        assert_eq!(verified.unfinished_bytes, (length - kept) as u64);
        assert_eq!(check(&log[..*kept], None).unwrap(), Verified { unfinished_bytes: 0, ..verified });
    }
}

#[test]
fn every_cut_out_of_the_middle_is_noticed() {
    let (log, pin) = log();
    let lines = lines(&log);
    for from in 0..lines.len() {
        for to in from + 1..=lines.len() {
            let cut = [lines[..from].concat(), lines[to..].concat()].concat();
            assert!(check(&cut, Some(&pin)).is_err(), "lines {from}..{to}");
        }
    }
}

#[test]
fn the_first_bad_line_is_named() {
    let (log, pin) = log();
    let lines = lines(&log);
    let error = |lines: &[&[u8]]| check(&lines.concat(), Some(&pin)).unwrap_err();
    let gap = [&lines[..2], &lines[3..]].concat();
    let bad_line = |line, why| AuditError { file: 0, line, seq: line, why };
    assert_eq!(error(&gap), bad_line(3, Why::Sequence { expected: 3, found: 4 }));
    assert_eq!(error(&gap).to_string(), "audit log, line 3: has number 4 where 3 belongs");
    let edited = lines[2].to_vec();
    let edited = core::str::from_utf8(&edited).unwrap().replace("encrypt", "decrypt");
    let mut bad = lines.clone();
    bad[2] = edited.as_bytes();
    assert_eq!(error(&bad), bad_line(2, Why::Mac { through: 4 }));
    bad[2] = b"rubbish\n";
    assert_eq!(error(&bad), bad_line(3, Why::Malformed));
    assert_eq!(error(&lines[1..]), bad_line(1, Why::NoSegment));
    let without_first_segment = [&lines[5..]].concat();
    let why = Why::OldestLine { expected: 1, found: 6 };
    assert_eq!(error(&without_first_segment), AuditError { file: 0, line: 1, seq: 6, why });
}

#[test]
fn a_log_may_begin_at_a_later_segment_when_what_stands_before_is_not_asked_for() {
    let (log, pin) = log();
    let later = lines(&log)[5..].concat();
    let verified = verify(&[&later], Start::AnyFile, &root(), &ID, Some(&pin)).unwrap();
    assert_eq!(verified.tail, Some(Tail { segment: 2, seq: 10, mac: pin.mac }));
    assert_eq!(verify(&[b""], Start::AnyFile, &root(), &ID, None).unwrap().tail, None);
    assert!(verify(&[&log[1..]], Start::AnyFile, &root(), &ID, None).is_err());
}

#[test]
fn another_keyring_or_pin_does_not_fit() {
    let (log, pin) = log();
    let error = verify(&[&log], Start::Oldest, &root(), &[8; 16], None).unwrap_err();
    assert_eq!(error.why, Why::OtherKeyring);
    let other = AuditRoot::derive(&HeapArena, &[2; 32]).unwrap();
    let error = verify(&[&log], Start::Oldest, &other, &ID, None).unwrap_err();
    assert_eq!(error, AuditError { file: 0, line: 1, seq: 1, why: Why::Mac { through: 1 } });
    for bad in
        [Pin { mac: [0; 32], ..pin }, Pin { seq: 9, ..pin }, Pin { seq: 2, ..pin }, Pin { segment: 1, ..pin }]
    {
        let error = check(&log, Some(&bad)).unwrap_err();
        assert_eq!(error.why, Why::DoesNotMeetPin { pinned: bad.seq });
    }
    let beyond = Pin { seq: 11, ..pin };
    assert_eq!(check(&log, Some(&beyond)).unwrap_err().why, Why::ShorterThanPin { pinned: 11 });
}

proptest! {
    #[test]
    fn never_panics_on_arbitrary_bytes(bytes: Vec<u8>) {
        let _ = check(&bytes, None);
    }
}

fn in_pieces(
    log: &[u8],
    size: usize,
    pin: Option<&Pin>,
) -> (Result<Verified, AuditError>, Result<Verified, AuditError>) {
    let root = root();
    let finish = |strictly: bool| {
        let mut verifier = Verifier::new(Start::Oldest, expected(&root, pin));
        verifier.begin_file(None);
        log.chunks(size).for_each(|piece| verifier.push(piece));
        if strictly { verifier.finish_strictly() } else { verifier.finish_after_crash() }
    };
    (finish(true), finish(false))
}

#[test]
fn pieces_of_any_size_give_the_same_verdict() {
    let (log, pin) = log();
    let whole = check(&log, Some(&pin)).unwrap();
    for size in [1, 7, 100, 1000, log.len()] {
        assert_eq!(in_pieces(&log, size, Some(&pin)), (Ok(whole.clone()), Ok(whole.clone())));
        assert_eq!(in_pieces(&log[..log.len() - 3], size, None).0, check(&log[..log.len() - 3], None));
    }
}

#[test]
fn behind_the_pin_a_crash_may_have_lost_anything_and_before_it_nothing() {
    let (log, last) = log();
    let lines: Vec<&[u8]> = log.split_inclusive(|&byte| byte == b'\n').collect();
    // A pin of the first group: everything behind it was not synced yet.
    let first_group = lines.iter().position(|line| split_mac(&line[..line.len() - 1]).is_some()).unwrap();
    let kept: usize = lines[..=first_group].iter().map(|line| line.len()).sum();
    let (_, mac) = split_mac(&lines[first_group][..lines[first_group].len() - 1]).unwrap();
    let seq = first_group as u64 + 1;
    let early = Pin { segment: 1, seq, mac, ..last };
    for place in (kept..log.len()).step_by(13) {
        let mut torn = log.clone();
        torn[place] ^= 1;
        let (strict, lenient) = in_pieces(&torn, 100, Some(&early));
        let lenient = lenient.unwrap();
        assert!(strict.is_err() || strict.unwrap().unfinished_bytes > 0, "byte {place}");
        assert!(lenient.rejected_bytes + lenient.unfinished_bytes > 0, "byte {place}");
        assert!(in_pieces(&torn, 100, Some(&last)).1.is_err(), "byte {place} lies before the pin");
    }
    for place in (0..kept).step_by(13) {
        let mut changed = log.clone();
        changed[place] ^= 1;
        assert!(in_pieces(&changed, 100, Some(&early)).1.is_err(), "byte {place}");
    }
}

#[test]
fn a_group_without_end_is_refused_at_a_cap() {
    let root = root();
    let mut verifier = Verifier::new(Start::Oldest, expected(&root, None));
    for _ in 0..=MAX_GROUP_BYTES / 4096 {
        verifier.push(&[b'x'; 4096]);
    }
    assert!(verifier.pending.is_empty());
    assert_eq!(verifier.finish_strictly().unwrap_err().why, Why::Malformed);
}
