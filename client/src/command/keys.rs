//! `keyagent keys`: keys by name, from made to destroyed; never their secrets.
//!
//! What cannot be taken back, and what stops every key at once, asks first; where it cannot ask it needs `--yes`.

mod brake;
mod card;
mod configure;
mod create;
mod destroy;
pub(crate) mod due;
mod limit;
mod rotate;
mod sheet;
mod shown;
mod version;

use std::{fmt::Write, num::NonZeroU32};

use clap::{Args, Subcommand};
use keyagent_client::Connection;
use keyagent_common::{
    error::ErrorCode,
    name::KeyName,
    op::{KeyEntry, KeyListReply},
    report::Report,
};
use serde::Serialize;

use crate::{
    command::OK,
    console,
    failure::{Failure, usage},
    session::Session,
    utc,
};
pub(crate) use shown::{KeyDocument, VersionDocument};

/// Most keys that are asked for at once.
const PAGE: u32 = 256;

/// `keyagent keys`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the keys that you may know of, and what is due
    List,
    /// Show everything about a key but its secret; with -v whole key ids
    Show(Name),
    /// Make a named key
    Create(create::Arguments),
    /// Make a new version of a key; what was sealed still opens
    Rotate(rotate::Arguments),
    /// Seal with a staged version from now on
    Promote(version::PromoteArguments),
    /// Say when a key rotates, and what people should know of it
    Configure(configure::Arguments),
    /// Refuse what an old version sealed; can be taken back
    Retire(version::Arguments),
    /// Open again what a retired version sealed
    Reinstate(version::Arguments),
    /// Refuse a key, a version or all keys, at once and until enabled
    Disable(brake::DisableArguments),
    /// Serve again what was disabled
    Enable(brake::EnableArguments),
    /// Remove the secret of a version or of a key, for ever
    Destroy(destroy::Arguments),
    /// Write the entry of a password manager: title, user name, password, URL, notes
    ///
    /// The card of `default` is that of the keyring: its password is the master key, written with --reveal only. Any
    /// other key has no password, because it never leaves the agent; its card has dates and fingerprint, and says that
    /// backups of the keyring hold it.
    Card(card::Arguments),
}

#[derive(Debug, Args)]
struct Name {
    /// Name of the key
    #[arg(value_name = "NAME")]
    name: String,
}

impl Name {
    fn parse(&self) -> Result<KeyName<'_>, Failure> {
        key_name(&self.name)
    }
}

/// Why, for the audit log.
#[derive(Debug, Args)]
struct Reason {
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

impl Reason {
    fn parse(&self) -> Result<&str, Failure> {
        limit::reason(&self.reason)
    }
}

#[derive(Serialize)]
struct ListDocument {
    schema: &'static str,
    keys: Vec<KeyDocument>,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.verb {
        Verb::List => list(session),
        Verb::Show(name) => sheet::show(session, name.parse()?),
        Verb::Create(arguments) => create::run(session, arguments),
        Verb::Rotate(arguments) => rotate::run(session, arguments),
        Verb::Promote(arguments) => version::promote(session, arguments),
        Verb::Configure(arguments) => configure::run(session, arguments),
        Verb::Retire(arguments) => version::retire(session, arguments),
        Verb::Reinstate(arguments) => version::reinstate(session, arguments),
        Verb::Disable(arguments) => brake::disable(session, arguments),
        Verb::Enable(arguments) => brake::enable(session, arguments),
        Verb::Destroy(arguments) => destroy::run(session, arguments),
        Verb::Card(arguments) => card::run(session, arguments),
    }
}

fn list(session: &Session<'_>) -> Result<u8, Failure> {
    let keys = all(&mut session.connect()?)?;
    if session.console.json {
        console::print_json(&ListDocument { schema: "keyagent.keys/1", keys })?;
    } else {
        console::print(&shown::table(session.console, &keys, now()))?;
    }
    Ok(OK)
}

/// Every key that the caller may know of.
pub(crate) fn all(connection: &mut Connection) -> Result<Vec<KeyDocument>, Failure> {
    let (mut keys, now): (Vec<KeyDocument>, _) = (Vec::new(), now());
    loop {
        let after = keys.last().map(|key| key.name.clone()).unwrap_or_default();
        let KeyListReply { keys: page, more } = connection.key_list(&after, PAGE)?;
        let goes_on = page.last().is_some_and(|last: &KeyEntry<'_>| last.name > after.as_str());
        keys.extend(page.iter().map(|key| KeyDocument::new(key, now)));
        if !more {
            return Ok(keys);
        }
        if !goes_on {
            return Err(Report::new(ErrorCode::Malformed, "the agent's list of keys does not go on").into());
        }
    }
}

/// A name as typed.
fn key_name(name: &str) -> Result<KeyName<'_>, Failure> {
    KeyName::parse(name)
        .map_err(|error| usage("not a key name").fact("key", name).why(error.to_string()).into())
}

/// The number of a version as typed.
fn version_number(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| "versions are numbered from 1".to_owned())
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    utc::now() / 1_000_000
}

/// A first line and labelled rows below it, on stderr.
fn tell(session: &Session<'_>, head: &str, rows: &[(&str, String)]) {
    let mut text = head.to_owned();
    for (index, (label, value)) in rows.iter().enumerate() {
        let gap = if index == 0 { "\n\n" } else { "\n" };
        let _ = write!(text, "{gap}  {label:<8} {}", value.replace('\n', "\n           "));
    }
    session.console.say(&text);
}

/// `version 3` of a key, for words.
fn version_words(version: NonZeroU32, key: KeyName<'_>) -> String {
    format!("version {version} of {key}")
}
