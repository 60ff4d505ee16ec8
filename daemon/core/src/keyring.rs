//! The open keyring: an immutable snapshot of names and sealed records, and the subkeys that open them
//! (docs/FORMATS.md, sections 3 "Keyring file" and 5 "Subkeys").
//!
//! Bytes in, bytes out; files are the daemon's work. Must never keep the master or the root, hold an
//! opened secret outside an arena slot or the stack, or advance before the caller confirmed that the
//! new bytes are on disk. A clone is another handle to the same snapshot; the subkeys are wiped when
//! the last handle goes.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use keyagent_common::{kdf, name::KeyName};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    arena::{Arena, ArenaFull},
    audit::{AuditRoot, archive},
    cipher::{self, MessageCipher, SealError},
    entropy::{Entropy, EntropyFailed},
    pin::{self, Pin, PinError},
    usage::CounterKey,
};

mod attribute;
mod contents;
mod draft;
mod export;
pub mod file;
mod head;
mod key;
mod rotation;
mod round_trip;
mod secrets;
mod since;

pub use attribute::{Brake, Due, Label, MAX_ACCESS_BYTES, MAX_LABEL_BYTES, MAX_REASON_BYTES};
pub(crate) use attribute::{PERSONNEL, is_reason, is_subject};
use contents::Contents;
pub use draft::{Draft, PreparedCommit};
pub(crate) use export::{ImportedKey, ImportedVersion};
use file::File;
use head::Head;
pub use key::{Class, Key, Policy, Reason, State, Version};
use secrets::{Identity, Owner, Subkeys};
pub use since::MAX_VERSIONS;

const CANARY_UID: [u8; 16] = [0; 16];
const HEAD_LABEL: &[u8] = b"keyagent/v1 head\0";

/// What a keyring or a change of it can fail with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Another beginning than a keyring has.
    #[error("not a keyring")]
    NotAKeyring,
    /// Made by a newer program.
    #[error("keyring of version {0}, which this program does not know")]
    UnsupportedVersion(u16),
    /// The file ends early.
    #[error("the keyring ends early")]
    Truncated,
    /// It was altered or damaged.
    #[error("the keyring is damaged: {0}")]
    Damaged(&'static str),
    /// No slot is for this master key.
    #[error(
        "the master key {} opens none of the keyring's slots ({})",
        Fingerprints(core::slice::from_ref(got)),
        Fingerprints(expected)
    )]
    WrongKey {
        /// Fingerprints of the masters that open it.
        expected: Vec<[u8; 16]>,
        /// Fingerprint of the given master.
        got: [u8; 16],
    },
    /// A secret's length is not one of its class.
    #[error("a secret of this length does not fit the class of the key")]
    SecretLength,
    /// The version is of a class that seals no messages, or destroyed.
    #[error("this key version seals no messages")]
    NotAMessageKey,
    /// The name is taken or no key name.
    #[error("the name is taken or no key name")]
    Name,
    /// No such key in the keyring.
    #[error("no such key")]
    NoSuchKey,
    /// A changed keyring breaks a rule of the format.
    #[error("the change is not possible: {0}")]
    Rule(&'static str),
    /// The change would leave no room to put a brake on every key.
    #[error("the keyring is full: it has at most 64 MiB, and room for a brake on every key is kept free")]
    Full,
    /// The keyring advanced since the change was prepared.
    #[error("the keyring has changed since")]
    Stale,
    /// No locked memory left.
    #[error(transparent)]
    Arena(#[from] ArenaFull),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyFailed),
    /// Too long to be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// An open keyring.
pub struct Keyring<A: Arena> {
    working: Arc<Working<A>>,
    contents: Arc<Contents>,
    /// Sealed, reused verbatim in later commits.
    slots: Arc<[u8]>,
    generation: u64,
    head_digest: [u8; 32],
}

/// What commits do not change: it goes from snapshot to snapshot, until the root is another.
struct Working<A: Arena> {
    identity: Identity,
    subkeys: Subkeys<A>,
}

impl<A: Arena> Clone for Keyring<A> {
    fn clone(&self) -> Self {
        let (working, contents) = (Arc::clone(&self.working), Arc::clone(&self.contents));
        let slots = Arc::clone(&self.slots);
        Self { working, contents, slots, generation: self.generation, head_digest: self.head_digest }
    }
}

impl<A: Arena> Keyring<A> {
    /// A new keyring with the key `default`, whose first version every host with this master shares.
    ///
    /// Nothing is on disk yet: generation 0 and a zero head digest, until the first commit (which
    /// writes generation 1) is confirmed. The audit root begins the first segment and is then dropped.
    pub fn create(
        arena: &A,
        master: &[u8; 32],
        entropy: &mut dyn Entropy,
        now_unix: u64,
    ) -> Result<(Self, AuditRoot<A>), KeyringError> {
        let (mut keyring_id, mut uid, mut nonce) = ([0; 16], [0; 16], [0; 24]);
        let mut root = Zeroizing::new([0; 32]);
        entropy.fill(&mut keyring_id)?;
        entropy.fill(&mut uid)?;
        entropy.fill(&mut nonce)?;
        entropy.fill(&mut *root)?;
        let identity = Identity { keyring_id, epoch: 1 };
        let slots = Arc::<[u8]>::from(secrets::seal_slot(master, &identity, &nonce, &root)?);
        let subkeys = Subkeys::derive(arena, &root)?;
        let audit_root = AuditRoot::derive(arena, &root)?;
        let canary = Owner { uid: CANARY_UID, version: 1, class: Class::Message };
        let canary = secrets::with_random_secret(entropy, |secret, entropy| {
            secrets::seal_record(&subkeys, &identity, &canary, secret, entropy)
        })?;
        let mut secret = Zeroizing::new([0; 32]);
        kdf::derive(master, "default key", &[], &mut *secret);
        let owner = Owner { uid, version: 1, class: Class::Message };
        let stored = secrets::seal_record(&subkeys, &identity, &owner, &*secret, entropy)?;
        let mut default = Key::new(uid, Class::Message, KeyName::DEFAULT, now_unix);
        default.versions.push(Version::new(1, State::Primary, Reason::None, now_unix, stored));
        let contents = Contents::new(now_unix, canary, Vec::from([default]))?;
        let working = Arc::new(Working { identity, subkeys });
        let contents = Arc::new(contents);
        let keyring = Self { working, contents, slots, generation: 0, head_digest: [0; 32] };
        Ok((keyring, audit_root))
    }

    /// Opens a keyring file: every byte is accounted for, every record opened and its id recomputed.
    ///
    /// No slot of this master is [`KeyringError::WrongKey`] (79); a slot, head or record that does not
    /// open is [`KeyringError::Damaged`] (65).
    pub fn open(arena: &A, bytes: &[u8], master: &[u8; 32]) -> Result<(Self, AuditRoot<A>), KeyringError> {
        let file = File::parse(bytes)?;
        let identity = Identity { keyring_id: file.header.keyring_id, epoch: file.header.epoch };
        let mut root = Zeroizing::new([0; 32]);
        open_root(file.slots, master, &identity, &mut root)?;
        let subkeys = Subkeys::derive(arena, &root)?;
        let audit_root = AuditRoot::derive(arena, &root)?;
        drop(root);
        let mut body = Vec::from(file.head.body);
        let ad = [HEAD_LABEL, file.before_nonce].concat();
        cipher::open_with(&subkeys.head, file.head.nonce, &ad, &mut body, file.head.tag)
            .map_err(|_| KeyringError::Damaged("the head does not open"))?;
        let head = Head::decode(&body)?;
        let records = file.records()?;
        for record in &records {
            secrets::with_secret(&subkeys.record, &identity, record, |_, _| ())?;
        }
        let contents = Arc::new(Contents::attach(head, &records)?);
        let working = Arc::new(Working { identity, subkeys });
        let head_digest = Sha256::digest(file.before_records).into();
        let (slots, generation) = (Arc::from(file.slots), file.header.generation);
        let keyring = Self { working, contents, slots, generation, head_digest };
        let archive = Vec::from(keyring.archive());
        if archive::spans(&archive).next_back().is_some_and(|last| last.epoch >= identity.epoch) {
            return Err(KeyringError::Damaged("an earlier epoch is none"));
        }
        let audit_root = audit_root.with_archive(identity.keyring_id, identity.epoch, archive);
        Ok((keyring, audit_root))
    }

    /// Random name of the keyring.
    pub fn keyring_id(&self) -> &[u8; 16] {
        &self.working.identity.keyring_id
    }

    /// One more at each master rotation.
    pub fn epoch(&self) -> u32 {
        self.working.identity.epoch
    }

    /// Generation on disk; 0 before the first commit.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// SHA-256 of header, slots and head on disk; zeros before the first commit.
    pub fn head_digest(&self) -> &[u8; 32] {
        &self.head_digest
    }

    /// When the keyring was made, in seconds since 1970.
    pub fn created_at(&self) -> u64 {
        self.contents.head.created_at
    }

    /// The pin that the head on disk holds.
    pub fn pin(&self) -> Option<&Pin> {
        self.contents.head.pin.as_ref()
    }

    /// All keys, by name.
    pub fn keys(&self) -> &[Key] {
        &self.contents.head.keys
    }

    /// The key of a name.
    pub fn find(&self, name: &str) -> Option<&Key> {
        let place = self.keys().binary_search_by(|key| key.name.as_str().cmp(name)).ok()?;
        self.keys().get(place)
    }

    /// The version whose id a message carries; never the canary.
    pub fn version_by_id(&self, key_id: &[u8; 32]) -> Option<(&Key, &Version)> {
        self.contents.version_by_id(key_id)
    }

    /// Opens a version's record and expands its message key into a slot.
    pub fn load_cipher(&self, arena: &A, version: &Version) -> Result<MessageCipher<A>, KeyringError> {
        self.with_secret(version, |class, secret| {
            let secret = secret.try_into().map_err(|_| KeyringError::NotAMessageKey)?;
            if class != Class::Message {
                return Err(KeyringError::NotAMessageKey);
            }
            Ok(MessageCipher::new(arena, secret)?)
        })?
    }

    /// Opens a version's record on the stack and lets `then` see class and secret, which is then wiped.
    pub(crate) fn with_secret<R>(
        &self,
        version: &Version,
        then: impl FnOnce(Class, &[u8]) -> R,
    ) -> Result<R, KeyringError> {
        let stored = version.stored.as_ref().ok_or(KeyringError::NotAMessageKey)?;
        let Working { identity, subkeys, .. } = &*self.working;
        secrets::with_stored_secret(&subkeys.record, identity, stored, then)
    }

    /// Opens the canary again, without randomness; [`Self::round_trip`] proves more.
    pub fn check_canary(&self) -> Result<(), KeyringError> {
        let Working { identity, subkeys, .. } = &*self.working;
        secrets::with_stored_secret(&subkeys.record, identity, &self.contents.canary, |_, _| ())
    }

    /// How the audit log names a context value: the first 16 bytes of
    /// `HMAC-SHA-256(context hash, key uid || name || 00 || value)` (docs/FORMATS.md, section 5).
    pub fn context_value_hash(&self, key_uid: &[u8; 16], name: &str, value: &[u8]) -> [u8; 16] {
        let key = &self.working.subkeys.context_hash;
        let hash = hmac(key, &[key_uid, name.as_bytes(), &[0], value]);
        let mut short = [0; 16];
        short.copy_from_slice(hash.split_at(16).0);
        short
    }

    /// What equal secrets of two classes have in common: HMAC-SHA-256 under `reuse` of the secret as
    /// HMAC would use it as a key (hashed if longer than 64 bytes, trailing zeros stripped; section 6).
    pub fn reuse_tag(&self, secret: &[u8]) -> [u8; 32] {
        let hashed = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(secret)));
        let used = if secret.len() > 64 { &hashed[..] } else { secret };
        let length = used.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        hmac(&self.working.subkeys.reuse, &[used.split_at(length).0])
    }

    /// What authenticates the file of counters; another handle to the same place, wiped with the last one.
    pub fn counter_key(&self) -> CounterKey<A> {
        CounterKey::new(Arc::clone(&self.working.subkeys.counters), *self.keyring_id(), self.epoch())
    }

    /// The 139 bytes of `audit.pin`.
    pub fn seal_pin(&self, pin: &Pin) -> [u8; pin::FILE_BYTES] {
        pin.seal(&self.working.subkeys.pin)
    }

    /// Reads `audit.pin`.
    pub fn open_pin(&self, file: &[u8]) -> Result<Pin, PinError> {
        Pin::open(&self.working.subkeys.pin, file)
    }
}

/// What anybody can read of a keyring without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Random id of the keyring.
    pub keyring_id: [u8; 16],
    /// Its generation.
    pub generation: u64,
    /// SHA-256 of its header, slots and head. The head binds every record, but that is not checked here.
    pub head_digest: [u8; 32],
    /// Fingerprints of the master keys that open it.
    pub masters: Vec<[u8; 16]>,
}

/// Reads the public part of a keyring: for comparing a file with a keyring that is open.
pub fn examine(bytes: &[u8]) -> Result<Examined, KeyringError> {
    let file = File::parse(bytes)?;
    let head_digest = Sha256::digest(file.before_records).into();
    let masters = file.slots().map(|slot| *slot.fingerprint).collect();
    let file::Header { keyring_id, generation, .. } = file.header;
    Ok(Examined { keyring_id, generation, head_digest, masters })
}

fn open_root(
    slots: &[u8],
    master: &[u8; 32],
    identity: &Identity,
    root: &mut [u8; 32],
) -> Result<(), KeyringError> {
    let got = kdf::master_fingerprint(master);
    let expected: Vec<[u8; 16]> = file::slots_of(slots).map(|slot| *slot.fingerprint).collect();
    let mut matching = file::slots_of(slots).filter(|slot| *slot.fingerprint == got);
    let Some(slot) = matching.next() else {
        return Err(KeyringError::WrongKey { expected, got });
    };
    if matching.next().is_some() {
        return Err(KeyringError::Damaged("two slots for one master key"));
    }
    secrets::open_slot(master, identity, &slot, root)
        .map_err(|_| KeyringError::Damaged("the slot of this master key does not open"))
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC accepts keys of any length (RFC 2104)")
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

struct Fingerprints<'f>(&'f [[u8; 16]]);

impl fmt::Display for Fingerprints<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, fingerprint) in self.0.iter().enumerate() {
            f.write_str(if place > 0 { ", " } else { "" })?;
            fingerprint.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
