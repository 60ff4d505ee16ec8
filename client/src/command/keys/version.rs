//! `keyagent keys promote|retire|reinstate`: one version of a key in another state.

use std::num::NonZeroU32;

use clap::Args;
use keyagent_common::{envelope, name::KeyName, op::VersionReply};
use serde::Serialize;

use super::{Name, Reason, shown, version_number};
use crate::{command::OK, console, failure::Failure, session::Session};

/// `keyagent keys promote`
#[derive(Debug, Args)]
pub(super) struct PromoteArguments {
    #[command(flatten)]
    name: Name,
    /// Number of the version [default: the one that is staged]
    #[arg(value_name = "VERSION", value_parser = version_number)]
    version: Option<NonZeroU32>,
    #[command(flatten)]
    reason: Reason,
}

/// `keyagent keys retire|reinstate`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    name: Name,
    /// Number of the version
    #[arg(value_name = "VERSION", value_parser = version_number)]
    version: NonZeroU32,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    name: &'a str,
    version: u32,
    key_id: String,
    from: &'static str,
    to: &'static str,
    changed: bool,
    replaced: Option<u32>,
    generation: u64,
}

pub(super) fn promote(session: &Session<'_>, arguments: &PromoteArguments) -> Result<u8, Failure> {
    let (name, reason) = (arguments.name.parse()?, arguments.reason.parse()?);
    let reply = session.connect()?.key_promote(name, arguments.version, reason)?;
    let old = match reply.replaced {
        0 => String::new(),
        old => format!("; what version {old} sealed still opens"),
    };
    let words = format!("seals everything new from now on{old}");
    told(session, "keyagent.key_promote/1", name, reply, &words)
}

pub(super) fn retire(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let (name, reason, version) = (arguments.name.parse()?, arguments.reason.parse()?, arguments.version);
    let reply = session.connect()?.key_retire(name, version, reason)?;
    let words = format!(
        "is retired: what it sealed is refused; to take that back: keyagent keys reinstate {name} {version}"
    );
    told(session, "keyagent.key_retire/1", name, reply, &words)
}

pub(super) fn reinstate(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let (name, reason) = (arguments.name.parse()?, arguments.reason.parse()?);
    let reply = session.connect()?.key_reinstate(name, arguments.version, reason)?;
    told(session, "keyagent.key_reinstate/1", name, reply, "is in grace: what it sealed opens again")
}

fn told(
    session: &Session<'_>,
    schema: &'static str,
    name: KeyName<'_>,
    reply: VersionReply,
    words: &str,
) -> Result<u8, Failure> {
    let VersionReply { version, from, to, generation, .. } = reply;
    let changed = from != to;
    if session.console.json {
        console::print_json(&Document {
            schema,
            name: name.as_str(),
            version,
            key_id: envelope::encode_base64(&reply.key_id),
            from: shown::state_word(from),
            to: shown::state_word(to),
            changed,
            replaced: Some(reply.replaced).filter(|number| *number > 0),
            generation,
        })?;
        return Ok(OK);
    }
    session.console.say(&if changed {
        format!("version {version} of {name} {words}")
    } else {
        format!("version {version} of {name} was {} already", state_phrase(shown::state_word(to)))
    });
    Ok(OK)
}

fn state_phrase(state: &str) -> &str {
    if state == "grace" { "in grace" } else { state }
}
