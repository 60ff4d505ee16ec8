//! What the daemon does by itself with what is due: a rotation or a retirement, as an operator would make it.
//!
//! Must never do what is not due any more when its turn comes, do it twice, or destroy anything.

use keyagent_common::name::KeyName;

use super::{
    ChangeError, DueAction, DueWhat, Moved, Promoted, Rotated, Rotation, Takeover, VersionChange, promote,
    retire, rotate, schedule,
};
use crate::{
    arena::Arena,
    entropy::Entropy,
    keyring::{Draft, Key, Keyring, KeyringError, Reason, State},
};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Automatic {
    /// A new version is primary.
    Rotated(Rotated),
    /// The version that was staged is primary.
    Promoted(Promoted),
    /// A version is retired.
    Retired(Moved),
}

/// Does one thing that [`super::due`] listed; `None` if somebody did it meanwhile, or it is not for the daemon to do.
///
/// A rotation promotes the version that is staged, if there is one that may be promoted: it was made to become
/// primary next, and a second one would never be. Not where the key may be known to somebody: then a version is made
/// that nobody can have seen.
pub fn act<A: Arena>(
    keyring: &Keyring<A>,
    action: &DueAction,
    now_unix: u64,
    entropy: &mut dyn Entropy,
) -> Result<Option<(Draft<A>, Automatic)>, ChangeError> {
    let Some(key) = keyring.find(&action.key) else { return Ok(None) };
    let is_due = |found: &DueAction| found.what == action.what && found.due_at <= now_unix;
    if !schedule::dates(key).any(|found| is_due(&found)) {
        return Ok(None);
    }
    let name = KeyName::parse(&key.name).map_err(|_| KeyringError::Name)?;
    let change = |version| VersionChange { name, version, reason: "", now_unix };
    Ok(match action.what {
        DueWhat::Overdue(_) | DueWhat::GraceOver(_) => None,
        DueWhat::Retire(version) => {
            let (draft, moved) = retire(keyring, change(version))?;
            moved.is_change().then_some((draft, Automatic::Retired(moved)))
        }
        DueWhat::Rotate(reason) => Some(match staged(key).filter(|_| reason != Reason::Compromise) {
            Some(version) => match promote(keyring, change(version)) {
                Ok((draft, promoted)) => (draft, Automatic::Promoted(promoted)),
                // Older than a compromise.
                Err(ChangeError::Life(_)) => rotated(keyring, name, reason, now_unix, entropy)?,
                Err(error) => return Err(error),
            },
            None => rotated(keyring, name, reason, now_unix, entropy)?,
        }),
    })
}

fn staged(key: &Key) -> Option<u32> {
    key.versions.iter().find(|version| version.state == State::Staged).map(|version| version.number)
}

fn rotated<A: Arena>(
    keyring: &Keyring<A>,
    name: KeyName<'_>,
    reason: Reason,
    now_unix: u64,
    entropy: &mut dyn Entropy,
) -> Result<(Draft<A>, Automatic), ChangeError> {
    let rotation = Rotation { reason, takeover: Takeover::Grace, lift: None };
    let (draft, rotated) = rotate(keyring, name, rotation, now_unix, entropy)?;
    Ok((draft, Automatic::Rotated(rotated)))
}
