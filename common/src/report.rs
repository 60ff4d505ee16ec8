//! How an error is told to a person: what happened, the facts, why, and the command to type.

use alloc::{format, string::String, vec::Vec};
use core::fmt::{self, Write as _};

use crate::error::ErrorCode;

/// An error as a person reads it. Never holds a secret byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Row of the error table.
    pub code: ErrorCode,
    /// What happened, in one line.
    pub what: String,
    /// Labelled facts such as `file` and its path.
    pub facts: Vec<(&'static str, String)>,
    /// Why it matters; empty when the first line says it.
    pub why: String,
    /// The command or step that mends it; empty when there is none.
    pub fix: String,
}

impl Report {
    /// A report with its first line only.
    pub fn new(code: ErrorCode, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), facts: Vec::new(), why: String::new(), fix: String::new() }
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.facts.push((label, value.into()));
        self
    }

    /// Says why.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// The text for stderr, after `program: `, with a final newline.
    pub fn to_text(&self, program: &str) -> String {
        let mut text = format!("{program}: {}\n\n", self.what);
        let mut previous = "";
        for (label, value) in &self.facts {
            let label = if core::mem::replace(&mut previous, label) == *label { "" } else { label };
            push_row(&mut text, label, value);
        }
        push_row(&mut text, "why", &self.why);
        push_row(&mut text, "fix", &self.fix);
        let _ = writeln!(text, "  code {} {}", self.code.exit_code(), self.code);
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

fn push_row(text: &mut String, label: &str, value: &str) {
    for (index, line) in value.lines().enumerate() {
        let label = if index == 0 { label } else { "" };
        let _ = writeln!(text, "  {label:<6} {}", escape(line));
    }
}

/// Makes a foreign text safe for a terminal and a log line: control and direction characters are escaped.
pub fn escape(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if harmful(c) { c.escape_unicode().collect() } else { String::from(c) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_the_design_shows_it() {
        let report =
            Report::new(ErrorCode::KeyPermissions, "refusing to start: key file is readable by others")
                .fact("file", "/home/ana/.config/keyagent/key   mode 0644, owner ana")
                .why("any local user could copy the master key")
                .fix("chmod 600 ~/.config/keyagent/key");
        assert_eq!(
            report.to_text("keyagentd"),
            "keyagentd: refusing to start: key file is readable by others\n\n  \
             file   /home/ana/.config/keyagent/key   mode 0644, owner ana\n  \
             why    any local user could copy the master key\n  \
             fix    chmod 600 ~/.config/keyagent/key\n  \
             code 77 KEY_PERMISSIONS\n"
        );
    }

    #[test]
    fn repeated_labels_are_written_once_and_escapes_hold() {
        let report =
            Report::new(ErrorCode::AgentUnreachable, "x").fact("tried", "a\u{1b}[2J").fact("tried", "b");
        assert_eq!(
            report.to_text("p"),
            "p: x\n\n  tried  a\\u{1b}[2J\n         b\n  code 69 AGENT_UNREACHABLE\n"
        );
    }
}
