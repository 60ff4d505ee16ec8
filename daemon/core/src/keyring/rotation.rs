//! Another root under another master key (docs/FORMATS.md, section 3 "Master rotation").
//!
//! In three commits' worth of states: one slot, two slots over a new root, one slot over another new root. Secrets of
//! the keyring go from record to record on the stack. Must never leave a keyring that neither of the two master keys
//! opens, must never leave a root in use that a master key which no longer counts was given, and must never keep a
//! master or a root.

use alloc::{sync::Arc, vec::Vec};

use keyagent_common::{kdf, name::KeyName};
use zeroize::Zeroizing;

use super::{
    CANARY_UID, Contents, Draft, Keyring, KeyringError, Working, attribute,
    file::slots_of,
    key::{Class, Key, Stored},
    open_root,
    secrets::{self, Identity, Owner, Subkeys},
};
use crate::{
    arena::Arena,
    audit::{
        AuditRoot,
        archive::{self, ArchiveError, Ending},
    },
    cipher::NONCE_BYTES,
    entropy::Entropy,
};

impl From<ArchiveError> for KeyringError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Entropy(failed) => failed.into(),
            ArchiveError::Seal(error) => error.into(),
            ArchiveError::DoesNotOpen => Self::Damaged("an earlier epoch of the audit log does not open"),
        }
    }
}

impl<A: Arena> Keyring<A> {
    /// Fingerprints of the master keys that open it: the one in use, and behind it the next one if a rotation of the
    /// master key is under way.
    pub fn masters(&self) -> Vec<[u8; 16]> {
        slots_of(&self.slots).map(|slot| *slot.fingerprint).collect()
    }

    /// Whether a master key opens it: its slot is opened, on the stack. [`KeyringError::WrongKey`] if it has none.
    pub fn check_master(&self, master: &[u8; 32]) -> Result<(), KeyringError> {
        let mut root = Zeroizing::new([0; 32]);
        open_root(&self.slots, master, &self.working.identity, &mut root)
    }

    /// The same keys under a new random root that both masters open, one epoch later: the next one's slot is the
    /// second. Key ids stay as they are.
    ///
    /// Nothing is on disk yet: generation and head digest are still those of this keyring, until a draft of the
    /// returned one is stored and confirmed. `last_segment` is the segment of the log that is being written; the
    /// returned audit root begins the one behind it, and checks all of them.
    pub fn rotate_root(
        &self,
        arena: &A,
        current: &[u8; 32],
        next: &[u8; 32],
        last_segment: u64,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, AuditRoot<A>), KeyringError> {
        self.check_master(current)?;
        if self.masters() != [kdf::master_fingerprint(current)] {
            return Err(KeyringError::Rule("a rotation of the master key is unfinished"));
        }
        if kdf::master_fingerprint(current) == kdf::master_fingerprint(next) {
            return Err(KeyringError::Rule("the next master key is the one in use"));
        }
        self.under_another_root(arena, current, &[current, next], last_segment, entropy)
    }

    /// The end of a rotation, whichever of its two master keys stays: the same keys under one more new random root
    /// that `stays` alone opens, one epoch later. The root with two slots does not stay in use: whoever has the other
    /// master key and a file with both slots has that root.
    ///
    /// As with [`Self::rotate_root`] nothing is on disk yet. [`KeyringError::Rule`] if no rotation is unfinished,
    /// [`KeyringError::WrongKey`] if `stays` is neither of its master keys.
    pub fn renew_root(
        &self,
        arena: &A,
        stays: &[u8; 32],
        last_segment: u64,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, AuditRoot<A>), KeyringError> {
        self.check_master(stays)?;
        if self.masters().len() < 2 {
            return Err(KeyringError::Rule("no rotation of the master key is unfinished"));
        }
        self.under_another_root(arena, stays, &[stays], last_segment, entropy)
    }

    /// Under a new random root, sealed to `masters` in this order; `opener` opens the one in use.
    fn under_another_root(
        &self,
        arena: &A,
        opener: &[u8; 32],
        masters: &[&[u8; 32]],
        last_segment: u64,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, AuditRoot<A>), KeyringError> {
        let Working { identity, .. } = &*self.working;
        let mut old_root = Zeroizing::new([0; 32]);
        open_root(&self.slots, opener, identity, &mut old_root)?;
        let epoch = identity.epoch.checked_add(1).ok_or(KeyringError::Rule("no epoch is left"))?;
        let next_identity = Identity { epoch, ..*identity };
        let mut root = Zeroizing::new([0; 32]);
        entropy.fill(&mut *root)?;
        let subkeys = Subkeys::derive(arena, &root)?;
        let audit_root = AuditRoot::derive(arena, &root)?;
        let mut slots = Vec::new();
        for master in masters {
            let mut nonce = [0; NONCE_BYTES];
            entropy.fill(&mut nonce)?;
            slots.extend_from_slice(&secrets::seal_slot(master, &next_identity, &nonce, &root)?);
        }
        let ending = Ending {
            keyring_id: &identity.keyring_id,
            epoch: identity.epoch,
            generation: self.generation,
            last_segment,
            root: &old_root,
            archive: self.archive(),
        };
        let archive = archive::rotate(&ending, &root, entropy)?;
        drop((old_root, root));
        let contents = self.reseal(&subkeys, &next_identity, &archive, entropy)?;
        let audit_root = audit_root.with_archive(identity.keyring_id, epoch, archive);
        let working = Arc::new(Working { identity: next_identity, subkeys });
        let rotated = Self {
            working,
            contents: Arc::new(contents),
            slots: Arc::from(slots),
            generation: self.generation,
            head_digest: self.head_digest,
        };
        rotated.draft().check_room()?;
        Ok((rotated, audit_root))
    }

    /// Every record under another root; the head with their digests and the archive.
    fn reseal(
        &self,
        subkeys: &Subkeys<A>,
        identity: &Identity,
        archive: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Contents, KeyringError> {
        let Working { identity: old_identity, subkeys: old } = &*self.working;
        let mut again = |stored: &Stored, owner: Owner| -> Result<Stored, KeyringError> {
            let mut nonce = [0; NONCE_BYTES];
            entropy.fill(&mut nonce)?;
            secrets::with_stored_secret(&old.record, old_identity, stored, |_, secret| {
                secrets::seal_record_with(&subkeys.record, identity, &owner, &stored.key_id, &nonce, secret)
            })?
        };
        let mut head = self.contents.head.clone();
        let canary = Owner { uid: CANARY_UID, version: 1, class: Class::Message };
        let canary = again(&self.contents.canary, canary)?;
        head.canary_digest = canary.digest();
        for key in &mut head.keys {
            let (uid, class) = (key.uid, key.class);
            for version in &mut key.versions {
                let Some(stored) = &version.stored else { continue };
                let stored = again(stored, Owner { uid, version: version.number, class })?;
                (version.digest, version.stored) = (stored.digest(), Some(stored));
            }
        }
        let default = head.keys.iter_mut().find(|key| key.name == KeyName::DEFAULT.as_str());
        default.ok_or(KeyringError::NoSuchKey)?.set_attribute(attribute::ARCHIVE, archive);
        Contents::indexed(head, canary)
    }

    /// Whether it is the very keyring that began its epoch, after a rotation of the master key: until it gives way to
    /// the next one, a pin of the epoch before may still be on disk.
    pub fn begins_epoch(&self) -> bool {
        archive::spans(self.archive()).next_back().is_some_and(|last| {
            last.epoch.checked_add(1) == Some(self.epoch())
                && last.generation.checked_add(1) == Some(self.generation)
        })
    }

    /// What is kept of earlier epochs; empty if nothing is.
    pub(super) fn archive(&self) -> &[u8] {
        let default = self.find(KeyName::DEFAULT.as_str());
        default.and_then(|key| key.attribute(attribute::ARCHIVE)).unwrap_or_default()
    }
}

impl<A: Arena> Draft<A> {
    /// Forgets the keys of earlier epochs: a new log begins with segment 1, and none of theirs is in it.
    pub fn forget_earlier_epochs(&mut self) {
        self.archive = None;
    }

    /// The archive is that of the keyring, whatever was done to the key that carries it.
    pub(super) fn attach_archive(&mut self) -> Result<(), KeyringError> {
        let default = self.head.keys.iter_mut().find(|key| key.name == KeyName::DEFAULT.as_str());
        match (&self.archive, default) {
            (Some(archive), Some(key)) if key.attribute(attribute::ARCHIVE) != Some(archive) => {
                key.set_attribute(attribute::ARCHIVE, archive);
            }
            (Some(_), None) => {
                return Err(KeyringError::Rule("without `default` old audit logs would be lost"));
            }
            (None, Some(key)) => key.remove_attribute(attribute::ARCHIVE),
            _ => {}
        }
        Ok(())
    }
}

impl Key {
    fn remove_attribute(&mut self, name: &str) {
        self.attributes.retain(|(known, _)| known != name);
    }
}
