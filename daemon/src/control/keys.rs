//! Operations on keys: made, listed, refused and served again.
//!
//! No answer leaves before the change is in place and recorded ([`super::change`]).

mod refused;
pub(super) mod shown;

use std::sync::PoisonError;

use keyagent_common::{
    codec,
    error::ErrorCode,
    name::KeyName,
    op::{
        KeyCreateReply, KeyCreateRequest, KeyDisableRequest, KeyEnableRequest, KeyEntry, KeyListReply,
        KeyListRequest, KeyStanding, KeysChangedReply, VersionEntry, WatchSeverity,
    },
    report::Report,
};
use keyagent_core::{
    audit::record::{Details, Event},
    change::{self, Selection, VersionChange},
    keyring::{Brake, Class, Key, Keyring, Label},
    reply::{NoRoom, ReplyBuffer},
};
use keyagent_sys::memory::LockedArena;

use super::{
    Asked, DENIED, MALFORMED,
    change::{Changed, NotChanged, Recorded, change, hold_in_engine},
    life,
};
use crate::{
    alarm,
    audit_log::Line,
    commit::line_of,
    state::{EngineState, Shared},
    store::SystemEntropy,
    timers,
};

pub(super) use refused::refused;

/// Most keys in one reply to `key_list`.
const MOST_AT_ONCE: usize = 256;
/// Most bytes of one reply to `key_list` that is about more than one key; the scratch of a worker holds it with room
/// to spare.
const MOST_BYTES: usize = 40 << 10;

/// Most keys that get a line of their own where a brake is about all of them.
const MOST_LINES: usize = 1000;

/// `key_create`
pub(super) fn create(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(KeyCreateRequest { key, class, note }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    if !is_allowed_on(asked, key) {
        return deny(asked, key, replies);
    }
    let shared = asked.shared;
    let prepare = |keyring: &Keyring<LockedArena>| -> Result<_, Report> {
        let name = parse(key)?;
        let class = Class::from_byte(class)
            .ok_or_else(|| Report::new(ErrorCode::InvalidRequest, "there is no such class of keys"))?;
        let now = timers::now(shared);
        let made = change::create_key(keyring, name, class, note, now, &mut SystemEntropy);
        let (mut draft, made) = made.map_err(|error| refused(&error, key))?;
        change::begin_access(&mut draft, key, shared.policy().subjects_of_key(key))
            .map_err(|error| refused(&error, key))?;
        Ok((Some(draft), made))
    };
    let prepare = |keyring: &Keyring<LockedArena>| {
        prepare(keyring).map(|(draft, made)| (draft, Made { asked, key, created: made }))
    };
    match change(shared, prepare) {
        Ok(Changed { result, generation, unrecorded, .. }) => {
            let made = result.created;
            shared.events.push("key_create", WatchSeverity::Info, key, "a key was made".into());
            let reply = KeyCreateReply { version: made.version, key_id: made.key_id, generation };
            done(asked, unrecorded, replies, |replies| replies.success(asked.id, &reply))
        }
        Err(NotChanged::Refused(report) | NotChanged::NotStored(report)) => {
            asked.failed(Some(key), "", &report, replies)
        }
    }
}

/// A key that was made.
struct Made<'a> {
    asked: &'a Asked<'a>,
    key: &'a str,
    created: change::Created,
}

impl Recorded for Made<'_> {
    fn lines(&self) -> Vec<Line<'_>> {
        let Self { asked, key, created } = self;
        let details =
            Details { key_id: Some(&created.key_id), version: Some(created.version), ..Details::default() };
        vec![line(asked, Some(key), details)]
    }
}

/// `key_disable`
pub(super) fn disable(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(KeyDisableRequest { key, version, compromised, reason }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let shared = asked.shared;
    let brake = if compromised { Brake::Compromised } else { Brake::Disabled };
    let details = Details { brake: Some(brake.as_str()), reason: some(reason), ..Details::default() };
    if version > 0 {
        let stop = |keyring: &Keyring<LockedArena>, change: VersionChange<'_>| {
            change::disable_version(keyring, change, compromised)
        };
        return life::stop_version(asked, (key, version, reason), details, stop, replies);
    }
    if !is_allowed_on(asked, key) {
        return deny(asked, key, replies);
    }
    let mut meant = Vec::new();
    let make = |keyring: &Keyring<LockedArena>| {
        let done = change::disable(keyring, selection(key)?, brake, reason, timers::now(shared));
        let (draft, changed) = done.map_err(|error| refused(&error, key))?;
        meant.clone_from(&changed);
        let draft = Some(draft).filter(|_| !changed.is_empty());
        Ok((draft, Braked { asked, key, details, changed }))
    };
    let message = format!("{}: {reason}", brake.as_str());
    match change(shared, make) {
        Ok(changed) => {
            if !changed.result.changed.is_empty() {
                shared.events.push("key_disable", WatchSeverity::Critical, key, message);
            }
            changed_reply(asked, changed, replies)
        }
        Err(NotChanged::Refused(report)) => failed(asked, key, details, &report, replies),
        Err(NotChanged::NotStored(mut report)) => {
            // A brake holds although the disk does not take it, and the answer says so although the log may not.
            shared.held.hold(meant, brake);
            hold_in_engine(shared);
            shared.events.push("key_disable", WatchSeverity::Critical, key, message);
            report.what = "refused from now on, but only until the agent restarts".into();
            let details = Details { code: Some(report.code as u16), ..details };
            if asked.record(named(key), details, Some(&report.what)).is_err() {
                alarm::audit_unwritable(shared);
            }
            super::tell(replies, asked.id, &report)
        }
    }
}

/// `key_enable`
pub(super) fn enable(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(KeyEnableRequest { key, version, lift_compromised, reason }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let shared = asked.shared;
    let details = Details { lift_compromised, reason: some(reason), ..Details::default() };
    if version > 0 {
        let start = |keyring: &Keyring<LockedArena>, change: VersionChange<'_>| {
            change::enable_version(keyring, change, lift_compromised)
        };
        return life::stop_version(asked, (key, version, reason), details, start, replies);
    }
    if !is_allowed_on(asked, key) {
        return deny(asked, key, replies);
    }
    let (mut left, mut as_before, mut released) = (Vec::new(), Vec::new(), Vec::new());
    let make = |keyring: &Keyring<LockedArena>| {
        let compromised = |name: &str| shared.held.brake(name) == Some(Brake::Compromised);
        let done = change::enable_but(keyring, selection(key)?, lift_compromised, reason, compromised);
        let (draft, enabled) = done.map_err(|error| refused(&error, key))?;
        let change::Enabled { mut changed, left_compromised, left_as_before } = enabled;
        let draft = Some(draft).filter(|_| !changed.is_empty());
        (left, as_before) = (left_compromised, left_as_before);
        // Those that only this memory refuses count too.
        released = shared.held.to_lift(key, lift_compromised);
        changed.extend(released.iter().cloned());
        changed.sort_unstable();
        changed.dedup();
        Ok((draft, Braked { asked, key, details, changed }))
    };
    match change(shared, make) {
        Ok(changed) => {
            if !released.is_empty() {
                shared.held.release(&released);
                hold_in_engine(shared);
            }
            if !left.is_empty() {
                let message = format!("{} keys stay compromised: {}", left.len(), left.join(", "));
                shared.events.push("key_enable", WatchSeverity::Warning, key, message);
            }
            if !as_before.is_empty() {
                let names = as_before.join(", ");
                let message = format!("{} keys stay refused as they were before: {names}", as_before.len());
                shared.events.push("key_enable", WatchSeverity::Warning, key, message);
            }
            if !changed.result.changed.is_empty() {
                let message = format!("served again: {reason}");
                shared.events.push("key_enable", WatchSeverity::Warning, key, message);
            }
            changed_reply(asked, changed, replies)
        }
        Err(NotChanged::Refused(report) | NotChanged::NotStored(report)) => {
            failed(asked, key, details, &report, replies)
        }
    }
}

/// Brakes that were put on or lifted.
struct Braked<'a> {
    asked: &'a Asked<'a>,
    key: &'a str,
    details: Details<'a>,
    changed: Vec<String>,
}

impl Recorded for Braked<'_> {
    /// One line that says how many; where all keys were meant, one for each behind it.
    fn lines(&self) -> Vec<Line<'_>> {
        let Self { asked, key, details, changed } = self;
        let count = Some(changed.len() as u64);
        let first = line(asked, named(key), Details { count, ..*details });
        let each = changed.iter().filter(|_| key.is_empty()).take(MOST_LINES);
        std::iter::once(first).chain(each.map(|name| line(asked, Some(name), *details))).collect()
    }
}

/// A line about an operation that succeeded.
fn line<'a>(asked: &'a Asked<'_>, key: Option<&'a str>, details: Details<'a>) -> Line<'a> {
    let event = Event::Operation { name: asked.operation.name(), details };
    Line { key, ..line_of(asked.caller, event) }
}

/// Whether the caller may do it with this key: a rule is about some keys only, and no name stands for all.
pub(super) fn is_allowed_on(asked: &Asked<'_>, key: &str) -> bool {
    let (rights, operation) = (asked.caller.rights, asked.operation);
    if key.is_empty() { rights.may_on_every_key(operation) } else { rights.may_on(operation, key) }
}

/// The same answer whether the key exists or not.
pub(super) fn deny(asked: &Asked<'_>, key: &str, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let details = Details { code: Some(ErrorCode::Denied as u16), ..Details::default() };
    match asked.record(named(key), details, Some(DENIED.what)) {
        Ok(()) => replies.error(asked.id, ErrorCode::Denied, &DENIED),
        Err(error) => super::tell(replies, asked.id, &super::engine::unwritable(&error)),
    }
}

/// `key_list`: not recorded, for no key is touched.
pub(super) fn list(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(KeyListRequest { after, limit }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let rights = asked.caller.rights;
    let oversees = rights.sees_everything();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(MOST_AT_ONCE);
    let engine = asked.shared.engine.read().unwrap_or_else(PoisonError::into_inner);
    let EngineState::Unlocked(engine) = &*engine else {
        return replies.error(asked.id, ErrorCode::Locked, &super::LOCKED);
    };
    let keys = engine.keyring().keys();
    let begin = keys.partition_point(|key| !after.is_empty() && key.name.as_str() <= after);
    let mut visible = keys
        .get(begin..)
        .unwrap_or_default()
        .iter()
        .filter(|key| oversees || rights.any_on(&key.name))
        .peekable();
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while let Some(key) = visible.peek() {
        let entry = entry(asked.shared, key, oversees);
        bytes += codec::encoded_bytes(&entry).unwrap_or(MOST_BYTES);
        if entries.len() >= limit || bytes > MOST_BYTES && !entries.is_empty() {
            break;
        }
        entries.push(entry);
        visible.next();
    }
    let more = visible.peek().is_some();
    shown::tell(asked.id, &KeyListReply { keys: entries, more }, replies)
}

/// What is told of a key: of very many versions and subjects not all.
pub(super) fn entry<'k>(shared: &Shared, key: &'k Key, oversees: bool) -> KeyEntry<'k> {
    let held = shared.held.brake(&key.name);
    let standing = match key.brake().max(held) {
        None => KeyStanding::Active,
        Some(Brake::Disabled) => KeyStanding::Disabled,
        Some(Brake::Compromised) => KeyStanding::Compromised,
    };
    let versions = shown::versions(key).into_iter().map(|version| VersionEntry {
        number: version.number,
        state: version.state as u8,
        reason: version.reason as u8,
        created_at: version.created_at,
        key_id: version.key_id().copied().unwrap_or_default(),
        used_at: if oversees { shared.key_usage.last_used(version) } else { 0 },
    });
    let due = change::rotation_due(key);
    KeyEntry {
        name: &key.name,
        class: key.class as u8,
        standing,
        standing_reason: if held > key.brake() {
            "until the agent restarts: not stored"
        } else {
            key.brake_reason()
        },
        created_at: key.created_at,
        due_at: due.map_or(0, |(at, _)| at),
        due_reason: due.map_or("", |(_, reason)| reason.as_str()),
        rotates: key.policy.enabled,
        environment: key.label(Label::Environment),
        note: &key.note,
        access: if oversees { shown::access(key.access()) } else { Vec::new() },
        versions: versions.collect(),
    }
}

fn changed_reply(
    asked: &Asked<'_>,
    changed: Changed<Braked<'_>>,
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    let Changed { result, generation, unrecorded, .. } = changed;
    let reply = KeysChangedReply { changed: super::saturating_u32(result.changed.len()), generation };
    done(asked, unrecorded, replies, |replies| replies.success(asked.id, &reply))
}

/// Answers success, unless the disk or the log did not take all of it: then that is the answer.
pub(super) fn done(
    asked: &Asked<'_>,
    unrecorded: Option<Report>,
    replies: &mut ReplyBuffer<'_>,
    answer: impl FnOnce(&mut ReplyBuffer<'_>) -> Result<(), NoRoom>,
) -> Result<(), NoRoom> {
    let Some(report) = unrecorded else { return answer(replies) };
    super::tell(replies, asked.id, &report)
}

/// Records a failure with what was wanted, then tells it.
pub(super) fn failed(
    asked: &Asked<'_>,
    key: &str,
    details: Details<'_>,
    report: &Report,
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    let details = Details { code: Some(report.code as u16), ..details };
    match asked.record(named(key), details, Some(&report.what)) {
        Ok(()) => super::tell(replies, asked.id, report),
        Err(error) => super::tell(replies, asked.id, &super::engine::unwritable(&error)),
    }
}

pub(super) fn some(reason: &str) -> Option<&str> {
    Some(reason).filter(|reason| !reason.is_empty())
}

fn named(key: &str) -> Option<&str> {
    Some(key).filter(|key| !key.is_empty())
}

pub(super) fn parse(key: &str) -> Result<KeyName<'_>, Report> {
    KeyName::parse(key)
        .map_err(|error| Report::new(ErrorCode::InvalidRequest, "not a key name").why(error.to_string()))
}

fn selection(key: &str) -> Result<Selection<'_>, Report> {
    if key.is_empty() { Ok(Selection::All) } else { parse(key).map(Selection::One) }
}
