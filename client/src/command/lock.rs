//! `keyagent lock`: every key leaves the agent's memory.

use keyagent_client::{Connection, Error};
use keyagent_common::{
    error::ErrorCode,
    op::{Empty, Lock, Status},
};
use serde::Serialize;

use crate::{
    agent_status::AgentStatus,
    command::{OK, unlock},
    console,
    failure::Failure,
    session::Session,
};

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    changed: bool,
    unlockable_here: bool,
}

pub(crate) fn run(session: &Session<'_>) -> Result<u8, Failure> {
    let mut connection = session.connect()?;
    let (changed, unlockable_here) = lock(&mut connection)?;
    let protected = !unlockable_here && has_protected_key(&mut connection)?;
    if session.console.json {
        console::print_json(&Document { schema: "keyagent.lock/1", changed, unlockable_here })?;
        return Ok(OK);
    }
    session.console.say(if changed { "locked" } else { "it was locked already" });
    if !unlockable_here {
        session.console.say(if protected {
            "the agent cannot read its master key again; with the passphrase: keyagent unlock"
        } else {
            "the agent cannot read its master key again; to unlock: keyagent unlock --key-file FILE"
        });
    }
    Ok(OK)
}

/// Whether it was unlocked before, and whether it can read its master key again.
fn lock(connection: &mut Connection) -> Result<(bool, bool), Error> {
    match connection.call::<Lock>(&Empty {}) {
        Ok(reply) => return Ok((reply.changed, reply.unlockable_here)),
        // A locked agent does little more than say so.
        Err(error) if error.code() == ErrorCode::Locked => {}
        Err(error) => return Err(error),
    }
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    Ok((false, unlock::reads_its_key(&status)))
}

fn has_protected_key(connection: &mut Connection) -> Result<bool, Error> {
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    Ok(unlock::protected_file(connection, &status).is_some())
}
