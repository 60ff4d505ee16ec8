//! `keyagent backup check FILE`: whether a backup is whole, and what it holds. Asks no agent.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{
    contents::{self, KeyDocument},
    file::{self, HeaderDocument},
    opening::OpeningArguments,
    shown,
};
use crate::{command::OK, console, failure::Failure, session::Session};

/// `keyagent backup check`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    opening: OpeningArguments,
    /// Open it, and ask for the passphrase
    #[arg(long)]
    open: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    file: String,
    opened: bool,
    #[serde(flatten)]
    header: HeaderDocument,
    contents: Option<&'a [KeyDocument]>,
}

pub(super) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let bytes = file::read(&arguments.file)?;
    let backup = file::parse(&bytes, &arguments.file)?;
    let header = HeaderDocument::from(&backup);
    let keys = if arguments.open || arguments.opening.is_given() {
        let key = arguments.opening.open(&backup, session.console)?;
        let keys = contents::read(&backup, &key)?;
        if let Some(sealed) = backup.sealed_master {
            key.open_master(sealed, &backup.master)?;
        }
        Some(keys)
    } else {
        None
    };
    let file = arguments.file.display().to_string();
    if session.console.json {
        let (opened, contents) = (keys.is_some(), keys.as_deref());
        console::print_json(&Document { schema: "keyagent.backup_check/1", file, opened, header, contents })?;
        return Ok(OK);
    }
    let mut text = header.text();
    match &keys {
        Some(keys) => {
            text.push('\n');
            text.push_str(&shown::contents(keys));
            session.console.say("the backup is whole, opens, and holds what it says");
        }
        None => session.console.say(
            "the checksum is right; nothing was opened (--open asks for the passphrase, --identity FILE opens it)",
        ),
    }
    console::print(&text)?;
    Ok(OK)
}
