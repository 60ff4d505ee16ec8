//! One segment of the chain while it is written (docs/FORMATS.md, section 4 "Audit chain").
//!
//! `mac = HMAC-SHA-256(k_i, 01 || previous mac || B)`, then `k_{i+1} = HMAC-SHA-256(k_i, 02)` takes
//! the place of `k_i`, as soon as the group is known to be in the log. Must never keep a key past that;
//! if the write failed, `k_i` makes the mac of whatever is written instead.

use alloc::vec::Vec;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use super::{
    AuditRoot,
    bridge::{BridgeSecret, Place},
    json,
    record::Event,
};
use crate::arena::{Arena, ArenaFull};

/// Stands between the bytes a mac covers and the mac itself.
pub(super) const MAC_MEMBER: &[u8] = b",\"mac\":\"";
/// Ends a line that carries a mac.
pub(super) const MAC_END: &[u8] = b"\"}";
/// What stands for the previous mac in the first group of a log.
pub const NO_PREVIOUS_MAC: [u8; 32] = [0; 32];

/// The chain of one segment: its current key in a slot, the last mac, and how far it came.
pub struct Chain<A: Arena> {
    key: A::Slot<[u8; 32]>,
    previous_mac: [u8; 32],
    place: Place,
    bridge: bool,
    group: u64,
}

/// What the first line of a file must say if the file continues a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLine {
    /// Number of the segment; the line's record must state the same.
    pub segment: u64,
    salt: [u8; 16],
    group: u64,
    previous_mac: [u8; 32],
    keyring_id: [u8; 16],
    bridge: bool,
}

impl FileLine {
    /// The line's event, `audit.file`.
    pub fn event(&self) -> Event<'_> {
        let Self { segment: _, salt, group, previous_mac, keyring_id, bridge } = self;
        Event::File { salt, group: *group, previous_mac, keyring_id, bridge: *bridge }
    }
}

impl<A: Arena> Chain<A> {
    /// Begins a segment: `k_0` from the audit root (which the caller then drops).
    ///
    /// `salt` is 16 random bytes, stated in the segment's first line; `previous_mac` is the last mac
    /// of the segment before, [`NO_PREVIOUS_MAC`] in a new log.
    pub fn begin(
        arena: &A,
        root: &AuditRoot<A>,
        keyring_id: &[u8; 16],
        segment: u64,
        salt: &[u8; 16],
        previous_mac: [u8; 32],
    ) -> Result<Self, ArenaFull> {
        let place = Place { keyring_id: *keyring_id, segment, salt: *salt };
        let mut key = arena.place(|| [0; 32])?;
        root.new_segment_key(&place, &mut key);
        Ok(Self { key, previous_mac, place, bridge: false, group: 0 })
    }

    /// Begins a segment while locked, with the random `k_0` of `secret`, which the caller keeps until it is
    /// sealed into the next segment. The first line must state the secret's salt and that it is a bridge.
    pub fn begin_bridge(
        arena: &A,
        secret: &BridgeSecret<A>,
        previous_mac: [u8; 32],
    ) -> Result<Self, ArenaFull> {
        let mut key = arena.place(|| [0; 32])?;
        key.copy_from_slice(secret.key());
        Ok(Self { key, previous_mac, place: secret.place(), bridge: true, group: 0 })
    }

    /// What the next line must be if it is the first of another file.
    pub fn file_line(&self) -> FileLine {
        let Place { keyring_id, segment, salt } = self.place;
        let (group, previous_mac, bridge) = (self.group, self.previous_mac, self.bridge);
        FileLine { segment, salt, group, previous_mac, keyring_id, bridge }
    }

    /// Number of the segment.
    pub fn segment(&self) -> u64 {
        self.place.segment
    }

    /// Completes a group: `lines` are its lines, the last one still without its closing `}`.
    ///
    /// Appends `,"mac":"<64 hex>"}` and a newline (75 bytes). The chain stays where it is until
    /// [`Self::advance`] says that the group is in the log.
    pub fn seal_group(&self, lines: &mut Vec<u8>) -> SealedGroup {
        let mut next = Zeroizing::new(*self.key);
        let mac = step(&mut next, &self.previous_mac, lines);
        lines.extend_from_slice(MAC_MEMBER);
        json::push_hex(lines, &mac);
        lines.extend_from_slice(MAC_END);
        lines.push(b'\n');
        SealedGroup { mac, next }
    }

    /// Moves to the next key, wiping the one that made the group's mac.
    pub fn advance(&mut self, written: SealedGroup) {
        let SealedGroup { mac, next } = written;
        self.key.copy_from_slice(&*next);
        self.previous_mac = mac;
        self.group += 1;
    }

    /// Mac of the last group: what a pin states.
    pub fn last_mac(&self) -> [u8; 32] {
        self.previous_mac
    }
}

/// A group that was sealed but is not yet known to be in the log.
#[must_use]
pub struct SealedGroup {
    mac: [u8; 32],
    next: Zeroizing<[u8; 32]>,
}

/// The mac of one group; `key` is overwritten by the next key.
pub(super) fn step(key: &mut [u8; 32], previous_mac: &[u8; 32], lines: &[u8]) -> [u8; 32] {
    let mut mac = keyed(key);
    let next = mac.clone();
    mac.update(&[1]);
    mac.update(previous_mac);
    mac.update(lines);
    replace(key, next);
    mac.finalize().into_bytes().into()
}

/// Steps over a group whose lines are not at hand: `key` is overwritten by the next key.
pub(super) fn skip(key: &mut [u8; 32]) {
    let next = keyed(key);
    replace(key, next);
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC accepts keys of any length (RFC 2104)")
    };
    mac
}

fn replace(key: &mut [u8; 32], mut next: Hmac<Sha256>) {
    next.update(&[2]);
    let mut next = next.finalize().into_bytes();
    key.copy_from_slice(&next);
    next.as_mut_slice().zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{arena::HeapArena, test_vectors};

    #[test]
    fn reproduces_the_published_groups() {
        let vectors = &test_vectors::formats()["audit"];
        let r = test_vectors::array(&test_vectors::formats()["root"]["root"]);
        let root = AuditRoot::derive(&HeapArena, &r).unwrap();
        assert_eq!(hex::encode(*root.root), vectors["root"]);
        let segment = vectors["segment"].as_u64().unwrap();
        let id = test_vectors::array(&vectors["keyring_id"]);
        let salt = test_vectors::array(&vectors["salt"]);
        let mut chain = Chain::begin(&HeapArena, &root, &id, segment, &salt, NO_PREVIOUS_MAC).unwrap();
        for group in vectors["groups"].as_array().unwrap() {
            assert_eq!(hex::encode(*chain.key), group["key"]);
            let bytes = group["bytes"].as_str().unwrap();
            let mac = group["mac"].as_str().unwrap();
            let mut lines = Vec::from(bytes);
            let sealed = chain.seal_group(&mut lines);
            assert_eq!(hex::encode(*chain.key), group["key"], "a group that was not written changes nothing");
            chain.advance(sealed);
            assert_eq!(lines, alloc::format!("{bytes},\"mac\":\"{mac}\"}}\n").as_bytes());
            assert_eq!(hex::encode(chain.last_mac()), mac);
        }
        let groups = vectors["groups"].as_array().unwrap().len() as u64;
        let expected = FileLine {
            segment,
            salt,
            group: groups,
            previous_mac: chain.last_mac(),
            keyring_id: id,
            bridge: false,
        };
        assert_eq!((chain.file_line(), chain.segment()), (expected, segment));
        assert_eq!(hex::encode(*chain.key), vectors["next_key"]);
    }
}
