//! When the last backup was made: a line in the file `backup.stamp` beside the keyring.
//!
//! It authenticates nothing and decides nothing; it lets `status` say how old the last backup is. That the client
//! kept what it got is not known here.

use std::path::PathBuf;

use keyagent_common::{fingerprint, layout::Layout};

use crate::{files, report, state::Shared};

const FIRST_WORDS: &str = "keyagent backup";
const MAX_BYTES: u64 = 256;

/// The last page of a backup left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Of which keyring.
    pub(crate) keyring_id: [u8; 16],
    /// Which generation of it.
    pub(crate) generation: u64,
    /// When, in seconds since 1970.
    pub(crate) at: u64,
    /// Fingerprint of the backup.
    pub(crate) backup: [u8; 16],
}

/// Writes it; where that fails the backup is none the worse.
pub(super) fn write(shared: &Shared, stamp: &Stamp) {
    if let Err(error) = files::replace(&path(&shared.settings.layout), stamp.to_line().as_bytes()) {
        report::warn(&error);
    }
}

/// The last one of the keyring in use, if there is one that reads as such.
pub(crate) fn read(shared: &Shared) -> Option<Stamp> {
    let bytes = files::read_whole(&path(&shared.settings.layout), MAX_BYTES).ok()??;
    let stamp = Stamp::parse(str::from_utf8(&bytes).ok()?)?;
    Some(stamp).filter(|stamp| stamp.keyring_id == shared.known().keyring_id)
}

fn path(layout: &Layout) -> PathBuf {
    layout.keyring.with_file_name("backup.stamp")
}

impl Stamp {
    fn to_line(self) -> String {
        let Self { keyring_id, generation, at, backup } = self;
        let (keyring, backup) = (fingerprint::full(&keyring_id), fingerprint::full(&backup));
        format!("{FIRST_WORDS} {backup} of keyring {keyring} generation {generation} at {at}\n")
    }

    fn parse(line: &str) -> Option<Self> {
        let words = line.strip_prefix(FIRST_WORDS)?.strip_suffix('\n')?;
        let words: Vec<&str> = words.split(' ').collect();
        let ["", backup, "of", "keyring", keyring, "generation", generation, "at", at] = words.as_slice()
        else {
            return None;
        };
        let id = |text: &str| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes);
        Some(Self {
            keyring_id: id(keyring)?,
            generation: generation.parse().ok()?,
            at: at.parse().ok()?,
            backup: id(backup)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_it_was_written() {
        let stamp = Stamp { keyring_id: [1; 16], generation: 7, at: 1_795_302_600, backup: [2; 16] };
        assert_eq!(Stamp::parse(&stamp.to_line()), Some(stamp));
        for bad in ["", "\n", "keyagent backup\n", "keyagent backup x of keyring y generation 1 at 2\n"] {
            assert_eq!(Stamp::parse(bad), None);
        }
    }
}
