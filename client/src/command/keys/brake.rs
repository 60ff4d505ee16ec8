//! `keyagent keys disable|enable`: the brake for a key, and the kill switch for all of them.

use clap::Args;
use keyagent_common::{error::ErrorCode, name::KeyName, op::KeysChangedReply, report::Report};
use serde::Serialize;

use super::key_name;
use crate::{
    command::OK,
    console::{self, ask},
    failure::{Failure, usage},
    session::Session,
};

/// Which keys, and why.
#[derive(Debug, Args)]
struct Which {
    /// Name of the key
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// Every key there is
    #[arg(long)]
    all: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// `keyagent keys disable`
#[derive(Debug, Args)]
pub(super) struct DisableArguments {
    #[command(flatten)]
    which: Which,
    /// Mark it as known to somebody else
    #[arg(long)]
    compromised: bool,
}

/// `keyagent keys enable`
#[derive(Debug, Args)]
pub(super) struct EnableArguments {
    #[command(flatten)]
    which: Which,
    /// Serve a compromised key again, too
    #[arg(long)]
    lift_compromised: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    key: Option<&'a str>,
    changed: u32,
    generation: u64,
}

impl Which {
    /// The key; none for all of them, once somebody agreed.
    fn key(&self, session: &Session<'_>, question: &str) -> Result<Option<KeyName<'_>>, Failure> {
        if let Some(name) = &self.name {
            return key_name(name).map(Some);
        }
        if self.yes {
            return Ok(None);
        }
        if !session.console.can_ask() {
            return Err(usage("not asked, so nothing was done")
                .why("--all concerns every key there is")
                .fix("add --yes")
                .into());
        }
        match ask(question, "no")?.as_str() {
            "y" | "yes" => Ok(None),
            _ => Err(Report::new(ErrorCode::Usage, "nothing was done").into()),
        }
    }
}

pub(super) fn disable(session: &Session<'_>, arguments: &DisableArguments) -> Result<u8, Failure> {
    let which = &arguments.which;
    let key = which.key(session, "Refuse every key, for everybody, at once? yes or no")?;
    let reply = session.connect()?.key_disable(key, arguments.compromised, &which.reason)?;
    let state = if arguments.compromised { "refused as compromised" } else { "refused" };
    tell(session, "keyagent.key_disable/1", key, reply, state)
}

pub(super) fn enable(session: &Session<'_>, arguments: &EnableArguments) -> Result<u8, Failure> {
    let which = &arguments.which;
    let key = which.key(session, "Serve every disabled key again? yes or no")?;
    let reply = session.connect()?.key_enable(key, arguments.lift_compromised, &which.reason)?;
    tell(session, "keyagent.key_enable/1", key, reply, "served again")
}

fn tell(
    session: &Session<'_>,
    schema: &'static str,
    key: Option<KeyName<'_>>,
    reply: KeysChangedReply,
    state: &str,
) -> Result<u8, Failure> {
    let KeysChangedReply { changed, generation } = reply;
    if session.console.json {
        let key = key.map(KeyName::as_str);
        console::print_json(&Document { schema, key, changed, generation })?;
        return Ok(OK);
    }
    session.console.say(&match (key, changed) {
        (Some(key), 0) => format!("the key {key} was {state} already"),
        (Some(key), _) => format!("the key {key} is {state} from now on"),
        (None, 0) => format!("every key was {state} already"),
        (None, 1) => format!("1 key is {state} from now on"),
        (None, _) => format!("{changed} keys are {state} from now on"),
    });
    Ok(OK)
}
