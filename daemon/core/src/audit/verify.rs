//! Checks a log against its keyring and pin (docs/FORMATS.md, section 4 "Audit chain").
//!
//! Pure: bytes in, verdict out. Recomputes every key from the audit root, so it runs at start and in
//! the process of `audit verify`, never beside a running chain. Must never take a line as read before
//! the mac of its group was right, and must never repair anything: it only tells how many bytes after
//! the last complete group a crash may have left.

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    AuditRoot,
    chain::{self, MAC_END, MAC_MEMBER, NO_PREVIOUS_MAC},
    scan::{Malformed, Members, Value, hex},
};
use crate::{arena::Arena, pin::Pin};

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
    pub unfinished_bytes: usize,
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

/// What is wrong with a line or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Not a line that the daemon writes.
    Malformed,
    /// Lines are missing, doubled or out of order.
    Sequence {
        /// The number this line should have.
        expected: u64,
        /// The number it has.
        found: u64,
    },
    /// The first line begins no segment.
    NoSegment,
    /// A segment begins inside a group.
    SegmentInsideGroup,
    /// A segment's number is not one more than the last.
    SegmentNumber {
        /// The number this segment should have.
        expected: u64,
        /// The number it has.
        found: u64,
    },
    /// A segment does not name the mac before it.
    PreviousMac,
    /// The mac does not fit: edited, or made under another keyring.
    Mac {
        /// Last line of the group; its first is the line of the error.
        through: u64,
    },
    /// The log ends before its pin: lines were cut off.
    ShorterThanPin {
        /// Number of the line that the pin states.
        pinned: u64,
    },
    /// The pinned group is another one: log and pin are out of step.
    DoesNotMeetPin {
        /// Number of the line that the pin states.
        pinned: u64,
    },
}

/// The first bad line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("audit log, line {line}: {why}")]
pub struct AuditError {
    /// Counted from 1 in the given bytes.
    pub line: u64,
    /// What is wrong.
    pub why: Why,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => write!(f, "not a line that keyagent writes"),
            Self::Sequence { expected, found } => write!(f, "has number {found} where {expected} belongs"),
            Self::NoSegment => write!(f, "the log does not begin with a segment"),
            Self::SegmentInsideGroup => write!(f, "a segment begins inside a group"),
            Self::SegmentNumber { expected, found } => {
                write!(f, "begins segment {found} where {expected} belongs")
            }
            Self::PreviousMac => write!(f, "the segment does not continue the one before it"),
            Self::Mac { through } => write!(f, "the mac over this line to line {through} is wrong"),
            Self::ShorterThanPin { pinned } => {
                write!(f, "the log ends here, but its pin states number {pinned}: lines were removed")
            }
            Self::DoesNotMeetPin { pinned } => write!(f, "not what the pin states of number {pinned}"),
        }
    }
}

/// Checks the bytes of a log: every number, link and mac, and that it reaches `pin`.
///
/// A pin with seq 0 pins nothing. The error names the first bad line.
pub fn verify<A: Arena>(
    log: &[u8],
    start: Start,
    root: &AuditRoot<A>,
    keyring_id: &[u8; 16],
    pin: Option<&Pin>,
) -> Result<Verified, AuditError> {
    let mut walk = Walk {
        root,
        keyring_id,
        pin: pin.filter(|pin| pin.seq > 0),
        key: Zeroizing::new([0; 32]),
        tail: (start == Start::NewLog).then_some(Tail { segment: 0, seq: 0, mac: NO_PREVIOUS_MAC }),
        verified: Verified::default(),
    };
    let mut rest = log;
    while let Some((group, after)) = split_group(rest) {
        walk.group(group)?;
        rest = after;
    }
    walk.finish(rest.len())
}

/// The first group of `log` and what follows it; `None` if no group is complete.
fn split_group(log: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0;
    for line in log.split_inclusive(|&byte| byte == b'\n') {
        length += line.len();
        if line.strip_suffix(b"\n").and_then(split_mac).is_some() {
            return log.split_at_checked(length);
        }
    }
    None
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
            self.root.segment_key(self.keyring_id, segment, &salt, &mut self.key);
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
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self, unfinished_bytes: usize) -> Result<Verified, AuditError> {
        if let Some(pin) = self.pin {
            let why = Why::ShorterThanPin { pinned: pin.seq };
            return Err(AuditError { line: self.verified.lines, why });
        }
        let tail = self.tail.filter(|_| self.verified.groups > 0);
        Ok(Verified { tail, unfinished_bytes, ..self.verified })
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
