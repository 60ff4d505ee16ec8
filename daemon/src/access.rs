//! Who has a right on which key, kept with the key: whoever loses it starts the timer of a rotation.

use keyagent_common::{error::ErrorCode, op::WatchSeverity, report::Report};
use keyagent_core::{audit::record::Event, change};

use crate::{
    alarm,
    audit_log::Line,
    control::{self, Changed, NotChanged, Recorded},
    state::Shared,
    timers,
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
    let changed = control::change(shared, |keyring| {
        let subjects = |key: &str| policy.subjects_of_key(key);
        let recorded = change::record_access(keyring, subjects, timers::now(shared), due_seconds);
        let recorded = recorded.map_err(|error| {
            Report::new(ErrorCode::Configuration, "the policy cannot be recorded")
                .why(error.to_string())
                .fix("keyagent policy check")
        })?;
        Ok(match recorded {
            Some((draft, list)) => (Some(draft), Lists::of(list)),
            None => (None, Lists(Vec::new())),
        })
    });
    let Changed { result, unrecorded, .. } = match changed {
        Ok(changed) => changed,
        // Locked meanwhile: unlocking does it.
        Err(NotChanged::Refused(report)) if report.code == ErrorCode::Locked => return Ok(()),
        Err(NotChanged::Refused(report) | NotChanged::NotStored(report)) => return Err(report),
    };
    let lost_on = result.changed().filter(|list| list.change.due_at.is_some()).count();
    if lost_on > 0 {
        // Also what a start with another configuration than usual looks like.
        crate::report::warn(&format!(
            "by the configuration in use callers lost rights on {lost_on} keys, which are due for rotation now; \
             keyagent config list --show-origin says what was read"
        ));
    }
    tell_watchers(shared, &result);
    unrecorded.map_or(Ok(()), Err)
}

/// Wakes whoever rotates, and tells of each key that is due; of very many by one event.
fn tell_watchers(shared: &Shared, lists: &Lists) {
    let due: Vec<&List> = lists.changed().filter(|list| list.change.due_at.is_some()).collect();
    if due.is_empty() {
        return;
    }
    shared.rotations.notify_one();
    let tell = |key: &str, message| shared.events.push("rotation_due", WatchSeverity::Warning, key, message);
    if due.len() > alarm::NAMED {
        let names: Vec<&str> = due.iter().map(|list| list.change.key.as_str()).collect();
        return tell(
            "",
            format!("callers lost access to {} keys, rotate them: {}", due.len(), alarm::first_of(&names)),
        );
    }
    for List { change, lost, .. } in due {
        tell(&change.key, format!("{lost} lost access: rotate the key"));
    }
}

/// Lists that changed.
struct Lists(Vec<List>);

struct List {
    change: change::AccessChange,
    /// As the log writes them.
    gained: String,
    lost: String,
}

impl Lists {
    fn of(changes: Vec<change::AccessChange>) -> Self {
        let list = |change: change::AccessChange| {
            let (gained, lost) = (change.gained.join(" "), change.lost.join(" "));
            List { change, gained, lost }
        };
        Self(changes.into_iter().map(list).collect())
    }

    /// Those that there was a list before for.
    fn changed(&self) -> impl Iterator<Item = &List> {
        self.0.iter().filter(|list| !list.change.first)
    }
}

impl Recorded for Lists {
    fn lines(&self) -> Vec<Line<'_>> {
        self.changed().map(List::line).collect()
    }
}

impl List {
    fn line(&self) -> Line<'_> {
        let Self { change, gained, lost } = self;
        let event = Event::AccessChange { gained, lost, due_at: change.due_at };
        Line { key: Some(&change.key), ..Line::own(event) }
    }
}
