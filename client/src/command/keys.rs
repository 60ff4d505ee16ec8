//! `keyagent keys list|show|create|disable|enable`: keys by name, never their secrets.
//!
//! What stops every key at once asks first; where it cannot ask it needs `--yes`.

mod brake;
mod shown;

use clap::{Args, Subcommand};
use keyagent_client::Connection;
use keyagent_common::{
    envelope,
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
};
pub(crate) use shown::KeyDocument;

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
    /// List the keys that you may know of
    List,
    /// Show everything about a key but its secret
    Show(Name),
    /// Make a named key
    Create(CreateArguments),
    /// Refuse a key, or all of them, at once and until it is enabled
    Disable(brake::DisableArguments),
    /// Serve a disabled key again
    Enable(brake::EnableArguments),
}

#[derive(Debug, Args)]
struct Name {
    /// Name of the key
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
struct CreateArguments {
    #[command(flatten)]
    name: Name,
    /// For people, such as whom to ask about it
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

#[derive(Serialize)]
struct ListDocument {
    schema: &'static str,
    keys: Vec<KeyDocument>,
}

#[derive(Serialize)]
struct ShowDocument {
    schema: &'static str,
    #[serde(flatten)]
    key: KeyDocument,
}

#[derive(Serialize)]
struct CreateDocument<'a> {
    schema: &'static str,
    name: &'a str,
    version: u32,
    key_id: String,
    generation: u64,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.verb {
        Verb::List => list(session),
        Verb::Show(arguments) => show(session, &arguments.name),
        Verb::Create(arguments) => create(session, arguments),
        Verb::Disable(arguments) => brake::disable(session, arguments),
        Verb::Enable(arguments) => brake::enable(session, arguments),
    }
}

fn list(session: &Session<'_>) -> Result<u8, Failure> {
    let keys = all(&mut session.connect()?)?;
    if session.console.json {
        console::print_json(&ListDocument { schema: "keyagent.keys/1", keys })?;
    } else {
        console::print(&shown::table(session.console, &keys))?;
    }
    Ok(OK)
}

fn show(session: &Session<'_>, name: &str) -> Result<u8, Failure> {
    let name = key_name(name)?;
    let keys = all(&mut session.connect()?)?;
    let key = keys.into_iter().find(|key| key.name == name.as_str()).ok_or_else(|| unknown(name))?;
    if session.console.json {
        console::print_json(&ShowDocument { schema: "keyagent.key/1", key })?;
    } else {
        console::print(&shown::sheet(session.console, &key))?;
    }
    Ok(OK)
}

fn create(session: &Session<'_>, arguments: &CreateArguments) -> Result<u8, Failure> {
    let name = key_name(&arguments.name.name)?;
    let made = session.connect()?.key_create(name, &arguments.note)?;
    let key_id = envelope::encode_base64(&made.key_id);
    if session.console.json {
        console::print_json(&CreateDocument {
            schema: "keyagent.key_create/1",
            name: name.as_str(),
            version: made.version,
            key_id,
            generation: made.generation,
        })?;
    } else {
        session.console.say(&format!("made the key {name}, version {}, key id {key_id}", made.version));
    }
    Ok(OK)
}

/// Every key that the caller may know of.
pub(crate) fn all(connection: &mut Connection) -> Result<Vec<KeyDocument>, Failure> {
    let mut keys: Vec<KeyDocument> = Vec::new();
    loop {
        let after = keys.last().map(|key| key.name.clone()).unwrap_or_default();
        let KeyListReply { keys: page, more } = connection.key_list(&after, PAGE)?;
        let goes_on = page.last().is_some_and(|last: &KeyEntry<'_>| last.name > after.as_str());
        keys.extend(page.iter().map(KeyDocument::from));
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

fn unknown(name: KeyName<'_>) -> Report {
    Report::new(ErrorCode::UnknownKey, "no key of this name that you may know of")
        .fact("key", name.as_str())
        .fix("keyagent keys list")
}
