//! `keyagent audit tail|query|verify|export`: reading the agent's log.
//!
//! The agent gives whole lines by number and time; everything else is decided here. What clients wrote
//! into the log never reaches a terminal unescaped.

pub(crate) mod export;
pub(crate) mod filter;
mod follow;
pub(crate) mod pages;
pub(crate) mod verify;

use std::collections::VecDeque;

use clap::{Args, Subcommand};

use crate::{
    audit_line::AuditLine,
    command::OK,
    console::{self, Color, Console},
    failure::Failure,
    session::Session,
    utc,
};
use filter::FilterArguments;
use pages::Span;

/// `keyagent audit`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the last lines, and with -f what is added
    Tail(follow::Arguments),
    /// Show the lines that match
    Query(FilterArguments),
    /// Write the lines that match as JSON or CSV
    Export(export::Arguments),
    /// Recompute the whole chain of the log; exit 1 if it was changed
    Verify(verify::VerifyArguments),
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.verb {
        Verb::Tail(arguments) => follow::run(session, arguments),
        Verb::Query(arguments) => query(session, arguments),
        Verb::Export(arguments) => export::run(session, arguments),
        Verb::Verify(arguments) => verify::run(session, arguments),
    }
}

fn query(session: &Session<'_>, arguments: &FilterArguments) -> Result<u8, Failure> {
    let filter = arguments.resolve(utc::now())?;
    let mut connection = session.connect()?;
    let mut kept = VecDeque::new();
    pages::read(&mut connection, filter.span, &mut |raw| {
        if !pages::parse(session.console, raw).is_some_and(|line| filter.accepts(&line)) {
            return Ok(());
        }
        let Some(limit) = filter.limit else { return show(session.console, raw) };
        if kept.len() >= limit {
            kept.pop_front();
        }
        if limit > 0 {
            kept.push_back(raw.to_vec());
        }
        Ok(())
    })?;
    for raw in kept {
        show(session.console, &raw)?;
    }
    Ok(OK)
}

/// A line on stdout: for people, or as it stands in the log with the name of its schema in front.
fn show(console: &Console, raw: &[u8]) -> Result<(), Failure> {
    if console.json {
        let text = String::from_utf8_lossy(raw);
        let rest = text.strip_prefix('{').unwrap_or(&text);
        return console::print(&format!("{{\"schema\":\"keyagent.audit_line/1\",{rest}\n"));
    }
    match AuditLine::parse(raw) {
        Some(line) => console::print(&told(console, &line)),
        None => Ok(()),
    }
}

/// One line for people.
fn told(console: &Console, line: &AuditLine) -> String {
    let escape = keyagent_common::report::escape;
    let time = line.unix_micros().map_or_else(|| escape(&line.timestamp), utc::shown);
    let result = if line.success { "ok    ".to_owned() } else { console.paint(Color::Red, "FAILED") };
    let event = escape(&line.event_type);
    let key = line.provider.as_deref().map_or("-".to_owned(), escape);
    let caller = line.caller().unwrap_or_else(|| "agent".to_owned());
    let mut text = format!("{time}  {result}  {event:<13}  {key}  {caller}");
    for detail in line.details() {
        text.push_str("  ");
        text.push_str(&detail);
    }
    text.push('\n');
    text
}

/// Everything in the log.
pub(crate) const ALL: Span = Span { from_seq: 0, to_seq: u64::MAX, from_micros: 0, to_micros: u64::MAX };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit_line::tests::LINE;
    use clap::Parser;

    fn console() -> Console {
        Console::new(&crate::arguments::CommandLine::try_parse_from(["keyagent", "version"]).unwrap().globals)
    }

    #[test]
    fn a_line_for_people() {
        let line = AuditLine::parse(LINE.as_bytes()).unwrap();
        assert_eq!(
            told(&console(), &line),
            "2026-11-22 02:20:05Z  ok      decrypt        billing  uid 1001 (unit billing.service)  \
             keyagent/0.1.0  312 B\n"
        );
        let failed =
            LINE.replace("true,\"error_message\":null", "false,\"error_message\":\"no\\u000a\\u001bc\"");
        let line = AuditLine::parse(failed.as_bytes()).unwrap();
        let text = told(&console(), &line);
        assert!(text.contains("  FAILED  decrypt  ") && text.ends_with("  no\\u{a}\\u{1b}c\n"), "{text}");
        // Refused before anything was asked: the kernel's word alone.
        let refused = LINE.replace("\"1001\"", "null").replace("\"billing\"", "null");
        let text = told(&console(), &AuditLine::parse(refused.as_bytes()).unwrap());
        assert!(text.contains("  -  uid 1001 "), "{text}");
        let own = refused.replace("\"uid\":1001,", "");
        let text = told(&console(), &AuditLine::parse(own.as_bytes()).unwrap());
        assert!(text.contains("  -  agent  "), "{text}");
    }
}
