//! What can be wrong with a log, and where. Never holds a byte of a line.

use core::fmt;

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
    /// The first line of a file neither begins nor continues a segment.
    NoSegment,
    /// A segment begins inside a group.
    SegmentInsideGroup,
    /// What only the first line of a file may say stands inside one.
    FileInsideFile,
    /// A segment's number is not one more than the last.
    SegmentNumber {
        /// The number this segment should have.
        expected: u64,
        /// The number it has.
        found: u64,
    },
    /// A segment does not name the mac before it.
    PreviousMac,
    /// A file does not continue the segment, at the group and mac, with which the one before ended.
    DoesNotContinue,
    /// The file's name states another number than its first line.
    FileName {
        /// The number in the name.
        named: u64,
        /// The number of the line.
        found: u64,
    },
    /// A file that others follow ends inside a group.
    CutFile,
    /// A segment or file of another keyring's log.
    OtherKeyring,
    /// The mac does not fit: edited, or made under another keyring.
    Mac {
        /// Last line of the group; its first is the line of the error.
        through: u64,
    },
    /// The segment belongs to an epoch whose keys are no longer kept.
    NoKey {
        /// The segment.
        segment: u64,
    },
    /// The key of a bridge does not open, or its segment is not the one before or no bridge.
    BridgeKey {
        /// The bridge's segment.
        segment: u64,
    },
    /// The log was not walked again with the keys of its bridges.
    BridgesNotChecked,
    /// Other lines cannot be checked than the daemon saw when it wrote this one: a bridge was put in their place.
    Unauthenticated {
        /// From where on there were such lines, by this line.
        stated: Option<u64>,
        /// From where on there are.
        found: Option<u64>,
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
    /// Older lines should be there: files were removed that no `audit.retention` names.
    OldestLine {
        /// Number of the line that must be the oldest.
        expected: u64,
        /// Number of the oldest.
        found: u64,
    },
}

/// The first bad line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("audit log, line {line}: {why}")]
pub struct AuditError {
    /// Which of the files, counted from 0.
    pub file: usize,
    /// Counted from 1 in that file.
    pub line: u64,
    /// The number that stands at this line, or should.
    pub seq: u64,
    /// What is wrong.
    pub why: Why,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => write!(f, "not a line that keyagent writes"),
            Self::Sequence { expected, found } => write!(f, "has number {found} where {expected} belongs"),
            Self::NoSegment => write!(f, "the file does not begin with a segment or the continuation of one"),
            Self::SegmentInsideGroup => write!(f, "a segment begins inside a group"),
            Self::FileInsideFile => write!(f, "the first line of a file stands inside one"),
            Self::SegmentNumber { expected, found } => {
                write!(f, "begins segment {found} where {expected} belongs")
            }
            Self::PreviousMac => write!(f, "the segment does not continue the one before it"),
            Self::DoesNotContinue => write!(f, "the file does not continue the one before it"),
            Self::FileName { named, found } => {
                write!(f, "has number {found}, but the file is named for number {named}")
            }
            Self::CutFile => write!(f, "the file ends inside a group: lines were removed"),
            Self::OtherKeyring => write!(f, "belongs to another keyring"),
            Self::Mac { through } => write!(f, "the mac over this line to line {through} is wrong"),
            Self::NoKey { segment } => {
                write!(f, "segment {segment} was written under a root so old that its key is no longer kept")
            }
            Self::BridgeKey { segment } => write!(f, "does not give the key of segment {segment}"),
            Self::BridgesNotChecked => write!(f, "segments begun while locked were not checked"),
            Self::Unauthenticated { stated, found } => {
                write!(f, "lines that cannot be checked stand before it ")?;
                from(f, *found)?;
                write!(f, ", but it states ")?;
                from(f, *stated)
            }
            Self::ShorterThanPin { pinned } => {
                write!(f, "the log ends here, but its pin states number {pinned}: lines were removed")
            }
            Self::DoesNotMeetPin { pinned } => write!(f, "not what the pin states of number {pinned}"),
            Self::OldestLine { expected, found } => {
                write!(
                    f,
                    "the oldest line has number {found}, but {expected} must be the oldest: files were removed"
                )
            }
        }
    }
}

fn from(f: &mut fmt::Formatter<'_>, seq: Option<u64>) -> fmt::Result {
    match seq {
        Some(seq) => write!(f, "from number {seq} on"),
        None => write!(f, "nowhere"),
    }
}
