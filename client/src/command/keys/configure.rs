//! `keyagent keys configure`: when a key rotates, and what people should know of it.

use clap::{Args, value_parser};
use keyagent_common::{name::KeyName, op::KeyConfigureRequest};
use keyagent_core::{change::MAX_DAYS, keyring::Label};
use serde::Serialize;

use super::{Name, due, limit, shown::some_time};
use crate::{
    command::OK,
    console,
    failure::{Failure, usage},
    session::Session,
};

const MAX: i64 = MAX_DAYS as i64;

/// `keyagent keys configure`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    settings: Settings,
    /// For people, such as whom to ask about it; empty to take it away
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Policy and labels, for a key that is made or that exists. An empty text takes a label away.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Rotate by itself every so many days
    #[arg(long, value_name = "DAYS", value_parser = value_parser!(u32).range(1..=MAX))]
    rotate_every: Option<u32>,
    /// Do not rotate by itself
    #[arg(long, conflicts_with = "rotate_every")]
    no_rotation: bool,
    /// Days that an old version still opens after a rotation before it may be retired; 0 for no end
    #[arg(long, value_name = "DAYS", value_parser = value_parser!(u32).range(0..=MAX))]
    grace: Option<u32>,
    /// Retire old versions by itself when their grace is over
    #[arg(long)]
    auto_retire: bool,
    /// Leave that to people
    #[arg(long, conflicts_with = "auto_retire")]
    no_auto_retire: bool,
    /// Where it is used, such as production; two environments never share a secret
    #[arg(long, value_name = "WORD")]
    environment: Option<String>,
    /// What for
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// Whose it is
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Where more is written about it
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// What a key was told.
#[derive(Debug, Serialize)]
pub(super) struct Configured {
    pub(super) changed: Vec<String>,
    pub(super) next_rotation_at: Option<String>,
    pub(super) generation: u64,
    #[serde(skip)]
    next: u64,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    name: &'a str,
    #[serde(flatten)]
    configured: Configured,
}

impl Settings {
    /// For a key that has no setting yet.
    pub(super) fn check_new(&self) -> Result<(), Failure> {
        if !self.auto_retire || self.grace.is_some_and(|days| days > 0) {
            return Ok(());
        }
        Err(usage("a grace period without an end never retires anything")
            .why("--auto-retire retires old versions when their grace is over")
            .fix("add --grace DAYS")
            .into())
    }

    /// The request, if anything is to be changed; texts are checked.
    pub(super) fn request<'s>(
        &'s self,
        key: KeyName<'s>,
        note: Option<&'s str>,
    ) -> Result<Option<KeyConfigureRequest<'s>>, Failure> {
        let label = |label, text: &'s Option<String>| {
            text.as_deref().map(|text| limit::label(label, text)).transpose()
        };
        let request = KeyConfigureRequest {
            key: key.as_str(),
            enabled: either(self.rotate_every.is_some(), self.no_rotation),
            interval_days: self.rotate_every,
            grace_period_days: self.grace,
            auto_retire: either(self.auto_retire, self.no_auto_retire),
            environment: label(Label::Environment, &self.environment)?,
            purpose: label(Label::Purpose, &self.purpose)?,
            owner: label(Label::Owner, &self.owner)?,
            url: label(Label::Url, &self.url)?,
            note: note.map(limit::note).transpose()?,
        };
        let nothing = KeyConfigureRequest { key: key.as_str(), ..NOTHING };
        Ok(Some(request).filter(|request| *request != nothing))
    }
}

const NOTHING: KeyConfigureRequest<'static> = KeyConfigureRequest {
    key: "",
    enabled: None,
    interval_days: None,
    grace_period_days: None,
    auto_retire: None,
    environment: None,
    purpose: None,
    owner: None,
    url: None,
    note: None,
};

/// The answer of two flags that exclude each other.
fn either(yes: bool, no: bool) -> Option<bool> {
    if yes || no { Some(yes) } else { None }
}

pub(super) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let name = arguments.name.parse()?;
    let request = arguments.settings.request(name, arguments.note.as_deref())?.ok_or_else(|| {
        usage("nothing is to be changed").fix(
            "such as: keyagent keys configure NAME --rotate-every 90 --grace 30 --environment production",
        )
    })?;
    let configured = send(session, &request)?;
    if session.console.json {
        let schema = "keyagent.key_configure/1";
        console::print_json(&Document { schema, name: name.as_str(), configured })?;
        return Ok(OK);
    }
    session.console.say(&match configured.changed.as_slice() {
        [] => format!("the key {name} was so already"),
        changed => format!("the key {name}: changed {}", changed.join(", ")),
    });
    if let Some(words) = configured.rotation_words() {
        session.console.say(&words);
    }
    Ok(OK)
}

pub(super) fn send(session: &Session<'_>, request: &KeyConfigureRequest<'_>) -> Result<Configured, Failure> {
    let mut connection = session.connect()?;
    let reply = connection.key_configure(request)?;
    Ok(Configured {
        changed: reply.changed.iter().map(|name| (*name).to_owned()).collect(),
        next_rotation_at: some_time(reply.next_rotation_at),
        generation: reply.generation,
        next: reply.next_rotation_at,
    })
}

impl Configured {
    /// When it rotates by itself, where that was changed.
    pub(super) fn rotation_words(&self) -> Option<String> {
        let asked = |name: &String| name == "enabled" || name == "interval_days";
        if !self.changed.iter().any(asked) {
            return None;
        }
        let Some(next) = &self.next_rotation_at else {
            return Some("it does not rotate by itself".to_owned());
        };
        let now = super::now();
        if self.next <= now {
            return Some("it rotates by itself now: its last rotation is longer ago than that".to_owned());
        }
        let date = next.get(..10).unwrap_or_default();
        Some(format!("it rotates by itself {}, on {date}", due::words(self.next, now)))
    }
}
