//! Lines of the log by number and time, out of all its files, while others append.
//!
//! Finds its place by the names of files and by bisection inside one, so a query about the last hour does not read
//! a year. Must never give a line of a group that is not complete, and never hold the log's lock while it reads.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::FileExt,
};

use super::{
    AuditLog,
    archive::{self, LineHead, Stamp, rotated_path, stamp},
};

/// Most bytes looked at in one call, so that a query for what is rare does not read the whole log at once.
const MAX_SCANNED_BYTES: u64 = 32 << 20;
/// A place is found by bisection down to this many bytes; those are read in order.
const BISECTED_BYTES: u64 = 64 << 10;
/// Read at once in order, and where a place is looked for.
const READ_BYTES: usize = 64 << 10;
const PROBE_BYTES: usize = 4 << 10;
/// So many bytes of lines behind the last time wanted, and nothing more is looked for: a clock that ran ahead for a
/// moment must not end a search.
const MAX_BYTES_BEHIND: u64 = 1 << 20;
/// Lines are in order of time but for a clock that was put back: by up to this much does no harm.
const CLOCK_SLACK_MICROS: u64 = 600_000_000;

/// Which lines are wanted; all bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Smallest number; 0 for no bound.
    pub(crate) from_seq: u64,
    /// Largest number; `u64::MAX` for no bound.
    pub(crate) to_seq: u64,
    /// Earliest time in microseconds since 1970; 0 for no bound.
    pub(crate) from_micros: u64,
    /// Latest time; `u64::MAX` for no bound.
    pub(crate) to_micros: u64,
}

/// Lines that were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// Number of the first line given; 0 if there is none.
    pub(crate) first_seq: u64,
    /// Number of the last line given; 0 if there is none.
    pub(crate) last_seq: u64,
    /// Where to go on with the same bounds; 0 when there is nothing more.
    pub(crate) next_seq: u64,
    /// Whole lines, each with its newline.
    pub(crate) bytes: Vec<u8>,
}

impl AuditLog {
    /// At most `max_bytes` of the lines that are wanted, in order. May give none and a `next_seq`, where much of
    /// the log had to be passed over.
    ///
    /// A search by time may miss lines around a moment at which the clock was put back by more than ten minutes;
    /// one by number misses none. [`io::ErrorKind::InvalidInput`] if `max_bytes` has no room for one line.
    pub(crate) fn read_range(&self, wanted: Wanted, max_bytes: usize) -> io::Result<Range> {
        let parts = self.parts()?;
        let mut search = Search::new(wanted, max_bytes);
        let begin = parts.iter().rposition(|part| search.may_begin_in(part)).unwrap_or(0);
        for (index, part) in parts.iter().enumerate().skip(begin) {
            let file = match &part.open {
                Some(file) => file.try_clone()?,
                None => match archive::open_to_read(&rotated_path(&self.path, part.first_seq)) {
                    Ok(file) => file,
                    // Deleted since: its lines are not kept any more.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                },
            };
            let start = if index == begin { search.place(&file, part.length)? } else { 0 };
            if search.read(&file, start, part.length)? == Flow::Done {
                break;
            }
        }
        Ok(search.found)
    }

    /// All files of the log, oldest first, with the bytes of complete groups in each.
    fn parts(&self) -> io::Result<Vec<Part>> {
        let writer = self.lock();
        let rotated = writer.archive.iter().map(|(first_seq, file)| Part {
            first_seq,
            first_time: file.first_time,
            length: file.bytes,
            open: None,
        });
        let mut parts: Vec<Part> = rotated.collect();
        if let Some(first_time) = writer.first_time {
            let (first_seq, length) = (writer.first_seq, writer.length);
            parts.push(Part { first_seq, first_time, length, open: Some(writer.file.try_clone()?) });
        }
        Ok(parts)
    }
}

/// A file of the log.
struct Part {
    first_seq: u64,
    first_time: Stamp,
    length: u64,
    /// The current file; its name may change while it is read.
    open: Option<File>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoOn,
    Done,
}

struct Search {
    wanted: Wanted,
    from: Stamp,
    to: Stamp,
    /// Lines before this time are not even looked at.
    from_with_slack: Stamp,
    max_bytes: usize,
    scanned: u64,
    /// Bytes of lines behind the last time wanted, without any other in between.
    behind: u64,
    found: Range,
}

impl Search {
    fn new(wanted: Wanted, max_bytes: usize) -> Self {
        Self {
            wanted,
            from: stamp(wanted.from_micros),
            to: stamp(wanted.to_micros),
            from_with_slack: stamp(wanted.from_micros.saturating_sub(CLOCK_SLACK_MICROS)),
            max_bytes,
            scanned: 0,
            behind: 0,
            found: Range::default(),
        }
    }

    /// Whether nothing wanted can stand before this line.
    fn nothing_before(&self, head: &LineHead) -> bool {
        head.seq <= self.wanted.from_seq || head.time <= self.from_with_slack
    }

    fn may_begin_in(&self, part: &Part) -> bool {
        self.nothing_before(&LineHead { seq: part.first_seq, time: part.first_time })
    }

    /// Beginning of a line in `file` before which nothing wanted stands.
    fn place(&self, file: &File, length: u64) -> io::Result<u64> {
        let (mut low, mut high) = (0, length);
        while high - low > BISECTED_BYTES {
            let middle = low + (high - low) / 2;
            match line_behind(file, middle, high)? {
                Some((start, head)) if self.nothing_before(&head) => low = start,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Takes what is wanted between two offsets of a file.
    fn read(&mut self, file: &File, start: u64, end: u64) -> io::Result<Flow> {
        let mut lines = BufReader::with_capacity(READ_BYTES, Section { file, offset: start, end });
        let mut line = Vec::new();
        while next_line(&mut lines, &mut line)? > 0 {
            if self.line(&line)? == Flow::Done {
                return Ok(Flow::Done);
            }
        }
        Ok(Flow::GoOn)
    }

    fn line(&mut self, line: &[u8]) -> io::Result<Flow> {
        let head = LineHead::of(line).ok_or_else(unreadable)?;
        let Wanted { from_seq, to_seq, .. } = self.wanted;
        self.behind = if head.time > self.to { self.behind + line.len() as u64 } else { 0 };
        if head.seq > to_seq || self.behind > MAX_BYTES_BEHIND {
            return Ok(Flow::Done);
        }
        self.scanned += line.len() as u64;
        if head.seq < from_seq || head.time < self.from || head.time > self.to {
            return Ok(if self.scanned > MAX_SCANNED_BYTES {
                self.stop_at(head.seq + 1)
            } else {
                Flow::GoOn
            });
        }
        if self.found.bytes.len() + line.len() > self.max_bytes {
            if self.found.bytes.is_empty() {
                let text = format!("a line of {} bytes has no room", line.len());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            return Ok(self.stop_at(head.seq));
        }
        self.found.bytes.extend_from_slice(line);
        self.found.last_seq = head.seq;
        if self.found.first_seq == 0 {
            self.found.first_seq = head.seq;
        }
        Ok(Flow::GoOn)
    }

    fn stop_at(&mut self, next_seq: u64) -> Flow {
        self.found.next_seq = next_seq;
        Flow::Done
    }
}

/// The first line that begins behind `offset`, and where it begins.
fn line_behind(file: &File, offset: u64, end: u64) -> io::Result<Option<(u64, LineHead)>> {
    let mut lines = BufReader::with_capacity(PROBE_BYTES, Section { file, offset, end });
    let mut line = Vec::new();
    let skipped = next_line(&mut lines, &mut line)?;
    if next_line(&mut lines, &mut line)? == 0 {
        return Ok(None);
    }
    let head = LineHead::of(&line).ok_or_else(unreadable)?;
    Ok(Some((offset + skipped as u64, head)))
}

/// The next line with its newline; its length, 0 at the end.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    lines.read_until(b'\n', line)
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a line of the audit log is not of its form")
}

/// Some bytes of a file, read without moving the offset that others share.
struct Section<'f> {
    file: &'f File,
    offset: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let room = left.min(out.len());
        let count = self.file.read_at(out.get_mut(..room).unwrap_or_default(), self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
