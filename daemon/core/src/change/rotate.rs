//! New versions, and which one is primary.
//!
//! Must never leave a key without a primary, lift a brake that was not named, or take a timer away before
//! new data is sealed with another version.

use keyagent_common::name::KeyName;

use super::{
    ChangeError, LifeError,
    life::{self, Action, Moved},
    schedule,
    version::{self, VersionChange},
};
use crate::{
    arena::Arena,
    entropy::Entropy,
    keyring::{Brake, Class, Draft, Key, Keyring, KeyringError, MAX_VERSIONS, Reason, State, Version},
};

/// What the new version does to the old primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// Nothing yet: it waits until [`promote`], so that it can reach other hosts first.
    Staged,
    /// New data is sealed with the new version; what the old one sealed still opens.
    Grace,
    /// As [`Self::Grace`], but what the old one sealed is refused at once: it is compromised if that is the
    /// reason, else retired. Both can be taken back.
    RefuseOld,
}

/// How a key is rotated. An emergency is [`Reason::Compromise`] with a takeover at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Why; it stays with the new version.
    pub reason: Reason,
    /// What becomes of the old primary.
    pub takeover: Takeover,
    /// The strongest brake that may be lifted; without it a brake stays, and the key is refused as before.
    pub lift: Option<Brake>,
}

/// What a rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Number of the new version, staged or primary.
    pub version: u32,
    /// Its id.
    pub key_id: [u8; 32],
    /// The old primary; `None` while the new version is staged.
    pub replaced: Option<Moved>,
    /// The brake that was lifted.
    pub lifted: Option<Brake>,
    /// When the key rotates by itself next, in seconds since 1970; 0 = never.
    pub next_rotation_at: u64,
}

/// What a promotion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promoted {
    /// The new primary; where it was that already there is nothing to commit.
    pub promoted: Moved,
    /// The old primary.
    pub replaced: Option<Moved>,
    /// When the key rotates by itself next, in seconds since 1970; 0 = never.
    pub next_rotation_at: u64,
}

/// Adds a version with a random secret, and makes it primary unless it is to be staged.
///
/// Becoming primary takes away the timer of an owed rotation and sets the next date. Refused are a
/// [`Rotation`] without reason, a second staged version, a staged one that lifts, a brake stronger than
/// the one that may be lifted ([`ChangeError::IsCompromised`]), and a key with [`MAX_VERSIONS`].
pub fn rotate<A: Arena>(
    keyring: &Keyring<A>,
    name: KeyName<'_>,
    rotation: Rotation,
    now_unix: u64,
    entropy: &mut dyn Entropy,
) -> Result<(Draft<A>, Rotated), ChangeError> {
    rotation.check(version::living(keyring, name)?)?;
    let mut draft = keyring.draft();
    let number = draft.push_version(name.as_str(), rotation.reason, entropy, now_unix)?;
    let key = draft.key_mut(name.as_str()).ok_or(ChangeError::NoSuchKey)?;
    key.set_state(number, State::Staged, None, now_unix)?;
    let replaced = match rotation.takeover {
        Takeover::Staged => None,
        Takeover::Grace => take_over(key, number, now_unix)?.1,
        Takeover::RefuseOld => match take_over(key, number, now_unix)?.1 {
            Some(old) => Some(rotation.refuse(key, old, now_unix)?),
            None => None,
        },
    };
    let lifted = key.brake().filter(|_| rotation.lift.is_some());
    if lifted.is_some() {
        key.release();
    }
    let key_id = key.version(number).and_then(Version::key_id).copied();
    let key_id = key_id.ok_or(KeyringError::Rule("a new version without an id"))?;
    let next_rotation_at = key.policy.next_rotation_at;
    draft.check_room()?;
    Ok((draft, Rotated { version: number, key_id, replaced, lifted, next_rotation_at }))
}

/// Makes a staged version primary; the old primary goes to grace.
///
/// Refused for a version that was made before the last rotation because of a compromise: whoever had the
/// primary then may have had the staged one as well.
pub fn promote<A: Arena>(
    keyring: &Keyring<A>,
    change: VersionChange<'_>,
) -> Result<(Draft<A>, Promoted), ChangeError> {
    let key = change.key(keyring)?;
    let staged = key.version(change.version).is_some_and(|version| version.state == State::Staged);
    let newer = |version: &&Version| version.number > change.version;
    if staged && key.versions.iter().filter(newer).any(|version| version.reason == Reason::Compromise) {
        return Err(LifeError::OlderThanCompromise { version: change.version }.into());
    }
    let mut draft = keyring.draft();
    let key = draft.key_mut(change.name.as_str()).ok_or(ChangeError::NoSuchKey)?;
    let (promoted, replaced) = take_over(key, change.version, change.now_unix)?;
    let next_rotation_at = key.policy.next_rotation_at;
    if promoted.is_change() {
        draft.check_room()?;
    }
    Ok((draft, Promoted { promoted, replaced, next_rotation_at }))
}

impl Rotation {
    fn check(self, key: &Key) -> Result<(), ChangeError> {
        let staging = self.takeover == Takeover::Staged;
        let staged = key.versions.iter().find(|version| version.state == State::Staged);
        let refused = match staged {
            _ if self.reason == Reason::None => LifeError::NoReason,
            _ if matches!(key.class, Class::LegacyRaw | Class::LegacyText) => LifeError::ClassNotRotated,
            _ if key.versions.len() >= MAX_VERSIONS => LifeError::TooManyVersions,
            _ if staging && self.lift.is_some() => LifeError::StagingLiftsNothing,
            Some(version) if staging => LifeError::StagedExists { version: version.number },
            // Whoever may lift "disabled" has not seen that it is worse by now.
            _ if self.lift.is_some() && key.brake() > self.lift => return Err(ChangeError::IsCompromised),
            _ => return Ok(()),
        };
        Err(refused.into())
    }

    /// Takes the old primary out of grace.
    fn refuse(self, key: &mut Key, old: Moved, now_unix: u64) -> Result<Moved, ChangeError> {
        let compromised = self.reason == Reason::Compromise;
        let action = if compromised { Action::Compromise } else { Action::Retire };
        let refused = life::apply(key, old.version, action, now_unix)?;
        Ok(Moved { to: refused.to, ..old })
    }
}

/// Makes a version primary in place of another; a version that is primary stays, and nothing else changes.
pub(crate) fn take_over(
    key: &mut Key,
    number: u32,
    now_unix: u64,
) -> Result<(Moved, Option<Moved>), ChangeError> {
    let old = key.primary().map(|version| version.number);
    let promoted = life::apply(key, number, Action::Promote, now_unix)?;
    if !promoted.is_change() {
        return Ok((promoted, None));
    }
    let replaced = match old {
        Some(old) => Some(life::apply(key, old, Action::Replace, now_unix)?),
        None => None,
    };
    // 0 would say that it never was.
    key.policy.last_rotation_at = now_unix.max(1);
    key.policy.next_rotation_at = schedule::next_rotation(key, now_unix);
    key.clear_due();
    Ok((promoted, replaced))
}
