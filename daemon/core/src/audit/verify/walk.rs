//! Goes through a log group by group: keys, links, numbers, macs.
//!
//! A group changes nothing unless all of it is right. Must never compare a mac but in constant time, and must
//! never let a line that no key was there for say anything but its number.

use alloc::{collections::BTreeMap, vec::Vec};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    AuditError, Expected, KeyringMark, Mark, Start, Tail, Unauthenticated, Verified, Why,
    facts::{self, Facts, File, Segment, What},
    split_mac,
};
use crate::{
    arena::Arena,
    audit::{
        bridge::{Place, SEALED_BYTES, SealedBridge},
        chain::{self, NO_PREVIOUS_MAC},
        scan::Malformed,
    },
    pin::Pin,
};

/// Most groups that a file's first line may say stand before it in its segment, where no pin bounds them.
const MAX_STEPS: u64 = 1 << 32;

/// Sealed keys of bridges, by segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundBridges(BTreeMap<u64, [u8; SEALED_BYTES]>);

impl FoundBridges {
    /// None yet.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }
}

/// A log on the way.
pub(super) struct Walk<'l, A: Arena> {
    start: Start,
    expected: Expected<'l, A>,
    pin: Option<&'l Pin>,
    key: Zeroizing<[u8; 32]>,
    state: State,
    /// Closed ranges of lines without a key.
    unauthenticated: Vec<Unauthenticated>,
    found: FoundBridges,
}

/// What a group moves, all of it or nothing.
#[derive(Clone, Copy)]
struct State {
    /// `None` before the first line.
    tail: Option<Tail>,
    current: Current,
    /// Groups of the current segment so far.
    group: u64,
    /// First of the lines without a key before the next one.
    unauthenticated_from: Option<u64>,
    pin_met: bool,
    /// Number of the oldest line by the last `audit.retention`.
    kept: Option<u64>,
    /// Files begun, and lines of the last.
    files: u64,
    file_lines: u64,
    named: Option<u64>,
    segments: u64,
    groups: u64,
    lines: u64,
    first: Option<Mark>,
    last: Option<Mark>,
    last_intent: Option<KeyringMark>,
    last_commit: Option<KeyringMark>,
}

/// The segment in which the walk is.
#[derive(Clone, Copy)]
struct Current {
    place: Place,
    bridge: bool,
    has_key: bool,
}

impl<'l, A: Arena> Walk<'l, A> {
    pub(super) fn new(start: Start, expected: Expected<'l, A>) -> Self {
        let nowhere = Place { keyring_id: [0; 16], segment: 0, salt: [0; 16] };
        let state = State {
            tail: None,
            current: Current { place: nowhere, bridge: false, has_key: false },
            group: 0,
            unauthenticated_from: None,
            pin_met: false,
            kept: None,
            files: 0,
            file_lines: 0,
            named: None,
            segments: 0,
            groups: 0,
            lines: 0,
            first: None,
            last: None,
            last_intent: None,
            last_commit: None,
        };
        let pin = expected.pin.filter(|pin| pin.seq > 0);
        Self {
            start,
            expected,
            pin,
            key: Zeroizing::new([0; 32]),
            state,
            unauthenticated: Vec::new(),
            found: FoundBridges::default(),
        }
    }

    pub(super) fn pin_is_met(&self) -> bool {
        self.state.pin_met
    }

    pub(super) fn begin_file(&mut self, named: Option<u64>) {
        self.state.files += 1;
        self.state.file_lines = 0;
        self.state.named = named;
    }

    /// An error about the line that comes next.
    pub(super) fn here(&self, why: Why) -> AuditError {
        let seq = self.state.tail.map_or(1, |tail| tail.seq.saturating_add(1));
        let file = usize::try_from(self.state.files.saturating_sub(1)).unwrap_or(usize::MAX);
        AuditError { file, line: self.state.file_lines + 1, seq, why }
    }

    pub(super) fn take_found(&mut self) -> Option<FoundBridges> {
        if self.found.0.is_empty() {
            return None;
        }
        let mut found = core::mem::take(&mut self.found);
        found.0.extend(self.expected.bridges.0.iter().map(|(&segment, &bytes)| (segment, bytes)));
        Some(found)
    }

    /// The lines of one group, the last with its newline.
    pub(super) fn group(&mut self, group: &[u8]) -> Result<(), AuditError> {
        let before = self.state;
        let ranges = self.unauthenticated.len();
        let first = self.here(Why::Malformed);
        let result = self.lines(group).and_then(|()| {
            self.mac(group.strip_suffix(b"\n").unwrap_or(group)).map_err(|why| AuditError { why, ..first })
        });
        if result.is_err() {
            self.state = before;
            self.unauthenticated.truncate(ranges);
        }
        result
    }

    fn lines(&mut self, group: &[u8]) -> Result<(), AuditError> {
        let group = group.strip_suffix(b"\n").unwrap_or(group);
        let mut lines = group.split(|&byte| byte == b'\n').peekable();
        let mut inside = false;
        while let Some(line) = lines.next() {
            let here = self.here(Why::Malformed);
            self.line(line, inside, lines.peek().is_none()).map_err(|why| AuditError { why, ..here })?;
            self.state.file_lines += 1;
            self.state.lines += 1;
            inside = true;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], inside_group: bool, last: bool) -> Result<(), Why> {
        let Facts { mark, segment, has_mac, what } = facts::read(line)?;
        if has_mac != last {
            return Err(Why::Malformed);
        }
        let first_of_file = self.state.file_lines == 0;
        if first_of_file && let Some(named) = self.state.named.filter(|&named| named != mark.seq) {
            return Err(Why::FileName { named, found: mark.seq });
        }
        match &what {
            What::Segment(_) if inside_group => return Err(Why::SegmentInsideGroup),
            What::File(_) if !first_of_file => return Err(Why::FileInsideFile),
            What::Segment(_) | What::File(_) => {}
            _ if first_of_file => return Err(Why::NoSegment),
            _ => {}
        }
        self.number(mark, &what)?;
        match &what {
            What::Segment(segment) => self.segment(segment, mark.seq)?,
            What::File(file) => self.file(file)?,
            _ if self.state.current.has_key || self.expected.root.is_none() => self.event(&what),
            _ => {}
        }
        if segment == self.state.current.place.segment { Ok(()) } else { Err(Why::Malformed) }
    }

    /// The line's number; the first line's is where the log begins.
    fn number(&mut self, mark: Mark, what: &What) -> Result<(), Why> {
        // There is always a next number, and one before.
        if mark.seq == 0 || mark.seq == u64::MAX {
            return Err(Why::Malformed);
        }
        let Some(tail) = &mut self.state.tail else {
            let (place, mac) = match what {
                What::Segment(segment) => (segment.place, segment.previous_mac),
                What::File(file) => (file.place, file.previous_mac),
                _ => return Err(Why::NoSegment),
            };
            // Nothing of this line is proved yet, so nothing may be computed for longer than the pin allows.
            if let Some(pin) = self.pin.filter(|pin| mark.seq > pin.seq) {
                return Err(Why::DoesNotMeetPin { pinned: pin.seq });
            }
            if mark.seq == 1 && place.segment != 1 {
                return Err(Why::SegmentNumber { expected: 1, found: place.segment });
            }
            if mark.seq == 1 && mac != NO_PREVIOUS_MAC {
                return Err(Why::PreviousMac);
            }
            self.state.tail = Some(Tail { segment: place.segment, seq: mark.seq, mac });
            (self.state.first, self.state.last) = (Some(mark), Some(mark));
            return Ok(());
        };
        let expected = tail.seq.checked_add(1).ok_or(Why::Malformed)?;
        if mark.seq != expected {
            return Err(Why::Sequence { expected, found: mark.seq });
        }
        tail.seq = mark.seq;
        self.state.last = Some(mark);
        Ok(())
    }

    fn segment(&mut self, segment: &Segment, seq: u64) -> Result<(), Why> {
        let Segment { place, previous_mac, bridge, .. } = *segment;
        let begins_log = self.state.segments == 0;
        let before = self.state.current;
        if place.keyring_id != *self.expected.keyring_id {
            return Err(Why::OtherKeyring);
        }
        if let Some(tail) = self.state.tail.as_mut().filter(|_| !begins_log) {
            let expected = tail.segment.checked_add(1).ok_or(Why::Malformed)?;
            if place.segment != expected {
                return Err(Why::SegmentNumber { expected, found: place.segment });
            }
            if previous_mac != tail.mac {
                return Err(Why::PreviousMac);
            }
            tail.segment = place.segment;
        }
        let has_key = self.first_key(&place, bridge)?;
        self.state.current = Current { place, bridge, has_key };
        self.state.group = 0;
        self.state.segments += 1;
        if has_key {
            self.what_stands_before(segment, (!begins_log).then_some(before), seq)
        } else {
            self.without_key(bridge, seq);
            Ok(())
        }
    }

    /// The first line of a file inside a segment: the log begins here, or goes on.
    fn file(&mut self, file: &File) -> Result<(), Why> {
        let File { place, group, previous_mac, bridge } = *file;
        if place.keyring_id != *self.expected.keyring_id {
            return Err(Why::OtherKeyring);
        }
        let tail = self.state.tail.ok_or(Why::NoSegment)?;
        if self.state.segments > 0 {
            let State { current, group: groups, .. } = self.state;
            let continues =
                (place, group, previous_mac, bridge) == (current.place, groups, tail.mac, current.bridge);
            return if continues { Ok(()) } else { Err(Why::DoesNotContinue) };
        }
        // A group has at least one line, and the segment's first line stands in a file before.
        if group == 0 || group >= tail.seq || group > MAX_STEPS {
            return Err(Why::Malformed);
        }
        let has_key = self.first_key(&place, bridge)?;
        if has_key {
            (0..group).for_each(|_| chain::skip(&mut self.key));
        } else {
            self.without_key(bridge, tail.seq);
        }
        self.state.current = Current { place, bridge, has_key };
        self.state.group = group;
        self.state.segments = 1;
        Ok(())
    }

    /// The first key of a segment, if it can be had.
    fn first_key(&mut self, place: &Place, bridge: bool) -> Result<bool, Why> {
        let Some(root) = self.expected.root else { return Ok(false) };
        if !bridge {
            let known = root.segment_key(place, &mut self.key);
            return known.map(|()| true).map_err(|_| Why::NoKey { segment: place.segment });
        }
        if let Some(own) = self.expected.own_bridge.filter(|own| own.place() == *place) {
            self.key.copy_from_slice(own.key());
            return Ok(true);
        }
        let Some(sealed) = self.expected.bridges.0.get(&place.segment) else { return Ok(false) };
        let opened = root.open_bridge(place, sealed, &mut self.key);
        opened.map(|()| true).map_err(|_| Why::BridgeKey { segment: place.segment })
    }

    fn without_key(&mut self, bridge: bool, seq: u64) {
        if bridge {
            self.state.unauthenticated_from.get_or_insert(seq);
        } else {
            // The daemon is locked: it takes for granted what it cannot check.
            self.close_range(seq);
        }
    }

    /// A line with a key says what it follows: the daemon that wrote it had looked.
    fn what_stands_before(
        &mut self,
        segment: &Segment,
        before: Option<Current>,
        seq: u64,
    ) -> Result<(), Why> {
        let found = self.state.unauthenticated_from;
        self.close_range(seq);
        let stated = segment.unauthenticated_from;
        let Some(before) = before else { return Ok(()) };
        if let Some(SealedBridge { segment: number, bytes }) = segment.bridge_key {
            if number != before.place.segment || !before.bridge {
                return Err(Why::BridgeKey { segment: number });
            }
            if !before.has_key {
                self.found.0.insert(number, bytes);
                return Ok(());
            }
        }
        // The oldest file may begin inside such lines.
        let oldest = self.state.first.map(|mark| mark.seq);
        let agrees = match (stated, found) {
            (Some(stated), Some(found)) => stated == found || (Some(found) == oldest && stated < found),
            (stated, found) => stated == found,
        };
        if agrees { Ok(()) } else { Err(Why::Unauthenticated { stated, found }) }
    }

    fn close_range(&mut self, seq: u64) {
        if let Some(first_seq) = self.state.unauthenticated_from.take() {
            self.unauthenticated.push(Unauthenticated { first_seq, last_seq: seq.saturating_sub(1) });
        }
    }

    fn event(&mut self, what: &What) {
        let state = &mut self.state;
        match *what {
            What::Intent(mark) => state.last_intent = Some(mark),
            What::Commit(mark) => state.last_commit = Some(mark),
            What::Retention { first_seq } => state.kept = Some(first_seq),
            What::Segment(_) | What::File(_) | What::Other => {}
        }
    }

    fn mac(&mut self, group: &[u8]) -> Result<(), Why> {
        let tail = self.state.tail.as_mut().ok_or(Why::NoSegment)?;
        let (covered, stated) = split_mac(group).ok_or(Why::Malformed)?;
        if self.state.current.has_key {
            let mac = chain::step(&mut self.key, &tail.mac, covered);
            if !bool::from(mac.ct_eq(&stated)) {
                return Err(Why::Mac { through: self.state.file_lines });
            }
        }
        tail.mac = stated;
        self.state.group += 1;
        self.state.groups += 1;
        if let Some(pin) = self.pin.filter(|pin| !self.state.pin_met && pin.seq <= tail.seq) {
            let meets = (pin.segment, pin.seq, pin.mac) == (tail.segment, tail.seq, tail.mac);
            let certain = self.state.current.has_key || self.expected.root.is_none();
            if !meets || !certain {
                return Err(Why::DoesNotMeetPin { pinned: pin.seq });
            }
            self.state.pin_met = true;
        }
        Ok(())
    }

    /// What is still wrong once everything was walked.
    pub(super) fn problem(&self) -> Option<AuditError> {
        if let Some(pin) = self.pin.filter(|_| !self.state.pin_met) {
            return Some(self.here(Why::ShorterThanPin { pinned: pin.seq }));
        }
        if !self.found.0.is_empty() {
            return Some(self.here(Why::BridgesNotChecked));
        }
        self.check_oldest().err()
    }

    /// What was found in order so far.
    pub(super) fn verdict(mut self, unfinished_bytes: u64, rejected_bytes: u64) -> Verified {
        let state = self.state;
        let last_seq = state.tail.map_or(0, |tail| tail.seq);
        self.close_range(last_seq.saturating_add(1));
        let pinned = self.pin.map_or(0, |pin| pin.seq);
        Verified {
            files: state.files,
            segments: state.segments,
            groups: state.groups,
            lines: state.lines,
            after_pin: last_seq.saturating_sub(pinned).min(state.lines),
            first: state.first,
            last: state.last,
            tail: state.tail,
            last_intent: state.last_intent,
            last_commit: state.last_commit,
            kept_from: state.kept,
            unauthenticated: self.unauthenticated,
            unauthenticated_from: state.unauthenticated_from,
            unfinished_bytes,
            rejected_bytes,
        }
    }

    /// The oldest line is the one that the last `audit.retention` names, or line 1.
    ///
    /// The files that it condemns are deleted after it was written: as long as some are still there, more is
    /// kept than must be, and all of it was checked.
    fn check_oldest(&self) -> Result<(), AuditError> {
        let State { kept, first, .. } = self.state;
        let expected = kept.unwrap_or(1);
        match first.filter(|_| self.start == Start::Oldest) {
            Some(Mark { seq: found, .. }) if found > expected => {
                Err(AuditError { file: 0, line: 1, seq: found, why: Why::OldestLine { expected, found } })
            }
            _ => Ok(()),
        }
    }
}

impl From<Malformed> for Why {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
