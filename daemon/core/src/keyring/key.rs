//! What a keyring says about its keys: names, classes, versions, policies. No secrets.
//!
//! The numbers of classes, states and reasons are bytes of the format (docs/FORMATS.md, sections 3
//! and 6) and never change.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::ops::RangeInclusive;

use keyagent_common::name::KeyName;
use sha2::{Digest, Sha256};

use super::file::Record;
use crate::layout::Reader;

/// One key, one algorithm, for ever (docs/FORMATS.md, section 6 "Classes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// Seals messages and data keys.
    Message = 0x01,
    /// Blind index.
    Index = 0x02,
    /// Signs JSON web tokens with HS256.
    Hs256 = 0x03,
    /// Vault Transit data, through the bridge.
    VaultGcm = 0x04,
    /// An age identity.
    AgeX25519 = 0x05,
    /// A foreign program's 32-byte key.
    LegacyRaw = 0x40,
    /// A foreign program's pass phrase.
    LegacyText = 0x41,
}

impl Class {
    /// The class of a byte.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::Message,
            0x02 => Self::Index,
            0x03 => Self::Hs256,
            0x04 => Self::VaultGcm,
            0x05 => Self::AgeX25519,
            0x40 => Self::LegacyRaw,
            0x41 => Self::LegacyText,
            _ => return None,
        })
    }

    /// How long a secret of the class may be, in bytes.
    pub const fn secret_bytes(self) -> RangeInclusive<usize> {
        if self.has_random_id() { 1..=1024 } else { 32..=32 }
    }

    /// Whether ids are random: a hash of a weak secret would be an offline oracle.
    pub const fn has_random_id(self) -> bool {
        matches!(self, Self::Hs256 | Self::LegacyText)
    }
}

/// Where a version stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Made, distributed, not yet used.
    Staged = 1,
    /// Seals new data; exactly one version of a key.
    Primary = 2,
    /// Opens old data.
    Grace = 3,
    /// Refused, can be reinstated.
    Retired = 4,
    /// Refused until enabled.
    Disabled = 5,
    /// Refused because somebody else may know it.
    Compromised = 6,
    /// Its record is gone.
    Destroyed = 7,
}

impl State {
    /// The word for people, for the wire and for the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Primary => "primary",
            Self::Grace => "grace",
            Self::Retired => "retired",
            Self::Disabled => "disabled",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
        }
    }

    /// Whether it is refused until it goes back to the state before.
    pub const fn is_stopped(self) -> bool {
        matches!(self, Self::Disabled | Self::Compromised)
    }

    /// The state of a byte.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Staged,
            2 => Self::Primary,
            3 => Self::Grace,
            4 => Self::Retired,
            5 => Self::Disabled,
            6 => Self::Compromised,
            7 => Self::Destroyed,
            _ => return None,
        })
    }
}

/// Why a version was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// The first version of a key.
    None = 0,
    /// Its interval was over.
    Scheduled = 1,
    /// The version before may be known to somebody.
    Compromise = 2,
    /// Somebody left.
    Personnel = 3,
    /// An audit demanded it.
    Audit = 4,
    /// Asked for by hand.
    Manual = 5,
}

impl Reason {
    /// The word for people, for the keyring, for the wire and for the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Scheduled => "scheduled",
            Self::Compromise => "compromise",
            Self::Personnel => "personnel",
            Self::Audit => "audit",
            Self::Manual => "manual",
        }
    }

    /// The reason of a word; "none" is no reason for a rotation, and no word here.
    pub fn from_word(word: &str) -> Option<Self> {
        let reasons = [Self::Scheduled, Self::Compromise, Self::Personnel, Self::Audit, Self::Manual];
        reasons.into_iter().find(|reason| reason.as_str() == word)
    }

    /// The reason of a byte.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::None,
            1 => Self::Scheduled,
            2 => Self::Compromise,
            3 => Self::Personnel,
            4 => Self::Audit,
            5 => Self::Manual,
            _ => return None,
        })
    }
}

/// When a key is rotated. Times are seconds since 1970, 0 = never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether the key rotates by itself.
    pub enabled: bool,
    /// Days from one rotation to the next.
    pub interval_days: u32,
    /// Days that an old version stays in grace.
    pub grace_period_days: u32,
    /// When the next rotation is due.
    pub next_rotation_at: u64,
    /// When the last rotation was.
    pub last_rotation_at: u64,
    /// Whether versions retire by themselves when grace is over.
    pub auto_retire: bool,
}

/// A named key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Random, never zero; tells a key from a later one of the same name.
    pub uid: [u8; 16],
    /// What it is for.
    pub class: Class,
    /// A valid `KeyName`.
    pub name: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// When it is rotated.
    pub policy: Policy,
    /// Free text of the administrator, at most 65535 bytes.
    pub note: String,
    /// Later metadata: names of `[a-z0-9._-]{1,64}` strictly ascending, values of at most 65535 bytes.
    pub attributes: Vec<(String, Vec<u8>)>,
    /// Strictly ascending by number; exactly one primary, or none where all are destroyed.
    pub versions: Vec<Version>,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Counted from 1.
    pub number: u32,
    /// Where it stands in its life.
    pub state: State,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Why it was made.
    pub reason: Reason,
    /// SHA-256 of its record; zeros when destroyed.
    pub(super) digest: [u8; 32],
    /// Its sealed record; `None` when destroyed.
    pub(super) stored: Option<Stored>,
}

impl Key {
    /// A key without versions, policy, note and attributes.
    pub(super) fn new(uid: [u8; 16], class: Class, name: KeyName<'_>, created_at: u64) -> Self {
        Self {
            uid,
            class,
            name: String::from(name.as_str()),
            created_at,
            policy: Policy::default(),
            note: String::new(),
            attributes: Vec::new(),
            versions: Vec::new(),
        }
    }

    /// The version of a number.
    pub fn version(&self, number: u32) -> Option<&Version> {
        self.versions.get(self.place(number)?)
    }

    /// Where the version of a number stands among all.
    pub(super) fn place(&self, number: u32) -> Option<usize> {
        self.versions.binary_search_by_key(&number, |version| version.number).ok()
    }

    /// Whether nothing is left of it but its name, which stays taken.
    pub fn is_destroyed(&self) -> bool {
        self.versions.iter().all(|version| version.state == State::Destroyed)
    }

    /// The version that seals new data; none in a destroyed key.
    pub fn primary(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.state == State::Primary)
    }
}

impl Version {
    /// A version with its record.
    pub(super) fn new(number: u32, state: State, reason: Reason, created_at: u64, stored: Stored) -> Self {
        let digest = stored.digest();
        Self { number, state, created_at, reason, digest, stored: Some(stored) }
    }

    /// The id that messages sealed by this version carry; `None` when destroyed.
    pub fn key_id(&self) -> Option<&[u8; 32]> {
        self.stored.as_ref().map(|stored| &stored.key_id)
    }
}

/// A record as it stands in the file, in ordinary memory: its secret is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) key_id: [u8; 32],
    pub(super) bytes: Arc<[u8]>,
}

impl Stored {
    /// SHA-256 of the record.
    pub(super) fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }

    /// Whether the record says that it is this version of this key.
    pub(super) fn belongs_to(&self, key: &Key, version: &Version) -> bool {
        Record::read(&mut Reader(&self.bytes)).is_ok_and(|record| {
            *record.uid == key.uid && record.class == key.class as u8 && record.version == version.number
        })
    }
}

impl From<&Record<'_>> for Stored {
    fn from(record: &Record<'_>) -> Self {
        Self { key_id: *record.key_id, bytes: Arc::from(record.bytes) }
    }
}
