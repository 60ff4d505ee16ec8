//! `keyagent unlock`: the agent reads its master key again, or gets it from a file or descriptor here.
//!
//! The key is never an argument, and is wiped here once it was sent. It goes to nobody but an agent of
//! the own user or one whose socket was named, and only after that agent said that it is its key.

use std::path::PathBuf;

use clap::Args;
use keyagent_client::{Connection, effective_uid};
use keyagent_common::{
    error::ErrorCode,
    fingerprint, kdf,
    op::{Empty, Status, Unlock, UnlockRequest},
    report::Report,
};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::{
    agent_status::AgentStatus,
    command::OK,
    console,
    failure::Failure,
    key_file::{self, MasterKey},
    session::Session,
};

/// `keyagent unlock`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Send the key of this file instead of letting the agent read its own source
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Send the key from this open descriptor
    #[arg(long, value_name = "N", conflicts_with = "key_file")]
    key_fd: Option<u32>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    changed: bool,
    fingerprint: String,
    master_id: String,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let key = match (&arguments.key_file, arguments.key_fd) {
        (Some(path), _) => Some(key_file::read_checked(path)?),
        (None, Some(number)) => Some(key_file::read_descriptor(number)?),
        (None, None) => None,
    };
    let mut connection = session.connect()?;
    if let Some(key) = &key {
        check_receiver(session, &mut connection, key)?;
    }
    let master = key.as_ref().map_or(&[][..], |key| key.expose_secret());
    let reply = connection.call::<Unlock>(&UnlockRequest { master })?;
    let (changed, full, short) =
        (reply.changed, fingerprint::full(&reply.fingerprint), fingerprint::short(&reply.fingerprint));
    if session.console.json {
        let document = Document { schema: "keyagent.unlock/1", changed, fingerprint: full, master_id: short };
        console::print_json(&document)?;
        return Ok(OK);
    }
    let what = if changed { "unlocked" } else { "it was unlocked already" };
    session.console.say(&format!("{what}; master key {short}"));
    Ok(OK)
}

/// Refuses to hand the key to an agent that was only come across, or that has another key.
///
/// The search ends at the system's agent when the own one does not run. To ask it for work is one
/// thing; the user's master key is not for it.
fn check_receiver(
    session: &Session<'_>,
    connection: &mut Connection,
    key: &MasterKey,
) -> Result<(), Failure> {
    let (listener, me) = (connection.listener_uid(), effective_uid());
    let refuse = |code, what: &str, connection: &Connection| {
        Report::new(code, what).fact("socket", connection.socket().display().to_string())
    };
    if listener != me && !session.address()?.is_named() {
        let what = "refusing to send the key to the agent of another user";
        return Err(refuse(ErrorCode::UntrustedAgent, what, connection)
            .fact("sent", "nothing")
            .why(format!(
                "uid {listener} listens there and you are uid {me}; an agent of your own does not run"
            ))
            .fix("keyagent start          (or name the agent that shall have the key with --socket)")
            .into());
    }
    connection.hello()?;
    let theirs = AgentStatus::from(connection.call::<Status>(&Empty {})?).fingerprint();
    let mine = kdf::master_fingerprint(key.expose_secret());
    match theirs {
        Some(theirs) if theirs == mine => Ok(()),
        Some(theirs) => {
            let what = "the key is not the one of this agent; it was not sent";
            Err(refuse(ErrorCode::WrongMasterKey, what, connection)
                .fact("agent", fingerprint::full(&theirs))
                .fact("key", fingerprint::full(&mine))
                .fix("unlock with the key file that belongs to this agent's keyring")
                .into())
        }
        None => {
            let what = "the agent does not say which master key it needs; the key was not sent";
            Err(refuse(ErrorCode::ProtocolMismatch, what, connection)
                .fix(
                    "install the same version of keyagent and keyagentd, then: keyagent stop; keyagent start",
                )
                .into())
        }
    }
}
