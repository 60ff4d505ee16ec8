//! `keyagent health`: exit 0 if the agent can do its work, 1 otherwise. For probes: no other exit code
//! once the command line was understood.

use std::fmt::Write;

use keyagent_common::{
    op::{CheckResult, Empty, Health},
    report::{Report, escape},
};
use serde::Serialize;

use crate::{
    command::{NEGATIVE, OK},
    console,
    failure::Failure,
    session::Session,
};

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    status: String,
    error: Option<String>,
    checks: Vec<CheckDocument>,
}

#[derive(Serialize)]
struct CheckDocument {
    name: String,
    result: &'static str,
    message: String,
}

pub(crate) fn run(session: &Session<'_>) -> Result<u8, Failure> {
    let document = match ask(session) {
        Ok(document) => document,
        Err(Failure::Report(report)) => return unreachable(session, &report),
        Err(failure) => return Err(failure),
    };
    if session.console.json {
        console::print_json(&document)?;
    } else if session.console.talks() {
        let mut text = format!("{}\n", escape(&document.status));
        for check in &document.checks {
            let (name, message) = (escape(&check.name), escape(&check.message));
            let _ = writeln!(text, "{:<8} {name:<10} {message}", check.result);
        }
        console::print(&text)?;
    }
    Ok(if document.status == "healthy" { OK } else { NEGATIVE })
}

fn ask(session: &Session<'_>) -> Result<Document, Failure> {
    let mut connection = session.connect()?;
    let reply = connection.call::<Health>(&Empty {})?;
    let checks = reply.checks.iter().map(|check| CheckDocument {
        name: check.name.to_owned(),
        result: result_word(check.result),
        message: check.message.to_owned(),
    });
    Ok(Document {
        schema: "keyagent.health/1",
        status: reply.status.to_owned(),
        error: Some(reply.error.to_owned()).filter(|error| !error.is_empty()),
        checks: checks.collect(),
    })
}

fn unreachable(session: &Session<'_>, report: &Report) -> Result<u8, Failure> {
    if session.console.json {
        console::print_json(&Document {
            schema: "keyagent.health/1",
            status: "unreachable".to_owned(),
            error: Some(report.what.clone()),
            checks: Vec::new(),
        })?;
    } else {
        session.console.report(report);
    }
    Ok(NEGATIVE)
}

/// How a result is written.
pub(crate) fn result_word(result: CheckResult) -> &'static str {
    match result {
        CheckResult::Ok => "ok",
        CheckResult::Warning => "warning",
        CheckResult::Failed => "failed",
    }
}
