//! The bytes of the file `counters` (docs/FORMATS.md, section "Usage counters"); integers are little-endian.
//!
//! The header, 67 bytes:
//!
//! | Offset | Size | Field |
//! |---|---|---|
//! | 0 | 17 | `"keyagent/counters"` |
//! | 17 | 2 | version, 1 |
//! | 19 | 16 | keyring id |
//! | 35 | 8 | sequence number of the first entry |
//! | 43 | 8 | unknown until: versions made up to then may have been used more than is said; 0 for none |
//! | 51 | 16 | mac of bytes 0 to 50 |
//!
//! Entries of 89 bytes follow, numbered without a gap; of several about one version the last one counts:
//!
//! | Offset | Size | Field |
//! |---|---|---|
//! | 0 | 8 | sequence number |
//! | 8 | 32 | key id |
//! | 40 | 8 | encryptions |
//! | 48 | 8 | decryptions |
//! | 56 | 8 | last encryption, in seconds since 1970; 0 for never |
//! | 64 | 8 | last decryption |
//! | 72 | 1 | flags: 1 encryptions run ahead, 2 decryptions run ahead, 4 and 8 the same once, before a crash |
//! | 73 | 16 | mac of bytes 0 to 72 |

use crate::{
    arena::Arena,
    layout::{Reader, Short, join},
};

use super::key::CounterKey;

/// The file begins with this.
pub const MAGIC: &[u8; 17] = b"keyagent/counters";
/// Bytes of the header.
pub const HEADER_BYTES: usize = 67;
/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 89;
const VERSION: u16 = 1;
const SIGNED_HEADER_BYTES: usize = HEADER_BYTES - 16;
const SIGNED_ENTRY_BYTES: usize = ENTRY_BYTES - 16;

/// What is stored of one direction of a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// Never less than what was counted.
    pub(super) count: u64,
    /// When it was last used, in seconds since 1970; 0 for never.
    pub(super) at: u64,
    /// `count` is a reservation: less may have been counted, and that later than `at`.
    pub(super) ahead: bool,
    /// A reservation was believed once, because of a crash: `count` is an upper bound.
    pub(super) upper: bool,
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key_id: [u8; 32],
    pub(super) encryptions: Stored,
    pub(super) decryptions: Stored,
}

/// What the header says beside the keyring's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) first_sequence: u64,
    pub(super) unknown_until: u64,
}

impl Header {
    pub(super) fn seal<A: Arena>(&self, key: &CounterKey<A>) -> [u8; HEADER_BYTES] {
        let signed: [u8; SIGNED_HEADER_BYTES] = join(&[
            MAGIC,
            &VERSION.to_le_bytes(),
            key.keyring_id(),
            &self.first_sequence.to_le_bytes(),
            &self.unknown_until.to_le_bytes(),
        ]);
        join(&[&signed, &key.mac(&signed)])
    }

    /// `None` if it is no header of this keyring and epoch.
    pub(super) fn open<A: Arena>(bytes: &[u8; HEADER_BYTES], key: &CounterKey<A>) -> Option<Self> {
        let (signed, mac) = bytes.split_at(SIGNED_HEADER_BYTES);
        if !key.verifies(signed, mac) {
            return None;
        }
        let mut reader = Reader(signed.strip_prefix(MAGIC)?);
        let (version, keyring_id) = (reader.u16().ok()?, reader.array::<16>().ok()?);
        if version != VERSION || keyring_id != key.keyring_id() {
            return None;
        }
        Some(Self { first_sequence: reader.u64().ok()?, unknown_until: reader.u64().ok()? })
    }
}

impl Entry {
    pub(super) fn seal<A: Arena>(&self, sequence: u64, key: &CounterKey<A>) -> [u8; ENTRY_BYTES] {
        let Self { key_id, encryptions, decryptions } = self;
        let bits = [encryptions.ahead, decryptions.ahead, encryptions.upper, decryptions.upper];
        let flags = bits.iter().rev().fold(0, |flags, &bit| flags << 1 | u8::from(bit));
        let signed: [u8; SIGNED_ENTRY_BYTES] = join(&[
            &sequence.to_le_bytes(),
            key_id,
            &encryptions.count.to_le_bytes(),
            &decryptions.count.to_le_bytes(),
            &encryptions.at.to_le_bytes(),
            &decryptions.at.to_le_bytes(),
            &[flags],
        ]);
        join(&[&signed, &key.mac(&signed)])
    }

    /// `None` if it is not the entry of this number.
    pub(super) fn open<A: Arena>(
        bytes: &[u8; ENTRY_BYTES],
        sequence: u64,
        key: &CounterKey<A>,
    ) -> Option<Self> {
        let (signed, mac) = bytes.split_at(SIGNED_ENTRY_BYTES);
        let (number, entry) = Self::fields(signed).ok()?;
        (number == sequence && key.verifies(signed, mac)).then_some(entry)
    }

    fn fields(signed: &[u8]) -> Result<(u64, Self), Short> {
        let mut reader = Reader(signed);
        let (sequence, key_id) = (reader.u64()?, *reader.array()?);
        let counts = [reader.u64()?, reader.u64()?];
        let times = [reader.u64()?, reader.u64()?];
        let flags = reader.u8()?;
        let [encryptions, decryptions] = [0, 1].map(|place: usize| Stored {
            count: counts.get(place).copied().unwrap_or_default(),
            at: times.get(place).copied().unwrap_or_default(),
            ahead: flags >> place & 1 != 0,
            upper: flags >> (place + 2) & 1 != 0,
        });
        Ok((sequence, Self { key_id, encryptions, decryptions }))
    }
}
