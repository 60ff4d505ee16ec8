//! What is due by the policy of a key, done by the daemon itself and recorded as its own line.

use keyagent_common::{error::ErrorCode, op::WatchSeverity};
use keyagent_core::{
    audit::record::Details,
    change::{self, Automatic, DueAction, DueWhat},
};

use super::{
    Done, Ring, moving,
    rotate::{of_promotion, of_rotation},
};
use crate::{
    control::{
        Recorded,
        change::{Changed, NotChanged, change},
        keys::refused,
    },
    state::Shared,
    store::SystemEntropy,
};

/// Does one thing that is due; whether it was still to be done. A daemon that was locked meanwhile does nothing.
///
/// `Refused` is about this key alone. `NotStored` also where it is done and the log did not take it: the disk would
/// take nothing of another key either.
pub(crate) fn do_what_is_due(shared: &Shared, action: &DueAction, now_unix: u64) -> Result<bool, NotChanged> {
    let made = change(shared, |keyring: &Ring| {
        let made = change::act(keyring, action, now_unix, &mut SystemEntropy);
        Ok(match made.map_err(|error| refused(&error, &action.key))? {
            None => (None, ByItself(None)),
            Some((draft, automatic)) => (Some(draft), ByItself(Some(done(action, automatic)))),
        })
    });
    let Changed { result, unrecorded, .. } = match made {
        Ok(changed) => changed,
        Err(NotChanged::Refused(report)) if report.code == ErrorCode::Locked => return Ok(false),
        Err(not_changed) => return Err(not_changed),
    };
    let ByItself(Some(done)) = result else { return Ok(false) };
    let (operation, message) = (done.operation, told(&done.result, done.details.reason.unwrap_or_default()));
    shared.events.push(operation, WatchSeverity::Info, &action.key, message);
    unrecorded.map_or(Ok(true), |report| Err(NotChanged::NotStored(report)))
}

/// What was done, if anything was.
struct ByItself<'a>(Option<Done<'a, Automatic>>);

impl Recorded for ByItself<'_> {
    fn lines(&self) -> Vec<crate::audit_log::Line<'_>> {
        self.0.as_ref().map_or_else(Vec::new, Recorded::lines)
    }
}

fn done(action: &DueAction, automatic: Automatic) -> Done<'_, Automatic> {
    let reason = match action.what {
        DueWhat::Rotate(reason) | DueWhat::Overdue(reason) => reason.as_str(),
        DueWhat::Retire(_) | DueWhat::GraceOver(_) => "grace is over",
    };
    let (key, details) = (action.key.as_str(), Details { reason: Some(reason), ..Details::default() });
    match automatic {
        Automatic::Rotated(rotated) => of_rotation(None, key, details, rotated).with(automatic),
        Automatic::Promoted(promoted) => of_promotion(None, key, details, promoted).with(automatic),
        Automatic::Retired(moved) => Done {
            caller: None,
            operation: "key_retire",
            key,
            key_id: moved.key_id,
            changed: None,
            details: moving(details, &moved),
            result: automatic,
        },
    }
}

fn told(automatic: &Automatic, reason: &str) -> String {
    match automatic {
        Automatic::Rotated(rotated) => format!("version {} is primary: {reason}", rotated.version),
        Automatic::Promoted(promoted) => {
            format!("version {} is primary: {reason}", promoted.promoted.version)
        }
        Automatic::Retired(moved) => format!("version {} is retired: {reason}", moved.version),
    }
}
