//! Exchanging the engine and the policy: lock, unlock, reload, stop.

use std::sync::PoisonError;

use keyagent_common::{error::ErrorCode, fingerprint, kdf, key_text, op::WatchSeverity, report::Report};
use keyagent_core::{
    arena::Arena,
    audit::{AuditRoot, record::Event},
    caller::Caller,
    engine::{Engine, LockedEngine},
    keyring::Keyring,
};
use keyagent_sys::memory::LockedArena;

use crate::{
    access,
    audit_log::{AuditUnwritable, Line},
    commit::line_of,
    configuration, history,
    pinning::{self, PinNotWritten},
    source::{self, Master},
    state::{EngineState, Shared},
    store::{self, Known},
    usage::{self, Before},
};

/// What `reload` found.
pub(crate) struct Reloaded {
    /// Generation of the keyring in use.
    pub(crate) generation: u64,
    /// Digest of the policy in use.
    pub(crate) policy: [u8; 32],
    /// Whether it is another one than before.
    pub(crate) policy_changed: bool,
}

/// Wipes every key; whether anything changed, and whether this daemon can unlock by itself.
///
/// An emergency brake: it holds even where the log cannot be written, and then says so.
pub(crate) fn lock(
    shared: &Shared,
    caller: Option<&Caller<'_>>,
    reason: &str,
) -> Result<(bool, bool), Report> {
    let mut engine = shared.engine.write().unwrap_or_else(PoisonError::into_inner);
    shared.note_lock();
    let unlockable_here = shared.settings.origin.can_be_read_again();
    let EngineState::Unlocked(unlocked) = &*engine else { return Ok((false, unlockable_here)) };
    let recorded = record(shared, caller, Event::Lock { reason: Some(reason) }, None);
    let standing = shared.audit.standing();
    let pin = pinning::seal(standing, unlocked);
    let counter_key = unlocked.keyring().counter_key();
    *engine = EngineState::Locked(LockedEngine);
    drop(engine);
    // Nothing is served any more. A change of the keyring that is under way holds keys of its own until it has done
    // with the disk: the answer waits for it, the brake did not.
    drop(shared.changes.lock().unwrap_or_else(PoisonError::into_inner));
    usage::close(shared, &counter_key);
    drop(counter_key);
    // From here on no key is in memory, whatever the disk does.
    shared.events.push("lock", WatchSeverity::Warning, "", format!("locked: {reason}"));
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
    let fingerprint = shared.known().fingerprint;
    let was_locked_at_first = shared.is_locked();
    if !was_locked_at_first && given.is_none() {
        // Nothing to do, and nothing to read for it.
        let event = Event::Unlock { reason: Some("was unlocked") };
        record(shared, Some(caller), event, None).map_err(|error| unwritable(&error))?;
        return Ok((false, fingerprint));
    }
    let reason = if given.is_some() { "given key" } else { "own source" };
    let event = Event::Unlock { reason: Some(reason) };
    if let Err(report) = shared.back_off.check(caller) {
        let what = Some(report.what.as_str());
        record(shared, Some(caller), event, what).map_err(|error| unwritable(&error))?;
        return Err(report);
    }
    let asked = Asked { caller, event, given };
    let changed = if was_locked_at_first { asked.open(shared)? } else { asked.compare(shared)? };
    if changed {
        // What became overdue meanwhile could not be seen.
        shared.rotations.notify_one();
        shared.events.push("unlock", WatchSeverity::Info, "", format!("unlocked: {reason}"));
        // Whoever lost a right while no key could be touched is noticed now.
        configuration::reload_quietly(shared, "unlock");
    }
    Ok((changed, fingerprint))
}

/// An unlock.
struct Asked<'a> {
    caller: &'a Caller<'a>,
    event: Event<'a>,
    /// A master key, instead of the daemon's own source.
    given: Option<&'a [u8; key_text::KEY_BYTES]>,
}

impl Asked<'_> {
    /// Unlocks; false if somebody else did so meanwhile.
    ///
    /// Keyring and log are read without holding the engine, which is locked all the time: whoever asks is told so
    /// at once, however long it takes.
    fn open(&self, shared: &Shared) -> Result<bool, Report> {
        let locks = shared.locks();
        let one_at_a_time = shared.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if !shared.is_locked() {
            drop(one_at_a_time);
            return self.compare(shared);
        }
        let opened = open_again(shared, self.given);
        let mut engine = shared.engine.write().unwrap_or_else(PoisonError::into_inner);
        let opened = opened
            .and_then(|opened| if shared.locks() == locks { Ok(opened) } else { Err(locked_meanwhile()) });
        let mut opened = self.settle(shared, opened)?;
        opened.hold(shared.held.all());
        shared.begin_use();
        *engine = EngineState::Unlocked(Box::new(opened));
        Ok(true)
    }

    /// There is an engine already: a key that is given is only compared, and nothing is made of it.
    fn compare(&self, shared: &Shared) -> Result<bool, Report> {
        let same = match self.given {
            None => Ok(()),
            Some(key) => key_text::check(key)
                .map_err(|why| Report::new(ErrorCode::KeyMalformed, why.to_string()))
                .and_then(|()| another_key(kdf::master_fingerprint(key), &shared.known())),
        };
        self.settle(shared, same).map(|()| false)
    }

    /// Records how it ended, and notes a wrong key.
    fn settle<T>(&self, shared: &Shared, result: Result<T, Report>) -> Result<T, Report> {
        let error = result.as_ref().err().map(|report| report.what.as_str());
        let recorded = record(shared, Some(self.caller), self.event, error);
        shared.back_off.note(self.caller, result.as_ref().map(|_| ()));
        recorded.map_err(|error| unwritable(&error))?;
        result
    }
}

/// Refuses a master key that is not the one of the keyring in use.
fn another_key(given: [u8; 16], known: &Known) -> Result<(), Report> {
    if known.is_opened_by(&given) {
        return Ok(());
    }
    Err(Report::new(ErrorCode::WrongMasterKey, "the master key does not belong to this keyring")
        .fact("given", fingerprint::short(&given))
        .fact("needed", fingerprint::short(&known.fingerprint))
        .why("the agent is unlocked, with another key")
        .fix("give the key whose fingerprint `keyagent status` shows"))
}

fn locked_meanwhile() -> Report {
    Report::new(ErrorCode::Locked, "the agent was locked again meanwhile")
        .why("somebody asked for a lock while it was being unlocked")
        .fix("keyagent unlock")
}

/// The engine of the keyring in use, once the log's next segment has begun. The engine is not held.
fn open_again(
    shared: &Shared,
    given: Option<&[u8; key_text::KEY_BYTES]>,
) -> Result<Engine<LockedArena>, Report> {
    let settings = &shared.settings;
    let master: Master = match given {
        Some(key) => {
            key_text::check(key).map_err(|why| Report::new(ErrorCode::KeyMalformed, why.to_string()))?;
            shared.arena.place(|| *key).map_err(crate::arena_full)?
        }
        None => source::read_again(&settings.origin, settings.lock_policy, &shared.arena)?,
    };
    let print = kdf::master_fingerprint(&master);
    store::check_expected(settings.expected_key_id.as_deref(), &print)?;
    let (keyring, root) = store::read(&settings.layout, &shared.arena, &master)?
        .ok_or_else(|| store::keyring_missing(&settings.layout, &print))?;
    drop(master);
    shared.known().check(&keyring)?;
    begin_segment(shared, &keyring, &root)?;
    drop(root);
    // Read once in the life of this process: from then on memory knows better.
    shared.key_usage.open(&keyring, Before::Unknown);
    Engine::new(&shared.arena, keyring).map_err(|error| store::unusable(&settings.layout.keyring, &error))
}

/// The log's next segment; behind a bridge only after everything before it was examined.
fn begin_segment(
    shared: &Shared,
    keyring: &Keyring<LockedArena>,
    root: &AuditRoot<LockedArena>,
) -> Result<(), Report> {
    // Not held while the log is examined: others only ask whether there is one.
    let bridge = shared.bridge.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(secret) = bridge else {
        return store::begin_segment(shared, keyring, root, None, None);
    };
    let history = history::examine_at_unlock(&shared.settings.layout, keyring, root, &secret)?;
    let lost = history.verified.unauthenticated_from;
    store::begin_segment(shared, keyring, root, Some(&*secret), lost)?;
    *shared.bridge.lock().unwrap_or_else(PoisonError::into_inner) = None;
    if let Some(first_seq) = history.verified.kept_from {
        shared.audit.finish_retention(first_seq).map_err(|error| unwritable(&error))?;
    }
    Ok(())
}

/// Reads configuration and policy again, and compares the keyring on disk with the one in use. What fails
/// leaves everything as it was.
#[inline(never)]
pub(crate) fn reload(shared: &Shared, caller: Option<&Caller<'_>>, reason: &str) -> Result<Reloaded, Report> {
    // Over all of it: of two that overlap, the one that read last is the one in use.
    let _one_at_a_time = shared.reloads.lock().unwrap_or_else(PoisonError::into_inner);
    let before = *shared.policy().digest();
    let result = store::compare_with_disk(shared).and_then(|generation| {
        let loaded = configuration::load(shared)?;
        configuration::take(shared, loaded, reason)?;
        access::record(shared).map_err(configuration::in_force_all_the_same)?;
        Ok(generation)
    });
    // Behind what was done, so that it says what came of it; the room that the log may take was set before.
    let error = result.as_ref().err().map(|report| report.what.as_str());
    let recorded = record(shared, caller, Event::Reload { reason: Some(reason) }, error);
    let generation = result?;
    recorded.map_err(|error| {
        let mut report = unwritable(&error);
        report.what = "the configuration is in use, but the audit log cannot be written".into();
        report
    })?;
    let policy = *shared.policy().digest();
    Ok(Reloaded {
        generation: shared.known().generation.max(generation),
        policy,
        policy_changed: policy != before,
    })
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

fn record(
    shared: &Shared,
    caller: Option<&Caller<'_>>,
    event: Event<'_>,
    error: Option<&str>,
) -> Result<(), AuditUnwritable> {
    let line = match caller {
        Some(caller) => line_of(caller, event),
        None => Line::own(event),
    };
    shared.audit.append(&[Line { error, ..line }])
}

pub(super) fn unwritable(error: &AuditUnwritable) -> Report {
    Report::new(ErrorCode::AuditUnwritable, "the audit log cannot be written")
        .why(error.to_string())
        .fix(error.fix())
}
