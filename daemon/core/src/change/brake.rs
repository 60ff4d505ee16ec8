//! Brakes: a key, or all of them, refused at once and for good.

use alloc::{string::String, vec::Vec};

use super::{ChangeError, Selection, check_reason};
use crate::{
    arena::Arena,
    keyring::{Brake, Draft, Keyring},
};

/// What lifting brakes did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enabled {
    /// Names of the keys whose brake is off now, ascending.
    pub changed: Vec<String>,
    /// Names of the selected keys that stay compromised, ascending; only with [`Selection::All`].
    pub left_compromised: Vec<String>,
    /// Names of those that were braked by themselves and stay so, ascending; only with [`Selection::All`].
    pub left_as_before: Vec<String>,
}

/// Puts a brake on, with a reason of at most 256 printable bytes, possibly none; returns the names of
/// the keys that changed, ascending.
///
/// A key that has this brake or a stronger one stays as it is, with time and reason of that one: if no
/// name is returned there is nothing to commit. A brake of all keys remembers what stood before on each; a key that
/// is then named keeps its brake when that of all is lifted.
pub fn disable<A: Arena>(
    keyring: &Keyring<A>,
    selection: Selection<'_>,
    brake: Brake,
    reason: &str,
    now_unix: u64,
) -> Result<(Draft<A>, Vec<String>), ChangeError> {
    check_reason(reason)?;
    let mut draft = selection.draft(keyring)?;
    let mut changed = Vec::new();
    for key in draft.keys_mut().filter(|key| selection.covers(key)) {
        let weaker = key.brake() < Some(brake);
        let moved = match selection {
            Selection::All if weaker => {
                key.set_brake_of_all(brake, reason, now_unix);
                true
            }
            Selection::One(_) if weaker || key.brake() == Some(brake) && key.brake_is_of_all() => {
                key.set_brake(brake, reason, now_unix);
                true
            }
            Selection::One(_) if key.brake_is_of_all() && key.disabled_before().is_none() => {
                key.disable_beneath(reason, now_unix);
                true
            }
            _ => false,
        };
        if moved {
            changed.push(key.name.clone());
        }
    }
    Ok((draft, changed))
}

/// Takes brakes off; keys without one stay as they are.
///
/// A compromised key keeps its brake unless `lift_compromised`: [`ChangeError::IsCompromised`] if it
/// was named, listed in [`Enabled::left_compromised`] if all were meant, so that nobody has to lift
/// that brake everywhere only to have the others back. Meant for all, it undoes [`disable`] of all: keys that were
/// braked by themselves are again as they were then. The reason goes to the audit log alone, and is
/// checked as that of a brake.
pub fn enable<A: Arena>(
    keyring: &Keyring<A>,
    selection: Selection<'_>,
    lift_compromised: bool,
    reason: &str,
) -> Result<(Draft<A>, Enabled), ChangeError> {
    enable_but(keyring, selection, lift_compromised, reason, |_| false)
}

/// [`enable`], where the keys whose names `is_compromised` says so of count as compromised whatever the keyring
/// says: such a brake may not have reached the disk.
pub fn enable_but<A: Arena>(
    keyring: &Keyring<A>,
    selection: Selection<'_>,
    lift_compromised: bool,
    reason: &str,
    is_compromised: impl Fn(&str) -> bool,
) -> Result<(Draft<A>, Enabled), ChangeError> {
    check_reason(reason)?;
    let mut draft = selection.draft(keyring)?;
    let mut enabled = Enabled::default();
    for key in draft.keys_mut().filter(|key| selection.covers(key)) {
        let compromised = is_compromised(&key.name) || key.brake() == Some(Brake::Compromised);
        match key.brake() {
            _ if compromised && !lift_compromised => {
                if selection != Selection::All {
                    return Err(ChangeError::IsCompromised);
                }
                enabled.left_compromised.push(key.name.clone());
            }
            None => {}
            Some(_) if selection != Selection::All => {
                key.release();
                enabled.changed.push(key.name.clone());
            }
            Some(_) if key.brake_is_of_all() => {
                key.release_of_all();
                enabled.changed.push(key.name.clone());
            }
            Some(_) => enabled.left_as_before.push(key.name.clone()),
        }
    }
    Ok((draft, enabled))
}
