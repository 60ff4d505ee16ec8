//! Between a key of the keyring and what a page says of it.
//!
//! Attributes are carried by an allow-list: who has access is another question on every host, and keys of an
//! earlier epoch belong to the keyring they are sealed for.

use alloc::{string::String, vec::Vec};

use keyagent_common::{
    backup::page::{KeyPart, PolicyPart, VersionPart},
    name::KeyName,
};

use super::BackupError;
use crate::keyring::{
    Class, ImportedKey, ImportedVersion, Key, MAX_VERSIONS, Policy, Reason, State, Version,
};

/// Attributes that go along, beside everything that is said about a brake.
const CARRIED: [&str; 6] =
    ["environment", "owner", "purpose", "rotation.due_at", "rotation.due_reason", "url"];

fn is_carried(name: &str) -> bool {
    name == "brake" || name.starts_with("brake.") || CARRIED.contains(&name)
}

/// What a page says of a key; `versions` is left to the caller.
pub(super) fn part(key: &Key, before: u32) -> KeyPart<'_> {
    let carried = key.attributes.iter().filter(|(name, _)| is_carried(name));
    let Policy { enabled, interval_days, grace_period_days, next_rotation_at, last_rotation_at, auto_retire } =
        key.policy;
    KeyPart {
        uid: key.uid,
        class: key.class as u8,
        name: &key.name,
        created_at: key.created_at,
        policy: PolicyPart {
            enabled,
            interval_days,
            grace_period_days,
            next_rotation_at,
            last_rotation_at,
            auto_retire,
        },
        note: &key.note,
        attributes: carried.map(|(name, value)| (name.as_str(), value.as_slice())).collect(),
        primary: key.primary().and_then(Version::key_id).copied().unwrap_or_default(),
        total: u32::try_from(key.versions.len()).unwrap_or(u32::MAX),
        before,
        versions: Vec::new(),
    }
}

/// What a page says of a version; the secret is left to the caller.
pub(super) fn version(key: &Key, version: &Version) -> VersionPart<'static> {
    VersionPart {
        number: version.number,
        state: version.state as u8,
        state_before: key.state_before(version.number).map_or(0, |state| state as u8),
        since: key.since(version.number).unwrap_or(0),
        created_at: version.created_at,
        reason: version.reason as u8,
        secret: None,
    }
}

/// The key that a page speaks of, for a keyring that has none of its name.
pub(super) fn imported_key<'p>(part: &KeyPart<'p>) -> Result<ImportedKey<'p>, BackupError> {
    let PolicyPart {
        enabled,
        interval_days,
        grace_period_days,
        next_rotation_at,
        last_rotation_at,
        auto_retire,
    } = part.policy;
    let carried = part.attributes.iter().filter(|(name, _)| is_carried(name));
    Ok(ImportedKey {
        uid: part.uid,
        class: class(part)?,
        name: name(part)?,
        created_at: part.created_at,
        policy: Policy {
            enabled,
            interval_days,
            grace_period_days,
            next_rotation_at,
            last_rotation_at,
            auto_retire,
        },
        note: part.note,
        attributes: carried.map(|(name, value)| (String::from(*name), Vec::from(*value))).collect(),
    })
}

/// Its name.
pub(super) fn name<'p>(part: &KeyPart<'p>) -> Result<KeyName<'p>, BackupError> {
    KeyName::parse(part.name).map_err(|_| BackupError::Malformed("not a key name"))
}

/// What it is for.
pub(super) fn class(part: &KeyPart<'_>) -> Result<Class, BackupError> {
    Class::from_byte(part.class).ok_or(BackupError::Malformed("an unknown class"))
}

/// A version as the page has it.
pub(super) fn imported_version(part: &VersionPart<'_>) -> Result<ImportedVersion, BackupError> {
    let state = State::from_byte(part.state).ok_or(BackupError::Malformed("an unknown state"))?;
    let before = match part.state_before {
        0 => None,
        byte => Some(State::from_byte(byte).ok_or(BackupError::Malformed("an unknown state"))?),
    };
    // Behind the last number there is none for the next version.
    if usize::try_from(part.number).map_or(true, |number| number > MAX_VERSIONS) {
        return Err(BackupError::Malformed("a version has a number that no version has"));
    }
    if part.number == 0 || (state == State::Destroyed) != part.secret.is_none() {
        return Err(BackupError::Malformed("a version and its secret do not fit"));
    }
    if state.is_stopped() != before.is_some() {
        return Err(BackupError::Malformed("a stopped version does not know where it was"));
    }
    Ok(ImportedVersion {
        number: part.number,
        state,
        before,
        since: part.since,
        created_at: part.created_at,
        reason: Reason::from_byte(part.reason).ok_or(BackupError::Malformed("an unknown reason"))?,
    })
}
