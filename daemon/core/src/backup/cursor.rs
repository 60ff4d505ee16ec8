//! Where a page ended: what the next one is asked with.
//!
//! Only this keyring makes them, for one backup key and one selection: whoever has no first page, which is recorded,
//! gets no other.

use keyagent_common::backup;
use sha2::{Digest, Sha256};

use super::BackupError;
use crate::{
    arena::Arena,
    keyring::Keyring,
    layout::{Reader, Short, join},
};

const PLACE_BYTES: usize = 8 + 4 + 4 + 4;
const MAC_BYTES: usize = 16;
/// Bytes of a cursor.
pub(super) const CURSOR_BYTES: usize = PLACE_BYTES + MAC_BYTES;

/// Where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Of the keyring.
    pub(super) generation: u64,
    /// Number of the next page.
    pub(super) index: u32,
    /// Which of the selected keys is next.
    pub(super) key: u32,
    /// How many of its versions were given.
    pub(super) versions: u32,
}

/// Which backup a cursor belongs to.
pub(super) struct Backup<'b, A: Arena> {
    pub(super) keyring: &'b Keyring<A>,
    pub(super) key: &'b [u8; 32],
    /// As asked for.
    pub(super) names: &'b str,
}

impl<A: Arena> Backup<'_, A> {
    /// Where the first page begins.
    pub(super) fn beginning(&self) -> Cursor {
        Cursor { generation: self.keyring.generation(), index: 0, key: 0, versions: 0 }
    }

    /// The bytes for a client.
    pub(super) fn write(&self, cursor: Cursor) -> [u8; CURSOR_BYTES] {
        let place = place(cursor);
        join(&[&place, &self.mac(&place)])
    }

    /// The place that bytes from a client say; none is the beginning.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Cursor, BackupError> {
        if bytes.is_empty() {
            return Ok(self.beginning());
        }
        let (place, mac) = bytes.split_at_checked(PLACE_BYTES).ok_or(BackupError::BadCursor)?;
        if mac != self.mac(place) {
            return Err(BackupError::BadCursor);
        }
        let mut reader = Reader(place);
        let cursor = read(&mut reader).map_err(|_| BackupError::BadCursor)?;
        if cursor.generation != self.keyring.generation() {
            return Err(BackupError::ChangedMeanwhile);
        }
        Ok(cursor)
    }

    /// No context pair has a name with a blank, and no key this uid: nothing else gives such a code.
    fn mac(&self, place: &[u8]) -> [u8; MAC_BYTES] {
        let names: [u8; 32] = Sha256::digest(self.names).into();
        let value = [place, &backup::id(self.key), &names].concat();
        self.keyring.context_value_hash(&[0; 16], "backup page", &value)
    }
}

fn place(cursor: Cursor) -> [u8; PLACE_BYTES] {
    let Cursor { generation, index, key, versions } = cursor;
    join(&[&generation.to_le_bytes(), &index.to_le_bytes(), &key.to_le_bytes(), &versions.to_le_bytes()])
}

fn read(reader: &mut Reader<'_>) -> Result<Cursor, Short> {
    Ok(Cursor {
        generation: reader.u64()?,
        index: reader.u32()?,
        key: reader.u32()?,
        versions: reader.u32()?,
    })
}
