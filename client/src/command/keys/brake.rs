//! `keyagent keys disable|enable`: the brake for a key, and the kill switch for all of them.

use std::num::NonZeroU32;

use clap::Args;
use keyagent_common::{error::ErrorCode, name::KeyName, op::KeysChangedReply, report::Report};
use serde::Serialize;

use super::{key_name, limit, version_number, version_words};
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
    /// This version of it alone, which must not be primary
    #[arg(long = "version", value_name = "N", value_parser = version_number, conflicts_with = "all")]
    number: Option<NonZeroU32>,
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

/// What a brake is for.
#[derive(Debug, Clone, Copy)]
enum Meant<'a> {
    All,
    Key(KeyName<'a>),
    Version(KeyName<'a>, NonZeroU32),
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    key: Option<&'a str>,
    changed: u32,
    generation: u64,
    version: Option<NonZeroU32>,
}

impl Which {
    /// What is meant, once somebody agreed to all keys.
    fn meant(&self, session: &Session<'_>, question: &str) -> Result<Meant<'_>, Failure> {
        limit::reason(&self.reason)?;
        if let Some(name) = &self.name {
            let name = key_name(name)?;
            return Ok(self.number.map_or(Meant::Key(name), |number| Meant::Version(name, number)));
        }
        if self.yes {
            return Ok(Meant::All);
        }
        if !session.console.can_ask() {
            return Err(usage("not asked, so nothing was done")
                .why("--all concerns every key there is")
                .fix("add --yes")
                .into());
        }
        match ask(question, "no")?.as_str() {
            "y" | "yes" => Ok(Meant::All),
            _ => Err(Report::new(ErrorCode::Usage, "nothing was done").into()),
        }
    }
}

pub(super) fn disable(session: &Session<'_>, arguments: &DisableArguments) -> Result<u8, Failure> {
    let DisableArguments { which, compromised } = arguments;
    let meant = which.meant(session, "Refuse every key, for everybody, at once? yes or no")?;
    let mut connection = session.connect()?;
    let reply = match meant {
        Meant::All => connection.key_disable(None, *compromised, &which.reason),
        Meant::Key(key) => connection.key_disable(Some(key), *compromised, &which.reason),
        Meant::Version(key, number) => connection.version_disable(key, number, *compromised, &which.reason),
    };
    let state = if *compromised { "refused as compromised" } else { "refused" };
    tell(session, "keyagent.key_disable/1", meant, reply?, state)
}

pub(super) fn enable(session: &Session<'_>, arguments: &EnableArguments) -> Result<u8, Failure> {
    let EnableArguments { which, lift_compromised } = arguments;
    let meant = which.meant(session, "Serve every disabled key again? yes or no")?;
    let mut connection = session.connect()?;
    let reply = match meant {
        Meant::All => connection.key_enable(None, *lift_compromised, &which.reason),
        Meant::Key(key) => connection.key_enable(Some(key), *lift_compromised, &which.reason),
        Meant::Version(key, number) => {
            connection.version_enable(key, number, *lift_compromised, &which.reason)
        }
    };
    let state = if matches!(meant, Meant::Version(..)) { "enabled" } else { "served again" };
    tell(session, "keyagent.key_enable/1", meant, reply?, state)
}

fn tell(
    session: &Session<'_>,
    schema: &'static str,
    meant: Meant<'_>,
    reply: KeysChangedReply,
    state: &str,
) -> Result<u8, Failure> {
    let KeysChangedReply { changed, generation } = reply;
    let (key, version, subject) = match meant {
        Meant::All => (None, None, "every key".to_owned()),
        Meant::Key(key) => (Some(key.as_str()), None, format!("the key {key}")),
        Meant::Version(key, number) => (Some(key.as_str()), Some(number), version_words(number, key)),
    };
    if session.console.json {
        console::print_json(&Document { schema, key, changed, generation, version })?;
        return Ok(OK);
    }
    session.console.say(&match (meant, changed) {
        (_, 0) => format!("{subject} was {state} already"),
        (Meant::All, 1) => format!("1 key is {state} from now on"),
        (Meant::All, _) => format!("{changed} keys are {state} from now on"),
        _ => format!("{subject} is {state} from now on"),
    });
    Ok(OK)
}
