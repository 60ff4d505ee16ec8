//! Head and records together, and the index from key ids to versions.
//!
//! Must never hold a record that no head entry names, or a head entry without its record.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use super::{
    CANARY_UID, KeyringError,
    file::Record,
    head::Head,
    key::{Class, Key, State, Stored, Version},
};

/// Everything a commit can change.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    pub(super) head: Head,
    pub(super) canary: Stored,
    /// By key id: positions of key and version.
    index: Vec<([u8; 32], usize, usize)>,
}

impl Contents {
    /// Contents of a new keyring.
    pub(super) fn new(created_at: u64, canary: Stored, keys: Vec<Key>) -> Result<Self, KeyringError> {
        let head = Head { pin: None, created_at, canary_digest: canary.digest(), keys };
        Self::indexed(head, canary)
    }

    /// Gives the versions of a head their records: exactly these, in exactly this order.
    pub(super) fn attach(mut head: Head, records: &[Record<'_>]) -> Result<Self, KeyringError> {
        let mut records = records.iter();
        let canary = (CANARY_UID, 1, Class::Message, head.canary_digest);
        let canary = Stored::from(expect(records.next(), canary)?);
        for key in &mut head.keys {
            for version in key.versions.iter_mut().filter(|version| version.state != State::Destroyed) {
                let named = (key.uid, version.number, key.class, version.digest);
                version.stored = Some(Stored::from(expect(records.next(), named)?));
            }
        }
        if records.next().is_some() {
            return Err(KeyringError::Damaged("a record that the head does not name"));
        }
        Self::indexed(head, canary)
    }

    /// Builds the index; two equal key ids are refused.
    pub(super) fn indexed(head: Head, canary: Stored) -> Result<Self, KeyringError> {
        let mut index = Vec::new();
        for (place, key) in head.keys.iter().enumerate() {
            for (version_place, version) in key.versions.iter().enumerate() {
                index.extend(version.key_id().map(|id| (*id, place, version_place)));
            }
        }
        index.sort_unstable();
        let contents = Self { head, canary, index };
        let unique = contents.index.is_sorted_by(|a, b| a.0 < b.0);
        if unique && contents.version_by_id(&contents.canary.key_id).is_none() {
            Ok(contents)
        } else {
            Err(KeyringError::Damaged("two versions with one key id"))
        }
    }

    /// Key and version of an id.
    pub(super) fn version_by_id(&self, key_id: &[u8; 32]) -> Option<(&Key, &Version)> {
        let found = self.index.binary_search_by(|entry| entry.0.cmp(key_id)).ok()?;
        let (_, key, version) = self.index.get(found)?;
        let key = self.head.keys.get(*key)?;
        Some((key, key.versions.get(*version)?))
    }

    /// All records in the order of the file.
    pub(super) fn records(&self) -> impl Iterator<Item = &Stored> {
        let versions = self.head.keys.iter().flat_map(|key| &key.versions);
        core::iter::once(&self.canary).chain(versions.filter_map(|version| version.stored.as_ref()))
    }
}

fn expect<'r, 'b>(
    record: Option<&'r Record<'b>>,
    named: ([u8; 16], u32, Class, [u8; 32]),
) -> Result<&'r Record<'b>, KeyringError> {
    let record = record.ok_or(KeyringError::Damaged("a record is missing"))?;
    let (uid, version, class, digest) = named;
    let fits = *record.uid == uid && record.version == version && record.class == class as u8;
    if fits && <[u8; 32]>::from(Sha256::digest(record.bytes)) == digest {
        Ok(record)
    } else {
        Err(KeyringError::Damaged("a record is not the one that the head names"))
    }
}
