//! Operations on keys: made, listed, refused and served again.
//!
//! One change at a time, from snapshot to disk to memory: data operations go on until the new keyring is
//! in place, and no answer leaves before it is.

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
    audit::record::Details,
    change::{self, ChangeError, Selection},
    keyring::{Brake, Class, Draft, Key, Keyring, KeyringError},
    reply::{NoRoom, ReplyBuffer},
};
use keyagent_sys::memory::LockedArena;

use super::{Asked, DENIED, MALFORMED};
use crate::{
    alarm, clock,
    state::{EngineState, Shared},
    store::{self, SystemEntropy},
};

/// Most keys in one reply to `key_list`.
const MOST_AT_ONCE: usize = 256;
/// Most bytes of one reply to `key_list`; the scratch of a worker holds it with room to spare.
const MOST_BYTES: usize = 40 << 10;

/// Why nothing was changed.
pub(crate) enum NotChanged {
    /// The request cannot be done.
    Refused(Report),
    /// The disk or the log did not take it.
    NotStored(Report),
}

/// `key_create`
pub(super) fn create(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(KeyCreateRequest { key, class, note }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    if !is_allowed_on(asked, key) {
        return deny(asked, key, replies);
    }
    let shared = asked.shared;
    let prepare = |keyring: &Keyring<LockedArena>| {
        let name = parse(key)?;
        let class = Class::from_byte(class)
            .ok_or_else(|| Report::new(ErrorCode::InvalidRequest, "there is no such class of keys"))?;
        let now = clock::unix_seconds();
        let made = change::create_key(keyring, name, class, note, now, &mut SystemEntropy);
        let (mut draft, made) = made.map_err(|error| refused(&error, key))?;
        change::begin_access(&mut draft, key, shared.policy().subjects_of_key(key))
            .map_err(|error| refused(&error, key))?;
        Ok((Some(draft), made))
    };
    match change(shared, prepare) {
        Ok((made, generation)) => {
            let details =
                Details { key_id: Some(&made.key_id), version: Some(made.version), ..Details::default() };
            shared.events.push("key_create", WatchSeverity::Info, key, "a key was made".into());
            let reply = KeyCreateReply { version: made.version, key_id: made.key_id, generation };
            asked.done(Some(key), details, replies, |replies| replies.success(asked.id, &reply))
        }
        Err(NotChanged::Refused(report) | NotChanged::NotStored(report)) => {
            asked.failed(Some(key), "", &report, replies)
        }
    }
}

/// `key_disable`
pub(super) fn disable(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(KeyDisableRequest { key, compromised, reason }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    if !is_allowed_on(asked, key) {
        return deny(asked, key, replies);
    }
    let shared = asked.shared;
    let brake = if compromised { Brake::Compromised } else { Brake::Disabled };
    let make = |keyring: &Keyring<LockedArena>| {
        let done = change::disable(keyring, selection(key)?, brake, reason, clock::unix_seconds());
        let (draft, changed) = done.map_err(|error| refused(&error, key))?;
        Ok((Some(draft).filter(|_| !changed.is_empty()), changed))
    };
    let message = format!("{}: {reason}", brake.as_str());
    match change(shared, make) {
        Ok((changed, generation)) => {
            // What is stored need not be held.
            shared.held.release(key);
            if !changed.is_empty() {
                shared.events.push("key_disable", WatchSeverity::Critical, key, message);
            }
            changed_reply(asked, key, reason, &changed, generation, replies)
        }
        Err(NotChanged::Refused(report)) => asked.failed(named(key), reason, &report, replies),
        Err(NotChanged::NotStored(mut report)) => {
            // A brake holds although the disk does not take it, and the answer says so although the log may not.
            hold_in_memory(shared, key);
            shared.events.push("key_disable", WatchSeverity::Critical, key, message);
            report.what = "refused from now on, but only until the agent restarts".into();
            let details =
                Details { code: Some(report.code as u16), reason: Some(reason), ..Details::default() };
            if asked.record(named(key), details, Some(&report.what)).is_err() {
                alarm::audit_unwritable(shared);
            }
            super::tell(replies, asked.id, &report)
        }
    }
}

/// `key_enable`
pub(super) fn enable(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(KeyEnableRequest { key, lift_compromised, reason }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    if !is_allowed_on(asked, key) {
        return deny(asked, key, replies);
    }
    let make = |keyring: &Keyring<LockedArena>| {
        let done = change::enable(keyring, selection(key)?, lift_compromised, reason);
        let (draft, enabled) = done.map_err(|error| refused(&error, key))?;
        let change::Enabled { changed, left_compromised } = enabled;
        Ok((Some(draft).filter(|_| !changed.is_empty()), (changed, left_compromised)))
    };
    match change(asked.shared, make) {
        Ok(((mut changed, left), generation)) => {
            let released = release(asked.shared, key);
            changed.extend(released.into_iter().filter(|name| !changed.contains(name)).collect::<Vec<_>>());
            if !left.is_empty() {
                let message = format!("{} keys stay compromised: {}", left.len(), left.join(", "));
                asked.shared.events.push("key_enable", WatchSeverity::Warning, key, message);
            }
            if !changed.is_empty() {
                let message = format!("served again: {reason}");
                asked.shared.events.push("key_enable", WatchSeverity::Warning, key, message);
            }
            changed_reply(asked, key, reason, &changed, generation, replies)
        }
        Err(NotChanged::Refused(report) | NotChanged::NotStored(report)) => {
            asked.failed(named(key), reason, &report, replies)
        }
    }
}

/// Whether the caller may do it with this key: a rule is about some keys only, and no name stands for all.
fn is_allowed_on(asked: &Asked<'_>, key: &str) -> bool {
    let (rights, operation) = (asked.caller.rights, asked.operation);
    if key.is_empty() { rights.may_on_every_key(operation) } else { rights.may_on(operation, key) }
}

/// The same answer whether the key exists or not.
fn deny(asked: &Asked<'_>, key: &str, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
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
        let entry = entry(key, oversees, asked.shared.held.covers(&key.name));
        bytes += codec::encoded_bytes(&entry).unwrap_or(MOST_BYTES);
        if entries.len() >= limit || bytes > MOST_BYTES && !entries.is_empty() {
            break;
        }
        entries.push(entry);
        visible.next();
    }
    let more = visible.peek().is_some();
    replies.success(asked.id, &KeyListReply { keys: entries, more })
}

fn entry(key: &Key, oversees: bool, held: bool) -> KeyEntry<'_> {
    let standing = match key.brake() {
        None if held => KeyStanding::Disabled,
        None => KeyStanding::Active,
        Some(Brake::Disabled) => KeyStanding::Disabled,
        Some(Brake::Compromised) => KeyStanding::Compromised,
    };
    let versions = key.versions.iter().map(|version| VersionEntry {
        number: version.number,
        state: version.state as u8,
        reason: version.reason as u8,
        created_at: version.created_at,
        key_id: version.key_id().copied().unwrap_or_default(),
    });
    KeyEntry {
        name: &key.name,
        class: key.class as u8,
        standing,
        standing_reason: if held { "until the agent restarts: not stored" } else { key.brake_reason() },
        created_at: key.created_at,
        due_at: key.due().map_or(0, |due| due.at_unix),
        due_reason: key.due().map_or("", |due| due.reason),
        note: &key.note,
        access: if oversees { key.access().collect() } else { Vec::new() },
        versions: versions.collect(),
    }
}

/// Changes the keyring on disk, then in memory; the generation in use. Without a draft nothing changes.
pub(crate) fn change<R>(
    shared: &Shared,
    make: impl FnOnce(&Keyring<LockedArena>) -> Result<(Option<Draft<LockedArena>>, R), Report>,
) -> Result<(R, u64), NotChanged> {
    let _one_at_a_time = shared.changes.lock().unwrap_or_else(PoisonError::into_inner);
    let mut keyring = match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Unlocked(engine) => engine.keyring().clone(),
        EngineState::Locked(_) => return Err(NotChanged::Refused(super::locked())),
    };
    let (draft, result) = make(&keyring).map_err(NotChanged::Refused)?;
    let Some(draft) = draft else { return Ok((result, keyring.generation())) };
    let layout = &shared.settings.layout;
    store::commit(&mut keyring, draft, &shared.audit, layout, |_, _| Ok(()))
        .map_err(NotChanged::NotStored)?;
    let generation = keyring.generation();
    shared.known.lock().unwrap_or_else(PoisonError::into_inner).advance(&keyring);
    if let EngineState::Unlocked(engine) = &mut *shared.engine.write().unwrap_or_else(PoisonError::into_inner)
    {
        engine
            .adopt(&shared.arena, keyring)
            .map_err(|error| NotChanged::NotStored(store::unusable(&layout.keyring, &error)))?;
        engine.forget(|name| shared.held.covers(name));
    }
    Ok((result, generation))
}

/// Refuses keys in memory only.
fn hold_in_memory(shared: &Shared, key: &str) {
    if let EngineState::Unlocked(engine) = &mut *shared.engine.write().unwrap_or_else(PoisonError::into_inner)
    {
        let meant = engine.keyring().keys().iter().filter(|found| key.is_empty() || found.name == key);
        shared.held.hold(meant.map(|key| key.name.clone()));
        engine.forget(|name| shared.held.covers(name));
    }
}

/// Serves keys again that were refused in memory only; which they were.
fn release(shared: &Shared, key: &str) -> Vec<String> {
    let released = shared.held.release(key);
    if !released.is_empty()
        && let EngineState::Unlocked(engine) =
            &mut *shared.engine.write().unwrap_or_else(PoisonError::into_inner)
    {
        let keyring = engine.keyring().clone();
        if let Err(error) = engine.adopt(&shared.arena, keyring) {
            crate::report::warn(&store::unusable(&shared.settings.layout.keyring, &error));
        }
        engine.forget(|name| shared.held.covers(name));
    }
    released
}

fn changed_reply(
    asked: &Asked<'_>,
    key: &str,
    reason: &str,
    changed: &[String],
    generation: u64,
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    let details = Details {
        count: Some(changed.len() as u64),
        reason: Some(reason).filter(|reason| !reason.is_empty()),
        ..Details::default()
    };
    let reply = KeysChangedReply { changed: super::saturating_u32(changed.len()), generation };
    asked.done(named(key), details, replies, |replies| replies.success(asked.id, &reply))
}

fn named(key: &str) -> Option<&str> {
    Some(key).filter(|key| !key.is_empty())
}

fn parse(key: &str) -> Result<KeyName<'_>, Report> {
    KeyName::parse(key)
        .map_err(|error| Report::new(ErrorCode::InvalidRequest, "not a key name").why(error.to_string()))
}

fn selection(key: &str) -> Result<Selection<'_>, Report> {
    if key.is_empty() { Ok(Selection::All) } else { parse(key).map(Selection::One) }
}

fn refused(error: &ChangeError, key: &str) -> Report {
    let (code, fix) = match error {
        ChangeError::Exists => (ErrorCode::KeyExists, "keyagent keys list"),
        ChangeError::NoSuchKey => (ErrorCode::UnknownKey, "keyagent keys list"),
        ChangeError::IsCompromised => (
            ErrorCode::KeyCompromised,
            "if you are sure that nobody else knows it: keyagent keys enable NAME --lift-compromised --reason TEXT",
        ),
        ChangeError::NoteTooLong
        | ChangeError::UnfitReason
        | ChangeError::TooManyKeys
        | ChangeError::ClassNotOffered => (ErrorCode::InvalidRequest, ""),
        ChangeError::Life(_) => (ErrorCode::InvalidRequest, "keyagent keys list"),
        ChangeError::UnfitSubject { .. } | ChangeError::AccessTooLong { .. } => {
            (ErrorCode::Configuration, "shorten the rules that cover this key: keyagent policy check")
        }
        ChangeError::Keyring(KeyringError::Full) => (
            ErrorCode::TooLarge,
            "shorten notes and rules; keys that are not needed can be left out of a new keyring",
        ),
        ChangeError::Keyring(_) => (ErrorCode::Internal, ""),
    };
    Report::new(code, error.to_string()).fact("key", key).fix(fix)
}
