//! Checks a log against its keyring and pin (docs/FORMATS.md, section 4 "Audit chain").
//!
//! Pure: bytes in, verdict out. Recomputes every key from the audit root, so it runs at start and in
//! the process of `audit verify`, never beside a running chain. Must never take a line as read before
//! the mac of its group was right (but for bridges whose keys are lost, which it names), and must never
//! repair anything: it only tells how many bytes after the last good group a crash may have left.

use alloc::vec::Vec;

use super::{
    AuditRoot,
    bridge::BridgeSecret,
    chain::{MAC_END, MAC_MEMBER},
    scan::hex,
};
use crate::{arena::Arena, pin::Pin};

mod error;
mod facts;
mod verdict;
mod walk;

pub use error::{AuditError, Why};
pub use verdict::{KeyringMark, Mark, Tail, Unauthenticated, Verified};
pub use walk::FoundBridges;
use walk::Walk;

/// Where the given bytes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest line there is: line 1, or the one that the last `audit.retention` names.
    Oldest,
    /// At the first line of any file: what stands before it is not looked at.
    AnyFile,
}

/// Most bytes of one group: a burst has at most 1024 records, and none is longer than 16 KiB.
pub const MAX_GROUP_BYTES: usize = 16 << 20;

/// What a log is checked against.
pub struct Expected<'e, A: Arena> {
    /// What the segments' keys come from. Without it (the daemon is locked) no mac is checked: numbers and
    /// links alone.
    pub root: Option<&'e AuditRoot<A>>,
    /// Id of the keyring.
    pub keyring_id: &'e [u8; 16],
    /// How far the log must reach at least. A pin with seq 0 pins nothing.
    pub pin: Option<&'e Pin>,
    /// Keys of bridges, as an earlier walk over the same log found them; none at first.
    pub bridges: &'e FoundBridges,
    /// The first key of the bridge that this process itself is writing.
    pub own_bridge: Option<&'e BridgeSecret<A>>,
}

#[expect(clippy::expl_impl_clone_on_copy, reason = "a derived one would ask that the arena can be copied")]
impl<A: Arena> Clone for Expected<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Arena> Copy for Expected<'_, A> {}

/// Checks the bytes of a log, its files in order: every number, link and mac, and that it reaches the pin.
///
/// The first file is the oldest, the last the current one; file names are not looked at. Bridges whose keys
/// stand in the log are checked. The error names the first bad line, wherever it is.
pub fn verify<A: Arena>(
    files: &[&[u8]],
    start: Start,
    root: &AuditRoot<A>,
    keyring_id: &[u8; 16],
    pin: Option<&Pin>,
) -> Result<Verified, AuditError> {
    let mut bridges = FoundBridges::default();
    loop {
        let expected = Expected { root: Some(root), keyring_id, pin, bridges: &bridges, own_bridge: None };
        let mut verifier = Verifier::new(start, expected);
        for file in files {
            verifier.begin_file(None);
            verifier.push(file);
        }
        match verifier.found_bridges() {
            Some(found) => bridges = found,
            None => return verifier.finish_strictly(),
        }
    }
}

/// Checks a log that comes in pieces, with no more of it in memory than one group.
///
/// Bridges need two walks: their keys stand behind them. Once everything was pushed,
/// [`Self::found_bridges`] says whether to begin again with what it gives.
pub struct Verifier<'r, A: Arena> {
    walk: Walk<'r, A>,
    /// What follows the last complete group.
    pending: Vec<u8>,
    /// Where in `pending` the first line begins that was not looked at.
    line_begin: usize,
    /// Bytes of `pending` that were searched for the end of that line.
    searched: usize,
    /// The first bad line.
    failed: Option<AuditError>,
    /// The bad line is in the file that was begun last.
    failed_in_last_file: bool,
    /// Bytes of the bad group and of everything after it in its file.
    dropped_bytes: u64,
}

impl<'r, A: Arena> Verifier<'r, A> {
    /// Begins before the first byte.
    pub fn new(start: Start, expected: Expected<'r, A>) -> Self {
        Self {
            walk: Walk::new(start, expected),
            pending: Vec::new(),
            line_begin: 0,
            searched: 0,
            failed: None,
            failed_in_last_file: false,
            dropped_bytes: 0,
        }
    }

    /// What is pushed next is another file; `named` is the number of its first line by its name, if it has one.
    ///
    /// The file before must have ended with a complete group.
    pub fn begin_file(&mut self, named: Option<u64>) {
        if !self.pending.is_empty() {
            let error = self.walk.here(Why::CutFile);
            self.fail(error, 0);
        }
        self.failed_in_last_file = false;
        if self.failed.is_none() {
            self.walk.begin_file(named);
        }
    }

    /// The next bytes of the log.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            self.dropped_bytes += bytes.len() as u64;
            return;
        }
        self.pending.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(end) = self.group_end() {
            let group = self.pending.get(begin..end).unwrap_or_default();
            if let Err(error) = self.walk.group(group) {
                self.fail(error, begin);
                return;
            }
            begin = end;
        }
        self.pending.drain(..begin);
        self.line_begin -= begin;
        self.searched -= begin;
        if self.pending.len() > MAX_GROUP_BYTES {
            let error = self.walk.here(Why::Malformed);
            self.fail(error, 0);
        }
    }

    fn fail(&mut self, error: AuditError, begin: usize) {
        self.failed = Some(error);
        self.failed_in_last_file = true;
        self.dropped_bytes += (self.pending.len() - begin) as u64;
        self.pending = Vec::new();
    }

    /// Where the next group ends, if all of it is there.
    fn group_end(&mut self) -> Option<usize> {
        while let Some(rest) = self.pending.get(self.searched..) {
            let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
                self.searched = self.pending.len();
                return None;
            };
            let end = self.searched + length;
            let line = self.pending.get(self.line_begin..end)?;
            (self.line_begin, self.searched) = (end + 1, end + 1);
            if split_mac(line).is_some() {
                return Some(end + 1);
            }
        }
        None
    }

    /// Keys of bridges that were passed without them: the log must be walked again, with these. `None` when
    /// this walk's verdict is final; without that second walk it is an error.
    pub fn found_bridges(&mut self) -> Option<FoundBridges> {
        self.walk.take_found()
    }

    /// The verdict; any bad line is an error.
    pub fn finish_strictly(self) -> Result<Verified, AuditError> {
        match self.finish_in_part() {
            (_, Some(error)) => Err(error),
            (verified, None) => Ok(verified),
        }
    }

    /// What is in order, up to the first bad line if there is one.
    pub fn finish_in_part(self) -> (Verified, Option<AuditError>) {
        let error = self.failed.or_else(|| self.walk.problem());
        (self.walk.verdict(self.pending.len() as u64, 0), error)
    }

    /// The verdict for a start after a crash: behind a pin that was met, the first group that is not right ends
    /// the log, since what had not been synced may be lost in any order. Before the pin it is an error, and in
    /// any file but the last, which alone is written to.
    pub fn finish_after_crash(self) -> Result<Verified, AuditError> {
        let certain = !self.walk.pin_is_met() || !self.failed_in_last_file;
        if let Some(error) = self.failed.filter(|_| certain).or_else(|| self.walk.problem()) {
            return Err(error);
        }
        let rejected_bytes = if self.failed.is_some() { self.dropped_bytes } else { 0 };
        Ok(self.walk.verdict(self.pending.len() as u64, rejected_bytes))
    }
}

/// Splits a line (or group) into the bytes its mac covers, and the mac.
fn split_mac(line: &[u8]) -> Option<(&[u8], [u8; 32])> {
    let (covered, digits) = line.strip_suffix(MAC_END)?.split_last_chunk::<64>()?;
    Some((covered.strip_suffix(MAC_MEMBER)?, hex(digits).ok()?))
}

#[cfg(test)]
mod every_change;
#[cfg(test)]
mod files_tests;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
