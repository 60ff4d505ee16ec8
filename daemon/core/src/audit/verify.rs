//! Checks a log against its keyring and pin (docs/FORMATS.md, section 4 "Audit chain").
//!
//! Pure: bytes in, verdict out. Recomputes every key from the audit root, so it runs at start and in
//! the process of `audit verify`, never beside a running chain. Must never take a line as read before
//! the mac of its group was right, and must never repair anything: it only tells how many bytes after
//! the last good group a crash may have left.

use alloc::vec::Vec;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    AuditRoot,
    chain::{self, MAC_END, MAC_MEMBER, NO_PREVIOUS_MAC},
    scan::{Malformed, Members, Value, hex},
};
use crate::{arena::Arena, pin::Pin};

mod error;

pub use error::{AuditError, Why};

/// Where the given bytes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At line 1 of segment 1.
    NewLog,
    /// At the first line of any segment: what came before was archived.
    AnySegment,
}

/// The end of the last complete group: from here the daemon continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Number of the segment; the next one is one more.
    pub segment: u64,
    /// Number of the last line; the next one is one more.
    pub seq: u64,
    /// Mac of the last group: the next segment's previous mac.
    pub mac: [u8; 32],
}

/// A `keyring.intent` or `keyring.commit` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyringMark {
    /// Number of the line.
    pub seq: u64,
    /// Generation of the keyring.
    pub generation: u64,
    /// SHA-256 of its header, slots and head.
    pub digest: [u8; 32],
}

/// What a log that is in order says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Complete groups.
    pub groups: u64,
    /// Lines of complete groups.
    pub lines: u64,
    /// Where it ends; `None` without any complete group.
    pub tail: Option<Tail>,
    /// The last intent to replace the keyring.
    pub last_intent: Option<KeyringMark>,
    /// The last replacement that was confirmed.
    pub last_commit: Option<KeyringMark>,
    /// Bytes after the last complete group: a write that a crash cut short. To be cut off, and said so.
    pub unfinished_bytes: u64,
    /// Bytes from the first group on that is not right, behind the pin: see [`Verifier::finish_after_crash`].
    pub rejected_bytes: u64,
}

impl Verified {
    /// Whether a keyring is the one of the last commit or of the last intent (docs/FORMATS.md,
    /// section 3, "Rollback"): anything else was put back from an earlier time.
    pub fn accepts_keyring(&self, generation: u64, head_digest: &[u8; 32]) -> bool {
        [self.last_commit, self.last_intent]
            .iter()
            .flatten()
            .any(|mark| mark.generation == generation && mark.digest == *head_digest)
    }
}

/// Most bytes of one group: a burst has at most 1024 records of less than 4 KiB.
pub const MAX_GROUP_BYTES: usize = 4 << 20;

/// Checks the bytes of a log: every number, link and mac, and that it reaches `pin`.
///
/// A pin with seq 0 pins nothing. The error names the first bad line, wherever it is.
pub fn verify<A: Arena>(
    log: &[u8],
    start: Start,
    root: &AuditRoot<A>,
    keyring_id: &[u8; 16],
    pin: Option<&Pin>,
) -> Result<Verified, AuditError> {
    let mut verifier = Verifier::new(start, root, keyring_id, pin);
    verifier.push(log);
    verifier.finish_strictly()
}

/// Checks a log that comes in pieces, with no more of it in memory than one group.
pub struct Verifier<'r, A: Arena> {
    walk: Walk<'r, A>,
    /// What follows the last complete group.
    pending: Vec<u8>,
    /// Bytes of `pending` that were searched for the end of a group.
    searched: usize,
    /// The first bad line.
    failed: Option<AuditError>,
    /// Bytes of the bad group and of everything after it.
    dropped_bytes: u64,
}

impl<'r, A: Arena> Verifier<'r, A> {
    /// Begins before the first byte.
    pub fn new(start: Start, root: &'r AuditRoot<A>, keyring_id: &'r [u8; 16], pin: Option<&'r Pin>) -> Self {
        let walk = Walk {
            root,
            keyring_id,
            pin: pin.filter(|pin| pin.seq > 0),
            pin_met: false,
            key: Zeroizing::new([0; 32]),
            tail: (start == Start::NewLog).then_some(Tail { segment: 0, seq: 0, mac: NO_PREVIOUS_MAC }),
            verified: Verified::default(),
        };
        Self { walk, pending: Vec::new(), searched: 0, failed: None, dropped_bytes: 0 }
    }

    /// The next bytes of the log.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            self.dropped_bytes += bytes.len() as u64;
            return;
        }
        self.pending.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(end) = self.group_end(begin) {
            let before = (self.walk.tail, self.walk.verified);
            let group = self.pending.get(begin..end).unwrap_or_default();
            if let Err(error) = self.walk.group(group) {
                (self.walk.tail, self.walk.verified) = before;
                self.fail(error, begin);
                return;
            }
            begin = end;
        }
        self.pending.drain(..begin);
        self.searched -= begin;
        if self.pending.len() > MAX_GROUP_BYTES {
            let line = self.walk.verified.lines + 1;
            self.fail(AuditError { line, why: Why::Malformed }, 0);
        }
    }

    fn fail(&mut self, error: AuditError, begin: usize) {
        self.failed = Some(error);
        self.dropped_bytes += (self.pending.len() - begin) as u64;
        self.pending = Vec::new();
    }

    /// Where the group that begins at `begin` ends, if all of it is there.
    fn group_end(&mut self, begin: usize) -> Option<usize> {
        self.searched = self.searched.max(begin);
        while let Some(rest) = self.pending.get(self.searched..) {
            let length = rest.iter().position(|&byte| byte == b'\n')? + 1;
            let line = rest.get(..length)?.strip_suffix(b"\n");
            self.searched += length;
            if line.and_then(split_mac).is_some() {
                return Some(self.searched);
            }
        }
        None
    }

    /// The verdict; any bad line is an error.
    pub fn finish_strictly(self) -> Result<Verified, AuditError> {
        match self.failed {
            Some(error) => Err(error),
            None => self.walk.finish(self.pending.len() as u64, 0),
        }
    }

    /// The verdict for a start after a crash: behind a pin that was met, the first group that is not right ends
    /// the log, since what had not been synced may be lost in any order. Before the pin it is an error.
    pub fn finish_after_crash(self) -> Result<Verified, AuditError> {
        match self.failed {
            Some(error) if !self.walk.pin_met => Err(error),
            failed => {
                let rejected_bytes = if failed.is_some() { self.dropped_bytes } else { 0 };
                self.walk.finish(self.pending.len() as u64, rejected_bytes)
            }
        }
    }
}

/// Splits a line (or group) into the bytes its mac covers, and the mac.
fn split_mac(line: &[u8]) -> Option<(&[u8], [u8; 32])> {
    let (covered, digits) = line.strip_suffix(MAC_END)?.split_last_chunk::<64>()?;
    Some((covered.strip_suffix(MAC_MEMBER)?, hex(digits).ok()?))
}

struct Walk<'l, A: Arena> {
    root: &'l AuditRoot<A>,
    keyring_id: &'l [u8; 16],
    pin: Option<&'l Pin>,
    pin_met: bool,
    key: Zeroizing<[u8; 32]>,
    /// `None` until the first segment, when the log may begin at any.
    tail: Option<Tail>,
    verified: Verified,
}

impl<A: Arena> Walk<'_, A> {
    fn group(&mut self, group: &[u8]) -> Result<(), AuditError> {
        let before = self.verified;
        let first = before.lines + 1;
        let group = group.strip_suffix(b"\n").unwrap_or(group);
        let lines = group.split(|&byte| byte == b'\n');
        let count = u64::try_from(lines.clone().count()).unwrap_or(u64::MAX);
        for (line, number) in lines.zip(first..) {
            let place = if number == first { Place::First } else { Place::Later };
            let last = number == before.lines + count;
            self.line(line, place, last).map_err(|why| AuditError { line: number, why })?;
        }
        let through = before.lines + count;
        self.mac(group, through).map_err(|why| AuditError { line: first, why })?;
        self.verified.groups += 1;
        self.verified.lines = through;
        Ok(())
    }

    fn line(&mut self, line: &[u8], place: Place, last: bool) -> Result<(), Why> {
        let facts = read_line(line)?;
        if facts.has_mac != last {
            return Err(Why::Malformed);
        }
        if self.verified.groups == 0 && place == Place::First && !matches!(facts.what, What::Segment { .. }) {
            return Err(Why::NoSegment);
        }
        if let What::Segment { segment, salt, previous_mac } = facts.what {
            if place != Place::First {
                return Err(Why::SegmentInsideGroup);
            }
            self.segment(segment, previous_mac, facts.seq)?;
            let place = super::bridge::Place { keyring_id: *self.keyring_id, segment, salt };
            self.root.segment_key(&place, &mut self.key);
        }
        let tail = self.tail.as_mut().ok_or(Why::NoSegment)?;
        let expected = tail.seq.checked_add(1).ok_or(Why::Malformed)?;
        if facts.seq != expected {
            return Err(Why::Sequence { expected, found: facts.seq });
        }
        tail.seq = facts.seq;
        match facts.what {
            What::Intent(mark) => self.verified.last_intent = Some(mark),
            What::Commit(mark) => self.verified.last_commit = Some(mark),
            What::Segment { .. } | What::Other => {}
        }
        Ok(())
    }

    fn segment(&mut self, segment: u64, previous_mac: [u8; 32], seq: u64) -> Result<(), Why> {
        let Some(tail) = &mut self.tail else {
            let seq = seq.checked_sub(1).ok_or(Why::Malformed)?;
            self.tail = Some(Tail { segment, seq, mac: previous_mac });
            return Ok(());
        };
        let expected = tail.segment.checked_add(1).ok_or(Why::Malformed)?;
        if segment != expected {
            return Err(Why::SegmentNumber { expected, found: segment });
        }
        if previous_mac != tail.mac {
            return Err(Why::PreviousMac);
        }
        tail.segment = segment;
        Ok(())
    }

    fn mac(&mut self, group: &[u8], through: u64) -> Result<(), Why> {
        let tail = self.tail.as_mut().ok_or(Why::NoSegment)?;
        let (covered, stated) = split_mac(group).ok_or(Why::Malformed)?;
        let mac = chain::step(&mut self.key, &tail.mac, covered);
        if !bool::from(mac.ct_eq(&stated)) {
            return Err(Why::Mac { through });
        }
        tail.mac = mac;
        match self.pin {
            Some(pin) if pin.seq <= tail.seq => {
                if (pin.segment, pin.seq, pin.mac) != (tail.segment, tail.seq, tail.mac) {
                    return Err(Why::DoesNotMeetPin { pinned: pin.seq });
                }
                self.pin = None;
                self.pin_met = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self, unfinished_bytes: u64, rejected_bytes: u64) -> Result<Verified, AuditError> {
        if let Some(pin) = self.pin {
            let why = Why::ShorterThanPin { pinned: pin.seq };
            return Err(AuditError { line: self.verified.lines, why });
        }
        let tail = self.tail.filter(|_| self.verified.groups > 0);
        Ok(Verified { tail, unfinished_bytes, rejected_bytes, ..self.verified })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Later,
}

struct Facts {
    seq: u64,
    has_mac: bool,
    what: What,
}

enum What {
    Segment { segment: u64, salt: [u8; 16], previous_mac: [u8; 32] },
    Intent(KeyringMark),
    Commit(KeyringMark),
    Other,
}

impl From<Malformed> for Why {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

fn read_line(line: &[u8]) -> Result<Facts, Malformed> {
    let mut members = Members::of(line);
    let Some((b"seq", Value::Number(seq))) = members.next().transpose()? else { return Err(Malformed) };
    let (mut event, mut metadata, mut has_mac) = (None, None, false);
    for member in members {
        match member? {
            (b"event_type", Value::Text(text)) if event.is_none() => event = Some(text),
            (b"metadata", Value::Object(object)) if metadata.is_none() => metadata = Some(object),
            (b"mac", Value::Text(_)) if !has_mac => has_mac = true,
            (b"seq" | b"event_type" | b"metadata" | b"mac", _) => return Err(Malformed),
            _ => {}
        }
    }
    let what = read_event(seq, event.ok_or(Malformed)?, metadata.ok_or(Malformed)?)?;
    Ok(Facts { seq, has_mac, what })
}

fn read_event(seq: u64, event: &[u8], metadata: &[u8]) -> Result<What, Malformed> {
    let mark = || {
        let (generation, digest) = (number(metadata, b"generation")?, hex(text(metadata, b"digest")?)?);
        Ok(KeyringMark { seq, generation, digest })
    };
    match event {
        b"audit.segment" => Ok(What::Segment {
            segment: number(metadata, b"segment")?,
            salt: hex(text(metadata, b"salt")?)?,
            previous_mac: hex(text(metadata, b"previous_mac")?)?,
        }),
        b"keyring.intent" => mark().map(What::Intent),
        b"keyring.commit" => mark().map(What::Commit),
        _ => Ok(What::Other),
    }
}

fn member<'l>(object: &'l [u8], name: &[u8]) -> Result<Value<'l>, Malformed> {
    let mut members = Members::of(object).filter_map(Result::ok);
    members.find(|(found, _)| *found == name).map(|(_, value)| value).ok_or(Malformed)
}

fn number(object: &[u8], name: &[u8]) -> Result<u64, Malformed> {
    if let Value::Number(value) = member(object, name)? { Ok(value) } else { Err(Malformed) }
}

fn text<'l>(object: &'l [u8], name: &[u8]) -> Result<&'l [u8], Malformed> {
    if let Value::Text(value) = member(object, name)? { Ok(value) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests;
