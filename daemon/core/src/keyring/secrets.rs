//! Seals and opens slots and records; holds what is kept of the root (docs/FORMATS.md, sections 3, 5).
//!
//! The only file of the keyring that sees a secret. A secret is in an arena slot or on the stack, never
//! on the heap; the master and the root are borrowed and never kept.

use alloc::{sync::Arc, vec::Vec};

use keyagent_common::kdf;
use zeroize::{Zeroize, Zeroizing};

use super::{
    KeyringError,
    file::{RECORD_PREFIX_BYTES, Record, SLOT_BYTES, Slot},
    key::{Class, Stored},
};
use crate::{
    arena::{Arena, ArenaFull},
    cipher::{self, DoesNotOpen, MessageCipher, SealError},
    entropy::Entropy,
    layout::{Reader, join},
};

/// Longest secret of any class, in bytes.
const MAX_SECRET_BYTES: usize = 1024;
const SLOT_LABEL: &[u8] = b"keyagent/v1 slot\0";
const RECORD_LABEL: &[u8] = b"keyagent/v1 record\0";
const SLOT_AD_BYTES: usize = SLOT_LABEL.len() + 36;
const RECORD_AD_BYTES: usize = RECORD_LABEL.len() + 20 + RECORD_PREFIX_BYTES;

/// Which keyring, and which root of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) keyring_id: [u8; 16],
    pub(super) epoch: u32,
}

/// The kept subkeys of a root, each in a slot.
pub(super) struct Subkeys<A: Arena> {
    pub(super) record: MessageCipher<A>,
    pub(super) head: A::Slot<[u8; 32]>,
    pub(super) pin: A::Slot<[u8; 32]>,
    pub(super) context_hash: A::Slot<[u8; 32]>,
    pub(super) reuse: A::Slot<[u8; 32]>,
    /// Shared: the file of counters is kept beside the keyring.
    pub(super) counters: Arc<A::Slot<[u8; 32]>>,
}

impl<A: Arena> Subkeys<A> {
    /// Derives all of them; the caller wipes the root.
    pub(super) fn derive(arena: &A, root: &[u8; 32]) -> Result<Self, ArenaFull> {
        let slot = |label| {
            let mut slot = arena.place(|| [0; 32])?;
            kdf::derive(root, label, &[], &mut *slot);
            Ok(slot)
        };
        let record = slot("record")?;
        Ok(Self {
            record: MessageCipher::from_key(arena, &record)?,
            head: slot("head")?,
            pin: slot("pin")?,
            context_hash: slot("context hash")?,
            reuse: slot("reuse")?,
            counters: Arc::new(slot("counters")?),
        })
    }
}

/// Seals a root under a master: the 88 bytes of a slot.
pub(super) fn seal_slot(
    master: &[u8; 32],
    identity: &Identity,
    nonce: &[u8; 24],
    root: &[u8; 32],
) -> Result<[u8; SLOT_BYTES], SealError> {
    let fingerprint = kdf::master_fingerprint(master);
    let mut sealed = Zeroizing::new(*root);
    let key = slot_key(master);
    let tag = cipher::seal_with(&key, nonce, &slot_ad(identity, &fingerprint), &mut *sealed)?;
    Ok(join(&[&fingerprint, nonce, &*sealed, &tag]))
}

/// Opens a slot into `root`, which is zeros on failure.
pub(super) fn open_slot(
    master: &[u8; 32],
    identity: &Identity,
    slot: &Slot<'_>,
    root: &mut [u8; 32],
) -> Result<(), DoesNotOpen> {
    root.copy_from_slice(slot.sealed);
    let ad = slot_ad(identity, slot.fingerprint);
    cipher::open_with(&slot_key(master), slot.nonce, &ad, root, slot.tag)
}

fn slot_key(master: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    kdf::derive(master, "slot", &[], &mut *key);
    key
}

fn slot_ad(identity: &Identity, fingerprint: &[u8; 16]) -> [u8; SLOT_AD_BYTES] {
    join(&[SLOT_LABEL, &identity.keyring_id, &identity.epoch.to_le_bytes(), fingerprint])
}

/// Whose secret a record holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: [u8; 16],
    pub(super) version: u32,
    pub(super) class: Class,
}

/// Seals a secret into a record; a class with random ids draws one.
pub(super) fn seal_record<A: Arena>(
    subkeys: &Subkeys<A>,
    identity: &Identity,
    owner: &Owner,
    secret: &[u8],
    entropy: &mut dyn Entropy,
) -> Result<Stored, KeyringError> {
    let mut key_id = [0; 32];
    if owner.class.has_random_id() {
        entropy.fill(&mut key_id)?;
    } else {
        key_id = derived_id(secret, owner.class).ok_or(KeyringError::SecretLength)?;
    }
    let mut nonce = [0; 24];
    entropy.fill(&mut nonce)?;
    seal_record_with(&subkeys.record, identity, owner, &key_id, &nonce, secret)
}

/// Seals a record with given id and nonce.
pub(super) fn seal_record_with<A: Arena>(
    cipher: &MessageCipher<A>,
    identity: &Identity,
    owner: &Owner,
    key_id: &[u8; 32],
    nonce: &[u8; 24],
    secret: &[u8],
) -> Result<Stored, KeyringError> {
    let length = u16::try_from(secret.len()).map_err(|_| KeyringError::SecretLength)?;
    let mut buffer = Zeroizing::new([0; MAX_SECRET_BYTES]);
    let sealed = buffer.get_mut(..secret.len()).ok_or(KeyringError::SecretLength)?;
    if !owner.class.secret_bytes().contains(&secret.len()) {
        return Err(KeyringError::SecretLength);
    }
    sealed.copy_from_slice(secret);
    let version = owner.version.to_le_bytes();
    let prefix: [u8; RECORD_PREFIX_BYTES] = join(&[&owner.uid, &version, &[owner.class as u8], key_id]);
    let tag = cipher.seal_in_place(nonce, &record_ad(identity, &prefix), sealed)?;
    let mut bytes = Vec::with_capacity(RECORD_PREFIX_BYTES + 42 + secret.len());
    for field in [&prefix[..], nonce, &length.to_le_bytes(), sealed, &tag] {
        bytes.extend_from_slice(field);
    }
    Ok(Stored { key_id: *key_id, bytes: Arc::from(bytes) })
}

/// Opens a record on the stack, lets `then` see the secret, and wipes it.
///
/// Refuses a secret whose length its class does not allow, and one that its key id does not name.
pub(super) fn with_secret<A: Arena, R>(
    cipher: &MessageCipher<A>,
    identity: &Identity,
    record: &Record<'_>,
    then: impl FnOnce(Class, &[u8]) -> R,
) -> Result<R, KeyringError> {
    let class = Class::from_byte(record.class).ok_or(KeyringError::Damaged("unknown class"))?;
    let mut buffer = Zeroizing::new([0; MAX_SECRET_BYTES]);
    let place = buffer.get_mut(..record.sealed.len());
    let secret = place.ok_or(KeyringError::Damaged("a record is too long"))?;
    secret.copy_from_slice(record.sealed);
    let ad = record_ad(identity, record.prefix);
    cipher
        .open_in_place(record.nonce, &ad, secret, record.tag)
        .map_err(|DoesNotOpen| KeyringError::Damaged("a record does not open"))?;
    if !class.secret_bytes().contains(&secret.len()) {
        return Err(KeyringError::Damaged("a secret has a length that its class forbids"));
    }
    if !class.has_random_id() && derived_id(secret, class).as_ref() != Some(record.key_id) {
        return Err(KeyringError::Damaged("a key id does not name its secret"));
    }
    Ok(then(class, secret))
}

/// Opens a record that is kept in memory.
pub(super) fn with_stored_secret<A: Arena, R>(
    cipher: &MessageCipher<A>,
    identity: &Identity,
    stored: &Stored,
    then: impl FnOnce(Class, &[u8]) -> R,
) -> Result<R, KeyringError> {
    with_secret(cipher, identity, &Record::read(&mut Reader(&stored.bytes))?, then)
}

/// Whether an id that came from outside names this secret, as far as its class derives ids.
pub(super) fn check_id(key_id: &[u8; 32], secret: &[u8], class: Class) -> Result<(), KeyringError> {
    if class.has_random_id() || derived_id(secret, class).as_ref() == Some(key_id) {
        Ok(())
    } else {
        Err(KeyringError::Damaged("a key id does not name its secret"))
    }
}

fn derived_id(secret: &[u8], class: Class) -> Option<[u8; 32]> {
    Some(kdf::key_id(secret.try_into().ok()?, class as u8))
}

fn record_ad(identity: &Identity, prefix: &[u8; RECORD_PREFIX_BYTES]) -> [u8; RECORD_AD_BYTES] {
    join(&[RECORD_LABEL, &identity.keyring_id, &identity.epoch.to_le_bytes(), prefix])
}

/// A random secret of 32 bytes for `then`, wiped afterwards.
pub(super) fn with_random_secret<R>(
    entropy: &mut dyn Entropy,
    then: impl FnOnce(&[u8; 32], &mut dyn Entropy) -> Result<R, KeyringError>,
) -> Result<R, KeyringError> {
    let mut secret = [0; 32];
    let result = match entropy.fill(&mut secret) {
        Ok(()) => then(&secret, entropy),
        Err(failed) => Err(failed.into()),
    };
    secret.zeroize();
    result
}
