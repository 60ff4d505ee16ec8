//! What the daemon says on stderr: reports of failures, and warnings. Never a secret byte.

use std::{
    fmt::{Display, Write as _},
    io::Write as _,
    sync::OnceLock,
};

use keyagent_common::report::{Report, escape};

use crate::options::LogFormat;

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Chooses the format once, before anything is said.
pub(crate) fn choose(format: LogFormat) {
    // A second call cannot happen: main calls this once. The first choice would stay.
    let _ = FORMAT.set(format);
}

/// A failure that ends the daemon, or the request to start it.
pub(crate) fn failure(report: &Report) {
    match FORMAT.get() {
        Some(LogFormat::Json) => say(&json(report)),
        _ => say(&report.to_text("keyagentd")),
    }
}

/// Something an operator should know while the daemon goes on.
pub(crate) fn warn(message: &dyn Display) {
    let text = escape(&message.to_string());
    match FORMAT.get() {
        Some(LogFormat::Json) => say(&format!("{{\"level\":\"warning\",\"message\":{}}}\n", quote(&text))),
        _ => say(&format!("keyagentd: {text}\n")),
    }
}

fn say(text: &str) {
    // Nobody may be listening on stderr any more; the daemon's work does not depend on it.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn json(report: &Report) -> String {
    let facts: Vec<String> = report
        .facts
        .iter()
        .map(|(label, value)| format!("{{\"label\":{},\"value\":{}}}", quote(label), quote(value)))
        .collect();
    format!(
        "{{\"level\":\"error\",\"code\":{},\"name\":{},\"what\":{},\"facts\":[{}],\"why\":{},\"fix\":{}}}\n",
        report.code.exit_code(),
        quote(report.code.name()),
        quote(&report.what),
        facts.join(","),
        quote(&report.why),
        quote(&report.fix)
    )
}

/// A JSON string; the daemon only ever writes JSON, so it needs no library for it.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            control if control.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_strings_stay_one_line() {
        assert_eq!(quote("a\"b\\c\nd\u{1b}"), "\"a\\\"b\\\\c\\nd\\u001b\"");
    }
}
