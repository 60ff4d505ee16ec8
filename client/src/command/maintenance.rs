//! `keyagent maintenance on|off`: while it is on nothing new is sealed, and everything old opens.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{command::OK, console, failure::Failure, session::Session};

/// `keyagent maintenance`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Begin or end
    #[arg(value_enum)]
    state: State,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// Seal nothing new, also after a restart
    On,
    /// Seal again
    Off,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    on: bool,
    changed: bool,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let on = arguments.state == State::On;
    let changed = session.connect()?.maintenance(on, &arguments.reason)?;
    if session.console.json {
        console::print_json(&Document { schema: "keyagent.maintenance/1", on, changed })?;
        return Ok(OK);
    }
    session.console.say(match (on, changed) {
        (true, true) => "maintenance is on: nothing new is sealed, everything old opens",
        (false, true) => "maintenance is off",
        (true, false) => "maintenance was on already",
        (false, false) => "maintenance was off already",
    });
    Ok(OK)
}
