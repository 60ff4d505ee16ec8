//! The body of the sealed head (docs/FORMATS.md, section 3 "Keyring file").
//!
//! Names, states, policies and the digests that bind the set of records. Must never accept two
//! encodings of the same contents, or contents that break a rule of the keyring.
//!
//! Integers are little-endian, times are seconds since 1970 (0 = never), flags are 0 or 1.
//!
//! | Field | Size | Rule |
//! |---|---|---|
//! | pin present | 1 | flag |
//! | pin | 88, only if present | segment u64, seq u64, mac 32, generation u64, head digest 32 |
//! | created at | 8 | |
//! | canary digest | 32 | SHA-256 of the canary's record |
//! | key count | 4 | |
//! | keys | | by name, strictly ascending bytewise |
//!
//! A key:
//!
//! | Field | Size | Rule |
//! |---|---|---|
//! | uid | 16 | not zero, in no other key |
//! | class | 1 | section 6 |
//! | name | u8 length, bytes | a key name |
//! | created at | 8 | |
//! | policy | 26 | enabled flag, interval days u32, grace period days u32, next rotation u64, last rotation u64, auto retire flag |
//! | note | u16 length, bytes | UTF-8 |
//! | attributes | u16 count, then each: u8 length, name, u16 length, value | names of `[a-z0-9._-]{1,64}`, strictly ascending; known ones as `attribute` says |
//! | version count | 4 | |
//! | versions | 46 each | by number, strictly ascending from 1 or more; exactly one primary, or all destroyed |
//!
//! A version:
//!
//! | Field | Size | Rule |
//! |---|---|---|
//! | number | 4 | |
//! | state | 1 | staged 1, primary 2, grace 3, retired 4, disabled 5, compromised 6, destroyed 7 |
//! | created at | 8 | |
//! | reason | 1 | none 0, scheduled 1, compromise 2, personnel 3, audit 4, manual 5 |
//! | digest | 32 | SHA-256 of its record; zeros exactly when destroyed, for then there is no record |
//!
//! The records of the file stand in this order: the canary, then the versions of each key as here.

use alloc::{collections::BTreeSet, string::String, vec::Vec};

use keyagent_common::name::KeyName;

use super::{
    KeyringError, attribute,
    key::{Class, Key, Policy, Reason, State, Version},
};
use crate::{
    layout::{Reader, Short},
    pin::Pin,
};

/// The contents of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) pin: Option<Pin>,
    pub(super) created_at: u64,
    pub(super) canary_digest: [u8; 32],
    pub(super) keys: Vec<Key>,
}

/// Why contents are no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadHead(pub(super) &'static str);

impl From<Short> for BadHead {
    fn from(_: Short) -> Self {
        Self("the head ends early")
    }
}

impl From<BadHead> for KeyringError {
    fn from(bad: BadHead) -> Self {
        Self::Damaged(bad.0)
    }
}

impl Head {
    /// Reads a body; versions come without their records.
    pub(super) fn decode(body: &[u8]) -> Result<Self, BadHead> {
        let mut reader = Reader(body);
        let pin = if flag(&mut reader)? { Some(Pin::read(&mut reader)?) } else { None };
        let created_at = reader.u64()?;
        let canary_digest = *reader.array()?;
        let mut keys = Vec::new();
        for _ in 0..reader.u32()? {
            keys.push(read_key(&mut reader)?);
        }
        if !reader.0.is_empty() {
            return Err(BadHead("bytes follow the head"));
        }
        let head = Self { pin, created_at, canary_digest, keys };
        head.check()?;
        Ok(head)
    }

    /// Writes the body, checked as it will be when read.
    pub(super) fn encode(&self) -> Result<Vec<u8>, BadHead> {
        self.check()?;
        let mut out = Vec::new();
        out.push(u8::from(self.pin.is_some()));
        if let Some(pin) = &self.pin {
            out.extend_from_slice(&pin.to_bytes());
        }
        out.extend_from_slice(&self.created_at.to_le_bytes());
        out.extend_from_slice(&self.canary_digest);
        out.extend_from_slice(&length::<u32>(self.keys.len())?.to_le_bytes());
        for key in &self.keys {
            write_key(&mut out, key)?;
        }
        Ok(out)
    }

    fn check(&self) -> Result<(), BadHead> {
        if !self.keys.is_sorted_by(|a, b| a.name < b.name) {
            return Err(BadHead("key names are not strictly ascending"));
        }
        let mut uids = BTreeSet::from([super::CANARY_UID]);
        if !self.keys.iter().all(|key| uids.insert(key.uid)) {
            return Err(BadHead("a key uid is zero or occurs twice"));
        }
        self.keys.iter().try_for_each(check_key)
    }
}

fn check_key(key: &Key) -> Result<(), BadHead> {
    KeyName::parse(&key.name).map_err(|_| BadHead("not a key name"))?;
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let named = |name: &str| (1..=64).contains(&name.len()) && name.bytes().all(allowed);
    if !key.attributes.iter().all(|(name, _)| named(name)) {
        return Err(BadHead("not an attribute name"));
    }
    if !key.attributes.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(BadHead("attribute names are not strictly ascending"));
    }
    attribute::check(key)?;
    let numbers = || key.versions.iter().map(|version| version.number);
    if numbers().next() == Some(0) || !numbers().is_sorted_by(|a, b| a < b) {
        return Err(BadHead("versions are not strictly ascending"));
    }
    let primaries = key.versions.iter().filter(|version| version.state == State::Primary).count();
    if primaries != 1 && (key.versions.is_empty() || !key.is_destroyed()) {
        return Err(BadHead("not exactly one primary version"));
    }
    let in_step = |version: &Version| (version.state == State::Destroyed) == (version.digest == [0; 32]);
    if key.versions.iter().all(in_step) { Ok(()) } else { Err(BadHead("a digest contradicts its state")) }
}

fn read_key(reader: &mut Reader<'_>) -> Result<Key, BadHead> {
    let uid = *reader.array()?;
    let class = Class::from_byte(reader.u8()?).ok_or(BadHead("unknown class"))?;
    let name_bytes = reader.u8()?;
    let name = text(reader, name_bytes.into())?;
    let created_at = reader.u64()?;
    let policy = Policy {
        enabled: flag(reader)?,
        interval_days: reader.u32()?,
        grace_period_days: reader.u32()?,
        next_rotation_at: reader.u64()?,
        last_rotation_at: reader.u64()?,
        auto_retire: flag(reader)?,
    };
    let note_bytes = reader.u16()?;
    let note = text(reader, note_bytes.into())?;
    let mut attributes = Vec::new();
    for _ in 0..reader.u16()? {
        let name_bytes = reader.u8()?;
        let name = text(reader, name_bytes.into())?;
        let value_bytes = reader.u16()?;
        attributes.push((name, Vec::from(reader.bytes(value_bytes.into())?)));
    }
    let mut versions = Vec::new();
    for _ in 0..reader.u32()? {
        versions.push(read_version(reader)?);
    }
    Ok(Key { uid, class, name, created_at, policy, note, attributes, versions })
}

fn read_version(reader: &mut Reader<'_>) -> Result<Version, BadHead> {
    Ok(Version {
        number: reader.u32()?,
        state: State::from_byte(reader.u8()?).ok_or(BadHead("unknown state"))?,
        created_at: reader.u64()?,
        reason: Reason::from_byte(reader.u8()?).ok_or(BadHead("unknown reason"))?,
        digest: *reader.array()?,
        stored: None,
    })
}

fn write_key(out: &mut Vec<u8>, key: &Key) -> Result<(), BadHead> {
    out.extend_from_slice(&key.uid);
    out.push(key.class as u8);
    out.push(length(key.name.len())?);
    out.extend_from_slice(key.name.as_bytes());
    out.extend_from_slice(&key.created_at.to_le_bytes());
    out.push(u8::from(key.policy.enabled));
    out.extend_from_slice(&key.policy.interval_days.to_le_bytes());
    out.extend_from_slice(&key.policy.grace_period_days.to_le_bytes());
    out.extend_from_slice(&key.policy.next_rotation_at.to_le_bytes());
    out.extend_from_slice(&key.policy.last_rotation_at.to_le_bytes());
    out.push(u8::from(key.policy.auto_retire));
    out.extend_from_slice(&length::<u16>(key.note.len())?.to_le_bytes());
    out.extend_from_slice(key.note.as_bytes());
    out.extend_from_slice(&length::<u16>(key.attributes.len())?.to_le_bytes());
    for (name, value) in &key.attributes {
        out.push(length(name.len())?);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&length::<u16>(value.len())?.to_le_bytes());
        out.extend_from_slice(value);
    }
    out.extend_from_slice(&length::<u32>(key.versions.len())?.to_le_bytes());
    for version in &key.versions {
        out.extend_from_slice(&version.number.to_le_bytes());
        out.push(version.state as u8);
        out.extend_from_slice(&version.created_at.to_le_bytes());
        out.push(version.reason as u8);
        out.extend_from_slice(&version.digest);
    }
    Ok(())
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, BadHead> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(BadHead("a flag is neither 0 nor 1")),
    }
}

fn text(reader: &mut Reader<'_>, length: usize) -> Result<String, BadHead> {
    let bytes = reader.bytes(length)?;
    let text = core::str::from_utf8(bytes).map_err(|_| BadHead("a text is not UTF-8"))?;
    Ok(String::from(text))
}

fn length<N: TryFrom<usize>>(length: usize) -> Result<N, BadHead> {
    N::try_from(length).map_err(|_| BadHead("a text or list is too long"))
}

#[cfg(test)]
mod tests;
