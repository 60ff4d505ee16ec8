//! The audit chain (docs/FORMATS.md, section 4 "Audit chain"): lines, groups, macs, and their check.
//!
//! Decides without I/O: writing, syncing and cutting files is the daemon's work. No client text may
//! reach a line but through [`record::Record`], and a key that made a mac must be gone once it did.

use keyagent_common::kdf;

use crate::arena::{Arena, ArenaFull};

pub mod bridge;
pub mod chain;
mod json;
pub mod record;
mod scan;
pub mod timestamp;
pub mod verify;

/// `KDF(R, "audit", 32)` in a slot: begins segments of the chain, and must be dropped right after,
/// or whoever reads live memory can forge the past.
pub struct AuditRoot<A: Arena>(A::Slot<[u8; 32]>);

impl<A: Arena> AuditRoot<A> {
    /// Derives the audit root of a keyring's random root R (32 bytes) straight into a slot.
    pub fn derive(arena: &A, root: &[u8; 32]) -> Result<Self, ArenaFull> {
        let mut slot = arena.place(|| [0; 32])?;
        kdf::derive(root, "audit", &[], &mut *slot);
        Ok(Self(slot))
    }

    /// `KDF(audit root, "audit segment", 32, keyring id || segment u64 || salt 16)`, written to `out`.
    fn segment_key(&self, keyring_id: &[u8; 16], segment: u64, salt: &[u8; 16], out: &mut [u8; 32]) {
        let mut extra = [0; 40];
        let (id, rest) = extra.split_at_mut(16);
        let (number, rest) = rest.split_at_mut(8);
        id.copy_from_slice(keyring_id);
        number.copy_from_slice(&segment.to_le_bytes());
        rest.copy_from_slice(salt);
        kdf::derive(&self.0, "audit segment", &extra, out);
    }
}
