//! `keyagent keys create`: the only way in which a key comes into being.
//!
//! What is said about it is a second step: if that fails the key exists, and the error says so.

use clap::{Args, ValueEnum};
use keyagent_client::KeyClass;
use keyagent_common::envelope;
use serde::Serialize;

use super::{Name, configure, limit};
use crate::{command::OK, console, failure::Failure, session::Session};

/// `keyagent keys create`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    name: Name,
    /// What it is for; it stays so for ever
    #[arg(long, value_name = "CLASS", default_value = "message")]
    class: Class,
    /// For people, such as whom to ask about it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    #[command(flatten)]
    settings: configure::Settings,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Class {
    /// Seal messages and files
    Message,
    /// Make tags by which sealed values are found again
    Index,
    /// Sign JSON web tokens
    Hs256,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    name: &'a str,
    version: u32,
    key_id: String,
    generation: u64,
    class: u8,
    changed: Vec<String>,
    next_rotation_at: Option<String>,
}

pub(super) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let name = arguments.name.parse()?;
    let note = limit::note(&arguments.note)?;
    arguments.settings.check_new()?;
    let settings = arguments.settings.request(name, None)?;
    let class = match arguments.class {
        Class::Message => KeyClass::Message,
        Class::Index => KeyClass::Index,
        Class::Hs256 => KeyClass::Hs256,
    };
    let made = session.connect()?.key_create(name, class, note)?;
    let key_id = envelope::encode_base64(&made.key_id);
    let head = format!("made the key {name}, version {}, key id {key_id}", made.version);
    let configured = match settings.map(|settings| configure::send(session, &settings)).transpose() {
        Ok(configured) => configured,
        Err(failure) => return Err(half_done(failure, &head, name.as_str())),
    };
    if !session.console.json {
        session.console.say(&head);
        let words = configured.as_ref().and_then(configure::Configured::rotation_words);
        if let Some(words) = words {
            session.console.say(&words);
        }
        return Ok(OK);
    }
    let generation = configured.as_ref().map_or(made.generation, |configured| configured.generation);
    let (changed, next_rotation_at) =
        configured.map_or((Vec::new(), None), |configured| (configured.changed, configured.next_rotation_at));
    console::print_json(&Document {
        schema: "keyagent.key_create/1",
        name: name.as_str(),
        version: made.version,
        key_id,
        generation,
        class: class as u8,
        changed,
        next_rotation_at,
    })?;
    Ok(OK)
}

/// The key is made, and nothing is said about it.
fn half_done(failure: Failure, done: &str, name: &str) -> Failure {
    let Failure::Report(report) = failure else { return failure };
    let mut report =
        report.fact("done", done.to_owned()).fact("then", "setting the other options failed".to_owned());
    let again = format!("keyagent keys configure {name}, with the options that are missing");
    report.fix = if report.fix.is_empty() { again } else { format!("{}\n{again}", report.fix) };
    report.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyagent_common::{error::ErrorCode, report::Report};

    #[test]
    fn a_key_that_was_made_is_not_forgotten_by_the_error_about_the_rest() {
        let denied = Report::new(ErrorCode::Denied, "not allowed").fix("ask");
        let Failure::Report(report) = half_done(denied.into(), "made the key openai", "openai") else {
            panic!()
        };
        let text = report.to_text("keyagent");
        assert!(text.contains("done   made the key openai\n") && text.contains("fix    ask\n"), "{text}");
        assert!(
            text.contains("keyagent keys configure openai, with") && text.ends_with("77 DENIED\n"),
            "{text}"
        );
    }
}
