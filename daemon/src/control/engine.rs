//! Exchanging the engine: lock, unlock, reload, stop.

use std::sync::PoisonError;

use keyagent_common::{error::ErrorCode, kdf, key_text, op::OperationCode, report::Report};
use keyagent_core::{
    arena::Arena,
    audit::{
        AuditRoot,
        record::{Details, Event},
    },
    caller::Caller,
    engine::{Engine, LockedEngine},
};
use keyagent_sys::memory::LockedArena;

use crate::{
    audit_log::{AuditUnwritable, Line},
    commit::peer,
    pinning::{self, PinNotWritten},
    source::{self, Master, Origin},
    state::{EngineState, Shared},
    store,
};

/// Wipes every key; whether anything changed, and whether this daemon can unlock by itself.
///
/// An emergency brake: it holds even where the log cannot be written, and then says so.
pub(crate) fn lock(
    shared: &Shared,
    caller: Option<&Caller<'_>>,
    reason: &str,
) -> Result<(bool, bool), Report> {
    let mut engine = shared.engine.write().unwrap_or_else(PoisonError::into_inner);
    let unlockable_here = !matches!(shared.settings.origin, Origin::Environment | Origin::Descriptor);
    let recorded = record(shared, caller, Event::Lock { reason: Some(reason) }, None);
    let EngineState::Unlocked(unlocked) = &*engine else {
        return recorded.map(|()| (false, unlockable_here)).map_err(|error| unwritable(&error));
    };
    let standing = shared.audit.standing();
    let pin = pinning::seal(standing, unlocked);
    *engine = EngineState::Locked(LockedEngine);
    drop(engine);
    // From here on no key is in memory, whatever the disk does.
    let pinned = shared.audit.sync_for_pin().map_err(PinNotWritten::from);
    if let Err(error) = pinned.and_then(|_| Ok(shared.pin_file.write(standing, &pin)?)) {
        crate::report::warn(&error);
    }
    recorded.map(|()| (true, unlockable_here)).map_err(|error| {
        let mut report = unwritable(&error);
        report.what = "locked, but the audit log cannot be written".into();
        report
    })
}

/// Opens the keyring again, with a given master key or the one of the daemon's own source.
pub(crate) fn unlock(
    shared: &Shared,
    caller: &Caller<'_>,
    given: Option<&[u8; key_text::KEY_BYTES]>,
) -> Result<(bool, [u8; 16]), Report> {
    let mut engine = shared.engine.write().unwrap_or_else(PoisonError::into_inner);
    let was_locked = matches!(*engine, EngineState::Locked(_));
    if !was_locked && given.is_none() {
        // Nothing to do, and nothing to read for it.
        let event = Event::Unlock { reason: Some("was unlocked") };
        record(shared, Some(caller), event, None).map_err(|error| unwritable(&error))?;
        return Ok((false, shared.known.fingerprint));
    }
    let reason = if given.is_some() { "given key" } else { "own source" };
    let event = Event::Unlock { reason: Some(reason) };
    let opened = open_again(shared, given).and_then(|(opened, root)| {
        // Only an unlock that changes something begins a segment.
        if was_locked {
            store::begin_segment(shared, opened.keyring(), &root)?;
        }
        Ok(opened)
    });
    let error = opened.as_ref().err().map(|report| report.what.as_str());
    record(shared, Some(caller), event, error).map_err(|error| unwritable(&error))?;
    let opened = opened?;
    if was_locked {
        *engine = EngineState::Unlocked(Box::new(opened));
    }
    Ok((was_locked, shared.known.fingerprint))
}

fn open_again(
    shared: &Shared,
    given: Option<&[u8; key_text::KEY_BYTES]>,
) -> Result<(Engine<LockedArena>, AuditRoot<LockedArena>), Report> {
    let settings = &shared.settings;
    let master: Master = match given {
        Some(key) => {
            key_text::check(key).map_err(|why| Report::new(ErrorCode::KeyMalformed, why.to_string()))?;
            shared.arena.place(|| *key).map_err(crate::arena_full)?
        }
        None => source::read_again(&settings.origin, settings.lock_policy, &shared.arena)?,
    };
    store::check_expected(settings.expected_key_id.as_deref(), &kdf::master_fingerprint(&master))?;
    let (keyring, root) = store::read(&settings.layout, &shared.arena, &master)?
        .ok_or_else(|| store::keyring_missing(&settings.layout, &kdf::master_fingerprint(&master)))?;
    drop(master);
    shared.known.check(&keyring)?;
    let engine = Engine::new(&shared.arena, keyring)
        .map_err(|error| store::unusable(&settings.layout.keyring, &error))?;
    Ok((engine, root))
}

/// Compares the keyring on disk with the one in use; anything else than "the same" is refused.
#[inline(never)]
pub(crate) fn reload(shared: &Shared, caller: Option<&Caller<'_>>, reason: &str) -> Result<u64, Report> {
    let result = store::compare_with_disk(shared);
    let error = result.as_ref().err().map(|report| report.what.clone());
    record(shared, caller, Event::Reload { reason: Some(reason) }, error.as_deref())
        .map_err(|error| unwritable(&error))?;
    result
}

/// Asks the daemon to end.
pub(crate) fn stop(shared: &Shared, caller: &Caller<'_>) -> Result<(), Report> {
    // A daemon whose log cannot be written must still be stoppable.
    let recorded = record(shared, Some(caller), Event::DaemonStop { reason: Some("request") }, None);
    shared.begin_stop();
    recorded.map_err(|error| {
        let mut report = unwritable(&error);
        report.what = "stopping, but the audit log cannot be written".into();
        report
    })
}

/// Records a request that did not get as far as its operation.
pub(super) fn record_refusal(
    shared: &Shared,
    caller: &Caller<'_>,
    operation: OperationCode,
    code: ErrorCode,
    what: &str,
) -> Result<(), Report> {
    let details = Details { code: Some(code as u16), ..Details::default() };
    let event = Event::Operation { name: operation.name(), details };
    record(shared, Some(caller), event, Some(what)).map_err(|error| unwritable(&error))
}

fn record(
    shared: &Shared,
    caller: Option<&Caller<'_>>,
    event: Event<'_>,
    error: Option<&str>,
) -> Result<(), AuditUnwritable> {
    let line = Line {
        peer: caller.map(peer),
        client: caller.map(|caller| caller.client),
        error,
        ..Line::own(event)
    };
    shared.audit.append(&[line])
}

fn unwritable(error: &AuditUnwritable) -> Report {
    Report::new(ErrorCode::AuditUnwritable, "the audit log cannot be written")
        .why(error.to_string())
        .fix("keyagent doctor; free space or rights on the folder of the audit log")
}
