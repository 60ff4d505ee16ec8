//! What is gathered from the log, line by line: sums for what happens often, each line for what is rare.

use std::collections::BTreeMap;

use keyagent_common::error::ErrorCode;
use serde::Serialize;
use serde_json::{Map, Value};

use super::pages::Extent;
use crate::{agent_status::AgentStatus, audit_line::AuditLine, command::keys::KeyDocument, utc};

/// Operations with which somebody uses a key.
const USES: [&str; 9] = [
    "encrypt",
    "decrypt",
    "rewrap",
    "data_key",
    "data_key_open",
    "hmac",
    "jwt_sign",
    "jwt_verify",
    "legacy_key_open",
];
/// Events by what they are evidence of.
const ROTATIONS: [&str; 7] = [
    "key_rotate",
    "key_promote",
    "key_retire",
    "key_reinstate",
    "key_destroy",
    "key_configure",
    "master_rotate",
];
const CREATIONS: [&str; 2] = ["key_create", "key_import"];
const POLICY: [&str; 2] = ["policy.change", "reload"];
const BRAKES: [&str; 5] = ["lock", "unlock", "maintenance", "key_disable", "key_enable"];
const BACKUPS: [&str; 2] = ["backup_create", "backup_restore"];
const RUNS: [&str; 2] = ["daemon.start", "daemon.stop"];
const RETENTION: &str = "audit.retention";

/// From when to when, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    from: u64,
    to: u64,
    now: u64,
}

impl Period {
    pub(super) fn new(from: u64, to: u64, now: u64) -> Self {
        Self { from, to, now }
    }
}

/// The whole document.
#[derive(Debug, Serialize)]
pub(super) struct Evidence {
    pub(super) schema: &'static str,
    pub(super) generated_at: String,
    pub(super) from: String,
    pub(super) to: String,
    /// The period is not over yet.
    pub(super) ongoing: bool,
    #[serde(skip)]
    pub(super) from_micros: u64,
    #[serde(skip)]
    pub(super) to_micros: u64,
    pub(super) agent_version: Option<String>,
    pub(super) master_id: Option<String>,
    pub(super) policy_digest: Option<String>,
    pub(super) audit_log: Option<String>,
    pub(super) log: Log,
    pub(super) verification: Verification,
    pub(super) keys: Vec<KeyDocument>,
    /// Why there are none.
    pub(super) keys_unknown: Option<String>,
    pub(super) versions_made: Vec<VersionMade>,
    pub(super) rotations: Vec<Entry>,
    pub(super) creations: Vec<Entry>,
    #[serde(serialize_with = "values")]
    pub(super) access: BTreeMap<(String, String), Access>,
    pub(super) policy_changes: Vec<Entry>,
    pub(super) access_changes: Vec<Entry>,
    #[serde(serialize_with = "values")]
    pub(super) failures: BTreeMap<(String, String, String), FailureGroup>,
    pub(super) brakes: Vec<Entry>,
    pub(super) alerts: Vec<Entry>,
    pub(super) backups: Vec<Entry>,
    pub(super) runs: Vec<Entry>,
    pub(super) retention: Vec<Entry>,
}

/// What of the log could be read.
#[derive(Debug, Default, Serialize)]
pub(super) struct Log {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    /// Time of the oldest line that is kept.
    pub(super) oldest_kept: Option<String>,
    /// Whether lines of the period may have been deleted by retention.
    pub(super) begins_within_period: bool,
    pub(super) lines: u64,
    pub(super) unreadable: u64,
}

/// What recomputing the chain gave.
#[derive(Debug, Default, Serialize)]
pub(super) struct Verification {
    /// None: it was not recomputed.
    pub(super) whole: Option<bool>,
    pub(super) why: Option<String>,
    pub(super) found: Map<String, Value>,
}

impl Verification {
    pub(super) fn not_run(why: &str) -> Self {
        Self { whole: None, why: Some(why.to_owned()), found: Map::new() }
    }
}

/// A version that came into being within the period.
#[derive(Debug, Serialize)]
pub(super) struct VersionMade {
    pub(super) key: String,
    pub(super) version: u32,
    pub(super) state: &'static str,
    pub(super) reason: &'static str,
    pub(super) created_at: String,
}

/// One line of the log in words.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) timestamp: String,
    pub(super) event_type: String,
    pub(super) key: Option<String>,
    pub(super) caller: Option<String>,
    pub(super) success: bool,
    pub(super) details: Vec<String>,
}

/// How one caller used one key.
#[derive(Debug, Serialize)]
pub(super) struct Access {
    pub(super) key: String,
    pub(super) caller: String,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) uses: u64,
    pub(super) failures: u64,
    pub(super) operations: BTreeMap<String, u64>,
}

/// Failures that are alike.
#[derive(Debug, Serialize)]
pub(super) struct FailureGroup {
    pub(super) event_type: String,
    pub(super) caller: String,
    pub(super) error: String,
    pub(super) count: u64,
    pub(super) first: String,
    pub(super) last: String,
}

impl Evidence {
    /// Nothing gathered yet.
    pub(super) fn new(period: Period, status: &AgentStatus) -> Self {
        let Period { from, to, now } = period;
        let text = |name: &str| status.get(name).map(str::to_owned);
        Self {
            schema: "keyagent.report/1",
            generated_at: utc::shown(now),
            from: utc::shown(from),
            to: utc::shown(to),
            ongoing: to > now,
            from_micros: from,
            to_micros: to,
            agent_version: text("version"),
            master_id: status.short_fingerprint(),
            policy_digest: text("policy_digest"),
            audit_log: text("audit_log"),
            log: Log::default(),
            verification: Verification::default(),
            keys: Vec::new(),
            keys_unknown: None,
            versions_made: Vec::new(),
            rotations: Vec::new(),
            creations: Vec::new(),
            access: BTreeMap::new(),
            policy_changes: Vec::new(),
            access_changes: Vec::new(),
            failures: BTreeMap::new(),
            brakes: Vec::new(),
            alerts: Vec::new(),
            backups: Vec::new(),
            runs: Vec::new(),
            retention: Vec::new(),
        }
    }

    /// Takes one line of the period.
    pub(super) fn add(&mut self, line: &AuditLine) {
        self.log.lines += 1;
        let event = line.event_type.as_str();
        if USES.contains(&event) {
            self.add_use(line);
        }
        if !line.success || event == "peer.refused" {
            self.add_failure(line);
        }
        let list = match event {
            _ if ROTATIONS.contains(&event) => &mut self.rotations,
            _ if CREATIONS.contains(&event) => &mut self.creations,
            _ if POLICY.contains(&event) => &mut self.policy_changes,
            _ if BRAKES.contains(&event) => &mut self.brakes,
            _ if BACKUPS.contains(&event) => &mut self.backups,
            _ if RUNS.contains(&event) => &mut self.runs,
            "access.change" => &mut self.access_changes,
            "alert" => &mut self.alerts,
            RETENTION => &mut self.retention,
            _ => return,
        };
        list.push(Entry::from(line));
    }

    /// What the log holds at all.
    pub(super) fn set_extent(&mut self, extent: Extent, oldest_micros: Option<u64>) {
        self.log.first_seq = extent.first_seq;
        self.log.last_seq = extent.last_seq;
        self.log.oldest_kept = oldest_micros.map(utc::shown);
        let later = oldest_micros.is_none_or(|oldest| oldest > self.from_micros);
        self.log.begins_within_period = extent.first_seq > 1 && later;
    }

    /// The keys of today, and which of their versions are of the period.
    pub(super) fn set_keys(&mut self, keys: Vec<KeyDocument>) {
        for key in &keys {
            // Both times are written in one form, so that they compare as texts.
            let within = key.versions.iter().filter(|version| {
                version.created_at.as_str() >= self.from.as_str()
                    && version.created_at.as_str() <= self.to.as_str()
            });
            self.versions_made.extend(within.map(|version| VersionMade {
                key: key.name.clone(),
                version: version.number,
                state: version.state,
                reason: version.reason,
                created_at: version.created_at.clone(),
            }));
        }
        self.keys = keys;
    }

    fn add_use(&mut self, line: &AuditLine) {
        let key = line.provider.clone().unwrap_or_else(|| "(not known)".to_owned());
        let caller = caller(line);
        let time = time(line);
        let access = self.access.entry((key.clone(), caller.clone())).or_insert_with(|| Access {
            key,
            caller,
            first: time.clone(),
            last: String::new(),
            uses: 0,
            failures: 0,
            operations: BTreeMap::new(),
        });
        access.last = time;
        access.uses += 1;
        access.failures += u64::from(!line.success);
        *access.operations.entry(line.event_type.clone()).or_default() += 1;
    }

    fn add_failure(&mut self, line: &AuditLine) {
        let code = line.number("code").and_then(|code| u16::try_from(code).ok());
        let code = code.and_then(ErrorCode::from_number).map(|code| code.name().to_owned());
        let refused = (line.event_type == "peer.refused").then(|| "connection refused".to_owned());
        let error = refused.or(code).or_else(|| line.error_message.clone()).unwrap_or_default();
        let caller = caller(line);
        let time = time(line);
        // A sum counts as what it sums up.
        let summed = line.event_type == "request.refused";
        let event_type = line.text("operation").filter(|_| summed).unwrap_or(&line.event_type).to_owned();
        let group = (event_type.clone(), caller.clone(), error.clone());
        let group = self.failures.entry(group).or_insert_with(|| FailureGroup {
            event_type,
            caller,
            error,
            count: 0,
            first: time.clone(),
            last: String::new(),
        });
        let count = line.number("count").filter(|_| summed || line.event_type == "peer.refused");
        group.count = group.count.saturating_add(count.unwrap_or(1));
        group.last = time;
    }
}

impl From<&AuditLine> for Entry {
    fn from(line: &AuditLine) -> Self {
        Self {
            timestamp: time(line),
            event_type: line.event_type.clone(),
            key: line.provider.clone(),
            caller: line.caller(),
            success: line.success,
            details: line.details(),
        }
    }
}

fn caller(line: &AuditLine) -> String {
    let refused = line.number("uid").map(|uid| format!("uid {uid}"));
    line.caller().or(refused).unwrap_or_else(|| "agent".to_owned())
}

fn time(line: &AuditLine) -> String {
    line.unix_micros().map_or_else(|| line.timestamp.clone(), utc::shown)
}

fn values<K, V: Serialize, S: serde::Serializer>(
    map: &BTreeMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map.values())
}
