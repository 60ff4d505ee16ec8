//! Whether what a crash left is sound: nothing acknowledged is lost, what was under way is there as a whole or not
//! at all, and the store goes on.

use std::{collections::BTreeSet, fs};

use keyagent_common::{
    codec,
    context::EMPTY,
    op::{KeyShow, KeyShowReply, KeyShowRequest},
};
use keyagent_core::{
    arena::HeapArena,
    keyring::{self, Key, Keyring, State},
};

use crate::{
    life::{Lived, Origin, Sealed, Step, started},
    support::{Client, Home, assert_no_failure, finish, log},
};

/// State of a version whose secret is gone.
const DESTROYED: u8 = State::Destroyed as u8;

/// How a store came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The daemon was killed: what it wrote is there.
    Process,
    /// Power was lost: what was not synced may be gone. Records of data operations are synced once a second.
    Power,
    /// As [`Self::Process`], but the counts of use were spoiled.
    Counts,
}

/// What must be found.
pub(crate) struct Expected<'o> {
    pub(crate) origin: &'o Origin,
    /// Steps that were acknowledged.
    pub(crate) acknowledged: usize,
    /// Which of them need no line in the log.
    pub(crate) unrecorded: &'o [usize],
    /// Whether the step after them may have been done.
    pub(crate) one_more: bool,
    /// Every acknowledged value.
    pub(crate) sealed: &'o [Sealed],
    pub(crate) loss: Loss,
}

fn open(home: &Home) -> Result<(Keyring<HeapArena>, usize), String> {
    let bytes = fs::read(home.state_file("keyring")).map_err(|error| format!("keyring: {error}"))?;
    let seen = keyring::examine(&bytes).map_err(|error| error.to_string())?;
    let (keyring, _) =
        Keyring::open(&HeapArena, &bytes, &home.master()).map_err(|error| error.to_string())?;
    Ok((keyring, seen.masters.len()))
}

/// What stands in a keyring, in words that are the same in every run: no ids, no times.
pub(crate) fn describe(home: &Home) -> Result<String, String> {
    let (keyring, masters) = open(home)?;
    let keys: Vec<String> = keyring.keys().iter().map(describe_key).collect();
    Ok(format!("epoch {}, {masters} masters\n{}", keyring.epoch(), keys.join("\n")))
}

fn describe_key(key: &Key) -> String {
    let policy = (key.policy.enabled, key.policy.interval_days, key.policy.grace_period_days);
    let attributes: Vec<String> = key
        .attributes
        .iter()
        .filter(|(name, _)| !name.ends_with("at") && name != "versions.since" && name != "audit.archive")
        .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
        .collect();
    let versions: Vec<String> = key
        .versions
        .iter()
        .map(|version| format!("{} {} {}", version.number, version.state.as_str(), version.reason.as_str()))
        .collect();
    format!("{} {:?} {policy:?} {:?} {attributes:?} {versions:?}", key.name, key.class, key.note)
}

/// Whether a value must open.
fn opens(keyring: &Keyring<HeapArena>, value: &Sealed) -> bool {
    let Some(key) = keyring.find(value.key) else { return false };
    let state = key.version(value.version).map(|version| version.state);
    key.brake().is_none() && matches!(state, Some(State::Staged | State::Primary | State::Grace))
}

/// What must be found after a life that the loss of a process ended.
pub(crate) fn expected<'o, O>(origin: &'o Origin, lived: &'o Lived<O>, one_more: bool) -> Expected<'o> {
    let Lived { acknowledged, unrecorded, sealed, .. } = lived;
    Expected { origin, acknowledged: *acknowledged, unrecorded, one_more, sealed, loss: Loss::Process }
}

impl Expected<'_> {
    /// What can be seen of the files alone: the keyring is that of a stage, log and pin belong to it.
    pub(crate) fn look(&self, home: &Home) -> Result<(), String> {
        let found = describe(home)?;
        let stages = &self.origin.stages;
        let next = if self.one_more { stages.get(self.acknowledged + 1) } else { None };
        if found != stages[self.acknowledged] && Some(&found) != next {
            let known = stages.iter().position(|stage| *stage == found);
            return Err(match known {
                Some(known) => format!("stage {known} after {} acknowledged steps", self.acknowledged),
                None => format!("after {} acknowledged steps neither nor: {found}", self.acknowledged),
            });
        }
        Ok(())
    }

    /// All of it: [`Self::look`], a plain start, every value, every record, a change, and an end.
    pub(crate) fn examine(&self, home: &Home) -> Result<(), String> {
        self.look(home)?;
        let (before, (keyring, _)) = (describe(home)?, open(home)?);
        let daemon = started(home)?;
        let mut client = daemon.client();
        for value in self.sealed {
            let (opened, must) = (client.decrypt(EMPTY, &value.envelope), opens(&keyring, value));
            if opened.is_ok() != must {
                return Err(format!("{} version {}: {opened:?}, but {must}", value.key, value.version));
            }
        }
        if self.loss != Loss::Counts {
            self.look_at_the_counts(&mut client)?;
        }
        client.encrypt(EMPTY, b"and new ones").map_err(|error| error.to_string())?;
        client.create_key("afterwards").map_err(|error| error.to_string())?;
        drop(client);
        assert_no_failure(&daemon.terminate());
        let after = describe(home)?;
        let kept: Vec<&str> = after.lines().filter(|line| !line.starts_with("afterwards ")).collect();
        if kept.join("\n") != before {
            return Err(format!("changed by the start: {before}\n{after}"));
        }
        self.look_at_the_log(home)?;
        let names = fs::read_dir(home.state()).unwrap().map(|entry| entry.unwrap().file_name());
        let left = |name: &std::ffi::OsString| {
            let name = name.as_encoded_bytes();
            name.ends_with(b".tmp") || name.ends_with(b".new")
        };
        match names.into_iter().find(left) {
            Some(name) => Err(format!("{name:?} was left")),
            None => Ok(()),
        }
    }

    /// A version was never used less than it was: counts are reserved before an answer leaves.
    fn look_at_the_counts(&self, client: &mut Client) -> Result<(), String> {
        let keys: BTreeSet<&str> = self.sealed.iter().map(|value| value.key).collect();
        for key in keys {
            let body = client.ask::<KeyShow>(&KeyShowRequest { key }).success();
            let body = body.map_err(|error| format!("{key}: {error}"))?;
            let shown: KeyShowReply<'_> = codec::decode(&body).map_err(|error| error.to_string())?;
            // Of what is destroyed nothing is counted any more.
            let gone = |number: u32| {
                shown
                    .key
                    .versions
                    .iter()
                    .any(|version| version.number == number && version.state == DESTROYED)
            };
            for version in shown.usage.iter().filter(|version| !gone(version.number)) {
                let sealed = |value: &&Sealed| value.key == key && value.version == version.number;
                let sealed = self.sealed.iter().filter(sealed).count() as u64;
                if version.encryptions < sealed {
                    let counted = version.encryptions;
                    return Err(format!("{key} version {}: {counted} of {sealed} counted", version.number));
                }
            }
            if shown.usage.is_empty() {
                return Err(format!("{key}: no counts are told"));
            }
        }
        Ok(())
    }

    /// The log verifies, and has a line of every step that was acknowledged.
    fn look_at_the_log(&self, home: &Home) -> Result<(), String> {
        let verified = finish(home.command().arg("--verify-audit"));
        if verified.code != Some(0) {
            return Err(format!("{} {}", verified.stdout, verified.stderr));
        }
        let lines = log::unverified_lines(home);
        let steps = &self.origin.steps[..self.acknowledged];
        for (index, step) in steps.iter().enumerate() {
            if self.unrecorded.contains(&index) {
                continue;
            }
            if self.loss == Loss::Power
                && matches!(step.operation, "encrypt" | "daemon.stop" | "lock" | "unlock")
            {
                continue;
            }
            let done =
                lines.iter().filter(|line| line["event_type"] == step.operation && line["success"] == true);
            let needed = |(other, like): &(usize, &Step)| {
                like.operation == step.operation && !self.unrecorded.contains(other)
            };
            let (done, asked) = (done.count(), steps.iter().enumerate().filter(needed).count());
            if done < asked {
                return Err(format!("{done} lines of {asked} {}", step.operation));
            }
        }
        Ok(())
    }
}
