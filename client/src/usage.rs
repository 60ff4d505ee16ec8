//! A command line that could not be understood: clap's words, the project's exit code.

use std::{ffi::OsString, io::Write};

use clap::error::{Error, ErrorKind};
use keyagent_common::{error::ErrorCode, report::escape};

use crate::{console, failure, stdio::Stdout};

/// Prints help, version or the error; the exit code.
pub(crate) fn answer(error: &Error, words: &[OsString]) -> u8 {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return if Stdout.write_all(text.as_bytes()).is_ok() {
                0
            } else {
                ErrorCode::InputOutput.exit_code()
            };
        }
        _ if words.iter().any(|word| word == "--json") => {
            let what = text.strip_prefix("error: ").unwrap_or(&text).lines().next().unwrap_or_default();
            console::say_error_json(&failure::usage(what).fix("keyagent help"));
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => write(&text),
        _ => write(&as_report(&text)),
    }
    ErrorCode::Usage.exit_code()
}

fn as_report(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let lines: Vec<String> = text.trim_end().lines().map(escape).collect();
    format!(
        "keyagent: {}\n\n  code {} {}\n",
        lines.join("\n"),
        ErrorCode::Usage.exit_code(),
        ErrorCode::Usage
    )
}

fn write(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
