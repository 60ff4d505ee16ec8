//! `keyagent reload`: the agent reads its keyring again; what fails leaves the old state in use.

use keyagent_common::op::{Empty, Reload};
use serde::Serialize;

use crate::{command::OK, console, failure::Failure, session::Session};

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    generation: u64,
}

pub(crate) fn run(session: &Session<'_>) -> Result<u8, Failure> {
    let generation = session.connect()?.call::<Reload>(&Empty {}).map(|reply| reply.generation)?;
    if session.console.json {
        console::print_json(&Document { schema: "keyagent.reload/1", generation })?;
    } else {
        session.console.say(&format!("reloaded; keyring generation {generation}"));
    }
    Ok(OK)
}
