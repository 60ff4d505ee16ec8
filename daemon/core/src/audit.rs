//! The audit chain (docs/FORMATS.md, section 4 "Audit chain"): lines, groups, macs, and their check.
//!
//! Decides without I/O: writing, syncing and cutting files is the daemon's work. No client text may
//! reach a line but through [`record::Record`], and a key that made a mac must be gone once it did.

use alloc::vec::Vec;

use keyagent_common::kdf;

use crate::{
    arena::{Arena, ArenaFull},
    layout::join,
};
use archive::Archive;
use bridge::Place;

pub(crate) mod archive;
pub mod bridge;
pub mod chain;
mod json;
pub mod record;
mod scan;
pub mod timestamp;
pub mod verify;

/// `KDF(R, ..)` with the labels `audit`, `audit bridge` and `audit archive` in slots: begin segments of the chain, and
/// must be dropped right after, or whoever reads live memory can forge the past.
pub struct AuditRoot<A: Arena> {
    root: A::Slot<[u8; 32]>,
    bridge: A::Slot<[u8; 32]>,
    archive_key: A::Slot<[u8; 32]>,
    archive: Archive,
}

impl<A: Arena> AuditRoot<A> {
    /// Derives them from a keyring's random root R (32 bytes), straight into slots. It knows of no earlier epoch.
    pub fn derive(arena: &A, root: &[u8; 32]) -> Result<Self, ArenaFull> {
        let slot = |label| {
            let mut slot = arena.place(|| [0; 32])?;
            kdf::derive(root, label, &[], &mut *slot);
            Ok(slot)
        };
        let (audit, bridge, archive_key) = (slot("audit")?, slot("audit bridge")?, slot("audit archive")?);
        Ok(Self { root: audit, bridge, archive_key, archive: Archive::default() })
    }

    /// The same with the archive that the keyring's head holds, whose keys are sealed in this very epoch.
    pub(crate) fn with_archive(self, keyring_id: [u8; 16], epoch: u32, archive: Vec<u8>) -> Self {
        Self { archive: Archive::new(keyring_id, epoch, archive), ..self }
    }

    /// The first key of a segment that begins now, whatever its number, written to `out`.
    fn new_segment_key(&self, place: &Place, out: &mut [u8; 32]) {
        segment_key_of(&self.root, place, out);
    }
}

/// `KDF(audit root, "audit segment", 32, keyring id || segment u64 || salt 16)`, written to `out`.
fn segment_key_of(root: &[u8; 32], place: &Place, out: &mut [u8; 32]) {
    let Place { keyring_id, segment, salt } = place;
    let extra: [u8; 40] = join(&[keyring_id, &segment.to_le_bytes(), salt]);
    kdf::derive(root, "audit segment", &extra, out);
}
