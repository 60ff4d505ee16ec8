//! Every change of a small log is noticed: each bit, line, pair of lines, cut, file and order of files.

extern crate std;

use alloc::vec::Vec;
use std::println;

use super::{
    AuditError, FoundBridges, Start, Verified,
    sample::{LogFile, Manner, check, expected, log, root},
};
use crate::{arena::HeapArena, audit::AuditRoot, pin::Pin};

/// What looks at a changed log, and how often it noticed.
struct Watchman<'w> {
    root: &'w AuditRoot<HeapArena>,
    pin: &'w Pin,
    start: Start,
    manner: Manner,
    whole: Verified,
    noticed: usize,
}

impl<'w> Watchman<'w> {
    /// Sees the unchanged log first, and must find it in order.
    fn new(
        files: &[LogFile],
        root: &'w AuditRoot<HeapArena>,
        pin: &'w Pin,
        start: Start,
        manner: Manner,
    ) -> Self {
        let whole = check(files, start, expected(root, Some(pin), &FoundBridges::none()), manner).unwrap();
        assert_eq!(whole.unauthenticated, []);
        assert_eq!(whole.unfinished_bytes + whole.rejected_bytes, 0);
        Self { root, pin, start, manner, whole, noticed: 0 }
    }

    fn look(&self, files: &[LogFile]) -> Result<Verified, AuditError> {
        check(files, self.start, expected(self.root, Some(self.pin), &FoundBridges::none()), self.manner)
    }

    /// An error; and of a start, that bytes behind the pin are cut off and counted.
    fn notices(&mut self, files: &[LogFile]) -> bool {
        let noticed = match self.look(files) {
            Err(_) => true,
            Ok(verified) => {
                let counted = verified.unfinished_bytes + verified.rejected_bytes > 0;
                self.manner == Manner::AfterCrash && counted
            }
        };
        self.noticed += usize::from(noticed);
        noticed
    }

    fn must_notice(&mut self, files: &[LogFile], what: &dyn core::fmt::Debug) {
        assert!(self.notices(files), "not noticed: {what:?} {:?}", self.look(files));
    }
}

fn every_bit(watchman: &mut Watchman<'_>, files: &[LogFile]) {
    let mut files = files.to_vec();
    for file in 0..files.len() {
        for bit in 0..files[file].bytes.len() * 8 {
            files[file].bytes[bit / 8] ^= 1 << (bit % 8);
            watchman.must_notice(&files, &("file", file, "bit", bit));
            files[file].bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// All lines, each with the file that it stands in.
fn lines(files: &[LogFile]) -> Vec<(usize, Vec<u8>)> {
    let of = |(place, file): (usize, &LogFile)| {
        let lines = file.bytes.split_inclusive(|&byte| byte == b'\n');
        lines.map(|line| (place, line.to_vec())).collect::<Vec<_>>()
    };
    files.iter().enumerate().flat_map(of).collect()
}

fn with_lines(files: &[LogFile], lines: &[(usize, Vec<u8>)]) -> Vec<LogFile> {
    let bytes = |place| lines.iter().filter(move |(at, _)| *at == place).flat_map(|(_, line)| line.clone());
    let rewritten = files.iter().enumerate();
    rewritten.map(|(place, file)| LogFile { named: file.named, bytes: bytes(place).collect() }).collect()
}

fn every_line(watchman: &mut Watchman<'_>, files: &[LogFile]) {
    let all = lines(files);
    for place in 0..all.len() {
        for at in 0..all.len() {
            // Doubled: the line stands before another one as well, in the file of that one.
            let mut doubled = all.clone();
            doubled.insert(at, (all[at].0, all[place].1.clone()));
            watchman.must_notice(&with_lines(files, &doubled), &("doubled", place, at));
            if at > place {
                let mut swapped = all.clone();
                (swapped[place].1, swapped[at].1) = (all[at].1.clone(), all[place].1.clone());
                watchman.must_notice(&with_lines(files, &swapped), &("swapped", place, at));
            }
        }
        // Cut within the line: its last byte, its newline, all but its first byte, half of it.
        let length = all[place].1.len();
        for cut in [1, 2, length / 2, length - 1] {
            let mut torn = all.clone();
            torn[place].1.truncate(length - cut);
            watchman.must_notice(&with_lines(files, &torn), &("torn", place, cut));
        }
    }
}

/// Lines deleted, from one on and up to another; the cuts that were not noticed.
fn every_gap(watchman: &mut Watchman<'_>, files: &[LogFile]) -> Vec<(usize, usize)> {
    let all = lines(files);
    let mut unnoticed = Vec::new();
    for from in 0..all.len() {
        for to in from + 1..=all.len() {
            let cut = [&all[..from], &all[to..]].concat();
            if !watchman.notices(&with_lines(files, &cut)) {
                unnoticed.push((from, to));
            }
        }
    }
    unnoticed
}

fn every_set_of_files(watchman: &mut Watchman<'_>, files: &[LogFile]) {
    for set in 0..(1 << files.len()) - 1 {
        let some: Vec<LogFile> = (0..files.len())
            .filter(|place| set & (1 << place) != 0)
            .map(|place| files[place].clone())
            .collect();
        watchman.must_notice(&some, &("files", set));
    }
    for first in 0..files.len() {
        for second in first + 1..files.len() {
            let mut swapped = files.to_vec();
            swapped.swap(first, second);
            watchman.must_notice(&swapped, &("files swapped", first, second));
            // Under each other's name.
            (swapped[first].named, swapped[second].named) = (files[first].named, files[second].named);
            watchman.must_notice(&swapped, &("contents swapped", first, second));
        }
        let mut doubled = files.to_vec();
        doubled.insert(first, files[first].clone());
        watchman.must_notice(&doubled, &("file doubled", first));
    }
}

/// Every shorter length of the whole log, and of each file while the others stay.
fn every_truncation(watchman: &mut Watchman<'_>, files: &[LogFile]) {
    for place in 0..files.len() {
        for length in 0..files[place].bytes.len() {
            let mut cut = files.to_vec();
            cut[place].bytes.truncate(length);
            watchman.must_notice(&cut, &("file", place, "cut to", length));
            cut.truncate(place + 1);
            watchman.must_notice(&cut, &("log cut in file", place, "at", length));
        }
    }
}

#[test]
fn verify_notices_every_change() {
    let (files, _, pin) = log();
    let root = root();
    let mut watchman = Watchman::new(&files, &root, &pin, Start::Oldest, Manner::Strictly);
    assert_eq!((watchman.whole.lines, watchman.whole.files, watchman.whole.segments), (14, 3, 3));
    every_bit(&mut watchman, &files);
    let bits = watchman.noticed;
    assert_eq!(bits, files.iter().map(|file| file.bytes.len() * 8).sum::<usize>());
    every_line(&mut watchman, &files);
    assert_eq!(every_gap(&mut watchman, &files), []);
    let lines = watchman.noticed - bits;
    every_set_of_files(&mut watchman, &files);
    let sets = watchman.noticed - bits - lines;
    every_truncation(&mut watchman, &files);
    let cuts = watchman.noticed - bits - lines - sets;
    println!("verify noticed {bits} bits, {lines} changes of lines, {sets} of files, {cuts} cuts");
    // Doubled 14 x 14, swapped 14 x 13 / 2, torn 4 x 14, cut out 14 x 15 / 2, each line alone among them.
    assert_eq!(lines, 196 + 91 + 56 + 105);
    assert_eq!(sets, 7 + 2 * 3 + 3);
    assert_eq!(cuts, 2 * bits / 8);
}

#[test]
fn a_start_notices_every_change_from_the_pinned_file_on() {
    let (files, _, pin) = log();
    let root = root();
    // The pinned group lies in the last file: nothing else is read.
    let mut watchman = Watchman::new(&files[2..], &root, &pin, Start::AnyFile, Manner::AfterCrash);
    every_bit(&mut watchman, &files[2..]);
    every_line(&mut watchman, &files[2..]);
    every_truncation(&mut watchman, &files[2..]);
    // Lines before a segment in the same file can be missing as the files before it can.
    assert_eq!(every_gap(&mut watchman, &files[2..]), [(0, 2)]);
    println!("a start noticed {} changes of the pinned file", watchman.noticed);
}

#[test]
fn a_start_notices_or_cuts_off_every_change_behind_an_early_pin() {
    let (files, early, _) = log();
    let root = root();
    // The pin is of line 9, in the second file; the third file is the current one.
    let mut watchman = Watchman::new(&files[1..], &root, &early, Start::AnyFile, Manner::AfterCrash);
    every_bit(&mut watchman, &files[1..]);
    every_line(&mut watchman, &files[1..]);
    // At the end, whole groups behind the pin may be cut off; before it, nothing. Between the two, a file may begin
    // with a segment, but this pinned one does not.
    assert_eq!(every_gap(&mut watchman, &files[1..]), [(3, 8), (4, 8), (5, 8), (6, 8), (7, 8)]);
    println!("a start noticed {} changes before and behind its pin", watchman.noticed);
    // A cut at the end of a group behind the pin looks like a write that never happened; no other cut does.
    let lines = lines(&files[1..]);
    let mut unnoticed = Vec::new();
    for length in 0..files[2].bytes.len() {
        let mut cut = files[1..].to_vec();
        cut[1].bytes.truncate(length);
        let verified = watchman.look(&cut).unwrap();
        if verified.unfinished_bytes == 0 {
            unnoticed.push(verified.lines);
        }
    }
    assert_eq!(unnoticed, [4, 5, 6, 7], "of {} lines", lines.len());
}
