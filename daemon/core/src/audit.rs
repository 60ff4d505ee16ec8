//! The audit chain (docs/FORMATS.md, section 4 "Audit chain"): lines, groups, macs, and their check.
//!
//! Decides without I/O: writing, syncing and cutting files is the daemon's work. No client text may
//! reach a line but through [`record::Record`], and a key that made a mac must be gone once it did.

use keyagent_common::kdf;

use crate::{
    arena::{Arena, ArenaFull},
    layout::join,
};
use bridge::Place;

pub mod bridge;
pub mod chain;
mod json;
pub mod record;
mod scan;
pub mod timestamp;
pub mod verify;

/// `KDF(R, "audit", 32)` and `KDF(R, "audit bridge", 32)` in slots: begin segments of the chain, and must be
/// dropped right after, or whoever reads live memory can forge the past.
pub struct AuditRoot<A: Arena> {
    root: A::Slot<[u8; 32]>,
    bridge: A::Slot<[u8; 32]>,
}

impl<A: Arena> AuditRoot<A> {
    /// Derives both from a keyring's random root R (32 bytes), straight into slots.
    pub fn derive(arena: &A, root: &[u8; 32]) -> Result<Self, ArenaFull> {
        let slot = |label| {
            let mut slot = arena.place(|| [0; 32])?;
            kdf::derive(root, label, &[], &mut *slot);
            Ok(slot)
        };
        Ok(Self { root: slot("audit")?, bridge: slot("audit bridge")? })
    }

    /// `KDF(audit root, "audit segment", 32, keyring id || segment u64 || salt 16)`, written to `out`.
    fn segment_key(&self, place: &Place, out: &mut [u8; 32]) {
        let Place { keyring_id, segment, salt } = place;
        let extra: [u8; 40] = join(&[keyring_id, &segment.to_le_bytes(), salt]);
        kdf::derive(&self.root, "audit segment", &extra, out);
    }
}
