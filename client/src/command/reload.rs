//! `keyagent reload`: the agent reads configuration, policy and keyring again; what fails leaves the old
//! state in use.

use std::fmt::Write;

use serde::Serialize;

use crate::{command::OK, console, failure::Failure, session::Session};

/// Digits of a digest that people compare.
pub(crate) const SHOWN_DIGITS: usize = 12;

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    generation: u64,
    policy_digest: String,
    policy_changed: bool,
}

pub(crate) fn run(session: &Session<'_>) -> Result<u8, Failure> {
    let reply = session.connect()?.reload()?;
    let mut policy_digest = String::new();
    for byte in reply.policy {
        let _ = write!(policy_digest, "{byte:02x}");
    }
    let (generation, policy_changed) = (reply.generation, reply.policy_changed);
    if session.console.json {
        let schema = "keyagent.reload/1";
        console::print_json(&Document { schema, generation, policy_digest, policy_changed })?;
        return Ok(OK);
    }
    let short = policy_digest.get(..SHOWN_DIGITS).unwrap_or_default();
    let policy = if policy_changed { "changed" } else { "unchanged" };
    session.console.say(&format!("reloaded; keyring generation {generation}, policy {short} {policy}"));
    Ok(OK)
}
