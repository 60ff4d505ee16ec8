//! Looking at the daemon: `status` and `health`. Neither changes anything nor is recorded.

use std::sync::PoisonError;

use keyagent_common::{
    fingerprint,
    op::{Check, CheckResult, Field, HealthReply, PROTOCOL_VERSION, StatusReply},
};
use keyagent_core::reply::{NoRoom, ReplyBuffer};
use keyagent_sys::memory::Backing;

use crate::{
    clock,
    state::{Counters, EngineState, Shared},
    store,
};

/// A clock before this has never been set (2026-01-01T00:00:00Z).
const SOONEST_PLAUSIBLE: u64 = 1_767_225_600;

/// Names and values; see docs/PROTOCOL.md for the list.
pub(super) fn status(shared: &Shared, id: u32, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let settings = &shared.settings;
    let layout = &settings.layout;
    let (state, keys, versions, generation) = engine_facts(shared);
    let degraded = if keyagent_sys::thread::CONTROL_UNSCRUBBED {
        "a control build of the memory test: keys lie open on ordinary stacks"
    } else if cfg!(feature = "benchmark-without-audit") {
        "built for benchmarks: operations are not recorded"
    } else if settings.backing == Backing::Unlocked {
        "memory is not locked"
    } else {
        ""
    };
    let now = std::time::Instant::now();
    let values: [(&str, String); 21] = [
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("protocol", PROTOCOL_VERSION.to_string()),
        ("pid", std::process::id().to_string()),
        ("uptime_seconds", shared.started.elapsed().as_secs().to_string()),
        ("state", state.into()),
        ("socket", layout.socket.display().to_string()),
        ("master_fingerprint", fingerprint::full(&shared.known.fingerprint)),
        ("master_source", settings.origin.to_string()),
        ("keys", keys),
        ("key_versions", versions),
        ("memory", settings.backing.to_string()),
        ("memory_bytes", settings.locked_bytes.to_string()),
        ("degraded", degraded.into()),
        ("dumps", "off".into()),
        ("connections", Counters::get(&shared.counters.connections).to_string()),
        ("operations", Counters::get(&shared.counters.operations).to_string()),
        ("denied", Counters::get(&shared.counters.denied).to_string()),
        ("failures_last_hour", shared.failures.total(now).to_string()),
        ("generation", generation),
        ("keyring", layout.keyring.display().to_string()),
        ("audit_log", layout.audit_log.display().to_string()),
    ];
    let instance = fingerprint::full(&settings.instance);
    let mut fields: Vec<Field<'_>> = values.iter().map(|(name, value)| Field { name, value }).collect();
    fields.push(Field { name: "instance", value: &instance });
    replies.success(id, &StatusReply { fields })
}

/// State, number of keys, of versions, and generation; empty texts for what a locked daemon cannot know.
fn engine_facts(shared: &Shared) -> (&'static str, String, String, String) {
    match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Locked(_) => ("locked", String::new(), String::new(), String::new()),
        EngineState::Unlocked(engine) => {
            let keyring = engine.keyring();
            let versions: usize = keyring.keys().iter().map(|key| key.versions.len()).sum();
            let generation = keyring.generation().to_string();
            ("unlocked", keyring.keys().len().to_string(), versions.to_string(), generation)
        }
    }
}

/// Every check; the worst of them is the status, and `locked` is a status of its own.
pub(super) fn health(shared: &Shared, id: u32, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let checks = [
        ("canary", canary(shared)),
        (
            "store",
            outcome(store::compare_with_disk(shared).map(|generation| format!("generation {generation}"))),
        ),
        ("audit", outcome(shared.audit.check().map(|()| "writable".into()))),
        ("memory", memory(shared)),
        ("clock", clock_check()),
    ];
    let locked =
        matches!(&*shared.engine.read().unwrap_or_else(PoisonError::into_inner), EngineState::Locked(_));
    let worst = checks.iter().map(|(_, (result, _))| *result).max().unwrap_or(CheckResult::Ok);
    let status = match worst {
        CheckResult::Failed => "unhealthy",
        _ if locked => "locked",
        CheckResult::Warning => "degraded",
        CheckResult::Ok => "healthy",
    };
    let error = checks.iter().find(|(_, (result, _))| *result == CheckResult::Failed);
    let error = error.map(|(_, (_, message))| message.as_str()).unwrap_or_default();
    let checks =
        checks.iter().map(|(name, (result, message))| Check { name, result: *result, message }).collect();
    replies.success(id, &HealthReply { status, error, checks })
}

type Outcome = (CheckResult, String);

fn outcome<E: std::fmt::Display>(result: Result<String, E>) -> Outcome {
    match result {
        Ok(message) => (CheckResult::Ok, message),
        Err(error) => (CheckResult::Failed, error.to_string()),
    }
}

fn canary(shared: &Shared) -> Outcome {
    match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Locked(_) => (CheckResult::Warning, "locked: keyagent unlock".into()),
        EngineState::Unlocked(engine) => outcome(engine.keyring().check_canary().map(|()| "opens".into())),
    }
}

fn memory(shared: &Shared) -> Outcome {
    match shared.settings.backing {
        Backing::Unlocked => (CheckResult::Warning, "DEGRADED: memory is not locked".into()),
        backing => (CheckResult::Ok, format!("locked ({backing})")),
    }
}

fn clock_check() -> Outcome {
    if clock::unix_seconds() >= SOONEST_PLAUSIBLE {
        (CheckResult::Ok, "plausible".into())
    } else {
        (CheckResult::Warning, "the clock stands before 2026: timestamps of the audit log are wrong".into())
    }
}
