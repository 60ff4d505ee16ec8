//! Backups: keys that leave sealed, and keys that come back.
//!
//! A page leaves only when the backup it belongs to is recorded; a page is taken in by one change of the keyring, as
//! every other change is made. Must never let the backup key outlive the request.

mod recorded;
pub(crate) mod stamp;

use std::sync::PoisonError;

use keyagent_common::{
    backup as format, codec,
    error::ErrorCode,
    fingerprint,
    name::KeyName,
    op::{
        BackupCreateReply, BackupCreateRequest, BackupRestoreReply, BackupRestoreRequest, RestoreOutcome,
        RestoredKey, WatchSeverity,
    },
    report::Report,
};
use keyagent_core::{
    audit::record::Details,
    backup::{self, BackupError, CreatedPage, RestoreRequest, Restored, Taken, Wanted},
    change::{self, ChangeError},
    keyring::{Key, Keyring, KeyringError},
    reply::{NoRoom, ReplyBuffer},
};
use keyagent_sys::memory::LockedArena;

use super::{
    Asked, MALFORMED,
    change::{Changed, NotChanged, change, hold_in_engine},
};
use crate::{
    clock,
    state::{EngineState, Shared},
    store::SystemEntropy,
};
use recorded::TakenIn;

/// `backup_create`: the engine is held while a page is made, so that no key is in memory once `lock` has answered.
pub(super) fn create(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(BackupCreateRequest { backup_key, keys, after }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let Ok(backup_key) = backup_key.try_into() else {
        return asked.failed(None, "", &wrong_length(), replies);
    };
    let shared = asked.shared;
    let wanted = Wanted { backup_key, names: keys, after };
    let made = match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Locked(_) => Err(super::locked()),
        EngineState::Unlocked(engine) => made(engine.keyring(), wanted),
    };
    let Made { page, keyring_id, epoch, generation } = match made {
        Ok(made) => made,
        Err(report) => return asked.failed(None, "", &report, replies),
    };
    let id = format::fingerprint(&format::id(backup_key));
    let first = after.is_empty();
    if first || page.next.is_empty() {
        let part = match (first, page.next.is_empty()) {
            (true, false) => ", begun",
            (false, _) => ", last page",
            (true, true) => "",
        };
        let reason = format!("backup {} of generation {generation}{part}", fingerprint::full(&id));
        let details = Details { count: Some(page.keys as u64), reason: Some(&reason), ..Details::default() };
        if let Err(error) = asked.record(None, details, None) {
            return super::tell(replies, asked.id, &super::engine::unwritable(&error));
        }
        if first {
            let message = format!("{} keys leave sealed: {reason}", page.keys);
            shared.events.push("backup_create", WatchSeverity::Warning, "", message);
        }
    }
    if page.next.is_empty() {
        stamp::write(shared, &stamp::Stamp { keyring_id, generation, at: clock::unix_seconds(), backup: id });
    }
    let reply = BackupCreateReply {
        keyring_id,
        epoch,
        generation,
        master: shared.known().fingerprint,
        page: &page.bytes,
        next: &page.next,
    };
    replies.success(asked.id, &reply)
}

/// A page, and what it is of.
struct Made {
    page: CreatedPage,
    keyring_id: [u8; 16],
    epoch: u32,
    generation: u64,
}

fn made(keyring: &Keyring<LockedArena>, wanted: Wanted<'_>) -> Result<Made, Report> {
    let page = backup::create_page(keyring, wanted, &mut SystemEntropy).map_err(|error| refused(&error))?;
    let keyring_id = *keyring.keyring_id();
    Ok(Made { page, keyring_id, epoch: keyring.epoch(), generation: keyring.generation() })
}

/// `backup_restore`
pub(super) fn restore(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(BackupRestoreRequest { backup_key, page, dry_run, promote }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let Ok(backup_key) = backup_key.try_into() else {
        return asked.failed(None, "", &wrong_length(), replies);
    };
    let shared = asked.shared;
    let id = format::fingerprint(&format::id(backup_key));
    let reason = format!("backup {}", fingerprint::full(&id));
    let _quiet = if dry_run { None } else { Quiet::begin(shared) };
    let make = |keyring: &Keyring<LockedArena>| {
        let request = RestoreRequest {
            backup_key,
            page,
            dry_run,
            promote,
            default_is_unused: default_is_unused(shared, keyring),
            now_unix: clock::unix_seconds(),
        };
        let done = backup::restore(keyring, &request, &mut SystemEntropy).map_err(|error| refused(&error))?;
        if let Some(key) = differing(&done.keys).filter(|_| !dry_run) {
            return Err(differs(key));
        }
        let mut draft = done.draft.filter(|_| !dry_run);
        if let Some(draft) = &mut draft {
            for key in done.keys.iter().filter(|key| matches!(key.taken, Taken::Added | Taken::Replaced)) {
                // A destroyed key stays as it is, and nobody has a right on it.
                if draft.key_mut(&key.name).is_some_and(|key| !key.is_destroyed()) {
                    change::begin_access(draft, &key.name, shared.policy().subjects_of_key(&key.name))
                        .map_err(|error| refused(&error.into()))?;
                }
            }
        }
        Ok((draft, TakenIn { asked, reason: &reason, dry_run, keys: done.keys }))
    };
    match change(shared, make) {
        Ok(changed) => answer(asked, changed, replies),
        Err(NotChanged::Refused(report) | NotChanged::NotStored(report)) => {
            asked.failed(None, &reason, &report, replies)
        }
    }
}

fn answer(
    asked: &Asked<'_>,
    changed: Changed<TakenIn<'_>>,
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    let Changed { result, generation, unrecorded, .. } = changed;
    if let Some(report) = unrecorded {
        return super::tell(replies, asked.id, &report);
    }
    let taken = result.changed().count();
    if taken > 0 && !result.dry_run {
        // What came may be due.
        asked.shared.rotations.notify_one();
        let message = format!("{taken} keys taken in of a {}", result.reason);
        asked.shared.events.push("backup_restore", WatchSeverity::Warning, "", message);
    }
    let keys = result.keys.iter().map(|key| RestoredKey {
        name: &key.name,
        outcome: outcome(key.taken),
        added: key.added,
        why: &key.why,
    });
    replies.success(asked.id, &BackupRestoreReply { keys: keys.collect(), generation })
}

fn outcome(taken: Taken) -> RestoreOutcome {
    match taken {
        Taken::Same => RestoreOutcome::Same,
        Taken::Added => RestoreOutcome::Added,
        Taken::Extended => RestoreOutcome::Extended,
        Taken::Replaced => RestoreOutcome::Replaced,
        Taken::Differs => RestoreOutcome::Differs,
    }
}

/// As long as it lives, nothing is sealed with `default`: between the look at its use and the commit that puts another
/// one in its place.
struct Quiet<'s>(&'s Shared);

impl<'s> Quiet<'s> {
    /// Only where `default` may have to give way.
    fn begin(shared: &'s Shared) -> Option<Self> {
        let alone = match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
            EngineState::Unlocked(engine) => engine.keyring().keys().len() == 1,
            EngineState::Locked(_) => false,
        };
        if !alone {
            return None;
        }
        shared.held.begin_quiet(KeyName::DEFAULT.as_str());
        // Whoever was sealing has done with it before this returns.
        hold_in_engine(shared);
        Some(Self(shared))
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        self.0.held.end_quiet(KeyName::DEFAULT.as_str());
        hold_in_engine(self.0);
    }
}

/// Whether nothing was ever sealed with `default`. What is not known for sure counts as use: then a backup's
/// `default` is refused, and nothing is lost.
fn default_is_unused(shared: &Shared, keyring: &Keyring<LockedArena>) -> bool {
    let Some(primary) = keyring.find(KeyName::DEFAULT.as_str()).and_then(Key::primary) else { return false };
    let used = shared.key_usage.of(primary);
    shared.key_usage.health().is_ok() && used.exact && used.encryptions == 0
}

fn differing(keys: &[Restored]) -> Option<&Restored> {
    keys.iter().find(|key| key.taken == Taken::Differs)
}

fn differs(key: &Restored) -> Report {
    Report::new(ErrorCode::KeyDiffers, "a key of the backup is another one than here; nothing was taken in")
        .fact("key", &key.name)
        .why(&key.why)
        .fix(
            "restore the other keys by name from a backup of those alone, or restore into a new state folder",
        )
}

fn wrong_length() -> Report {
    Report::new(ErrorCode::InvalidRequest, "a backup key has 32 bytes")
}

fn refused(error: &BackupError) -> Report {
    let (code, fix) = match error {
        BackupError::NoSuchKey(_) => (ErrorCode::UnknownKey, "keyagent keys list"),
        BackupError::NamesNotAscending | BackupError::BadCursor => (ErrorCode::InvalidRequest, ""),
        BackupError::ChangedMeanwhile => (ErrorCode::Busy, "begin the backup again"),
        BackupError::TooMuchSaid(_) => (ErrorCode::TooLarge, "shorten its note: keyagent keys configure"),
        BackupError::DoesNotOpen => (ErrorCode::BackupNotOpened, "give the key of this very backup"),
        BackupError::Malformed(_)
        | BackupError::NotAPage(_)
        | BackupError::Keyring(KeyringError::Rule(_) | KeyringError::Damaged(_)) => {
            (ErrorCode::BackupDamaged, "keyagent backup check FILE")
        }
        BackupError::Keyring(KeyringError::Full)
        | BackupError::Change(ChangeError::Keyring(KeyringError::Full)) => {
            (ErrorCode::TooLarge, "restore some of the keys, into a keyring with room for them")
        }
        BackupError::Change(ChangeError::TooManyKeys | ChangeError::Life(_)) => {
            (ErrorCode::InvalidRequest, "restore some of the keys, into a keyring with room for them")
        }
        BackupError::Change(ChangeError::UnfitSubject { .. } | ChangeError::AccessTooLong { .. }) => {
            (ErrorCode::Configuration, "shorten the rules that cover this key: keyagent policy check")
        }
        BackupError::Change(_) | BackupError::Keyring(_) => (ErrorCode::Internal, ""),
    };
    Report::new(code, error.to_string()).fix(fix)
}
