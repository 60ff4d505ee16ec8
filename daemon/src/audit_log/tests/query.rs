//! Reading by range: equal to reading everything and picking.

use super::*;
use crate::audit_log::archive::{LineHead, stamp};
use crate::audit_log::query::Range;

/// Later than any line that a test writes with the real clock.
const BEGIN: u64 = 4_000_000_000_000_000;
const MINUTE: u64 = 60_000_000;
const ALL: Wanted = Wanted { from_seq: 0, to_seq: u64::MAX, from_micros: 0, to_micros: u64::MAX };

/// Lines in several files, one group a minute, of one to three lines.
fn log_of_minutes(folder: &Path, minutes: u64) -> AuditLog {
    let log = open(folder);
    log.configure(LogSettings { rotate_bytes: 32 << 10, ..LogSettings::default() });
    for minute in 0..minutes {
        log.lock().time = Some(BEGIN + minute * MINUTE);
        log.append(&[request(); 3][..=(minute % 3) as usize]).unwrap();
        log.rotate_when_due().unwrap();
    }
    log
}

fn naive(folder: &Path, wanted: Wanted) -> Vec<u8> {
    let (from, to) = (stamp(wanted.from_micros), stamp(wanted.to_micros));
    let bytes = whole(folder);
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| {
        let head = LineHead::of(line).unwrap();
        (wanted.from_seq..=wanted.to_seq).contains(&head.seq) && (from..=to).contains(&head.time)
    });
    lines.collect::<Vec<_>>().concat()
}

/// All of it, in calls of `max_bytes`; how many calls it took.
fn in_calls(log: &AuditLog, mut wanted: Wanted, max_bytes: usize) -> (Vec<u8>, usize) {
    let (mut bytes, mut calls) = (Vec::new(), 0);
    loop {
        let range = log.read_range(wanted, max_bytes).unwrap();
        assert!(range.bytes.len() <= max_bytes);
        let mut heads = range.bytes.split_inclusive(|byte| *byte == b'\n').map(|l| LineHead::of(l).unwrap());
        assert_eq!(heads.clone().next().map_or(0, |head| head.seq), range.first_seq);
        assert_eq!(heads.next_back().map_or(0, |head| head.seq), range.last_seq);
        bytes.extend(range.bytes);
        calls += 1;
        if range.next_seq == 0 {
            return (bytes, calls);
        }
        assert!(range.next_seq > wanted.from_seq && range.next_seq > range.last_seq);
        wanted.from_seq = range.next_seq;
    }
}

#[test]
fn every_range_is_what_a_reading_of_everything_gives() {
    let folder = folder();
    let log = log_of_minutes(folder.path(), 400);
    assert!(log.usage().files > 4);
    let last = log.standing().seq;
    assert_eq!(in_calls(&log, ALL, 1 << 20), (whole(folder.path()), 1));
    let mut edges: Vec<u64> = archive::rotated_files(&log_path(folder.path()))
        .unwrap()
        .into_iter()
        .flat_map(|(start, _)| [start - 1, start, start + 1])
        .collect();
    edges.extend([0, 1, 2, 77, last / 2, last - 1, last, last + 1, u64::MAX]);
    for from_seq in edges.iter().copied() {
        for to_seq in edges.iter().copied().step_by(5) {
            let wanted = Wanted { from_seq, to_seq, ..ALL };
            assert_eq!(in_calls(&log, wanted, 20_000).0, naive(folder.path(), wanted), "{wanted:?}");
        }
    }
    let times: Vec<u64> = (0..=400).step_by(50).map(|minute| BEGIN + minute * MINUTE).collect();
    for from in times.iter().copied() {
        for to in times.iter().copied() {
            for (from_micros, to_micros) in [(from, to), (from + 1, to - 1), (from, u64::MAX), (0, to)] {
                let wanted = Wanted { from_micros, to_micros, ..ALL };
                assert_eq!(in_calls(&log, wanted, 30_000).0, naive(folder.path(), wanted), "{wanted:?}");
            }
        }
    }
    let both = Wanted { from_seq: 100, to_seq: 300, from_micros: times[4], to_micros: times[6] };
    assert_eq!(in_calls(&log, both, 1000).0, naive(folder.path(), both));
    let (bytes, calls) = in_calls(&log, ALL, 5000);
    assert_eq!(bytes, whole(folder.path()));
    assert!(calls > bytes.len() / 5000);
}

#[test]
fn a_clock_that_was_put_back_a_little_hides_nothing() {
    let folder = folder();
    let log = open(folder.path());
    log.configure(LogSettings { rotate_bytes: 64 << 10, ..LogSettings::default() });
    for minute in 0..900_u64 {
        // Nine minutes back at every fiftieth minute.
        let back = if minute % 50 < 10 { 9 } else { 0 };
        log.lock().time = Some(BEGIN + (minute + 9 - back) * MINUTE);
        append_many(&log, 1);
        log.rotate_when_due().unwrap();
    }
    for minute in (0..900).step_by(7) {
        let from_micros = BEGIN + minute * MINUTE;
        let wanted = Wanted { from_micros, to_micros: from_micros + 20 * MINUTE, ..ALL };
        assert_eq!(in_calls(&log, wanted, 1 << 20).0, naive(folder.path(), wanted), "{minute}");
    }
}

#[test]
fn a_clock_that_ran_ahead_for_a_moment_ends_no_search() {
    let folder = folder();
    let log = open(folder.path());
    for minute in 0..100 {
        let ahead = if minute == 30 { 1_000_000 * MINUTE } else { 0 };
        log.lock().time = Some(BEGIN + minute * MINUTE + ahead);
        append_many(&log, 1);
    }
    let wanted = Wanted { from_micros: BEGIN, to_micros: BEGIN + 50 * MINUTE, ..ALL };
    let found = log.read_range(wanted, 1 << 20).unwrap();
    assert_eq!((found.first_seq, found.last_seq), (2, 52));
    assert_eq!(found.bytes, naive(folder.path(), wanted));
}

#[test]
fn what_has_no_room_is_an_error_and_an_empty_range_is_not() {
    let folder = folder();
    let log = log_of_minutes(folder.path(), 3);
    assert_eq!(log.read_range(ALL, 10).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let nothing = Wanted { from_seq: 1000, ..ALL };
    assert_eq!(log.read_range(nothing, 10).unwrap(), Range::default());
    let backwards = Wanted { from_seq: 5, to_seq: 4, ..ALL };
    assert_eq!(log.read_range(backwards, 10).unwrap(), Range::default());
}

#[test]
fn bytes_behind_the_last_complete_group_are_not_given() {
    let folder = folder();
    let log = log_of_minutes(folder.path(), 3);
    let complete = whole(folder.path());
    let mut file = OpenOptions::new().append(true).open(log_path(folder.path())).unwrap();
    io::Write::write_all(&mut file, b"{\"seq\":99,\"id\":\"1-99\"}\n").unwrap();
    assert_eq!(log.read_range(ALL, 1 << 20).unwrap().bytes, complete);
}

#[test]
fn a_deleted_file_ends_no_query() {
    let folder = folder();
    let log = log_of_minutes(folder.path(), 400);
    let rotated = archive::rotated_files(&log_path(folder.path())).unwrap();
    std::fs::remove_file(&rotated[0].1).unwrap();
    let range = log.read_range(ALL, 1 << 20).unwrap();
    assert_eq!((range.first_seq, range.last_seq), (rotated[1].0, log.standing().seq));
}

#[test]
fn readers_see_only_whole_lines_while_others_write_and_rotate() {
    let folder = folder();
    let log = open(folder.path());
    log.configure(LogSettings { rotate_bytes: 16 << 10, ..LogSettings::default() });
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..2000 {
                log.append(&[request(); 2]).unwrap();
                log.rotate_when_due().unwrap();
            }
        });
        let mut next = 1;
        while !writer.is_finished() || next <= log.standing().seq {
            let range = log.read_range(Wanted { from_seq: next, ..ALL }, 10_000).unwrap();
            for line in range.bytes.split_inclusive(|byte| *byte == b'\n') {
                assert_eq!(LineHead::of(line).unwrap().seq, next);
                assert!(line.ends_with(b"}\n"));
                next += 1;
            }
        }
    });
    assert_eq!(lines_in_order(folder.path()), log.standing().seq);
}
