//! `keyagent keys destroy`: a secret removed for ever, after somebody said so twice.

use std::num::NonZeroU32;

use clap::{ArgGroup, Args};
use keyagent_common::{
    error::ErrorCode,
    name::KeyName,
    op::KeyDestroyReply,
    report::{Report, escape},
};
use serde::Serialize;

use super::{Name, Reason, tell, version_number, version_words};
use crate::{
    command::OK,
    console::{self, ask},
    failure::{Failure, usage},
    session::Session,
};

/// `keyagent keys destroy`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["number", "whole_key"]))]
pub(super) struct Arguments {
    #[command(flatten)]
    name: Name,
    /// A version that is retired, disabled or compromised
    #[arg(long = "version", value_name = "N", value_parser = version_number)]
    number: Option<NonZeroU32>,
    /// All versions of a key that is disabled or compromised; its name stays taken
    #[arg(long)]
    whole_key: bool,
    /// Also what was used of late or is needed otherwise
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    reason: Reason,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    name: &'a str,
    destroyed: &'a [u32],
    needed: Vec<NeededDocument<'a>>,
    from_master: bool,
    generation: u64,
}

#[derive(Serialize)]
struct NeededDocument<'a> {
    version: u32,
    why: &'a str,
}

pub(super) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let (name, reason) = (arguments.name.parse()?, arguments.reason.parse()?);
    let what = match arguments.number {
        Some(version) => version_words(version, name),
        None => format!("every version of {name}"),
    };
    if !arguments.yes {
        confirm(session, name, &what)?;
    }
    let mut connection = session.connect()?;
    let reply = connection.key_destroy(name, arguments.number, arguments.force, reason)?;
    if session.console.json {
        let needed =
            reply.needed.iter().map(|needed| NeededDocument { version: needed.version, why: needed.why });
        console::print_json(&Document {
            schema: "keyagent.key_destroy/1",
            name: name.as_str(),
            destroyed: &reply.destroyed,
            needed: needed.collect(),
            from_master: reply.from_master,
            generation: reply.generation,
        })?;
    } else if reply.destroyed.is_empty() {
        session.console.say(&format!("{what} was destroyed already"));
    } else {
        let head = format!("destroyed {what}: what it sealed never opens again here");
        tell(session, &head, &rows(&reply));
    }
    Ok(OK)
}

fn rows(reply: &KeyDestroyReply<'_>) -> Vec<(&'static str, String)> {
    let needed = reply.needed.iter();
    let mut rows: Vec<_> = needed
        .map(|needed| ("needed", format!("version {}: {}", needed.version, escape(needed.why))))
        .collect();
    if reply.from_master {
        let words = "whoever has the master key of its time can make version 1 of default again";
        rows.push(("but", words.to_owned()));
    }
    rows.push(("but", "backups that were made before still hold it".to_owned()));
    rows
}

/// Lets a person type the name of the key; where nobody can, it has to be said on the command line.
fn confirm(session: &Session<'_>, name: KeyName<'_>, what: &str) -> Result<(), Failure> {
    if !session.console.can_ask() {
        return Err(usage("not asked, so nothing was destroyed")
            .why("what is destroyed never comes back")
            .fix("add --yes")
            .into());
    }
    let question = format!(
        "Destroy {what}? What it sealed can never be opened again.\nType the name of the key to go on:"
    );
    if ask(&question, "")? == name.as_str() {
        return Ok(());
    }
    Err(Report::new(ErrorCode::Usage, "that is not its name; nothing was destroyed").into())
}
