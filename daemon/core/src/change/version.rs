//! One version of a key retired, reinstated, stopped or started again.
//!
//! Must never change the primary: that is what [`super::rotate`] and [`super::promote`] do.

use keyagent_common::name::KeyName;

use super::{
    ChangeError, LifeError, check_reason,
    life::{self, Action, Moved},
};
use crate::{
    arena::Arena,
    keyring::{Draft, Key, Keyring},
};

/// Which version a change is for, and when and why it is made.
#[derive(Debug, Clone, Copy)]
pub struct VersionChange<'c> {
    /// The key.
    pub name: KeyName<'c>,
    /// The version's number.
    pub version: u32,
    /// For the audit log alone, and checked as that of a brake.
    pub reason: &'c str,
    /// Seconds since 1970.
    pub now_unix: u64,
}

/// Data that this version sealed is refused from now on; it can be reinstated.
pub fn retire<A: Arena>(
    keyring: &Keyring<A>,
    change: VersionChange<'_>,
) -> Result<(Draft<A>, Moved), ChangeError> {
    change.apply(keyring, Action::Retire)
}

/// Data that a retired version sealed opens again; its grace begins anew.
pub fn reinstate<A: Arena>(
    keyring: &Keyring<A>,
    change: VersionChange<'_>,
) -> Result<(Draft<A>, Moved), ChangeError> {
    change.apply(keyring, Action::Reinstate)
}

/// Stops a version that is not primary, as disabled or as compromised; a compromised one stays so.
pub fn disable_version<A: Arena>(
    keyring: &Keyring<A>,
    change: VersionChange<'_>,
    compromised: bool,
) -> Result<(Draft<A>, Moved), ChangeError> {
    change.apply(keyring, if compromised { Action::Compromise } else { Action::Disable })
}

/// Puts a stopped version back into the state before, where its time begins anew; a compromised one only
/// if `lift_compromised`.
pub fn enable_version<A: Arena>(
    keyring: &Keyring<A>,
    change: VersionChange<'_>,
    lift_compromised: bool,
) -> Result<(Draft<A>, Moved), ChangeError> {
    change.apply(keyring, if lift_compromised { Action::Lift } else { Action::Enable })
}

impl VersionChange<'_> {
    fn apply<A: Arena>(self, keyring: &Keyring<A>, action: Action) -> Result<(Draft<A>, Moved), ChangeError> {
        let unwritten = self.key(keyring)?.since(self.version).is_none();
        let mut draft = keyring.draft();
        let moved = self.apply_in(&mut draft, action)?;
        // Versions from a rotation have their entry already and grow by nothing.
        if unwritten && moved.is_change() {
            draft.check_room()?;
        }
        Ok((draft, moved))
    }

    /// The living key, after a look at the reason.
    pub(super) fn key<A: Arena>(self, keyring: &Keyring<A>) -> Result<&Key, ChangeError> {
        check_reason(self.reason)?;
        living(keyring, self.name)
    }

    /// The change alone, in a draft.
    pub(super) fn apply_in<A: Arena>(
        self,
        draft: &mut Draft<A>,
        action: Action,
    ) -> Result<Moved, ChangeError> {
        let key = draft.key_mut(self.name.as_str()).ok_or(ChangeError::NoSuchKey)?;
        life::apply(key, self.version, action, self.now_unix)
    }
}

/// A key that is not destroyed.
pub(super) fn living<'k, A: Arena>(
    keyring: &'k Keyring<A>,
    name: KeyName<'_>,
) -> Result<&'k Key, ChangeError> {
    let key = keyring.find(name.as_str()).ok_or(ChangeError::NoSuchKey)?;
    if key.is_destroyed() { Err(LifeError::KeyDestroyed.into()) } else { Ok(key) }
}
