//! `master_rotate`: the keyring is sealed under another root, which another master key opens
//! (docs/FORMATS.md, section 3 "Master rotation").
//!
//! Each step is one change of the keyring: it waits for others, and data operations go on until it is in place. Must
//! never end a step with a keyring that the source of the master key, as it is then, could not open.

use std::sync::PoisonError;

use keyagent_common::{
    codec,
    error::ErrorCode,
    fingerprint, kdf,
    key_text::{self, KEY_BYTES},
    op::{MasterRotateReply, MasterRotateRequest, MasterStep, OperationCode, WatchSeverity},
    report::Report,
};
use keyagent_core::{
    arena::Arena,
    audit::{
        AuditRoot,
        record::{Details, Event},
    },
    caller::Caller,
    keyring::Keyring,
    reply::{NoRoom, ReplyBuffer},
};
use keyagent_sys::memory::LockedArena;

use super::{Asked, BAD_KEY_LENGTH, MALFORMED};
use crate::{
    alarm,
    audit_log::Line,
    commit::line_of,
    source::{self, Master},
    state::{EngineState, Shared},
    store::{self, Shortfall, SystemEntropy},
};

/// A step and the keys that came with it.
struct Step<'a> {
    shared: &'a Shared,
    caller: &'a Caller<'a>,
    current: Option<&'a [u8; KEY_BYTES]>,
    next: Option<&'a [u8; KEY_BYTES]>,
}

/// What a step came to, and what is answered in its place if disk or log did not take all of it.
type Taken = (MasterRotateReply, Option<Report>);

/// The keyring in use, and its masters.
type InUse = (Keyring<LockedArena>, Vec<[u8; 16]>);

pub(super) fn rotate(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(MasterRotateRequest { step, current, next }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let (Ok(current), Ok(next)) = (given(current), given(next)) else {
        return asked.refuse(ErrorCode::InvalidRequest, &BAD_KEY_LENGTH, replies);
    };
    let (name, taken) = {
        let this = Step { shared: asked.shared, caller: asked.caller, current, next };
        match step {
            MasterStep::Begin => ("begin", this.begin()),
            MasterStep::Finish => ("finish", this.finish()),
            MasterStep::Abandon => ("abandon", this.abandon()),
        }
    };
    match taken {
        Ok((reply, unrecorded)) => {
            super::keys::done(asked, unrecorded, replies, |replies| replies.success(asked.id, &reply))
        }
        Err(report) => asked.failed(None, name, &report, replies),
    }
}

/// A key, or none.
fn given(bytes: &[u8]) -> Result<Option<&[u8; KEY_BYTES]>, ()> {
    if bytes.is_empty() { Ok(None) } else { bytes.try_into().map(Some).map_err(|_| ()) }
}

impl Step<'_> {
    /// A new root that both master keys open. Begun already with the same two, there is nothing to do.
    fn begin(&self) -> Result<Taken, Report> {
        let next = self.next.ok_or_else(|| {
            Report::new(ErrorCode::InvalidRequest, "a rotation begins with the next master key")
                .why("the request holds none")
        })?;
        key_text::check(next).map_err(|why| Report::new(ErrorCode::KeyMalformed, why.to_string()))?;
        let next_print = kdf::master_fingerprint(next);
        self.check_expected(&next_print)?;
        let _one_at_a_time = self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let (keyring, masters) = self.in_use()?;
        let current = self.current_key(&keyring)?;
        let print = kdf::master_fingerprint(&current);
        if masters.len() > 1 {
            // Killed behind this step, a client takes it again.
            return if masters == [print, next_print] {
                let (from, to) = (fingerprint::full(&print), fingerprint::full(&next_print));
                self.done_before(&keyring, &format!("begin: done before, master {from} to {to}"))
            } else {
                Err(unfinished(&masters))
            };
        }
        if print == next_print {
            return Err(Report::new(ErrorCode::InvalidRequest, "the next master key is the one in use")
                .fact("master", fingerprint::full(&print))
                .why("the master key would stay as it is"));
        }
        let last_segment = self.shared.audit.standing().segment;
        let arena = &self.shared.arena;
        let rotated = keyring.rotate_root(arena, &current, next, last_segment, &mut SystemEntropy);
        drop(current);
        let (rotated, root) =
            rotated.map_err(|error| store::unusable(&self.shared.settings.layout.keyring, &error))?;
        let (from, to) = (fingerprint::full(&print), fingerprint::full(&next_print));
        self.put_in_place(keyring, rotated, &format!("begin: master {from} to {to}"), &root)
    }

    /// Only the next master key opens the keyring from now on, under a root that the one before was never given.
    /// Finished already, there is nothing to do.
    fn finish(&self) -> Result<Taken, Report> {
        let _one_at_a_time = self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let (keyring, masters) = self.in_use()?;
        let (Some(target), Some(first)) = (masters.last(), masters.first()) else {
            return Err(Report::new(ErrorCode::Internal, "a keyring without a slot"));
        };
        self.prove(&keyring, self.next, target)?;
        let (from, to) = (fingerprint::full(first), fingerprint::full(target));
        if masters.len() == 1 {
            return self.done_before(&keyring, &format!("finish: done before, master {to}"));
        }
        self.renew(keyring, self.next, target, &format!("finish: master {from} to {to}"))
    }

    /// Only the master key from before opens the keyring from now on, under a root that the other was never given.
    fn abandon(&self) -> Result<Taken, Report> {
        let _one_at_a_time = self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let (keyring, masters) = self.in_use()?;
        let Some(target) = masters.first() else {
            return Err(Report::new(ErrorCode::Internal, "a keyring without a slot"));
        };
        self.prove(&keyring, self.current, target)?;
        let stays = fingerprint::full(target);
        let Some(next) = masters.get(1) else {
            return self.done_before(&keyring, &format!("abandon: done before, master {stays}"));
        };
        let said = format!("abandon: master {stays} stays, not {}", fingerprint::full(next));
        self.renew(keyring, self.current, target, &said)
    }

    /// The end of a rotation: a fresh root, sealed to the master key that stays.
    fn renew(
        &self,
        keyring: Keyring<LockedArena>,
        key: Option<&[u8; KEY_BYTES]>,
        target: &[u8; 16],
        said: &str,
    ) -> Result<Taken, Report> {
        let settings = &self.shared.settings;
        if key.is_none() && !settings.origin.can_be_read_again() {
            return Err(source_cannot_give(&settings.origin.to_string(), target));
        }
        let stays = self.master(key)?;
        let print = kdf::master_fingerprint(&stays);
        if print != *target {
            // The source changed since it was asked.
            return Err(self.wrong(target, &print, &settings.origin.to_string()));
        }
        let last_segment = self.shared.audit.standing().segment;
        let renewed = keyring.renew_root(&self.shared.arena, &stays, last_segment, &mut SystemEntropy);
        drop(stays);
        let (renewed, root) = renewed.map_err(|error| store::unusable(&settings.layout.keyring, &error))?;
        self.put_in_place(keyring, renewed, said, &root)
    }

    /// Killed behind a step, a client takes it again: nothing changes, and the log has a line of it.
    fn done_before(&self, keyring: &Keyring<LockedArena>, said: &str) -> Result<Taken, Report> {
        let said = format!("{said}, epoch {}", keyring.epoch());
        let appended = self.shared.audit.append_durably(&[self.line(&said)]);
        appended.map_err(|error| super::engine::unwritable(&error))?;
        Ok((reply(keyring), None))
    }

    /// The line of a step.
    fn line<'l>(&'l self, said: &'l str) -> Line<'l> {
        let details = Details { reason: Some(said), ..Details::default() };
        line_of(self.caller, Event::Operation { name: OperationCode::MasterRotate.name(), details })
    }

    fn in_use(&self) -> Result<InUse, Report> {
        match &*self.shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
            EngineState::Unlocked(engine) => Ok((engine.keyring().clone(), engine.keyring().masters())),
            EngineState::Locked(_) => Err(super::locked()),
        }
    }

    /// The master key in use: the one that is given, or that of the daemon's own source. It opens the keyring.
    fn current_key(&self, keyring: &Keyring<LockedArena>) -> Result<Master, Report> {
        let master = self.master(self.current)?;
        let path = &self.shared.settings.layout.keyring;
        keyring.check_master(&master).map_err(|error| store::unusable(path, &error))?;
        Ok(master)
    }

    /// The master key that is given, or that of the daemon's own source.
    fn master(&self, given: Option<&[u8; KEY_BYTES]>) -> Result<Master, Report> {
        let settings = &self.shared.settings;
        match given {
            Some(key) => self.shared.arena.place(|| *key).map_err(crate::arena_full),
            None => source::read_again(&settings.origin, settings.lock_policy, &self.shared.arena),
        }
    }

    /// `KEYAGENT_EXPECT_KEY_ID` would refuse the next key at the next start.
    fn check_expected(&self, next: &[u8; 16]) -> Result<(), Report> {
        match self.shared.settings.expected_key_id.as_deref() {
            Some(text) if !fingerprint::matches(text, next) => Err(Report::new(
                ErrorCode::WrongMasterKey,
                "KEYAGENT_EXPECT_KEY_ID allows no other master key",
            )
            .fact("expect", keyagent_common::report::escape(text))
            .fact("next", fingerprint::full(next))
            .why("with the next one the agent would not start again")
            .fix("take the variable out of the agent's environment, restart it, rotate, and set it anew")),
            _ => Ok(()),
        }
    }

    /// Whoever takes a slot away shows the master key of the one that stays, and the source from which the next
    /// start reads must hold it as well, as far as it can be asked.
    fn prove(
        &self,
        keyring: &Keyring<LockedArena>,
        key: Option<&[u8; KEY_BYTES]>,
        target: &[u8; 16],
    ) -> Result<(), Report> {
        let settings = &self.shared.settings;
        let origin = settings.origin.to_string();
        if let Some(key) = key {
            let print = kdf::master_fingerprint(key);
            if print != *target {
                return Err(self.wrong(target, &print, "the request"));
            }
            keyring.check_master(key).map_err(|error| store::unusable(&settings.layout.keyring, &error))?;
        } else if !settings.origin.can_be_read_again() {
            // Its source was read at the start, and that is what it held.
            return if self.shared.known().fingerprint == *target {
                Ok(())
            } else {
                Err(source_cannot_tell(&origin, target))
            };
        }
        match source::fingerprint_now(&settings.origin, settings.lock_policy, &self.shared.arena) {
            Some(Ok(print)) if print != *target => Err(self.wrong(target, &print, &origin)),
            // Somebody who keeps the key elsewhere has just shown it.
            Some(Err(report)) if key.is_none() || report.code != ErrorCode::KeyMissing => Err(report),
            _ => Ok(()),
        }
    }

    /// A key that is not the one of the slot that stays.
    fn wrong(&self, target: &[u8; 16], found: &[u8; 16], place: &str) -> Report {
        let origin = &self.shared.settings.origin;
        Report::new(ErrorCode::WrongMasterKey, "this is not the master key that is to stay")
            .fact("needed", fingerprint::full(target))
            .fact("found", format!("{} in {place}", fingerprint::full(found)))
            .why("the agent could not be unlocked or started again")
            .fix(format!("put the right key into {origin}, then: keyagent master rotate"))
    }

    /// Stores the keyring under its new root in the place of `before`, and takes it into use; the log goes on in a
    /// segment under that root. `said` gets both epochs behind it.
    fn put_in_place(
        &self,
        before: Keyring<LockedArena>,
        mut keyring: Keyring<LockedArena>,
        said: &str,
        root: &AuditRoot<LockedArena>,
    ) -> Result<Taken, Report> {
        let shared = self.shared;
        let layout = &shared.settings.layout;
        let said = format!("{said}, epoch {} to {}", before.epoch(), keyring.epoch());
        // Two rotations of the root may follow at once: the pin of the one before is asked for by the first alone.
        store::settle_epoch(&before, &shared.audit, layout)?;
        drop(before);
        let draft = keyring.draft();
        let lines: [Line<'_>; 1] = [self.line(&said)];
        // Under the new root the counts of use are to be found from the same moment on.
        let counts = shared.key_usage.begin_rewriting(keyring.counter_key());
        let committed =
            store::commit_recording(&mut keyring, draft, &shared.audit, layout, |_, _| Ok(()), &lines);
        let shortfall = committed?;
        counts.finish();
        let told = shortfall.told();
        let Shortfall { unsynced, unrecorded } = shortfall;
        let mut shortfalls: Vec<Report> = unsynced.into_iter().chain(unrecorded).collect();
        shared.known.lock().unwrap_or_else(PoisonError::into_inner).advance(&keyring);
        let reply = reply(&keyring);
        shortfalls.extend(self.adopt(&keyring, root).err());
        for report in &shortfalls {
            alarm::failed(shared, "store_incomplete", report);
        }
        shared.events.push("master_rotate", WatchSeverity::Warning, "", said);
        Ok((reply, told))
    }

    /// Takes the keyring into use. Its root begins a segment of the log at the very moment: who pins a group of that
    /// segment seals the pin under it.
    fn adopt(&self, keyring: &Keyring<LockedArena>, root: &AuditRoot<LockedArena>) -> Result<(), Report> {
        let shared = self.shared;
        let mut begun = Ok(());
        let mut engine = shared.engine.write().unwrap_or_else(PoisonError::into_inner);
        if let EngineState::Unlocked(engine) = &mut *engine {
            // If it fails the segment before goes on, under a key that was derived from the old root.
            begun = store::begin_segment(shared, keyring, root, None, None);
            engine.adopt(keyring.clone());
            engine.hold(shared.held.all());
        }
        drop(engine);
        begun?;
        let unpinned = |why: &dyn std::fmt::Display| {
            Report::new(ErrorCode::StoreFailed, "the audit pin cannot be written").why(why.to_string())
        };
        let Some(standing) = shared.audit.sync_for_pin().map_err(|error| unpinned(&error))? else {
            return Ok(());
        };
        let sealed = keyring.seal_pin(&standing.pin(keyring));
        shared.pin_file.write(standing, &sealed).map_err(|error| unpinned(&error))?;
        shared.audit.pinned();
        Ok(())
    }
}

fn reply(keyring: &Keyring<LockedArena>) -> MasterRotateReply {
    MasterRotateReply { masters: keyring.masters(), epoch: keyring.epoch(), generation: keyring.generation() }
}

fn unfinished(masters: &[[u8; 16]]) -> Report {
    let report = Report::new(ErrorCode::WrongState, "a rotation to another master key is unfinished");
    let report = masters
        .iter()
        .zip(["master", "next"])
        .fold(report, |report, (print, label)| report.fact(label, fingerprint::full(print)));
    report
        .why("a keyring has one next master key at a time")
        .fix("keyagent master rotate          (or give it up: keyagent master rotate --abandon)")
}

fn source_cannot_tell(origin: &str, target: &[u8; 16]) -> Report {
    Report::new(
        ErrorCode::NotUnlockable,
        "the agent cannot look whether its source holds the key that is to stay",
    )
    .fact("needed", fingerprint::full(target))
    .why(format!("the master key came from {origin}, which cannot be read a second time"))
    .fix("send the key itself, or restart the agent with it, then: keyagent master rotate")
}

fn source_cannot_give(origin: &str, target: &[u8; 16]) -> Report {
    Report::new(
        ErrorCode::NotUnlockable,
        "the agent needs the master key that is to stay, and cannot read it again",
    )
    .fact("needed", fingerprint::full(target))
    .why(format!(
        "the keyring is sealed anew for it, and the master key came from {origin}, which is read once"
    ))
    .fix("keyagent master rotate --new-key-file FILE          (to give it up: --abandon --key-file FILE)")
}
