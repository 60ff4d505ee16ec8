//! One line of the audit log, read with all doubt: what stands there came from a file and from clients.
//!
//! Nothing of it may reach a terminal or a document unescaped, and an unknown field does no harm.

use keyagent_common::report::escape;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::utc;

/// The fields of docs/FORMATS.md, section 4.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct AuditLine {
    pub(crate) seq: u64,
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) event_type: String,
    pub(crate) provider: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) ip_address: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) success: bool,
    pub(crate) error_message: Option<String>,
    pub(crate) metadata: Map<String, Value>,
}

impl AuditLine {
    /// A line without its newline; `None` if it is not one.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// When, in microseconds since 1970; `None` if the line's time is not one.
    pub(crate) fn unix_micros(&self) -> Option<u64> {
        if self.timestamp.ends_with('Z') {
            utc::parse(&self.timestamp, 0, utc::Edge::Begin).ok()
        } else {
            None
        }
    }

    /// A text of the metadata.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.metadata.get(name)?.as_str()
    }

    /// A number of the metadata.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.metadata.get(name)?.as_u64()
    }

    /// The systemd unit of the one who asked.
    pub(crate) fn unit(&self) -> Option<&str> {
        self.text("unit")
    }

    /// For whom a bridge asked: user and unit.
    pub(crate) fn on_behalf_of(&self) -> Option<(u64, Option<&str>)> {
        let named = self.metadata.get("on_behalf_of")?;
        Some((named.get("uid")?.as_u64()?, named.get("unit").and_then(Value::as_str)))
    }

    /// The user who asked, or who was refused before anything could be asked.
    pub(crate) fn uid(&self) -> Option<String> {
        let refused = || self.metadata.get("uid").and_then(Value::as_u64).map(|uid| uid.to_string());
        self.user_id.clone().or_else(refused)
    }

    /// Who asked, in words; none for the daemon's own lines. Escaped.
    pub(crate) fn caller(&self) -> Option<String> {
        let mut text = subject(&self.uid()?, self.unit());
        if let Some((uid, unit)) = self.on_behalf_of() {
            text = format!("{text} for {}", subject(&uid.to_string(), unit));
        }
        Some(text)
    }

    /// What else is to be said, in words. Escaped.
    pub(crate) fn details(&self) -> Vec<String> {
        let mut details = Vec::new();
        let mut say = |text: String| details.push(escape(&text));
        if let Some(agent) = &self.user_agent {
            say(agent.clone());
        }
        if let Some(bytes) = self.number("bytes") {
            say(format!("{bytes} B"));
        }
        if let Some(count) = self.number("count") {
            say(format!("count {count}"));
        }
        if let Some(on) = self.metadata.get("on").and_then(Value::as_bool) {
            say(if on { "on".to_owned() } else { "off".to_owned() });
        }
        for name in ["kind", "message", "reason"] {
            if let Some(text) = self.text(name) {
                say(text.to_owned());
            }
        }
        for name in ["gained", "lost"] {
            if let Some(text) = self.text(name).filter(|text| !text.is_empty()) {
                say(format!("{name}: {text}"));
            }
        }
        if let Some(due) = self.number("due_at") {
            say(format!("rotation due {}", utc::shown(due.saturating_mul(1_000_000))));
        }
        for name in ["generation", "first_seq", "segment"] {
            if let Some(number) = self.number(name) {
                say(format!("{name} {number}"));
            }
        }
        if let Some(digest) = self.text("digest").and_then(|digest| digest.get(..12)) {
            say(format!("digest {digest}"));
        }
        if let Some(error) = &self.error_message {
            say(error.clone());
        }
        details
    }
}

fn subject(uid: &str, unit: Option<&str>) -> String {
    match unit {
        Some(unit) => format!("uid {} (unit {})", escape(uid), escape(unit)),
        None => format!("uid {}", escape(uid)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const LINE: &str = concat!(
        r#"{"seq":12,"id":"1-12","timestamp":"2026-11-22T02:20:05.123456Z","event_type":"decrypt","#,
        r#""provider":"billing","user_id":"1001","ip_address":null,"user_agent":"keyagent/0.1.0","#,
        r#""success":true,"error_message":null,"metadata":{"uid":1001,"gid":1001,"pid":7,"#,
        r#""unit":"billing.service","socket":"agent","rule":"billing","key_id":"AAAAAAAAAAAA","version":1,"#,
        r#""bytes":312}}"#
    );

    #[test]
    fn a_line_is_read_and_told() {
        let line = AuditLine::parse(LINE.as_bytes()).unwrap();
        assert_eq!(line.unix_micros(), Some(1_795_314_005_123_456));
        assert_eq!(line.caller().unwrap(), "uid 1001 (unit billing.service)");
        assert_eq!(line.details(), ["keyagent/0.1.0", "312 B"]);
        let bridged =
            LINE.replace("\"rule\"", "\"on_behalf_of\":{\"uid\":7,\"unit\":\"x.service\"},\"rule\"");
        let line = AuditLine::parse(bridged.as_bytes()).unwrap();
        assert_eq!(line.caller().unwrap(), "uid 1001 (unit billing.service) for uid 7 (unit x.service)");
    }

    #[test]
    fn nothing_steers_a_terminal() {
        let hostile =
            LINE.replace("keyagent/0.1.0", r"\u001b[2J\u202e").replace("billing.service", r"a\u0007b");
        let line = AuditLine::parse(hostile.as_bytes()).unwrap();
        assert_eq!(line.caller().unwrap(), "uid 1001 (unit a\\u{7}b)");
        assert_eq!(line.details(), ["\\u{1b}[2J\\u{202e}", "312 B"]);
    }

    #[test]
    fn what_is_no_line_is_none_and_new_fields_do_no_harm() {
        let more = LINE.replace("\"seq\"", "\"new\":[1],\"seq\"");
        assert_eq!(AuditLine::parse(more.as_bytes()), AuditLine::parse(LINE.as_bytes()));
        for bad in ["", "{}", "null", "[]", &LINE[1..], &LINE[..90], &LINE.replace("12,", "-1,")] {
            assert!(AuditLine::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(AuditLine::parse(deep.as_bytes()).is_none());
        let line = AuditLine { timestamp: "24h".into(), ..AuditLine::default() };
        assert!(line.unix_micros().is_none());
    }
}
