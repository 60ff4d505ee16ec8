//! Who has a right on which key, kept with the key: whoever loses it starts the timer of a rotation.

use keyagent_common::{op::WatchSeverity, report::Report};
use keyagent_core::{audit::record::Event, change};

use crate::{
    audit_log::Line,
    clock,
    control::{self, NotChanged},
    state::Shared,
    store,
};

/// Compares the lists in the keyring with the policy in use, and records what is different.
///
/// Nothing happens while the daemon is locked: unlocking does it.
pub(crate) fn record(shared: &Shared) -> Result<(), Report> {
    if shared.is_locked() {
        return Ok(());
    }
    let policy = shared.policy();
    let due_seconds = shared.tunable().rotation_due.as_secs();
    let outcome = control::change(shared, |keyring| {
        let subjects = |key: &str| policy.subjects_of_key(key);
        let recorded = change::record_access(keyring, subjects, clock::unix_seconds(), due_seconds);
        let recorded = recorded.map_err(|error| {
            Report::new(keyagent_common::error::ErrorCode::Configuration, "the policy cannot be recorded")
                .why(error.to_string())
                .fix("keyagent policy check")
        })?;
        Ok(match recorded {
            Some((draft, list)) => (Some(draft), list),
            None => (None, Vec::new()),
        })
    });
    let changes = match outcome {
        Ok((list, _)) => list,
        Err(NotChanged::Refused(report) | NotChanged::NotStored(report)) => return Err(report),
    };
    for change in changes.iter().filter(|change| !change.first) {
        let (gained, lost) = (change.gained.join(" "), change.lost.join(" "));
        let event = Event::AccessChange { gained: &gained, lost: &lost, due_at: change.due_at };
        let line = Line { key: Some(&change.key), ..Line::own(event) };
        shared.audit.append(&[line]).map_err(|error| store::unrecorded(&error))?;
        if change.due_at.is_some() {
            shared.rotations.notify_one();
            let message = format!("{lost} lost access: rotate the key");
            shared.events.push("rotation_due", WatchSeverity::Warning, &change.key, message);
        }
    }
    Ok(())
}
