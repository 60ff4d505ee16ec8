//! The bytes of a keyring file (docs/FORMATS.md, section 3 "Keyring file"): header, slots, sealed
//! head, sealed records.
//!
//! Splits and joins; opens nothing and holds no key. Must never accept a byte it did not account for.

use alloc::vec::Vec;

use super::KeyringError;
use crate::layout::{Reader, Short};

/// Every keyring begins with this.
pub const MAGIC: &[u8; 16] = b"keyagent/keyring";
/// The version this program reads and writes.
pub const VERSION: u16 = 1;
/// Most bytes of a file.
pub const MAX_FILE_BYTES: usize = 64 << 20;
/// Most slots.
pub const MAX_SLOTS: u16 = 8;
/// Most records, the canary included.
pub const MAX_RECORDS: usize = 200_000;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 48;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 88;
/// Bytes of a sealed head beside its body: length, nonce, tag.
pub const SEALED_HEAD_BYTES: usize = 44;
/// Bytes of a record before its nonce: what its associated data covers.
pub const RECORD_PREFIX_BYTES: usize = 53;

/// The fields of the header behind magic and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Slots that follow, 1 to 8.
    pub slot_count: u16,
    /// Random name of the keyring.
    pub keyring_id: [u8; 16],
    /// One more at each master rotation.
    pub epoch: u32,
    /// One more at each commit.
    pub generation: u64,
}

/// The root R, sealed under one master.
#[derive(Debug, Clone, Copy)]
pub struct Slot<'b> {
    /// Which master opens it.
    pub fingerprint: &'b [u8; 16],
    /// XAES nonce.
    pub nonce: &'b [u8; 24],
    /// The sealed root.
    pub sealed: &'b [u8; 32],
    /// Its tag.
    pub tag: &'b [u8; 16],
}

/// The sealed head.
#[derive(Debug, Clone, Copy)]
pub struct SealedHead<'b> {
    /// XAES nonce.
    pub nonce: &'b [u8; 24],
    /// The sealed body, as long as the `length` field says.
    pub body: &'b [u8],
    /// Its tag.
    pub tag: &'b [u8; 16],
}

/// A sealed secret.
#[derive(Debug, Clone, Copy)]
pub struct Record<'b> {
    /// The whole record: what the head's digest covers.
    pub bytes: &'b [u8],
    /// The first 53 bytes: uid, version, class, key id.
    pub prefix: &'b [u8; RECORD_PREFIX_BYTES],
    /// Uid of its key, zeros for the canary.
    pub uid: &'b [u8; 16],
    /// Version of its key.
    pub version: u32,
    /// Class of its key, unchecked.
    pub class: u8,
    /// Id of the version.
    pub key_id: &'b [u8; 32],
    /// XAES nonce.
    pub nonce: &'b [u8; 24],
    /// The sealed secret.
    pub sealed: &'b [u8],
    /// Its tag.
    pub tag: &'b [u8; 16],
}

/// A keyring file, split.
#[derive(Debug, Clone, Copy)]
pub struct File<'b> {
    /// Its header.
    pub header: Header,
    /// The bytes of all slots.
    pub slots: &'b [u8],
    /// Everything before the head's nonce: header, slots and the head's length.
    pub before_nonce: &'b [u8],
    /// The sealed head.
    pub head: SealedHead<'b>,
    /// Header, slots and head: what the head digest covers.
    pub before_records: &'b [u8],
    /// The bytes of all records.
    pub records: &'b [u8],
}

impl From<Short> for KeyringError {
    fn from(_: Short) -> Self {
        Self::Truncated
    }
}

impl<'b> File<'b> {
    /// Splits a file; the records are split by [`Self::records`].
    pub fn parse(bytes: &'b [u8]) -> Result<Self, KeyringError> {
        let mut reader = Reader(bytes);
        if bytes.len() < MAGIC.len() && MAGIC.starts_with(bytes) && !bytes.is_empty() {
            return Err(KeyringError::Truncated);
        }
        if reader.array().ok() != Some(MAGIC) {
            return Err(KeyringError::NotAKeyring);
        }
        let version = reader.u16()?;
        if version != VERSION {
            return Err(KeyringError::UnsupportedVersion(version));
        }
        if bytes.len() > MAX_FILE_BYTES {
            return Err(KeyringError::Damaged("longer than 64 MiB"));
        }
        let slot_count = reader.u16()?;
        if !(1..=MAX_SLOTS).contains(&slot_count) {
            return Err(KeyringError::Damaged("not 1 to 8 slots"));
        }
        let keyring_id = *reader.array()?;
        let header = Header { slot_count, keyring_id, epoch: reader.u32()?, generation: reader.u64()? };
        let slots = reader.bytes(SLOT_BYTES * usize::from(slot_count))?;
        let length = usize::try_from(reader.u32()?).map_err(|_| KeyringError::Truncated)?;
        let before_nonce = before(bytes, reader);
        let head = SealedHead { nonce: reader.array()?, body: reader.bytes(length)?, tag: reader.array()? };
        let before_records = before(bytes, reader);
        Ok(Self { header, slots, before_nonce, head, before_records, records: reader.0 })
    }

    /// The slots in order.
    pub fn slots(&self) -> impl Iterator<Item = Slot<'b>> {
        slots_of(self.slots)
    }

    /// All records in order, every byte consumed; at least the canary, at most 200 000.
    pub fn records(&self) -> Result<Vec<Record<'b>>, KeyringError> {
        let mut reader = Reader(self.records);
        let mut records = Vec::new();
        while !reader.0.is_empty() {
            if records.len() == MAX_RECORDS {
                return Err(KeyringError::Damaged("more than 200 000 records"));
            }
            records.push(Record::read(&mut reader)?);
        }
        if records.is_empty() { Err(KeyringError::Truncated) } else { Ok(records) }
    }
}

/// The slots of their bytes, in order.
pub(super) fn slots_of(bytes: &[u8]) -> impl Iterator<Item = Slot<'_>> {
    bytes.chunks(SLOT_BYTES).filter_map(|slot| Slot::parse(slot).ok())
}

impl<'b> Slot<'b> {
    fn parse(bytes: &'b [u8]) -> Result<Self, Short> {
        let mut reader = Reader(bytes);
        Ok(Self {
            fingerprint: reader.array()?,
            nonce: reader.array()?,
            sealed: reader.array()?,
            tag: reader.array()?,
        })
    }
}

impl<'b> Record<'b> {
    /// Takes one record off the front.
    pub(super) fn read(reader: &mut Reader<'b>) -> Result<Self, Short> {
        let start = *reader;
        let prefix = reader.array::<RECORD_PREFIX_BYTES>()?;
        let mut fields = Reader(prefix);
        let (uid, version) = (fields.array()?, fields.u32()?);
        let (class, key_id) = (fields.u8()?, fields.array()?);
        let nonce = reader.array()?;
        let length = usize::from(reader.u16()?);
        let (sealed, tag) = (reader.bytes(length)?, reader.array()?);
        let bytes = before(start.0, *reader);
        Ok(Self { bytes, prefix, uid, version, class, key_id, nonce, sealed, tag })
    }
}

/// Writes the 48 bytes of a header.
pub fn write_header(out: &mut Vec<u8>, header: &Header) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&header.slot_count.to_le_bytes());
    out.extend_from_slice(&header.keyring_id);
    out.extend_from_slice(&header.epoch.to_le_bytes());
    out.extend_from_slice(&header.generation.to_le_bytes());
}

fn before<'b>(all: &'b [u8], rest: Reader<'b>) -> &'b [u8] {
    all.get(..all.len().saturating_sub(rest.0.len())).unwrap_or_default()
}
