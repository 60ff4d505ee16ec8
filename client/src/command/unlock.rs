//! `keyagent unlock`: the agent reads its master key again, or gets it from a file or descriptor here.
//!
//! The key is never an argument, and is wiped here once it was sent.

use std::path::PathBuf;

use clap::Args;
use keyagent_common::{
    fingerprint,
    op::{Unlock, UnlockRequest},
};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::{command::OK, console, failure::Failure, key_file, session::Session};

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
    let master = key.as_ref().map_or(&[][..], |key| key.expose_secret());
    let mut connection = session.connect()?;
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
