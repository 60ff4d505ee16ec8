//! Checks of what an overseer cares for: brakes, rotation, the log, alerts.
//!
//! What the agent does not tell this caller gives no finding.

use keyagent_client::Connection;
use keyagent_common::op::CheckResult;

use super::Finding;
use crate::{
    agent_status::AgentStatus,
    audit_line::AuditLine,
    command::audit::{
        ALL,
        pages::{self, Span},
    },
    utc,
};

const HOUR_MICROS: u64 = 3_600_000_000;
/// From here on the log is to be looked at, in percent of its budget.
const MUCH_PERCENT: u64 = 80;

/// Alerts in the log of the last hour; none if this caller may not read it.
pub(super) fn alerts(connection: &mut Connection) -> Option<usize> {
    let mut count = 0;
    let span = Span { from_micros: utc::now().saturating_sub(HOUR_MICROS), ..ALL };
    let read = pages::read(connection, span, &mut |raw| {
        count += usize::from(AuditLine::parse(raw).is_some_and(|line| line.event_type == "alert"));
        Ok(())
    });
    read.is_ok().then_some(count)
}

/// The findings, in the order of the agent's status.
pub(super) fn findings(status: &AgentStatus, alerts: Option<usize>) -> Vec<Finding> {
    [audit_usage(status), alerted(alerts), maintenance(status), disabled(status), overdue(status)]
        .into_iter()
        .flatten()
        .collect()
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

fn overdue(status: &AgentStatus) -> Option<Finding> {
    let count = status.number("keys_overdue").filter(|count| *count > 0)?;
    let message = format!("{count} should have been rotated by now");
    Some(Finding::new("rotation", CheckResult::Warning, message).fix("keyagent keys list"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyagent_common::op::{Field, StatusReply};

    fn found(fields: &[(&str, &str)], alerts: Option<usize>) -> Vec<(&'static str, CheckResult)> {
        let fields = fields.iter().map(|(name, value)| Field { name, value }).collect();
        let status = AgentStatus::from(StatusReply { fields });
        findings(&status, alerts).iter().map(|finding| (finding.check, finding.result)).collect()
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
}
