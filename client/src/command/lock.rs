//! `keyagent lock`: every key leaves the agent's memory.

use keyagent_common::op::{Empty, Lock};
use serde::Serialize;

use crate::{command::OK, console, failure::Failure, session::Session};

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    changed: bool,
    unlockable_here: bool,
}

pub(crate) fn run(session: &Session<'_>) -> Result<u8, Failure> {
    let reply =
        session.connect()?.call::<Lock>(&Empty {}).map(|reply| (reply.changed, reply.unlockable_here));
    let (changed, unlockable_here) = reply?;
    if session.console.json {
        console::print_json(&Document { schema: "keyagent.lock/1", changed, unlockable_here })?;
        return Ok(OK);
    }
    session.console.say(if changed { "locked" } else { "it was locked already" });
    if !unlockable_here {
        session
            .console
            .say("the agent cannot read its master key again; to unlock: keyagent unlock --key-file FILE");
    }
    Ok(OK)
}
