//! Secrets removed for ever; numbers, names and dates stay as tombstones.
//!
//! Must never destroy what still opens or seals data, or what somebody said is needed, unless told to; and
//! never give a name free, so that nobody can put another key in the place of a destroyed one.

use alloc::{string::String, vec::Vec};

use keyagent_common::name::KeyName;

use super::{
    ChangeError, LifeError, check_reason,
    life::{self, Action, Moved},
    version::{self, VersionChange},
};
use crate::{
    arena::Arena,
    keyring::{Draft, Key, Keyring, Policy, Version},
};

/// Why a version is still needed, in words for an operator; `None` if nothing is known to need it.
///
/// Counters and registered data sources live outside the keyring, so whoever holds them answers.
pub type StillNeeded<'a> = &'a dyn Fn(&Key, &Version) -> Option<String>;

/// What destroying a version did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destroyed {
    /// The version; where it was destroyed already there is nothing to commit.
    pub moved: Moved,
    /// Why it was still needed; only if it was destroyed by force.
    pub needed: Option<String>,
    /// Version 1 of `default` is derived from the master key: whoever has that can still make it.
    pub from_master: bool,
}

/// What destroying a key did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDestroyed {
    /// The versions that were destroyed by this.
    pub moved: Vec<Moved>,
    /// Which of them were still needed and why; only if destroyed by force.
    pub needed: Vec<(u32, String)>,
}

/// Removes the secret of a version that is retired, disabled or compromised.
///
/// [`LifeError::StillNeeded`] while it is needed, unless `force`.
pub fn destroy<A: Arena>(
    keyring: &Keyring<A>,
    change: VersionChange<'_>,
    still_needed: StillNeeded<'_>,
    force: bool,
) -> Result<(Draft<A>, Destroyed), ChangeError> {
    let key = change.key(keyring)?;
    let mut draft = keyring.draft();
    let moved = change.apply_in(&mut draft, Action::Destroy)?;
    let version = key.version(change.version).filter(|_| moved.is_change());
    let needed = version.and_then(|version| still_needed(key, version));
    if let Some(why) = needed.clone().filter(|_| !force) {
        return Err(LifeError::StillNeeded { version: change.version, why }.into());
    }
    let from_master = key.name == KeyName::DEFAULT.as_str() && change.version == 1;
    Ok((draft, Destroyed { moved, needed, from_master }))
}

/// Removes the secrets of all versions of a key that is disabled or compromised.
///
/// Name, uid, note and dates stay, and so does the brake: the name is never free again. Refused for
/// `default`, and while any version is needed, unless `force`.
pub fn destroy_key<A: Arena>(
    keyring: &Keyring<A>,
    name: KeyName<'_>,
    reason: &str,
    still_needed: StillNeeded<'_>,
    force: bool,
    now_unix: u64,
) -> Result<(Draft<A>, KeyDestroyed), ChangeError> {
    check_reason(reason)?;
    let key = version::living(keyring, name)?;
    if name == KeyName::DEFAULT {
        return Err(LifeError::DefaultStays.into());
    }
    if key.brake().is_none() {
        return Err(LifeError::NotStopped.into());
    }
    let why = |version: &Version| Some((version.number, still_needed(key, version)?));
    let alive = key.versions.iter().filter(|version| version.key_id().is_some());
    let needed: Vec<(u32, String)> = alive.filter_map(why).collect();
    if let Some((version, why)) = needed.first().cloned().filter(|_| !force) {
        return Err(LifeError::StillNeeded { version, why }.into());
    }
    let mut draft = keyring.draft();
    let dying = draft.key_mut(name.as_str()).ok_or(ChangeError::NoSuchKey)?;
    let mut moved = Vec::new();
    for version in &key.versions {
        moved.push(life::apply(dying, version.number, Action::DestroyWithKey, now_unix)?);
    }
    moved.retain(Moved::is_change);
    dying.policy = Policy { enabled: false, next_rotation_at: 0, ..dying.policy };
    dying.clear_due();
    Ok((draft, KeyDestroyed { moved, needed }))
}
