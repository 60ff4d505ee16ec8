//! The life of a version as one table: every state with every action (docs/FORMATS.md, section 3, "States").
//!
//! Must never be gone round: [`apply`] is the only place where a change gives a version of a stored key
//! another state, so that a key keeps exactly one primary until all of it is destroyed.

use core::fmt;

use super::{ChangeError, LifeError};
use crate::keyring::{Key, KeyringError, State};

/// What can be done with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// New data is sealed with it from now on.
    Promote,
    /// Another version was promoted.
    Replace,
    /// What it sealed is refused from now on.
    Retire,
    /// What it sealed opens again.
    Reinstate,
    /// Stopped by hand.
    Disable,
    /// Stopped because somebody else may know it.
    Compromise,
    /// Goes back to the state before it was disabled.
    Enable,
    /// As [`Self::Enable`], also if it is compromised.
    Lift,
    /// Its secret is removed.
    Destroy,
    /// Its secret is removed because the whole key is destroyed.
    DestroyWithKey,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Promote,
        Self::Replace,
        Self::Retire,
        Self::Reinstate,
        Self::Disable,
        Self::Compromise,
        Self::Enable,
        Self::Lift,
        Self::Destroy,
        Self::DestroyWithKey,
    ];

    /// The participle, for "it cannot be ...".
    const fn done(self) -> &'static str {
        match self {
            Self::Promote => "promoted",
            Self::Replace => "replaced",
            Self::Retire => "retired",
            Self::Reinstate => "reinstated",
            Self::Disable => "disabled",
            Self::Compromise => "marked as compromised",
            Self::Enable | Self::Lift => "enabled",
            Self::Destroy | Self::DestroyWithKey => "destroyed",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.done())
    }
}

/// What an action does to a version in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It changes to this state.
    To(State),
    /// It changes to the state it was in before it was stopped.
    Back,
    /// It is so already, or something stronger holds: nothing changes, and asking again is no error.
    Stays,
    /// Not possible.
    Refused,
}

/// The table.
///
/// A primary is never stopped, retired or destroyed by itself: rotate first, or stop the whole key. A staged
/// version that is not wanted is disabled, then destroyed. Nothing that still opens data is destroyed.
#[expect(clippy::match_same_arms, reason = "a table has a line for every pair, whatever stands there")]
pub const fn outcome(state: State, action: Action) -> Outcome {
    use Outcome::{Back, Refused, Stays, To};
    use State::{Compromised, Destroyed, Disabled, Grace, Primary, Retired, Staged};
    match (action, state) {
        (Action::Promote, Staged) => To(Primary),
        (Action::Promote, Primary) => Stays,
        (Action::Promote, Grace | Retired | Disabled | Compromised | Destroyed) => Refused,

        (Action::Replace, Primary) => To(Grace),
        (Action::Replace, Staged | Grace | Retired | Disabled | Compromised | Destroyed) => Refused,

        (Action::Retire, Grace) => To(Retired),
        (Action::Retire, Retired) => Stays,
        (Action::Retire, Staged | Primary | Disabled | Compromised | Destroyed) => Refused,

        (Action::Reinstate, Retired) => To(Grace),
        (Action::Reinstate, Grace) => Stays,
        (Action::Reinstate, Staged | Primary | Disabled | Compromised | Destroyed) => Refused,

        (Action::Disable, Staged | Grace | Retired) => To(Disabled),
        (Action::Disable, Disabled | Compromised) => Stays,
        (Action::Disable, Primary | Destroyed) => Refused,

        (Action::Compromise, Staged | Grace | Retired | Disabled) => To(Compromised),
        (Action::Compromise, Compromised) => Stays,
        (Action::Compromise, Primary | Destroyed) => Refused,

        (Action::Enable, Disabled) => Back,
        (Action::Enable, Staged | Primary | Grace | Retired) => Stays,
        (Action::Enable, Compromised | Destroyed) => Refused,

        (Action::Lift, Disabled | Compromised) => Back,
        (Action::Lift, Staged | Primary | Grace | Retired) => Stays,
        (Action::Lift, Destroyed) => Refused,

        (Action::Destroy, Retired | Disabled | Compromised) => To(Destroyed),
        (Action::Destroy, Destroyed) => Stays,
        (Action::Destroy, Staged | Primary | Grace) => Refused,

        (Action::DestroyWithKey, Staged | Primary | Grace | Retired | Disabled | Compromised) => {
            To(Destroyed)
        }
        (Action::DestroyWithKey, Destroyed) => Stays,
    }
}

/// What became of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Its number.
    pub version: u32,
    /// Its id, as it was before the change; `None` if it was destroyed already.
    pub key_id: Option<[u8; 32]>,
    /// Its state before.
    pub from: State,
    /// Its state now; where it is the same there is nothing to commit.
    pub to: State,
}

impl Moved {
    /// Whether there is anything to commit.
    pub fn is_change(&self) -> bool {
        self.from != self.to
    }
}

/// Does to a version what the table says.
pub(super) fn apply(
    key: &mut Key,
    version: u32,
    action: Action,
    now_unix: u64,
) -> Result<Moved, ChangeError> {
    let found = key.version(version).ok_or(LifeError::NoSuchVersion { version })?;
    let (from, key_id) = (found.state, found.key_id().copied());
    let before = key.state_before(version);
    let to = match outcome(from, action) {
        Outcome::To(state) => state,
        Outcome::Back => before.ok_or(KeyringError::Rule("a stopped version without a state before"))?,
        Outcome::Stays => from,
        Outcome::Refused => return Err(LifeError::WrongState { version, state: from, action }.into()),
    };
    if to != from {
        let before = if from.is_stopped() { before } else { Some(from) };
        key.set_state(version, to, before.filter(|_| to.is_stopped()), now_unix)?;
    }
    Ok(Moved { version, key_id, from, to })
}

#[cfg(test)]
mod tests;
