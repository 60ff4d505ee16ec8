//! The fields of a `status` reply. Unknown names are dropped, missing ones stay missing, so that every
//! version reads every other.

use std::collections::BTreeMap;

use keyagent_common::{fingerprint, op::StatusReply, report::escape};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// Fields that are numbers in documents.
const NUMBERS: &[&str] = &[
    "protocol",
    "pid",
    "uptime_seconds",
    "keys",
    "key_versions",
    "memory_bytes",
    "connections",
    "operations",
    "denied",
    "failures_last_hour",
    "generation",
    "policy_rules",
    "lock_idle_seconds",
    "lock_absolute_seconds",
    "keys_disabled",
    "keys_due",
    "keys_overdue",
    "backup_at",
    "backup_generation",
    "audit_bytes",
    "audit_budget_bytes",
    "audit_percent",
    "audit_files",
    "audit_oldest_seq",
    "audit_last_seq",
    "audit_free_disk_bytes",
    "journal_dropped",
    "p50_micros",
    "p99_micros",
];
/// Fields that are texts in documents.
const TEXTS: &[&str] = &[
    "version",
    "state",
    "socket",
    "master_fingerprint",
    "master_source",
    "memory",
    "degraded",
    "dumps",
    "keyring",
    "audit_log",
    "instance",
    "sockets",
    "policy_digest",
    "maintenance",
    "maintenance_reason",
    "audit_warnings",
];
/// What stands before the name of a counter.
const METRIC: &str = "metric:";

/// What the agent said about itself.
#[derive(Debug, Default)]
pub(crate) struct AgentStatus(BTreeMap<String, String>);

impl From<StatusReply<'_>> for AgentStatus {
    fn from(reply: StatusReply<'_>) -> Self {
        Self(reply.fields.iter().map(|field| (field.name.to_owned(), field.value.to_owned())).collect())
    }
}

impl AgentStatus {
    /// A field that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A field for a terminal; `-` when it is missing.
    pub(crate) fn shown(&self, name: &str) -> String {
        self.get(name).map_or("-".to_owned(), escape)
    }

    /// A field for a terminal, if it is there.
    pub(crate) fn told(&self, name: &str) -> Option<String> {
        self.get(name).map(escape)
    }

    /// Every counter by name, with its labels.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, value)| Some((name.strip_prefix(METRIC)?, value.as_str())))
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    pub(crate) fn is_unlocked(&self) -> bool {
        self.get("state") == Some("unlocked")
    }

    /// The master key's fingerprint; none while locked.
    pub(crate) fn fingerprint(&self) -> Option<[u8; 16]> {
        self.print("master_fingerprint")
    }

    /// That of the next master key, while a rotation is unfinished: it opens the keyring as well.
    pub(crate) fn next_fingerprint(&self) -> Option<[u8; 16]> {
        self.print("master_next")
    }

    fn print(&self, name: &str) -> Option<[u8; 16]> {
        let text = self.get(name).filter(|text| text.len() == 32)?;
        Some(u128::from_str_radix(text, 16).ok()?.to_be_bytes())
    }

    pub(crate) fn short_fingerprint(&self) -> Option<String> {
        self.fingerprint().map(|bytes| fingerprint::short(&bytes))
    }
}

impl Serialize for AgentStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", "keyagent.status/1")?;
        for name in TEXTS {
            map.serialize_entry(name, &self.get(name))?;
        }
        map.serialize_entry("master_id", &self.short_fingerprint())?;
        if let Some(next) = self.get("master_next") {
            map.serialize_entry("master_next", next)?;
        }
        for name in NUMBERS {
            map.serialize_entry(name, &self.number(name))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyagent_common::op::Field;

    #[test]
    fn missing_and_unknown_fields_do_no_harm() {
        let field = |name, value| Field { name, value };
        let fields = vec![
            field("state", "unlocked"),
            field("pid", "7"),
            field("socket", "a\u{1b}b"),
            field("from_the_future", "x"),
            field("master_fingerprint", "a83629bc061e08c49aa1ab899fea5ee6"),
        ];
        let status = AgentStatus::from(StatusReply { fields });
        assert!(status.is_unlocked());
        assert_eq!(status.shown("version"), "-");
        assert_eq!(status.shown("socket"), "a\\u{1b}b");
        assert_eq!(status.short_fingerprint().unwrap(), "qDYp-vAYe");
        let counters = |name, value| Field { name, value };
        let counted = AgentStatus::from(StatusReply {
            fields: vec![
                counters("metric:operations_total{operation=\"a\",result=\"denied\"}", "2"),
                counters("metric:operations_total{operation=\"b\",result=\"denied\"}", "3"),
                counters("metric:operations_total{operation=\"b\",result=\"ok\"}", "9"),
                counters("metric:operations_total_more", "9"),
            ],
        });
        assert_eq!((counted.metrics().count(), counted.number("operations_total_more")), (4, None));
        let json = serde_json::to_string(&status).unwrap();
        assert!(json.starts_with("{\"schema\":\"keyagent.status/1\",\"version\":null,"), "{json}");
        assert!(json.contains("\"pid\":7") && !json.contains("future"), "{json}");
    }
}
