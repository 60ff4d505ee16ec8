//! Checks of what an overseer cares for: brakes, rotation, the log, alerts.
//!
//! What the agent does not tell this caller gives no finding.

use keyagent_client::Connection;
use keyagent_common::op::CheckResult;

use super::Finding;
use crate::{
    agent_status::AgentStatus,
    audit_line::AuditLine,
    command::{
        audit::{
            ALL,
            pages::{self, Span},
        },
        keys::due::Hints,
        status,
    },
    utc,
};

const HOUR_MICROS: u64 = 3_600_000_000;
/// From here on the log is to be looked at, in percent of its budget.
const MUCH_PERCENT: u64 = 80;

/// What is asked beside the status; none of what this caller is not told.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Alerts in the log of the last hour.
    alerts: Option<usize>,
    /// What the keys wait for.
    hints: Option<Hints>,
}

/// Asks the agent.
pub(super) fn ask(connection: &mut Connection, status: &AgentStatus) -> Asked {
    Asked { alerts: alerts(connection), hints: status::hints(connection, status) }
}

fn alerts(connection: &mut Connection) -> Option<usize> {
    let mut count = 0;
    let span = Span { from_micros: utc::now().saturating_sub(HOUR_MICROS), ..ALL };
    let read = pages::read(connection, span, &mut |raw| {
        count += usize::from(AuditLine::parse(raw).is_some_and(|line| line.event_type == "alert"));
        Ok(())
    });
    read.is_ok().then_some(count)
}

/// The findings, in the order of the agent's status.
pub(super) fn findings(status: &AgentStatus, asked: &Asked) -> Vec<Finding> {
    let hints = asked.hints.as_ref();
    [
        master(status),
        audit_usage(status),
        alerted(asked.alerts),
        maintenance(status),
        disabled(status),
        overdue(status, hints),
        staged(hints),
        unused(hints),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn master(status: &AgentStatus) -> Option<Finding> {
    status.get("master_next")?;
    let message = "a rotation of the master key is unfinished: two keys open the keyring";
    Some(Finding::new("master key", CheckResult::Warning, message).fix("keyagent master rotate"))
}

fn audit_usage(status: &AgentStatus) -> Option<Finding> {
    let percent = status.number("audit_percent")?;
    if let Some(warnings) = status.told("audit_warnings") {
        return Some(Finding::new("audit log", CheckResult::Warning, warnings).fix("keyagent health"));
    }
    let message = format!("{percent} % of its budget");
    if percent < MUCH_PERCENT {
        return Some(Finding::new("audit log", CheckResult::Ok, message));
    }
    Some(Finding::new("audit log", CheckResult::Warning, message).fix("keyagent config list"))
}

fn alerted(alerts: Option<usize>) -> Option<Finding> {
    Some(match alerts? {
        0 => Finding::new("alerts", CheckResult::Ok, "none in the last hour"),
        count => Finding::new("alerts", CheckResult::Warning, format!("{count} in the last hour"))
            .fix("keyagent audit query --event alert --since 1h"),
    })
}

fn maintenance(status: &AgentStatus) -> Option<Finding> {
    if status.get("maintenance")? != "on" {
        return None;
    }
    let why = status.told("maintenance_reason").map(|why| format!(": {why}")).unwrap_or_default();
    let message = format!("on{why}; nothing new is sealed");
    Some(Finding::new("maintenance", CheckResult::Warning, message).fix("keyagent maintenance off"))
}

fn disabled(status: &AgentStatus) -> Option<Finding> {
    let count = status.number("keys_disabled").filter(|count| *count > 0)?;
    let message = format!("{count} disabled or compromised");
    Some(Finding::new("keys", CheckResult::Warning, message).fix("keyagent keys list"))
}

fn overdue(status: &AgentStatus, hints: Option<&Hints>) -> Option<Finding> {
    let late = hints.into_iter().flat_map(|hints| &hints.rotations).filter(|rotation| rotation.overdue);
    let named: Vec<&str> = late.map(|rotation| rotation.words.as_str()).collect();
    let (message, fix) = match named.as_slice() {
        [] => {
            let count = status.number("keys_overdue").filter(|count| *count > 0)?;
            (format!("{count} should have been rotated by now"), "keyagent keys list".to_owned())
        }
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            (format!("{first}{more}"), "keyagent keys list; keyagent keys rotate NAME".to_owned())
        }
    };
    Some(Finding::new("rotation", CheckResult::Warning, message).fix(fix))
}

/// A staged version is half of a rotation: somebody has to do the other half.
fn staged(hints: Option<&Hints>) -> Option<Finding> {
    let staged = &hints?.staged;
    let first = staged.first()?;
    let message = match staged.len() {
        1 => format!("version {} of {} waits to be promoted", first.version, first.key),
        count => format!("{count} versions wait to be promoted"),
    };
    let fix = format!("keyagent keys promote {}", first.key);
    Some(Finding::new("staged", CheckResult::Ok, message).fix(fix))
}

fn unused(hints: Option<&Hints>) -> Option<Finding> {
    let unused = &hints?.retirable;
    let first = unused.first()?;
    let message = match unused.len() {
        1 => {
            format!(
                "version {} of {} can be retired: unused for {} days",
                first.version, first.key, first.unused_days
            )
        }
        count => format!("{count} versions can be retired: unused for 30 days and more"),
    };
    let fix = format!("keyagent keys retire {} {}", first.key, first.version);
    Some(Finding::new("unused", CheckResult::Ok, message).fix(fix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::keys::due::{Retirable, Waiting};
    use keyagent_common::op::{Field, StatusReply};

    fn found(fields: &[(&str, &str)], alerts: Option<usize>) -> Vec<(&'static str, CheckResult)> {
        let fields = fields.iter().map(|(name, value)| Field { name, value }).collect();
        let status = AgentStatus::from(StatusReply { fields });
        let asked = Asked { alerts, hints: None };
        findings(&status, &asked).iter().map(|finding| (finding.check, finding.result)).collect()
    }

    #[test]
    fn only_what_is_told_is_judged() {
        assert_eq!(found(&[("state", "unlocked"), ("keys_disabled", "")], None), []);
        let good =
            [("audit_percent", "3"), ("maintenance", "off"), ("keys_disabled", "0"), ("keys_overdue", "0")];
        assert_eq!(found(&good, Some(0)), [("audit log", CheckResult::Ok), ("alerts", CheckResult::Ok)]);
        let bad =
            [("audit_percent", "80"), ("maintenance", "on"), ("keys_disabled", "2"), ("keys_overdue", "1")];
        let found = found(&bad, Some(1));
        assert_eq!(found.len(), 5);
        assert!(found.iter().all(|(_, result)| *result == CheckResult::Warning), "{found:?}");
    }

    #[test]
    fn keys_that_wait_are_named_with_what_to_type() {
        let waiting = |name: &str, version| Waiting { key: name.to_owned(), version };
        let unused = Retirable { key: "openai".into(), version: 1, unused_days: 41 };
        let hints = Hints { staged: vec![waiting("openai", 3)], retirable: vec![unused], ..Hints::default() };
        let asked = Asked { alerts: None, hints: Some(hints) };
        let found = findings(&AgentStatus::from(StatusReply { fields: Vec::new() }), &asked);
        let told = found.iter().map(|finding| (finding.message.as_str(), finding.fix.as_deref().unwrap()));
        let expected = [
            ("version 3 of openai waits to be promoted", "keyagent keys promote openai"),
            ("version 1 of openai can be retired: unused for 41 days", "keyagent keys retire openai 1"),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}
