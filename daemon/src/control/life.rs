//! The life of a key and of its versions: shown, configured, rotated, promoted, retired, reinstated, destroyed; one
//! version disabled or enabled.
//!
//! No answer leaves before the change is in place and recorded, one line for each request ([`super::change`]).

mod automatic;
mod destroy;
mod done;
mod rotate;
mod show;

use keyagent_common::{
    codec,
    error::ErrorCode,
    name::KeyName,
    op::{
        KeyConfigureReply, KeyConfigureRequest, KeysChangedReply, VersionReply, VersionRequest, WatchSeverity,
    },
    report::Report,
};
use keyagent_core::{
    audit::record::Details,
    change::{self, ChangeError, Moved, Settings, VersionChange},
    keyring::{Draft, Keyring},
    reply::{NoRoom, ReplyBuffer},
};
use keyagent_sys::memory::LockedArena;

use super::{
    Asked, MALFORMED,
    change::{Changed, NotChanged, change},
    keys::{deny, done, failed, is_allowed_on, parse, refused, some},
};
use crate::timers;

pub(crate) use automatic::do_what_is_due;
pub(super) use destroy::destroy;
use done::Done;
pub(super) use rotate::{promote, rotate};
pub(super) use show::show;

type Ring = Keyring<LockedArena>;
type Made<R> = Result<(Option<Draft<LockedArena>>, R), Report>;

/// Makes a change of one key, tells watchers, and answers; what fails is recorded with the details given.
fn run<'a, R>(
    asked: &'a Asked<'a>,
    (key, details): (&'a str, Details<'a>),
    make: impl FnOnce(&Ring, KeyName<'a>) -> Made<Done<'a, R>>,
    answer: impl FnOnce(&R, u64, &mut ReplyBuffer<'_>) -> Result<(), NoRoom>,
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    if !is_allowed_on(asked, key) {
        return deny(asked, key, replies);
    }
    match change(asked.shared, |keyring| make(keyring, parse(key)?)) {
        Ok(Changed { result, generation, committed, unrecorded }) => {
            if committed {
                // Other dates hold from now on.
                asked.shared.rotations.notify_one();
            }
            done(asked, unrecorded, replies, |replies| answer(&result.result, generation, replies))
        }
        Err(NotChanged::Refused(report) | NotChanged::NotStored(report)) => {
            failed(asked, key, details, &report, replies)
        }
    }
}

/// `key_configure`
pub(super) fn configure(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(request) = codec::decode::<KeyConfigureRequest<'_>>(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let KeyConfigureRequest {
        key,
        enabled,
        interval_days,
        grace_period_days,
        auto_retire,
        environment,
        purpose,
        owner,
        url,
        note,
    } = request;
    let settings = Settings {
        enabled,
        interval_days,
        grace_period_days,
        auto_retire,
        environment,
        purpose,
        owner,
        url,
        note,
    };
    let make = |keyring: &Ring, name: KeyName<'_>| {
        let made = change::configure(keyring, name, &settings, timers::now(asked.shared));
        let (draft, configured) = made.map_err(|error| refused(&error, key))?;
        let changed: Vec<String> =
            configured.changed.iter().map(|setting| with_value(setting, &settings)).collect();
        let draft = Some(draft).filter(|_| !changed.is_empty());
        let changed = Some(changed.join(" "));
        Ok((draft, Done { changed, ..of(asked, key, Details::default(), configured) }))
    };
    let answer = |configured: &change::Configured, generation, replies: &mut ReplyBuffer<'_>| {
        let change::Configured { changed, next_rotation_at } = configured;
        if !changed.is_empty() {
            tell(asked, key, WatchSeverity::Info, "what is said about it was changed".into());
        }
        let (changed, next_rotation_at) = (changed.clone(), *next_rotation_at);
        replies.success(asked.id, &KeyConfigureReply { changed, next_rotation_at, generation })
    };
    run(asked, (key, Details::default()), make, answer, replies)
}

/// A setting as the log names it: numbers and flags with their value, texts without.
fn with_value(setting: &str, settings: &Settings<'_>) -> String {
    let value = match setting {
        "enabled" => settings.enabled.map(|value| value.to_string()),
        "interval_days" => settings.interval_days.map(|value| value.to_string()),
        "grace_period_days" => settings.grace_period_days.map(|value| value.to_string()),
        "auto_retire" => settings.auto_retire.map(|value| value.to_string()),
        _ => None,
    };
    value.map_or_else(|| setting.to_owned(), |value| format!("{setting}={value}"))
}

/// `key_retire`
pub(super) fn retire(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    move_version(asked, change::retire, replies)
}

/// `key_reinstate`
pub(super) fn reinstate(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    move_version(asked, change::reinstate, replies)
}

type MovedVersion = Result<(Draft<LockedArena>, Moved), ChangeError>;

fn move_version(
    asked: &Asked<'_>,
    by: impl FnOnce(&Ring, VersionChange<'_>) -> MovedVersion,
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    let Ok(VersionRequest { key, version, reason }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let answer = |moved: &Moved, generation, replies: &mut ReplyBuffer<'_>| {
        replies.success(asked.id, &version_reply(moved, 0, generation))
    };
    let details = for_version(version, reason);
    run_on_version(asked, (key, version, reason), details, by, answer, replies)
}

/// `key_disable` and `key_enable` of one version.
pub(super) fn stop_version(
    asked: &Asked<'_>,
    (key, version, reason): (&str, u32, &str),
    details: Details<'_>,
    by: impl FnOnce(&Ring, VersionChange<'_>) -> MovedVersion,
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    let answer = |moved: &Moved, generation, replies: &mut ReplyBuffer<'_>| {
        let changed = u32::from(moved.is_change());
        replies.success(asked.id, &KeysChangedReply { changed, generation })
    };
    let details = Details { version: Some(version), ..details };
    run_on_version(asked, (key, version, reason), details, by, answer, replies)
}

fn run_on_version(
    asked: &Asked<'_>,
    (key, version, reason): (&str, u32, &str),
    details: Details<'_>,
    by: impl FnOnce(&Ring, VersionChange<'_>) -> MovedVersion,
    answer: impl FnOnce(&Moved, u64, &mut ReplyBuffer<'_>) -> Result<(), NoRoom>,
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    let make = |keyring: &Ring, name: KeyName<'_>| {
        let change = VersionChange { name, version, reason, now_unix: timers::now(asked.shared) };
        let (draft, moved) = by(keyring, change).map_err(|error| refused(&error, key))?;
        let draft = Some(draft).filter(|_| moved.is_change());
        let details = moving(details, &moved);
        Ok((draft, Done { key_id: moved.key_id, ..of(asked, key, details, moved) }))
    };
    let answer = |moved: &Moved, generation, replies: &mut ReplyBuffer<'_>| {
        if moved.is_change() {
            let message = format!("version {} is {}: {reason}", moved.version, moved.to.as_str());
            tell(asked, key, WatchSeverity::Warning, message);
        }
        answer(moved, generation, replies)
    };
    run(asked, (key, details), make, answer, replies)
}

/// A change without more than these details.
fn of<'a, R>(asked: &'a Asked<'a>, key: &'a str, details: Details<'a>, result: R) -> Done<'a, R> {
    let (caller, operation) = (Some(asked.caller), asked.operation.name());
    Done { caller, operation, key, key_id: None, changed: None, details, result }
}

fn for_version(version: u32, reason: &str) -> Details<'_> {
    Details {
        version: Some(version).filter(|number| *number > 0),
        reason: some(reason),
        ..Details::default()
    }
}

fn moving<'a>(details: Details<'a>, moved: &Moved) -> Details<'a> {
    Details {
        version: Some(moved.version),
        from: Some(moved.from.as_str()),
        to: Some(moved.to.as_str()),
        ..details
    }
}

fn version_reply(moved: &Moved, replaced: u32, generation: u64) -> VersionReply {
    VersionReply {
        version: moved.version,
        key_id: moved.key_id.unwrap_or_default(),
        from: moved.from as u8,
        to: moved.to as u8,
        replaced,
        generation,
    }
}

/// Tells watchers of a change that was made.
fn tell(asked: &Asked<'_>, key: &str, severity: WatchSeverity, message: String) {
    asked.shared.events.push(asked.operation.name(), severity, key, message);
}
