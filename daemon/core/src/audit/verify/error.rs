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
