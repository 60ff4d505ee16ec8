//! `keyagent doctor`: what is wrong here, and the command that mends it. Changes nothing.

use std::fmt::Write;

use clap::Args;
use keyagent_common::{op::CheckResult, report::escape};
use serde::Serialize;

use crate::{
    command::{NEGATIVE, OK, health::result_word},
    console::{self, Color, Console},
    diagnosis::{self, Finding},
    failure::Failure,
    session::Session,
};

/// `keyagent doctor`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Look at the folders of the system instead of the user's
    #[arg(long)]
    pub(crate) system: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    failed: bool,
    checks: Vec<CheckDocument<'a>>,
}

#[derive(Serialize)]
struct CheckDocument<'a> {
    name: &'a str,
    result: &'static str,
    message: &'a str,
    fix: Option<&'a str>,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let findings = diagnosis::diagnose(session, arguments.system)?;
    let failed = findings.iter().any(|finding| finding.result == CheckResult::Failed);
    if session.console.json {
        let checks = findings.iter().map(document).collect();
        console::print_json(&Document { schema: "keyagent.doctor/1", failed, checks })?;
    } else {
        console::print(&table(session.console, &findings))?;
    }
    Ok(if failed { NEGATIVE } else { OK })
}

fn document(finding: &Finding) -> CheckDocument<'_> {
    CheckDocument {
        name: finding.check,
        result: result_word(finding.result),
        message: &finding.message,
        fix: finding.fix.as_deref(),
    }
}

fn table(console: &Console, findings: &[Finding]) -> String {
    let mut text = "RESULT   CHECK             MESSAGE\n".to_owned();
    for Finding { check, result, message, fix } in findings {
        let color = match result {
            CheckResult::Ok => Color::Green,
            CheckResult::Warning => Color::Yellow,
            CheckResult::Failed => Color::Red,
        };
        let word = console.paint(color, &format!("{:<8}", result_word(*result)));
        let fix = fix.as_deref().map(|fix| format!(" → {}", escape(fix))).unwrap_or_default();
        let _ = writeln!(text, "{word} {check:<17} {}{fix}", escape(message));
    }
    text
}
