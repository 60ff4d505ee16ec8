//! Reading the file `counters`: what it says, and whether it says everything.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::arena::Arena;

use super::{
    counts::Counts,
    entry::{ENTRY_BYTES, Entry, HEADER_BYTES, Header},
    key::CounterKey,
};

/// The file is none of this keyring and epoch: nothing that it says counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file is damaged at its beginning, or belongs to another keyring or to an earlier master key")]
pub struct Unreadable;

/// In what order the entries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Every byte.
    Complete,
    /// The end of a write that was never acknowledged is left out.
    Torn,
    /// Something that was acknowledged may be missing: what is not said may be more.
    Damaged,
}

/// What a file says.
#[derive(Debug)]
pub struct Recovered {
    pub(super) entries: BTreeMap<[u8; 32], Entry>,
    /// Versions made up to then may have been used more; 0 for none.
    pub unknown_until: u64,
    /// Whether anything is missing.
    pub finding: Finding,
    /// Number of the next entry.
    pub(super) next_sequence: u64,
    /// How many entries the file has.
    pub(super) count: u64,
}

impl Recovered {
    /// A file with no entry.
    pub(super) fn empty(unknown_until: u64) -> Self {
        let (entries, finding) = (BTreeMap::new(), Finding::Complete);
        Self { entries, unknown_until, finding, next_sequence: 1, count: 0 }
    }

    /// Whether appending can go on: nothing to be left out, nothing reserved that a crash may have used, and not much
    /// more than one entry a version.
    pub(super) fn can_be_continued(&self) -> bool {
        let closed = |entry: &Entry| !entry.encryptions.ahead && !entry.decryptions.ahead;
        self.finding == Finding::Complete
            && self.entries.values().all(closed)
            && self.count <= 2 * self.entries.len() as u64 + 64
    }

    /// The counts of all versions that it names, after a start at `now` (seconds since 1970).
    pub(super) fn counts(&self, now: u64) -> impl Iterator<Item = Counts> {
        self.entries.values().map(move |entry| Counts::recovered(entry, now))
    }
}

/// Reads a whole file.
pub fn read<A: Arena>(bytes: &[u8], key: &CounterKey<A>) -> Result<Recovered, Unreadable> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Unreadable)?;
    let header = Header::open(header, key).ok_or(Unreadable)?;
    let mut recovered = Recovered::empty(header.unknown_until);
    let (slots, partial) = rest.as_chunks::<ENTRY_BYTES>();
    let opened: Vec<Option<Entry>> = slots
        .iter()
        .zip(header.first_sequence..)
        .map(|(slot, sequence)| Entry::open(slot, sequence, key))
        .collect();
    recovered.finding = match (opened.iter().all(Option::is_some), partial.is_empty()) {
        (true, true) => Finding::Complete,
        // A killed write ends anywhere, but no whole entry of it is wrong.
        (true, false) => Finding::Torn,
        (false, _) => Finding::Damaged,
    };
    // Behind damage too: what is said there is at least true.
    for entry in opened.into_iter().flatten() {
        recovered.entries.insert(entry.key_id, entry);
    }
    recovered.count = slots.len() as u64;
    recovered.next_sequence = header.first_sequence.saturating_add(recovered.count);
    Ok(recovered)
}
