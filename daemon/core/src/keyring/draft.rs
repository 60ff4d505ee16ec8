//! A changed copy of a keyring, on its way to the disk (docs/FORMATS.md, section 3).
//!
//! [`Keyring::draft`] -> changes -> [`Draft::prepare`] -> the daemon stores the bytes ->
//! [`Keyring::confirm`]. Must never touch the snapshot that readers hold, nor advance it by itself.

use alloc::{sync::Arc, vec::Vec};

use keyagent_common::name::KeyName;
use sha2::{Digest, Sha256};

use super::{
    CANARY_UID, Contents, HEAD_LABEL, Keyring, KeyringError, Working, attribute,
    file::{self, Header},
    head::Head,
    key::{Class, Key, Reason, State, Stored, Version},
    secrets::{self, Identity, Owner},
};
use crate::{
    arena::Arena,
    cipher,
    entropy::Entropy,
    pin::{self, Pin},
};

/// Changes that nobody else sees yet.
pub struct Draft<A: Arena> {
    pub(super) working: Arc<Working<A>>,
    pub(super) head: Head,
    canary: Stored,
    pub(super) slots: Arc<[u8]>,
    /// Keys of earlier epochs, sealed; the key `default` carries them.
    pub(super) archive: Option<Vec<u8>>,
    generation: u64,
    parent: [u8; 32],
}

/// The bytes of the next generation, to be stored and then confirmed.
pub struct PreparedCommit {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Its generation.
    pub generation: u64,
    /// SHA-256 of its header, slots and head: for the audit lines of intent and commit.
    pub head_digest: [u8; 32],
    contents: Contents,
    slots: Arc<[u8]>,
    identity: Identity,
    parent: [u8; 32],
}

impl<A: Arena> Keyring<A> {
    /// A copy to change; a copy without changes serves for the first commit and for a new pin.
    pub fn draft(&self) -> Draft<A> {
        Draft {
            working: Arc::clone(&self.working),
            head: self.contents.head.clone(),
            canary: self.contents.canary.clone(),
            slots: Arc::clone(&self.slots),
            archive: Some(self.archive()).filter(|archive| !archive.is_empty()).map(Vec::from),
            generation: self.generation,
            parent: self.head_digest,
        }
    }

    /// Advances to a commit that is on disk; [`KeyringError::Stale`] if another was confirmed since.
    ///
    /// Clones made before keep the old snapshot.
    pub fn confirm(&mut self, prepared: PreparedCommit) -> Result<(), KeyringError> {
        let follows = self.generation.checked_add(1) == Some(prepared.generation);
        if !follows || prepared.parent != self.head_digest || prepared.identity != self.working.identity {
            return Err(KeyringError::Stale);
        }
        self.contents = Arc::new(prepared.contents);
        self.slots = prepared.slots;
        self.generation = prepared.generation;
        self.head_digest = prepared.head_digest;
        Ok(())
    }
}

impl<A: Arena> Draft<A> {
    /// The key of a name, to be changed. The rules of the head are checked by [`Self::prepare`];
    /// a version set to destroyed loses its record there.
    pub fn key_mut(&mut self, name: &str) -> Option<&mut Key> {
        self.head.keys.iter_mut().find(|key| key.name == name)
    }

    /// All keys, by name, to be changed as those of [`Self::key_mut`].
    pub fn keys_mut(&mut self) -> impl Iterator<Item = &mut Key> {
        self.head.keys.iter_mut()
    }

    /// Adds a key whose version 1 is primary and has a random secret of 32 bytes.
    pub fn add_key(
        &mut self,
        name: KeyName<'_>,
        class: Class,
        entropy: &mut dyn Entropy,
        now_unix: u64,
    ) -> Result<&mut Key, KeyringError> {
        let place = self.head.keys.binary_search_by(|key| key.name.as_str().cmp(name.as_str()));
        let Err(place) = place else { return Err(KeyringError::Name) };
        let mut uid = CANARY_UID;
        entropy.fill(&mut uid)?;
        let owner = Owner { uid, version: 1, class };
        let stored = self.seal_random(&owner, entropy)?;
        let mut key = Key::new(uid, class, name, now_unix);
        key.versions.push(Version::new(1, State::Primary, Reason::None, now_unix, stored));
        self.head.keys.insert(place, key);
        self.head.keys.get_mut(place).ok_or(KeyringError::NoSuchKey)
    }

    /// Adds a staged version with a random secret of 32 bytes; returns its number. [`KeyringError::Full`] as for
    /// whatever makes a keyring larger; the draft is then to be dropped.
    pub fn add_version(
        &mut self,
        name: &str,
        reason: Reason,
        entropy: &mut dyn Entropy,
        now_unix: u64,
    ) -> Result<u32, KeyringError> {
        let number = self.push_version(name, reason, entropy, now_unix)?;
        self.check_room()?;
        Ok(number)
    }

    /// As [`Self::add_version`], for whoever makes many: the room is looked for when they are prepared.
    pub fn push_version(
        &mut self,
        name: &str,
        reason: Reason,
        entropy: &mut dyn Entropy,
        now_unix: u64,
    ) -> Result<u32, KeyringError> {
        let key = self.key_mut(name).ok_or(KeyringError::NoSuchKey)?;
        let last = key.versions.last().map_or(0, |version| version.number);
        let number = last.checked_add(1).ok_or(KeyringError::Rule("no version number is left"))?;
        let owner = Owner { uid: key.uid, version: number, class: key.class };
        let stored = self.seal_random(&owner, entropy)?;
        let version = Version::new(number, State::Staged, reason, now_unix, stored);
        self.key_mut(name).ok_or(KeyringError::NoSuchKey)?.versions.push(version);
        Ok(number)
    }

    /// Removes a key with all its versions; data sealed by them can never be opened again.
    pub fn remove_key(&mut self, name: &str) -> Result<(), KeyringError> {
        let before = self.head.keys.len();
        self.head.keys.retain(|key| key.name != name);
        if self.head.keys.len() < before { Ok(()) } else { Err(KeyringError::NoSuchKey) }
    }

    /// [`KeyringError::Full`] unless a brake with the longest reason can be put on every key: called by
    /// whatever makes a keyring larger, because an emergency brake must not fail for want of room.
    pub(crate) fn check_room(&self) -> Result<(), KeyringError> {
        let head = self.head.encode().map_err(|bad| KeyringError::Rule(bad.0))?.len();
        let versions = self.head.keys.iter().flat_map(|key| &key.versions);
        let stored = versions.filter_map(|version| version.stored.as_ref()).chain([&self.canary]);
        let (mut records, mut count) = (0, 0);
        for stored in stored {
            records += stored.bytes.len();
            count += 1;
        }
        let brakes = self.head.keys.len() * attribute::BRAKE_BYTES;
        let around = file::HEADER_BYTES + self.slots.len() + file::SEALED_HEAD_BYTES + pin::PIN_BYTES;
        if count > file::MAX_RECORDS || around + head + records + brakes > file::MAX_FILE_BYTES {
            return Err(KeyringError::Full);
        }
        Ok(())
    }

    /// The bytes of the next generation, with `pin` in the head.
    pub fn prepare(
        mut self,
        pin: Option<&Pin>,
        entropy: &mut dyn Entropy,
    ) -> Result<PreparedCommit, KeyringError> {
        for version in self.head.keys.iter_mut().flat_map(|key| &mut key.versions) {
            if version.state == State::Destroyed {
                (version.digest, version.stored) = ([0; 32], None);
            }
        }
        self.head.keys.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.check_owners()?;
        self.attach_archive()?;
        self.head.pin = pin.copied();
        let body = self.head.encode().map_err(|bad| KeyringError::Rule(bad.0))?;
        let generation = self.generation.checked_add(1).ok_or(KeyringError::Stale)?;
        let mut bytes = Vec::new();
        self.write_sealed_head(&mut bytes, generation, body, entropy)?;
        let head_digest = Sha256::digest(&bytes).into();
        let contents = Contents::indexed(self.head, self.canary)
            .map_err(|_| KeyringError::Rule("two versions with one key id"))?;
        if contents.records().count() > file::MAX_RECORDS {
            return Err(KeyringError::Rule("more than 200 000 records"));
        }
        contents.records().for_each(|stored| bytes.extend_from_slice(&stored.bytes));
        if bytes.len() > file::MAX_FILE_BYTES {
            return Err(KeyringError::Rule("a keyring longer than 64 MiB"));
        }
        let (identity, parent, slots) = (self.working.identity, self.parent, self.slots);
        Ok(PreparedCommit { bytes, generation, head_digest, contents, slots, identity, parent })
    }

    /// A record cannot change its owner: only then will the file open again.
    fn check_owners(&self) -> Result<(), KeyringError> {
        let owned = |key: &Key| {
            let stored = |version: &Version| {
                version.stored.as_ref().is_none_or(|stored| stored.belongs_to(key, version))
            };
            key.versions.iter().all(stored)
        };
        if self.head.keys.iter().all(owned) {
            Ok(())
        } else {
            Err(KeyringError::Rule("uid, class and number of a version never change"))
        }
    }

    fn write_sealed_head(
        &self,
        bytes: &mut Vec<u8>,
        generation: u64,
        mut body: Vec<u8>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), KeyringError> {
        let Working { identity, subkeys } = &*self.working;
        let slot_count = u16::try_from(self.slots.len() / file::SLOT_BYTES).unwrap_or(u16::MAX);
        let Identity { keyring_id, epoch } = *identity;
        file::write_header(bytes, &Header { slot_count, keyring_id, epoch, generation });
        bytes.extend_from_slice(&self.slots);
        let length = u32::try_from(body.len()).map_err(|_| KeyringError::Rule("a head of 4 GiB"))?;
        bytes.extend_from_slice(&length.to_le_bytes());
        let mut nonce = [0; cipher::NONCE_BYTES];
        entropy.fill(&mut nonce)?;
        let ad = [HEAD_LABEL, bytes].concat();
        let tag = cipher::seal_with(&subkeys.head, &nonce, &ad, &mut body)?;
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&tag);
        Ok(())
    }

    /// Gives a version a secret of the test's choice.
    #[cfg(test)]
    pub(crate) fn replace_secret(
        &mut self,
        name: &str,
        number: u32,
        secret: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<(), KeyringError> {
        let key = self.head.keys.iter_mut().find(|key| key.name == name).ok_or(KeyringError::NoSuchKey)?;
        let owner = Owner { uid: key.uid, version: number, class: key.class };
        let Working { identity, subkeys, .. } = &*self.working;
        let stored = secrets::seal_record(subkeys, identity, &owner, secret, entropy)?;
        for version in key.versions.iter_mut().filter(|version| version.number == number) {
            (version.digest, version.stored) = (stored.digest(), Some(stored.clone()));
        }
        Ok(())
    }

    fn seal_random(&self, owner: &Owner, entropy: &mut dyn Entropy) -> Result<Stored, KeyringError> {
        let Working { identity, subkeys, .. } = &*self.working;
        secrets::with_random_secret(entropy, |secret, entropy| {
            secrets::seal_record(subkeys, identity, owner, secret, entropy)
        })
    }
}
