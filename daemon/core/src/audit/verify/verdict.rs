//! What a log that is in order says. Plain values.

use alloc::vec::Vec;

use crate::audit::timestamp;

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

/// A line, by its number and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its number.
    pub seq: u64,
    /// Its time as it stands in the line, all ASCII.
    pub timestamp: [u8; timestamp::CHARACTERS],
}

/// Lines of bridges whose keys are lost: their number is certain, their text is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unauthenticated {
    /// Number of the first.
    pub first_seq: u64,
    /// Number of the last.
    pub last_seq: u64,
}

/// What a log that is in order says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files, the current one included.
    pub files: u64,
    /// Segments that begin in them, and the one that the first of them continues.
    pub segments: u64,
    /// Complete groups.
    pub groups: u64,
    /// Lines of complete groups.
    pub lines: u64,
    /// Lines behind the pinned group; all, if no pin was given.
    pub after_pin: u64,
    /// The first line; `None` without any complete group.
    pub first: Option<Mark>,
    /// The last line of a complete group.
    pub last: Option<Mark>,
    /// Where it ends; `None` without any complete group.
    pub tail: Option<Tail>,
    /// The last intent to replace the keyring.
    pub last_intent: Option<KeyringMark>,
    /// The last replacement that was confirmed.
    pub last_commit: Option<KeyringMark>,
    /// Number of the oldest line by the last `audit.retention`: files wholly before it may be deleted.
    pub kept_from: Option<u64>,
    /// Lines that are only counted, oldest first.
    pub unauthenticated: Vec<Unauthenticated>,
    /// The log ends with such lines, beginning with this number: the next segment must state it.
    pub unauthenticated_from: Option<u64>,
    /// Bytes after the last complete group: a write that a crash cut short. To be cut off, and said so.
    pub unfinished_bytes: u64,
    /// Bytes from the first group on that is not right, behind the pin: see
    /// [`super::Verifier::finish_after_crash`].
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
