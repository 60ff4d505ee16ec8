//! `keyagent audit verify`: the daemon's program recomputes the whole chain in a process of its own.
//!
//! The master key is read there, never here. What it found is passed on; nothing is repaired.

use std::{fmt::Write, path::PathBuf, process::Command};

use clap::Args;
use keyagent_common::{
    error::ErrorCode,
    protected_key,
    report::{Report, escape},
};
use serde_json::{Map, Value};

use crate::{
    command::{NEGATIVE, OK, unlock},
    console::{self, Color},
    daemon_process::{self, DaemonArguments, exists},
    failure::{Failure, Passed},
    key_file, key_pipe,
    session::Session,
};

/// Longest verdict that is read, in bytes.
const MAX_VERDICT_BYTES: usize = 1 << 20;

/// `keyagent audit verify`
#[derive(Debug, Default, Args)]
pub(crate) struct VerifyArguments {
    /// Read the master key from this file, plain or protected
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Open a protected key with the passphrase from this open descriptor instead of asking
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<u32>,
    /// The folder of keyring and audit log
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Use the folders of the system instead of the user's
    #[arg(long)]
    pub(crate) system: bool,
}

/// What the verifier said.
pub(crate) struct Verdict {
    /// Whether nothing was found.
    pub(crate) whole: bool,
    /// Its document, schema `keyagent.audit_verify/1`.
    pub(crate) document: Map<String, Value>,
}

pub(crate) fn run(session: &Session<'_>, arguments: &VerifyArguments) -> Result<u8, Failure> {
    let verdict = verify(session, arguments)?;
    if session.console.json {
        console::print_json(&verdict.document)?;
    } else if session.console.talks() {
        let (color, word) = if verdict.whole { (Color::Green, "whole") } else { (Color::Red, "NOT whole") };
        let mut text = format!("the audit log is {}\n", session.console.paint(color, word));
        for (name, value) in rows(&verdict.document) {
            let _ = writeln!(text, "  {name:<16} {value}");
        }
        console::print(&text)?;
    }
    Ok(if verdict.whole { OK } else { NEGATIVE })
}

/// Runs the verifier and waits for it.
pub(crate) fn verify(session: &Session<'_>, arguments: &VerifyArguments) -> Result<Verdict, Failure> {
    let program = daemon_process::locate()?;
    let mut command = Command::new(&program);
    command.arg("--verify-audit");
    // Lives until the program has ended.
    let pipe = match protected_file(arguments)? {
        Some(file) => Some(key_pipe::holding(&unlock::key_of(session, &file, arguments.passphrase_fd)?)?),
        None => None,
    };
    match (&pipe, &arguments.key_file) {
        (Some(pipe), _) => command.arg("--key-fd").arg(pipe.number().to_string()),
        (None, Some(path)) => command.arg("--key-file").arg(path),
        (None, None) => &mut command,
    };
    if let Some(path) = &arguments.state_dir {
        command.arg("--state-dir").arg(path);
    }
    if arguments.system {
        command.arg("--system");
    }
    let output = command.output().map_err(|error| {
        Report::new(ErrorCode::Internal, "cannot run keyagentd --verify-audit").why(error.to_string())
    })?;
    let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
    if !matches!(code, OK | NEGATIVE) {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failure::Passed(Passed { text, exit_code: code }));
    }
    let document = document(&output.stdout).ok_or_else(|| {
        Report::new(ErrorCode::Internal, "keyagentd --verify-audit gave no verdict")
            .fact("program", program.display().to_string())
    })?;
    Ok(Verdict { whole: code == OK, document })
}

/// The file whose key is under a passphrase, which the verifier itself asks nobody for.
fn protected_file(arguments: &VerifyArguments) -> Result<Option<PathBuf>, Failure> {
    if let Some(named) = &arguments.key_file {
        let is_meant = arguments.passphrase_fd.is_some() || key_file::holds_protected(named);
        return Ok(is_meant.then(|| named.clone()));
    }
    let source = DaemonArguments { system: arguments.system, ..DaemonArguments::default() };
    let plain = source.layout()?.key_file;
    let protected = protected_key::beside(&plain);
    Ok((!exists(&plain) && exists(&protected)).then_some(protected))
}

fn document(stdout: &[u8]) -> Option<Map<String, Value>> {
    let text = str::from_utf8(stdout).ok().filter(|text| text.len() <= MAX_VERDICT_BYTES)?;
    let document: Map<String, Value> = serde_json::from_str(text.trim_end()).ok()?;
    let schema = document.get("schema")?.as_str()?;
    schema.starts_with("keyagent.audit_verify/").then_some(document)
}

/// Name and value of what there is to be said of a verdict. Escaped.
pub(crate) fn rows(document: &Map<String, Value>) -> Vec<(String, String)> {
    let said = document.iter().filter(|(name, value)| *name != "schema" && !is_nothing(value));
    said.map(|(name, value)| (escape(&name.replace('_', " ")), escape(&words(value)))).collect()
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join("; "),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| format!("{name} {}", words(value));
            members.iter().map(member).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_told_in_rows() {
        let text = br#"{"schema":"keyagent.audit_verify/1","ok":true,"lines":12,"error":null,"gaps":[],
            "last":{"seq":12,"mac":"ab"},"why":"x\u001b[2J"}
"#;
        let document = document(text).unwrap();
        let rows = rows(&document);
        let pairs: Vec<(&str, &str)> =
            rows.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            pairs,
            [("last", "mac ab, seq 12"), ("lines", "12"), ("ok", "yes"), ("why", "x\\u{1b}[2J")]
        );
        for bad in [
            "",
            "{}",
            "[]",
            "{\"schema\":\"keyagent.status/1\"}",
            "{\"schema\":\"keyagent.audit_verify/1\"} x",
        ] {
            assert!(super::document(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
