//! Since when each version is in its state, and what a stopped one goes back to
//! (docs/FORMATS.md, section 3 "Keyring file", attribute `versions.since`).
//!
//! Must never say a time or a state for a version that has none, and never let a stopped version forget
//! where it came from: otherwise enabling could make a retired version open data.

use alloc::vec::Vec;

use super::{
    KeyringError,
    head::BadHead,
    key::{Key, State},
};
use crate::layout::{Reader, Short};

/// Most versions of a key, destroyed ones included: their entries fit into one attribute.
pub const MAX_VERSIONS: usize = 4096;

pub(super) const SINCE: &str = "versions.since";
/// Number u32, state before u8, since u64.
pub(super) const ENTRY_BYTES: usize = 13;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    number: u32,
    /// Exactly for stopped versions.
    before: Option<State>,
    since: u64,
}

impl Key {
    /// Since when a version is in its state, in seconds since 1970; `None` if that was not written down:
    /// a first version in the state it was made in.
    pub fn since(&self, number: u32) -> Option<u64> {
        self.entry(number).map(|entry| entry.since)
    }

    /// The state that a disabled or compromised version goes back to: staged, grace or retired.
    pub fn state_before(&self, number: u32) -> Option<State> {
        self.entry(number)?.before
    }

    /// Puts a version into a state; a stopped one with the state to go back to, any other without.
    pub(crate) fn set_state(
        &mut self,
        number: u32,
        state: State,
        before: Option<State>,
        now_unix: u64,
    ) -> Result<(), KeyringError> {
        let place = self.place(number).ok_or(KeyringError::Rule("no such version"))?;
        let version = self.versions.get_mut(place).ok_or(KeyringError::Rule("no such version"))?;
        version.state = state;
        let entry = Entry { number, before, since: now_unix.max(1) };
        let mut entries: Vec<Entry> = self.entries().collect();
        match entries.binary_search_by_key(&number, |entry| entry.number) {
            Ok(place) => entries.splice(place..=place, [entry]).for_each(drop),
            Err(place) => entries.insert(place, entry),
        }
        self.set_attribute(SINCE, &entries.iter().flat_map(Entry::bytes).collect::<Vec<u8>>());
        Ok(())
    }

    fn entry(&self, number: u32) -> Option<Entry> {
        self.entries().find(|entry| entry.number == number)
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        let value = self.attribute(SINCE).unwrap_or_default();
        value.chunks_exact(ENTRY_BYTES).filter_map(Entry::read)
    }
}

impl Entry {
    fn bytes(&self) -> [u8; ENTRY_BYTES] {
        let before = self.before.map_or(0, |state| state as u8);
        crate::layout::join(&[&self.number.to_le_bytes(), &[before], &self.since.to_le_bytes()])
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let mut fields = || Ok::<_, Short>((reader.u32()?, reader.u8()?, reader.u64()?));
        let (number, before, since) = fields().ok()?;
        let before = if before == 0 { None } else { Some(State::from_byte(before)?) };
        Some(Self { number, before, since })
    }
}

/// Whether the attribute is one that this program could have written for the key's versions.
pub(super) fn check(key: &Key) -> Result<(), BadHead> {
    let stopped = key.versions.iter().filter(|version| version.state.is_stopped()).count();
    let Some(value) = key.attribute(SINCE) else {
        return if stopped == 0 {
            Ok(())
        } else {
            Err(BadHead("a stopped version does not know where it was"))
        };
    };
    let entries: Vec<Entry> = key.entries().collect();
    let whole = !value.is_empty() && value.len() == entries.len() * ENTRY_BYTES;
    if !whole || !entries.is_sorted_by(|one, next| one.number < next.number) {
        return Err(BadHead("not a list of since when versions are in their state"));
    }
    if !entries.iter().all(|entry| fits(key, entry)) {
        return Err(BadHead("a version and since when it is in its state do not fit"));
    }
    if entries.iter().filter(|entry| entry.before.is_some()).count() == stopped {
        Ok(())
    } else {
        Err(BadHead("a stopped version does not know where it was"))
    }
}

fn fits(key: &Key, entry: &Entry) -> bool {
    let Some(version) = key.version(entry.number) else { return false };
    let before = match entry.before {
        None => !version.state.is_stopped(),
        Some(before) => {
            version.state.is_stopped() && matches!(before, State::Staged | State::Grace | State::Retired)
        }
    };
    before && entry.since > 0
}

#[cfg(test)]
mod tests;
