//! What a refused change of keys is called, and the command that mends it.

use keyagent_common::{error::ErrorCode, report::Report};
use keyagent_core::{
    change::{Action, ChangeError, LifeError},
    keyring::{KeyringError, State},
};

/// The report of a change that the keyring refused.
pub(in crate::control) fn refused(error: &ChangeError, key: &str) -> Report {
    let (code, fix) = match error {
        ChangeError::Exists => (ErrorCode::KeyExists, "keyagent keys list".into()),
        ChangeError::NoSuchKey => (ErrorCode::UnknownKey, "keyagent keys list".into()),
        ChangeError::IsCompromised => (
            ErrorCode::KeyCompromised,
            format!(
                "if you are sure that nobody else knows it: keyagent keys enable {key} --lift-compromised --reason TEXT"
            ),
        ),
        ChangeError::NoteTooLong
        | ChangeError::UnfitReason
        | ChangeError::TooManyKeys
        | ChangeError::ClassNotOffered => (ErrorCode::InvalidRequest, String::new()),
        ChangeError::Life(error) => in_life(error, key),
        ChangeError::UnfitSubject { .. } | ChangeError::AccessTooLong { .. } => {
            (ErrorCode::Configuration, "shorten the rules that cover this key: keyagent policy check".into())
        }
        ChangeError::Keyring(KeyringError::Full) => (
            ErrorCode::TooLarge,
            "shorten notes and rules; keys that are not needed can be left out of a new keyring".into(),
        ),
        ChangeError::Keyring(_) => (ErrorCode::Internal, String::new()),
    };
    Report::new(code, error.to_string()).fact("key", key).fix(fix)
}

fn in_life(error: &LifeError, key: &str) -> (ErrorCode, String) {
    let show = || format!("keyagent keys show {key}");
    match error {
        LifeError::WrongState { version, state, action } => {
            (ErrorCode::WrongState, for_state(*version, *state, *action, key))
        }
        LifeError::NoSuchVersion { .. } | LifeError::DefaultStays => (ErrorCode::WrongState, show()),
        LifeError::KeyDestroyed => (ErrorCode::WrongState, "keyagent keys list".into()),
        LifeError::StagedExists { version } => {
            (ErrorCode::WrongState, format!("keyagent keys promote {key} {version}"))
        }
        LifeError::OlderThanCompromise { version } => {
            (ErrorCode::WrongState, format!("keyagent keys disable {key} --version {version} --reason TEXT"))
        }
        LifeError::TooManyVersions => (ErrorCode::TooLarge, "keyagent keys create NAME".into()),
        LifeError::StillNeeded { version, .. } => (
            ErrorCode::StillNeeded,
            format!("if nothing of it is needed: keyagent keys destroy {key} --version {version} --force"),
        ),
        LifeError::NotStopped => {
            (ErrorCode::WrongState, format!("keyagent keys disable {key} --reason TEXT"))
        }
        LifeError::ClassNotRotated => (ErrorCode::WrongClass, String::new()),
        LifeError::SameSecret { other } => (ErrorCode::KeyDiffers, format!("keyagent keys show {other}")),
        LifeError::NoReason | LifeError::StagingLiftsNothing | LifeError::UnfitSetting { .. } => {
            (ErrorCode::InvalidRequest, String::new())
        }
    }
}

/// What to type so that a version comes into a state in which it can be done.
fn for_state(version: u32, state: State, action: Action, key: &str) -> String {
    let brake = |verb: &str| format!("keyagent keys {verb} {key} --version {version} --reason TEXT");
    match (state, action) {
        (State::Disabled, _) => brake("enable"),
        (State::Compromised, _) => {
            format!("if you are sure that nobody else knows it: {} --lift-compromised", brake("enable"))
        }
        (State::Staged, Action::Retire | Action::Destroy) => brake("disable"),
        (State::Grace, Action::Destroy) => format!("keyagent keys retire {key} {version}"),
        (State::Retired, Action::Promote) | (State::Primary, Action::Retire | Action::Destroy) => {
            format!("keyagent keys rotate {key}")
        }
        (State::Primary, Action::Disable | Action::Compromise) => {
            format!("keyagent keys rotate {key} --emergency")
        }
        _ => format!("keyagent keys show {key}"),
    }
}
