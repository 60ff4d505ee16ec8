//! `keyagent fingerprint`: which master key this is, from the running agent or from a key file offline.
//! A fingerprint is public.

use std::path::PathBuf;

use clap::Args;
use keyagent_common::{
    error::ErrorCode,
    fingerprint, kdf,
    op::{Empty, Status},
    report::Report,
};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::{agent_status::AgentStatus, command::OK, console, failure::Failure, key_file, session::Session};

/// `keyagent fingerprint`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Of this key file, without an agent
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    fingerprint: String,
    master_id: String,
    source: String,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let (bytes, source) = match &arguments.key_file {
        Some(path) => {
            let key = key_file::read(path)?;
            if let Err(report) = key_file::examine(path) {
                session.console.say(&format!("warning: {}: {}", report.what, report.why));
            }
            (kdf::master_fingerprint(key.expose_secret()), path.display().to_string())
        }
        None => of_agent(session)?,
    };
    let (full, short) = (fingerprint::full(&bytes), fingerprint::short(&bytes));
    if session.console.json {
        let document =
            Document { schema: "keyagent.fingerprint/1", fingerprint: full, master_id: short, source };
        console::print_json(&document)?;
    } else {
        console::print(&format!("{full} {short}\n"))?;
    }
    Ok(OK)
}

fn of_agent(session: &Session<'_>) -> Result<([u8; 16], String), Failure> {
    let mut connection = session.connect()?;
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    let bytes = status.fingerprint().ok_or_else(|| {
        Report::new(ErrorCode::Locked, "the agent is locked")
            .why("a locked agent knows no master key")
            .fix("keyagent unlock          (or offline: keyagent fingerprint --key-file FILE)")
    })?;
    Ok((bytes, status.shown("master_source")))
}
