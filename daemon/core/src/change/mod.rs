//! Requests that change keys: each turns a keyring into a changed [`Draft`] and what to answer and to
//! record (docs/FORMATS.md, section 3 "Keyring file").
//!
//! Nothing is committed here: the caller stores the draft, confirms it, then answers. Must never let a
//! brake be weakened or a timer be put off by asking again, nor touch what is left of a destroyed key.

use keyagent_common::name::KeyName;

use crate::{
    arena::Arena,
    keyring::{self, Draft, Key, Keyring},
};

mod access;
mod automatic;
mod brake;
mod configure;
mod create;
mod destroy;
mod error;
mod life;
mod rotate;
mod schedule;
mod version;

pub use access::{AccessChange, RecordedAccess, begin_access, record_access};
pub use automatic::{Automatic, act};
pub use brake::{Enabled, disable, enable, enable_but};
pub use configure::{Configured, MAX_DAYS, Settings, configure};
pub use create::{Created, MAX_KEYS, MAX_NOTE_BYTES, create_key};
pub use destroy::{Destroyed, KeyDestroyed, StillNeeded, destroy, destroy_key};
pub use error::{ChangeError, LifeError};
pub use life::{Action, Moved, Outcome, outcome};
pub(crate) use rotate::take_over;
pub use rotate::{Promoted, Rotated, Rotation, Takeover, promote, rotate};
pub use schedule::{DueAction, DueWhat, due, grace_ends_at, next_wakeup, rotation_due};
pub use version::{VersionChange, disable_version, enable_version, reinstate, retire};

/// Which keys a change is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection<'n> {
    /// The key of this name, which must exist.
    One(KeyName<'n>),
    /// All keys that are not destroyed: the kill switch.
    All,
}

impl Selection<'_> {
    fn covers(self, key: &Key) -> bool {
        match self {
            Self::One(name) => key.name == name.as_str(),
            Self::All => !key.is_destroyed(),
        }
    }

    /// A draft of a keyring that holds what is selected.
    fn draft<A: Arena>(self, keyring: &Keyring<A>) -> Result<Draft<A>, ChangeError> {
        if let Self::One(name) = self {
            version::living(keyring, name)?;
        }
        Ok(keyring.draft())
    }
}

/// Whether a text can be what an administrator says of a change: printable, at most
/// [`keyring::MAX_REASON_BYTES`], possibly empty.
pub fn is_reason(text: &str) -> bool {
    keyring::is_reason(text)
}

fn check_reason(reason: &str) -> Result<(), ChangeError> {
    if keyring::is_reason(reason) { Ok(()) } else { Err(ChangeError::UnfitReason) }
}

#[cfg(test)]
mod tests;
