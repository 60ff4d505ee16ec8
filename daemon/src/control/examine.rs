//! Looking at the daemon: `status` and `health`. Neither changes anything nor is recorded.

use std::{fmt::Write as _, sync::PoisonError};

use keyagent_common::{
    error::ErrorCode,
    fingerprint,
    op::{Check, CheckResult, Field, HealthReply, PROTOCOL_VERSION, StatusReply},
    report::Report,
};
use keyagent_core::{
    change::rotation_due,
    reply::{NoRoom, ReplyBuffer},
};
use keyagent_sys::memory::Backing;

use super::Asked;
use crate::{
    alarm, clock, source,
    state::{Counters, EngineState, Shared},
    store::{self, SystemEntropy},
};

/// A clock before this has never been set (2026-01-01T00:00:00Z).
const SOONEST_PLAUSIBLE: u64 = 1_767_225_600;

/// Names and values; see docs/PROTOCOL.md for the list. Who does not oversee the agent sees the first few.
pub(super) fn status(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let shared = asked.shared;
    let state = if shared.is_locked() { "locked" } else { "unlocked" };
    let mut values: Vec<(String, String)> = Vec::with_capacity(48);
    let mut add = |name: &str, value: String| values.push((name.to_owned(), value));
    add("version", env!("CARGO_PKG_VERSION").into());
    add("protocol", PROTOCOL_VERSION.to_string());
    add("state", state.into());
    add("instance", fingerprint::full(&shared.settings.instance));
    let known = shared.known();
    add("master_fingerprint", fingerprint::full(&known.fingerprint));
    if let Some(next) = known.next_master() {
        add("master_next", fingerprint::full(next));
    }
    add("pid", std::process::id().to_string());
    if asked.caller.rights.sees_everything() {
        about_the_process(shared, &mut add);
        about_keys(shared, &mut add);
        about_the_log(shared, &mut add);
        about_the_work(shared, &mut add);
    }
    let fields = values.iter().map(|(name, value)| Field { name, value }).collect();
    replies.success(asked.id, &StatusReply { fields })
}

fn about_the_process(shared: &Shared, add: &mut impl FnMut(&str, String)) {
    let settings = &shared.settings;
    let degraded = if keyagent_sys::thread::CONTROL_UNSCRUBBED {
        "a control build of the memory test: keys lie open on ordinary stacks"
    } else if cfg!(feature = "benchmark-without-audit") {
        "built for benchmarks: operations are not recorded"
    } else if settings.backing == Backing::Unlocked {
        "memory is not locked"
    } else {
        ""
    };
    add("uptime_seconds", shared.started.elapsed().as_secs().to_string());
    add("socket", settings.layout.socket.display().to_string());
    let sockets: Vec<String> = settings
        .listeners
        .iter()
        .map(|door| format!("{} {} {:04o}", door.name, door.path.display(), door.mode))
        .collect();
    add("sockets", sockets.join("; "));
    add("master_source", settings.origin.to_string());
    add("memory", settings.backing.to_string());
    add("memory_bytes", settings.locked_bytes.to_string());
    add("degraded", degraded.into());
    add("dumps", "off".into());
    let policy = shared.policy();
    add("policy_digest", hex(policy.digest()));
    add("policy_rules", policy.rule_names().len().to_string());
    let tunable = shared.tunable();
    let seconds =
        |time: Option<std::time::Duration>| time.map_or(String::new(), |time| time.as_secs().to_string());
    add("lock_idle_seconds", seconds(tunable.idle));
    add("lock_absolute_seconds", seconds(tunable.absolute));
    add("maintenance", if shared.maintenance.is_on() { "on".into() } else { "off".into() });
    add("maintenance_reason", shared.maintenance.reason());
}

fn hex(bytes: &[u8; 32]) -> String {
    let mut text = String::with_capacity(64);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Empty texts for what a locked daemon cannot know.
fn about_keys(shared: &Shared, add: &mut impl FnMut(&str, String)) {
    let mut numbers: [(&str, String); 6] = [
        ("keys", String::new()),
        ("key_versions", String::new()),
        ("keys_disabled", String::new()),
        ("keys_due", String::new()),
        ("keys_overdue", String::new()),
        ("generation", String::new()),
    ];
    if let EngineState::Unlocked(engine) = &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        let keys = engine.keyring().keys();
        let now = clock::unix_seconds();
        let overdue = keys.iter().filter(|key| rotation_due(key).is_some_and(|(at, _)| at <= now)).count();
        let counts = [
            keys.len() as u64,
            keys.iter().map(|key| key.versions.len() as u64).sum(),
            keys.iter().filter(|key| key.brake().is_some()).count() as u64,
            keys.iter().filter(|key| key.due().is_some()).count() as u64,
            overdue as u64,
            engine.keyring().generation(),
        ];
        for ((_, text), count) in numbers.iter_mut().zip(counts) {
            *text = count.to_string();
        }
    }
    for (name, value) in numbers {
        add(name, value);
    }
    add("keyring", shared.settings.layout.keyring.display().to_string());
    let backup = super::backup::stamp::read(shared);
    add("backup_at", backup.map_or(String::new(), |stamp| stamp.at.to_string()));
    add("backup_generation", backup.map_or(String::new(), |stamp| stamp.generation.to_string()));
}

fn about_the_log(shared: &Shared, add: &mut impl FnMut(&str, String)) {
    let usage = shared.audit.usage();
    add("audit_log", shared.settings.layout.audit_log.display().to_string());
    add("audit_bytes", usage.bytes.to_string());
    add("audit_budget_bytes", usage.budget_bytes.to_string());
    add("audit_percent", usage.percent.to_string());
    add("audit_files", usage.files.to_string());
    add("audit_oldest_seq", usage.oldest_seq.to_string());
    add("audit_last_seq", usage.last_seq.to_string());
    add("audit_free_disk_bytes", usage.free_disk_bytes.map_or(String::new(), |bytes| bytes.to_string()));
    add("journal_dropped", usage.journal_dropped.to_string());
    let warnings: Vec<&str> = usage.warnings.iter().map(|warning| warning.message.as_str()).collect();
    add("audit_warnings", warnings.join("; "));
}

fn about_the_work(shared: &Shared, add: &mut impl FnMut(&str, String)) {
    let now = std::time::Instant::now();
    let counter = |counter| Counters::get(counter).to_string();
    add("connections", counter(&shared.counters.connections));
    add("operations", counter(&shared.counters.operations));
    add("denied", counter(&shared.counters.denied));
    add("failures_last_hour", shared.failures.total(now).to_string());
    for (name, percent) in [("p50_micros", 50), ("p99_micros", 99)] {
        let micros = shared.metrics.quantile_micros(percent);
        add(name, micros.map_or(String::new(), |micros| micros.to_string()));
    }
    for (name, value) in shared.metrics.exposed() {
        add(&format!("metric:{name}"), value.to_string());
    }
}

/// Every check; the worst of them is the status, and `locked` is a status of its own.
pub(super) fn health(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let shared = asked.shared;
    let locked = shared.is_locked();
    let oversees = asked.caller.rights.sees_everything();
    let checks = [
        ("canary", canary(shared)),
        ("master_key", if oversees { master_key(shared) } else { master_key_as_seen(shared) }),
        (
            "store",
            outcome(store::compare_with_disk(shared).map(|generation| format!("generation {generation}"))),
        ),
        ("audit", audit(shared)),
        ("memory", memory(shared)),
        ("clock", clock_check()),
        ("rotation", rotation(shared)),
        ("usage", usage(shared)),
    ];
    // A rotation that is overdue is told, but keeps nobody from working: a probe must not restart the agent for it, nor
    // for use that cannot be recorded, which a restart would only lose.
    let of_the_agent = checks.iter().filter(|(name, _)| !matches!(*name, "rotation" | "usage"));
    let worst = of_the_agent.map(|(_, (result, _))| *result).max().unwrap_or(CheckResult::Ok);
    let status = match worst {
        CheckResult::Failed => "unhealthy",
        _ if locked => "locked",
        CheckResult::Warning => "degraded",
        CheckResult::Ok => "healthy",
    };
    let error = checks.iter().find(|(_, (result, _))| *result == CheckResult::Failed);
    let error = error.map(|(_, (_, message))| message.as_str()).unwrap_or_default();
    let told = checks.iter().filter(|_| oversees);
    let checks = told.map(|(name, (result, message))| Check { name, result: *result, message }).collect();
    let error = if oversees || error.is_empty() { error } else { "a check failed" };
    replies.success(asked.id, &HealthReply { status, error, checks })
}

type Outcome = (CheckResult, String);

fn outcome<E: std::fmt::Display>(result: Result<String, E>) -> Outcome {
    match result {
        Ok(message) => (CheckResult::Ok, message),
        Err(error) => (CheckResult::Failed, error.to_string()),
    }
}

/// A stored secret opens, and what it seals opens again.
fn canary(shared: &Shared) -> Outcome {
    match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Locked(_) => (CheckResult::Warning, "locked: keyagent unlock".into()),
        EngineState::Unlocked(engine) => {
            if let Err(error) = engine.keyring().round_trip(&mut SystemEntropy) {
                return (CheckResult::Failed, error.to_string());
            }
            match engine.round_trip(&mut SystemEntropy) {
                Ok(None) => (CheckResult::Ok, "opens, seals and opens again; no key is served".into()),
                Ok(Some(key)) => (CheckResult::Ok, format!("opens, seals and opens again, as does {key}")),
                Err((key, error)) => (CheckResult::Failed, format!("{key}: {error}")),
            }
        }
    }
}

/// What the last overseer was told of it: whoever only uses keys does not cause the source to be read.
fn master_key_as_seen(shared: &Shared) -> Outcome {
    let seen = shared.key_check.lock().unwrap_or_else(PoisonError::into_inner).clone();
    seen.unwrap_or_else(|| (CheckResult::Ok, "not looked at since the start".into()))
}

/// Looks, and keeps what it came to.
fn master_key(shared: &Shared) -> Outcome {
    let found = look_at_master_key(shared);
    *shared.key_check.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
    found
}

/// The source still holds the key of this keyring: after a restart it would be read again.
fn look_at_master_key(shared: &Shared) -> Outcome {
    let settings = &shared.settings;
    let Some(found) = source::fingerprint_now(&settings.origin, settings.lock_policy, &shared.arena) else {
        return (CheckResult::Ok, format!("came from {}, which cannot be asked again", settings.origin));
    };
    let known = shared.known();
    match found {
        Ok(print) if known.is_opened_by(&print) && known.next_master().is_some() => {
            let short = fingerprint::short(&print);
            let message = "a rotation of the master key is unfinished: keyagent master rotate";
            (CheckResult::Ok, format!("{short}; {message}"))
        }
        Ok(print) if known.is_opened_by(&print) => (CheckResult::Ok, fingerprint::short(&print)),
        Ok(print) => {
            let (here, needed) = (fingerprint::short(&print), fingerprint::short(&known.fingerprint));
            let message =
                format!("KEY MISMATCH: {} holds {here}, this keyring needs {needed}", settings.origin);
            alarm::key_mismatch(shared, &message);
            (CheckResult::Failed, message)
        }
        Err(report) => {
            let Report { what, code, .. } = report;
            let what = what.strip_prefix("refusing to start: ").unwrap_or(&what).to_owned();
            let missing = code == ErrorCode::KeyMissing;
            let result = if missing { CheckResult::Warning } else { CheckResult::Failed };
            (result, format!("{what}: {}", settings.origin))
        }
    }
}

fn audit(shared: &Shared) -> Outcome {
    if let Err(error) = shared.audit.check() {
        return (CheckResult::Failed, error.to_string());
    }
    let usage = shared.audit.usage();
    match usage.warnings.first() {
        Some(warning) => (CheckResult::Warning, warning.message.clone()),
        None => (CheckResult::Ok, format!("writable, {} % of its budget", usage.percent)),
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

/// Whether a crash would leave it unknown how much keys were used.
fn usage(shared: &Shared) -> Outcome {
    match shared.key_usage.health() {
        Ok(message) => (CheckResult::Ok, message),
        Err(message) => (CheckResult::Warning, message),
    }
}

/// A key whose rotation is overdue.
fn rotation(shared: &Shared) -> Outcome {
    let now = clock::unix_seconds();
    let guard = shared.engine.read().unwrap_or_else(PoisonError::into_inner);
    let EngineState::Unlocked(engine) = &*guard else {
        return (CheckResult::Ok, "not known while locked".into());
    };
    let is_overdue = |key: &&keyagent_core::keyring::Key| rotation_due(key).is_some_and(|(at, _)| at <= now);
    let overdue: Vec<&str> =
        engine.keyring().keys().iter().filter(is_overdue).map(|key| key.name.as_str()).take(5).collect();
    if overdue.is_empty() {
        (CheckResult::Ok, "nothing is overdue".into())
    } else {
        (CheckResult::Warning, format!("overdue: {}", overdue.join(", ")))
    }
}
