//! `keyagent keys rotate`: a new version, at once or staged. What was sealed still opens unless told otherwise.
//!
//! It must never wait for anything before the new version is asked for: in an emergency that is what counts.

use std::time::Instant;

use clap::{Args, ValueEnum};
use keyagent_client::{Connection, Rotation, RotationReason};
use keyagent_common::{
    envelope,
    name::KeyName,
    op::{KeyRotateReply, KeyStanding, Takeover},
};
use serde::Serialize;

use super::{
    Name, limit,
    shown::{self, some_time},
    tell,
};
use crate::{command::OK, console, failure::Failure, session::Session};

/// `keyagent keys rotate`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    name: Name,
    /// Why; it stays with the new version
    #[arg(long, value_name = "WHY", default_value = "manual")]
    reason: Reason,
    /// Let the new version only open until `keys promote`, so that it can reach every host first
    #[arg(long, conflicts_with_all = ["refuse_old", "emergency", "lift"])]
    stage: bool,
    /// Refuse at once what the old version sealed; can be taken back
    #[arg(long)]
    refuse_old: bool,
    /// Somebody else may know the key: as --reason compromise, and says what to do next
    #[arg(long, conflicts_with = "reason")]
    emergency: bool,
    /// Serve a disabled key again; a compromised one only with --lift=compromised
    #[arg(long, value_name = "BRAKE", num_args = 0..=1, require_equals = true, default_missing_value = "disabled")]
    lift: Option<Lift>,
    /// In words, for the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
}

/// Why a key is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reason {
    /// Its time had come
    Scheduled,
    /// Somebody else may know it
    Compromise,
    /// Somebody who could use it left
    Personnel,
    /// An audit asked for it
    Audit,
    /// You wanted it
    Manual,
}

/// The strongest brake that a rotation lifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lift {
    /// Only of a disabled key
    Disabled,
    /// Also of a compromised one
    Compromised,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    name: &'a str,
    version: u32,
    key_id: &'a str,
    reason: &'static str,
    staged: bool,
    replaced: Option<u32>,
    replaced_state: Option<&'static str>,
    lifted: Option<&'static str>,
    next_rotation_at: Option<String>,
    generation: u64,
    milliseconds: u64,
}

/// What is told of a rotation.
struct Rotated<'a> {
    name: KeyName<'a>,
    reason: RotationReason,
    emergency: bool,
    reply: KeyRotateReply,
    key_id: String,
    milliseconds: u64,
}

pub(super) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let name = arguments.name.parse()?;
    let note = limit::reason(&arguments.note)?;
    let reason = if arguments.emergency { RotationReason::Compromise } else { arguments.reason.into() };
    let takeover = match (arguments.stage, arguments.refuse_old) {
        (true, _) => Takeover::Staged,
        (false, true) => Takeover::RefuseOld,
        (false, false) => Takeover::Grace,
    };
    let lift = match arguments.lift {
        None => KeyStanding::Active,
        Some(Lift::Disabled) => KeyStanding::Disabled,
        Some(Lift::Compromised) => KeyStanding::Compromised,
    };
    let began = Instant::now();
    let mut connection = session.connect()?;
    let reply = connection.key_rotate(name, &Rotation { reason, takeover, lift, note })?;
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let key_id = envelope::encode_base64(&reply.key_id);
    let rotated = Rotated { name, reason, emergency: arguments.emergency, reply, key_id, milliseconds };
    if session.console.json {
        console::print_json(&rotated.document())?;
    } else if session.console.talks() {
        let after = After::of(&mut connection, &rotated);
        tell(session, &rotated.head(after.standing), &rotated.rows(&after));
    }
    Ok(OK)
}

impl From<Reason> for RotationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Scheduled => Self::Scheduled,
            Reason::Compromise => Self::Compromise,
            Reason::Personnel => Self::Personnel,
            Reason::Audit => Self::Audit,
            Reason::Manual => Self::Manual,
        }
    }
}

/// What the key is like afterwards; nothing where this caller may not know.
struct After {
    /// The brake that is still on.
    standing: KeyStanding,
    class: u8,
    /// Versions that open, beside the new one and the one before.
    open: Vec<u32>,
    /// Versions that are staged, beside the new one.
    staged: Vec<u32>,
}

impl After {
    fn of(connection: &mut Connection, rotated: &Rotated<'_>) -> Self {
        let nothing = Self { standing: KeyStanding::Active, class: 1, open: Vec::new(), staged: Vec::new() };
        let Ok(shown) = connection.key_show(rotated.name) else { return nothing };
        let others = |word: &str| {
            let others = shown.key.versions.iter().filter(|version| {
                shown::state_word(version.state) == word
                    && ![rotated.reply.version, rotated.reply.replaced].contains(&version.number)
            });
            others.map(|version| version.number).collect()
        };
        Self {
            standing: shown.key.standing,
            class: shown.key.class,
            open: others("grace"),
            staged: others("staged"),
        }
    }
}

/// `version 3` or `versions 1, 2`
fn numbered(numbers: &[u32]) -> String {
    let list: Vec<String> = numbers.iter().map(u32::to_string).collect();
    format!("version{} {}", if numbers.len() == 1 { "" } else { "s" }, list.join(", "))
}

impl Rotated<'_> {
    fn staged(&self) -> bool {
        self.reply.replaced == 0
    }

    fn document(&self) -> Document<'_> {
        let Self { name, reason, reply, key_id, milliseconds, .. } = self;
        let lifted = Some(reply.lifted).filter(|lifted| *lifted != KeyStanding::Active);
        Document {
            schema: "keyagent.key_rotate/1",
            name: name.as_str(),
            version: reply.version,
            key_id,
            reason: shown::reason_word(*reason as u8),
            staged: self.staged(),
            replaced: Some(reply.replaced).filter(|number| *number > 0),
            replaced_state: (!self.staged()).then(|| shown::state_word(reply.replaced_state)),
            lifted: lifted.map(shown::standing_word),
            next_rotation_at: some_time(reply.next_rotation_at),
            generation: reply.generation,
            milliseconds: *milliseconds,
        }
    }

    fn head(&self, standing: KeyStanding) -> String {
        let Self { name, reply, .. } = self;
        if self.staged() {
            return format!("staged version {} of {name}", reply.version);
        }
        let why = if self.emergency { " because of a compromise" } else { "" };
        let seals = if standing == KeyStanding::Active { " and seals everything new" } else { "" };
        format!("rotated {name}{why}: version {} is primary{seals}", reply.version)
    }

    fn rows(&self, after: &After) -> Vec<(&'static str, String)> {
        let Self { name, reply, key_id, .. } = self;
        let standing = after.standing;
        let mut rows = vec![("key id", key_id.clone())];
        if self.emergency {
            rows.push(("took", format!("{} ms", self.milliseconds)));
        }
        if self.staged() {
            let words = "it opens and seals nothing, so that it can reach every host first";
            rows.push(("so far", words.to_owned()));
        } else {
            rows.push(("before", self.old_words()));
        }
        if !after.open.is_empty() && !self.staged() {
            let still = numbered(&after.open);
            let more = if self.emergency {
                format!(
                    ", and each counts as known too: keyagent keys disable {name} --version N --compromised --reason TEXT"
                )
            } else {
                String::new()
            };
            let words = if after.open.len() == 1 {
                "still opens what it sealed"
            } else {
                "still open what they sealed"
            };
            rows.push(("also", format!("{still} {words}{more}")));
        }
        if !after.staged.is_empty() {
            let word = if self.emergency {
                "is older than the compromise: never promote it"
            } else {
                "stays staged"
            };
            rows.push(("staged", format!("{} {word}", numbered(&after.staged))));
        }
        if reply.lifted != KeyStanding::Active {
            let was = shown::standing_word(reply.lifted);
            rows.push(("lifted", format!("the key was {was} and is served again")));
        }
        if standing != KeyStanding::Active {
            let lift = if standing == KeyStanding::Compromised { " --lift-compromised" } else { "" };
            let is = shown::standing_word(standing);
            let words =
                format!("the key is {is} and stays so: keyagent keys enable {name}{lift} --reason TEXT");
            rows.push(("but", words));
        }
        if let Some(next) = some_time(reply.next_rotation_at).filter(|_| !self.staged()) {
            rows.push(("later", format!("it rotates by itself on {}", next.get(..10).unwrap_or_default())));
        }
        rows.push(("next", self.next_words(after.class)));
        rows
    }

    /// What became of the old version.
    fn old_words(&self) -> String {
        let (old, state) = (self.reply.replaced, shown::state_word(self.reply.replaced_state));
        match state {
            "grace" => format!("version {old} is in grace: what it sealed still opens"),
            state => format!("version {old} is {state}: what it sealed is refused"),
        }
    }

    /// What to type next.
    fn next_words(&self, class: u8) -> String {
        let (name, old) = (self.name, self.reply.replaced);
        let back = format!("keyagent keys enable {name} --version {old} --lift-compromised --reason TEXT");
        match shown::state_word(self.reply.replaced_state) {
            _ if self.staged() => {
                format!("on each host, once all of them have it: keyagent keys promote {name}")
            }
            "retired" => format!("to take that back: keyagent keys reinstate {name} {old}"),
            "grace" if class == 2 => format!(
                "store new tags of all values (keyagent hmac); until then look up with --all-versions; then: \
                 keyagent keys retire {name} {old}"
            ),
            "grace" if class == 3 => {
                format!(
                    "once every token of version {old} is past its exp: keyagent keys retire {name} {old}"
                )
            }
            "grace" if self.emergency => format!(
                "1. seal again what is kept: keyagent rewrap FILE\n\
                 2. refuse the old version: keyagent keys disable {name} --version {old} --compromised --reason TEXT\n\
                 {}",
                self.last_words(3)
            ),
            "grace" => {
                format!("keyagent rewrap FILE seals old data anew; then: keyagent keys retire {name} {old}")
            }
            _ if self.emergency => format!(
                "1. to seal again what is kept, serve the old version for that time: {back}\n{}",
                self.last_words(2)
            ),
            _ => format!("to take that back: {back}"),
        }
    }

    /// The end of an emergency, from this step on.
    fn last_words(&self, step: u8) -> String {
        let (name, old) = (self.name, self.reply.replaced);
        format!(
            "{step}. change the secrets themselves at their source: what version {old} sealed counts as read\n\
             {}. once nothing uses it (keyagent keys show {name}): keyagent keys destroy {name} --version {old}",
            step + 1
        )
    }
}
