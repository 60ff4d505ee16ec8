//! The two voices of a command: documents on stdout, words on stderr.
//!
//! It must never mix them: data and documents alone go to stdout, so that a pipe stays clean.

use std::io::{IsTerminal, Write};

use keyagent_common::report::Report;
use serde::Serialize;

use crate::{
    arguments::{ColorChoice, Globals},
    failure::{Failure, Passed, cannot_write, usage},
    stdio::Stdout,
};

const PROGRAM: &str = "keyagent";

/// How this run talks.
#[derive(Debug)]
pub(crate) struct Console {
    pub(crate) json: bool,
    words: Words,
    pub(crate) interactive: bool,
    color: ColorChoice,
}

/// How many words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    None,
    Some,
    Many,
}

/// Colours of the terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Color {
    Green,
    Yellow,
    Red,
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    schema: &'static str,
    code: u8,
    name: &'static str,
    what: &'a str,
    facts: Vec<FactDocument<'a>>,
    why: &'a str,
    fix: &'a str,
}

#[derive(Serialize)]
struct FactDocument<'a> {
    label: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct PassedDocument<'a> {
    schema: &'static str,
    code: u8,
    name: &'a str,
    what: &'a str,
    text: &'a str,
}

impl Console {
    pub(crate) fn new(globals: &Globals) -> Self {
        let words = match (globals.quiet || globals.json, globals.verbose) {
            (true, _) => Words::None,
            (false, false) => Words::Some,
            (false, true) => Words::Many,
        };
        let no_input = globals.no_input || variable_is_on("KEYAGENT_NO_INPUT");
        Self { json: globals.json, words, interactive: !no_input && !globals.json, color: globals.color }
    }

    /// Whether questions can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        self.interactive && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Whether words are wanted at all.
    pub(crate) fn talks(&self) -> bool {
        self.words != Words::None
    }

    /// Words for a person, on stderr.
    pub(crate) fn say(&self, text: &str) {
        if self.words != Words::None {
            to_stderr(&format!("{PROGRAM}: {text}\n"));
        }
    }

    /// More words, for those who asked for them.
    pub(crate) fn detail(&self, text: &str) {
        if self.words == Words::Many {
            self.say(text);
        }
    }

    /// An error on stderr.
    pub(crate) fn report(&self, report: &Report) {
        if !self.json {
            to_stderr(&report.to_text(PROGRAM));
            return;
        }
        say_error_json(report);
    }

    /// What another program said, as it is.
    pub(crate) fn passed(&self, passed: &Passed) {
        if !self.json {
            to_stderr(&passed.text);
            return;
        }
        // Warnings may stand before the line that says why it ended.
        let said = passed.text.lines().rfind(|line| line.starts_with("keyagentd: "));
        let what = said.or_else(|| passed.text.lines().next()).unwrap_or_default();
        let last = passed.text.lines().rfind(|line| line.trim_start().starts_with("code "));
        say_json(&PassedDocument {
            schema: "keyagent.error/1",
            code: passed.exit_code,
            name: last.and_then(|line| line.split_whitespace().nth(2)).unwrap_or("INTERNAL"),
            what: what.strip_prefix("keyagentd: ").unwrap_or(what),
            text: &passed.text,
        });
    }

    /// Colours a text where stdout shows colours.
    pub(crate) fn paint(&self, color: Color, text: &str) -> String {
        let wanted = match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
                    && std::io::stdout().is_terminal()
            }
        };
        let number = match color {
            Color::Green => 32,
            Color::Yellow => 33,
            Color::Red => 31,
        };
        if wanted { format!("\u{1b}[{number}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Asks on stderr; an empty answer is the default.
pub(crate) fn ask(question: &str, default: &str) -> Result<String, Failure> {
    let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    to_stderr(&format!("{question}{shown} "));
    let mut line = String::new();
    let count = std::io::stdin()
        .read_line(&mut line)
        .map_err(|error| crate::failure::cannot_read("terminal", &error))?;
    if count == 0 {
        return Err(usage("no answer; nothing was done").fix("give the answers as flags").into());
    }
    let answer = line.trim();
    Ok(if answer.is_empty() { default } else { answer }.to_owned())
}

/// A text on stdout.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    Stdout.write_all(text.as_bytes()).map_err(|error| cannot_write("standard output", &error).into())
}

/// A document on stdout, in one line.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    print(&json_line(document))
}

/// A document on stderr, for commands whose stdout carries data.
pub(crate) fn say_json(document: &impl Serialize) {
    to_stderr(&json_line(document));
}

/// An error as a document on stderr.
pub(crate) fn say_error_json(report: &Report) {
    let facts = report.facts.iter().map(|(label, value)| FactDocument { label, value }).collect();
    say_json(&ErrorDocument {
        schema: "keyagent.error/1",
        code: report.code.exit_code(),
        name: report.code.name(),
        what: &report.what,
        facts,
        why: &report.why,
        fix: &report.fix,
    });
}

/// An error from before there is a console; its exit code.
pub(crate) fn last_words(report: &Report) -> u8 {
    to_stderr(&report.to_text(PROGRAM));
    report.code.exit_code()
}

/// Whether a variable is set to something other than nothing and `0`.
fn variable_is_on(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0")
}

fn json_line(document: &impl Serialize) -> String {
    let mut line = serde_json::to_string(document).unwrap_or_default();
    line.push('\n');
    line
}

/// A word that stderr does not take is lost: there is no further place to say so.
fn to_stderr(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
