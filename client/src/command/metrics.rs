//! `keyagent metrics`: what the agent counts, in the text format of Prometheus (0.0.4).
//!
//! Made from `status` and `health`; only names and labels of the right form are passed on. A file for a
//! collector is exchanged at once, never half written.

mod exposition;

use std::path::{Path, PathBuf};

use clap::Args;
use keyagent_client::Connection;
use keyagent_common::{
    op::{CheckResult, Empty, Health, Status},
    report::Report,
};

use crate::{
    agent_status::AgentStatus,
    command::OK,
    console,
    failure::{Failure, cannot_create, cannot_write},
    session::Session,
    temporary::Temporary,
};
use exposition::Exposition;

const FILE: &str = "keyagent.prom";
/// A collector of another user reads it.
const MODE: u32 = 0o644;

/// `keyagent metrics`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write keyagent.prom into this folder of a collector, instead of standard output
    #[arg(long, value_name = "DIR")]
    textfile: Option<PathBuf>,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let collected = session.connect().and_then(|mut connection| collect(&mut connection));
    let Some(folder) = &arguments.textfile else {
        console::print(&collected?.text())?;
        return Ok(OK);
    };
    match collected {
        Ok(exposition) => write(folder, &exposition.text())?,
        Err(failure) => {
            // Old numbers must not look like present ones.
            let mut gone = Exposition::default();
            gone.add("up", "0");
            write(folder, &gone.text())?;
            return Err(failure);
        }
    }
    Ok(OK)
}

fn collect(connection: &mut Connection) -> Result<Exposition, Failure> {
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    let mut exposition = from_status(&status);
    // Not everybody may ask for health; counters are of use without it.
    if let Ok(health) = connection.call::<Health>(&Empty {}) {
        exposition.add("healthy", if health.status == "healthy" { "1" } else { "0" });
        for check in &health.checks {
            let state = match check.result {
                CheckResult::Ok => "ok",
                CheckResult::Warning => "warning",
                CheckResult::Failed => "failed",
            };
            exposition.add(&format!("health_check{{check={},result=\"{state}\"}}", label(check.name)), "1");
        }
    }
    Ok(exposition)
}

fn from_status(status: &AgentStatus) -> Exposition {
    let mut exposition = Exposition::default();
    exposition.add("up", "1");
    if let Some(version) = status.get("version") {
        exposition.add(&format!("build_info{{version={}}}", label(version)), "1");
    }
    for (name, value) in status.metrics() {
        exposition.add(name, value);
    }
    if let Some(state) = status.get("state") {
        exposition.add_missing("locked", if state == "unlocked" { "0" } else { "1" });
    }
    if let Some(maintenance) = status.get("maintenance") {
        exposition.add_missing("maintenance", if maintenance == "on" { "1" } else { "0" });
    }
    for (field, name) in [
        ("uptime_seconds", "uptime_seconds"),
        ("connections", "connections"),
        ("keys", "keys"),
        ("key_versions", "key_versions"),
        ("keys_due", "keys_due"),
        ("keys_disabled", "keys_disabled"),
        ("failures_last_hour", "decryption_failures_last_hour"),
        ("denied", "denied_total"),
        ("memory_bytes", "locked_memory_bytes"),
        ("audit_bytes", "audit_bytes"),
        ("audit_budget_bytes", "audit_budget_bytes"),
        ("policy_rules", "policy_rules"),
        ("generation", "keyring_generation"),
    ] {
        if let Some(number) = status.number(field) {
            exposition.add_missing(name, &number.to_string());
        }
    }
    exposition
}

/// A value of a label, quoted.
fn label(text: &str) -> String {
    let text = keyagent_common::report::escape(text);
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn write(folder: &Path, text: &str) -> Result<(), Report> {
    let path = folder.join(FILE);
    let mut temporary = Temporary::beside(&path).map_err(|error| cannot_create(&path, error.to_string()))?;
    let written = temporary
        .write_all(text.as_bytes())
        .and_then(|()| temporary.set_mode(MODE))
        .and_then(|()| temporary.persist(&path, true));
    written.map_err(|error| cannot_write(&path.display().to_string(), &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyagent_common::op::{Field, StatusReply};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn fields_become_gauges_and_counters_pass_through() {
        let field = |name, value| Field { name, value };
        let status = AgentStatus::from(StatusReply {
            fields: vec![
                field("state", "locked"),
                field("version", "0.1\"\\\n"),
                field("keys", ""),
                field("connections", "3"),
                field("denied", "2"),
                field("metric:denied_total", "7"),
                field("metric:operations_total{operation=\"encrypt\",result=\"ok\"}", "12"),
                field("metric:evil\nname", "1"),
                field("metric:evil", "1\n# x"),
            ],
        });
        let text = from_status(&status).text();
        assert!(
            text.contains("\nkeyagent_locked 1\n") && text.contains("\nkeyagent_connections 3\n"),
            "{text}"
        );
        assert!(
            text.contains("keyagent_operations_total{operation=\"encrypt\",result=\"ok\"} 12\n"),
            "{text}"
        );
        assert!(
            text.contains("keyagent_denied_total 7\n") && !text.contains("keyagent_denied_total 2"),
            "{text}"
        );
        assert!(text.contains("keyagent_build_info{version=\"0.1\\\"\\\\\\\\u{a}\"} 1\n"), "{text}");
        assert!(!text.contains("keyagent_keys ") && !text.contains("evil"), "{text}");
    }

    #[test]
    fn the_file_is_for_everybody_to_read_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["keyagent_up 1\n", "keyagent_up 0\n"] {
            write(folder.path(), text).unwrap();
            let path = folder.path().join(FILE);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(Path::new("/no/such/folder"), "").is_err());
    }
}
