//! `keyagent watch`: what happens in the agent, as it happens, and a command for what matters.
//!
//! The daemon executes nothing; this process may, as whoever started it. It must never start a shell and
//! never end because a command failed or the agent was restarted.

mod hook;

use std::{ffi::OsString, thread, time::Duration};

use clap::Args;
use keyagent_client::{Connection, Error, effective_uid};
use keyagent_common::{
    error::ErrorCode,
    op::{MAX_WATCH_MILLISECONDS, WatchEvent, WatchSeverity},
    report::escape,
};
use serde::Serialize;

use crate::{
    command::OK,
    console::{self, Color, Console},
    failure::Failure,
    session::Session,
    stdio, utc,
};

const WAIT: Duration = Duration::from_millis(MAX_WATCH_MILLISECONDS as u64);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// `keyagent watch`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// End after the first events
    #[arg(long)]
    once: bool,
    /// Begin with what the agent still remembers, not with what comes
    #[arg(long)]
    past: bool,
    /// Run this program for every warning; the event is one line of JSON on its standard input
    #[arg(long, value_name = "CMD")]
    exec: Option<OsString>,
    /// Run it for every event
    #[arg(long, requires = "exec")]
    all_events: bool,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARG", requires = "exec")]
    words: Vec<OsString>,
}

/// An event, as it is written with `--json` and handed to programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct EventDocument {
    schema: &'static str,
    number: u64,
    timestamp: String,
    kind: String,
    severity: &'static str,
    key: Option<String>,
    message: String,
}

impl From<&WatchEvent<'_>> for EventDocument {
    fn from(event: &WatchEvent<'_>) -> Self {
        Self {
            schema: "keyagent.event/1",
            number: event.number,
            timestamp: utc::rfc3339(event.unix_micros),
            kind: event.kind.to_owned(),
            severity: severity_word(event.severity),
            key: Some(event.key.to_owned()).filter(|key| !key.is_empty()),
            message: event.message.to_owned(),
        }
    }
}

impl EventDocument {
    /// Says that events went by unseen: to be looked at, like any other warning.
    fn lost() -> Self {
        Self {
            schema: "keyagent.event/1",
            number: 0,
            timestamp: utc::rfc3339(utc::now()),
            kind: "events_lost".to_owned(),
            severity: "warning",
            key: None,
            message: "events were dropped before they could be told: keyagent audit query --event alert"
                .to_owned(),
        }
    }

    fn is_grave(&self) -> bool {
        self.severity != "info"
    }

    fn told(&self, console: &Console) -> String {
        let color = match self.severity {
            "info" => Color::Green,
            "warning" => Color::Yellow,
            _ => Color::Red,
        };
        let time = self.timestamp.get(..19).map_or_else(String::new, |time| time.replace('T', " "));
        let severity = console.paint(color, &format!("{:<8}", self.severity));
        let key = self.key.as_deref().map_or("-".to_owned(), escape);
        format!("{time}Z  {severity}  {}  {key}  {}\n", escape(&self.kind), escape(&self.message))
    }
}

/// Where in the stream of events this process is.
struct Place {
    after: u64,
    /// The run of the daemon that counted so far; none before the first answer.
    instance: Option<[u8; 16]>,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.exec.is_some() && effective_uid() == 0 {
        session.console.say(
            "the program is run as root; give the watch a user of its own that may do nothing but watch",
        );
    }
    let mut place = Place { after: if arguments.past { 0 } else { u64::MAX }, instance: None };
    let options = session.options()?;
    let (mut pause, mut told, mut answered) = (FIRST_PAUSE, false, false);
    // The first connection has to succeed; later ones may take their time.
    let mut connection = Some(session.connect()?);
    loop {
        let outcome = match connection.as_mut() {
            Some(connection) => next(connection, &mut place),
            None => session.address().and_then(|address| Connection::open(&address, options)).map(|made| {
                connection = Some(made);
                Vec::new()
            }),
        };
        match outcome {
            Ok(events) => {
                (pause, told, answered) = (FIRST_PAUSE, false, true);
                for event in &events {
                    if !show(session.console, event)? {
                        return Ok(OK);
                    }
                    if let Some(program) = &arguments.exec
                        && (arguments.all_events || event.is_grave())
                    {
                        hook::run(session.console, program, &arguments.words, event);
                    }
                }
                if arguments.once && !events.is_empty() || stdio::reader_is_gone() {
                    return Ok(OK);
                }
            }
            Err(error) if passes(&error) && answered => {
                connection = None;
                if !std::mem::replace(&mut told, true) {
                    session.console.say(&format!("{error}; waiting for it"));
                }
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The next events; none when nothing happened for a while.
fn next(connection: &mut Connection, place: &mut Place) -> Result<Vec<EventDocument>, Error> {
    let instance = connection.hello()?.instance;
    if place.instance.replace(instance).is_some_and(|before| before != instance) {
        // Another run counts from one again, and its first events are news.
        place.after = 0;
    }
    let wait = if place.after == u64::MAX { Duration::ZERO } else { WAIT };
    let reply = connection.watch(place.after, wait)?;
    place.after = reply.next;
    let lost = reply.lost.then(EventDocument::lost);
    Ok(lost.into_iter().chain(reply.events.iter().map(EventDocument::from)).collect())
}

/// Whether it is worth waiting: the agent is being restarted, is locked or has much to do.
fn passes(error: &Error) -> bool {
    matches!(
        error.code(),
        ErrorCode::AgentUnreachable
            | ErrorCode::Timeout
            | ErrorCode::InputOutput
            | ErrorCode::Busy
            | ErrorCode::Locked
            | ErrorCode::ShuttingDown
            | ErrorCode::RateLimited
    )
}

/// Writes an event; false when nobody reads any more.
fn show(console: &Console, event: &EventDocument) -> Result<bool, Failure> {
    let written = if console.json {
        console::print_json(event)
    } else if console.talks() {
        console::print(&event.told(console))
    } else {
        Ok(())
    };
    match written {
        Err(_) if stdio::reader_is_gone() => Ok(false),
        written => written.map(|()| true),
    }
}

/// How severe, as a word.
pub(crate) fn severity_word(severity: WatchSeverity) -> &'static str {
    match severity {
        WatchSeverity::Info => "info",
        WatchSeverity::Warning => "warning",
        WatchSeverity::Critical => "critical",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::Parser;

    pub(crate) fn console() -> Console {
        Console::new(&crate::arguments::CommandLine::try_parse_from(["keyagent", "version"]).unwrap().globals)
    }

    pub(crate) fn event() -> EventDocument {
        EventDocument::from(&WatchEvent {
            number: 7,
            unix_micros: 1_795_314_005_123_456,
            kind: "decryption_failures",
            severity: WatchSeverity::Warning,
            key: "billing",
            message: "6 failures\u{1b}[2J",
        })
    }

    #[test]
    fn an_event_is_told_without_what_would_steer_a_terminal() {
        assert_eq!(
            event().told(&console()),
            "2026-11-22 02:20:05Z  warning   decryption_failures  billing  6 failures\\u{1b}[2J\n"
        );
        let lost = EventDocument::lost();
        assert!(lost.is_grave() && lost.told(&console()).contains("  -  events were dropped"));
    }

    #[test]
    fn an_agent_that_comes_back_is_waited_for_and_a_refusal_is_not() {
        let path = std::path::PathBuf::from("/s");
        assert!(passes(&Error::Closed { path: path.clone() }));
        assert!(passes(&Error::Unreachable { attempts: Vec::new() }));
        assert!(!passes(&Error::Protocol { path: path.clone(), what: String::new() }));
        assert!(!passes(&Error::Untrusted { path, why: String::new() }));
        for (number, expected) in [(10, false), (11, true), (17, true), (2, false), (57, false)] {
            let error = keyagent_client::AgentError {
                number,
                operation: "watch",
                what: String::new(),
                why: String::new(),
                fix: String::new(),
            };
            assert_eq!(passes(&Error::Agent(error)), expected, "{number}");
        }
    }
}
