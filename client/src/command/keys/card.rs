//! `keyagent keys card`: the entry of a password manager for a key.
//!
//! No key leaves the agent. The one secret that can be on a card is the master key, read here from its own file,
//! where somebody asked for it; it must stand in no buffer that is not wiped.

use std::{
    fmt::Write as _,
    io::Write as _,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use clap::Args;
use keyagent_client::Connection;
use keyagent_common::{
    error::ErrorCode,
    fingerprint, kdf,
    name::KeyName,
    op::{Empty, Status},
    report::{Report, escape},
};
use secrecy::ExposeSecret;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::{key_name, sheet::Sheet};
use crate::{
    agent_status::AgentStatus,
    command::{OK, unlock},
    failure::{Failure, cannot_write, usage},
    session::Session,
    stdio::Stdout,
    utc,
};

/// Longer than any card, so that a buffer with a key is never moved.
const ROOM: usize = 16 << 10;
const HIDDEN: &str = "(hidden; --reveal writes it)";
const NONE: &str = "(none: this key never leaves the agent; backups of the keyring hold it)";

/// `keyagent keys card`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of the key; default is the card of the keyring with its master key
    #[arg(value_name = "NAME", default_value = "default")]
    name: String,
    /// Write the master key as the password
    #[arg(long)]
    reveal: bool,
    /// Read the master key from this file, plain or protected, instead of the agent's own
    #[arg(long, value_name = "FILE", requires = "reveal")]
    key_file: Option<PathBuf>,
    /// Open a protected key with the passphrase from this open descriptor instead of asking
    #[arg(long, value_name = "N", requires = "reveal")]
    passphrase_fd: Option<u32>,
}

/// The text of a master key.
struct Password(Zeroizing<String>);

impl Serialize for Password {
    /// Copies nothing: the text goes from its own buffer into the document's.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The fields of the entry.
#[derive(Serialize)]
struct Card {
    schema: &'static str,
    title: String,
    username: String,
    /// None unless it was asked for.
    password: Option<Password>,
    url: Option<String>,
    notes: Vec<String>,
    #[serde(skip)]
    instead_of_password: &'static str,
}

pub(super) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let name = key_name(&arguments.name)?;
    if arguments.reveal && name != KeyName::DEFAULT {
        return Err(nothing_to_reveal(name).into());
    }
    let mut connection = session.connect()?;
    let sheet = Sheet::new(&connection.key_show(name)?, super::now());
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    let card = if name == KeyName::DEFAULT {
        let password =
            if arguments.reveal { Some(master(session, arguments, connection, &status)?) } else { None };
        of_keyring(&sheet, &status, password)
    } else {
        of_key(&sheet, &status)
    };
    // Written in one piece, from one buffer that is wiped.
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    if session.console.json {
        serde_json::to_writer(&mut *text, &card)
            .map_err(|error| Report::new(ErrorCode::Internal, "no document").why(error.to_string()))?;
        text.push(b'\n');
    } else {
        card.write(&mut text);
    }
    Stdout.write_all(&text).map_err(|error| cannot_write("standard output", &error))?;
    Ok(OK)
}

fn nothing_to_reveal(name: KeyName<'_>) -> Report {
    usage("there is nothing to reveal")
        .fact("key", name.as_str())
        .why("a named key never leaves the agent; the one secret for a password manager is the master key")
        .fix("keyagent keys card --reveal          (and for the keys: keyagent backup create)")
}

/// The master key of this very agent, as its key file has it.
fn master(
    session: &Session<'_>,
    arguments: &Arguments,
    connection: Connection,
    status: &AgentStatus,
) -> Result<Password, Failure> {
    let file = arguments.key_file.clone().or_else(|| source(status).map(Path::to_path_buf));
    let file = file.or_else(|| unlock::protected_file(&connection, status)).ok_or_else(|| {
        Report::new(ErrorCode::KeyMissing, "the agent did not read its master key from a file")
            .fact("source", status.shown("master_source"))
            .fix("name a file that holds it: keyagent keys card --reveal --key-file FILE")
    })?;
    // Nobody knows how long a person takes to type a passphrase.
    drop(connection);
    let key = unlock::key_of(session, &file, arguments.passphrase_fd)?;
    let (mine, agents) = (kdf::master_fingerprint(key.expose_secret()), status.fingerprint());
    if agents.is_some_and(|agents| agents != mine) {
        return Err(Report::new(
            ErrorCode::WrongMasterKey,
            "this file holds another master key than the agent's",
        )
        .fact("file", file.display().to_string())
        .fact("agent", agents.as_ref().map(fingerprint::full).unwrap_or_default())
        .fact("file", fingerprint::full(&mine))
        .fix("name the key file of this agent with --key-file")
        .into());
    }
    let mut digits = Zeroizing::new(String::with_capacity(64));
    for byte in key.expose_secret() {
        for half in [byte >> 4, byte & 15] {
            digits.extend(char::from_digit(u32::from(half), 16));
        }
    }
    Ok(Password(digits))
}

/// The file from which the agent read its key.
fn source(status: &AgentStatus) -> Option<&Path> {
    status.get("master_source").map(Path::new).filter(|path| path.is_absolute())
}

fn of_keyring(sheet: &Sheet, status: &AgentStatus, password: Option<Password>) -> Card {
    let generated = date(&sheet.key.created_at);
    let written = source(status).and_then(|path| std::fs::symlink_metadata(path).ok());
    let written = written.and_then(|file| u64::try_from(file.mtime()).ok());
    let written = written.map(|seconds| utc::date(seconds.saturating_mul(1_000_000)));
    let rotated = match written {
        Some(written) if written > generated => format!("{written} (date of the key file)"),
        _ => "never".to_owned(),
    };
    let mut notes = vec![format!("Generated: {generated}")];
    notes.push("Used for: ".to_owned() + sheet.purpose.as_deref().unwrap_or("opening the keyring"));
    notes.push(format!("Last rotated: {rotated}"));
    notes.push("Next rotation: not planned (keyagent master rotate)".to_owned());
    notes.extend(
        status.fingerprint().map(|print| {
            format!("Fingerprint: {} {}", fingerprint::short(&print), fingerprint::full(&print))
        }),
    );
    notes.extend(status.get("keyring").map(|path| format!("Opens: {path}")));
    notes.push(format!("Backup of that: {}", backup(status)));
    Card::new(sheet, "keyagent master key", notes, HIDDEN, password)
}

/// Where a key that never leaves the agent can be had again from.
fn backup(status: &AgentStatus) -> String {
    match status.number("backup_at").filter(|at| *at > 0) {
        Some(at) => format!("of {}, by keyagent backup create", utc::date(at.saturating_mul(1_000_000))),
        None => "none is known; to make one: keyagent backup create".to_owned(),
    }
}

fn of_key(sheet: &Sheet, status: &AgentStatus) -> Card {
    let (key, policy) = (&sheet.key, &sheet.policy);
    let kind = match key.class {
        2 => "index key",
        3 => "signing key",
        _ => "encryption key",
    };
    let mut notes = vec![format!("Generated: {}", date(&key.created_at))];
    notes.extend(sheet.purpose.as_ref().map(|purpose| format!("Used for: {purpose}")));
    let rotated = policy.last_rotation_at.as_deref().map_or("never".to_owned(), date);
    notes.push(format!("Last rotated: {rotated}"));
    notes.push(match (&policy.next_rotation_at, &key.due_at) {
        (Some(next), _) if policy.enabled => {
            format!("Next rotation: {} (every {} days)", date(next), policy.interval_days)
        }
        (_, Some(due)) => format!("Next rotation: {}", date(due)),
        _ => "Next rotation: not planned".to_owned(),
    });
    let primary = key.versions.iter().find(|version| version.state == "primary");
    notes.extend(
        primary.map(|version| format!("Fingerprint: {} (version {})", version.key_id, version.number)),
    );
    notes.push(format!("Backup: {}", backup(status)));
    Card::new(sheet, &format!("{} {kind}", key.name), notes, NONE, None)
}

impl Card {
    fn new(
        sheet: &Sheet,
        what: &str,
        mut notes: Vec<String>,
        instead_of_password: &'static str,
        password: Option<Password>,
    ) -> Self {
        let key = &sheet.key;
        let environment = key.environment.as_deref();
        notes.extend(sheet.owner.as_ref().map(|owner| format!("Owner: {owner}")));
        notes.extend(key.note.clone());
        Self {
            schema: "keyagent.key_card/1",
            title: what.to_owned() + &environment.map(|word| format!(" - {word}")).unwrap_or_default(),
            username: environment.unwrap_or(&key.name).to_owned(),
            password,
            url: sheet.url.clone(),
            notes,
            instead_of_password,
        }
    }

    fn write(&self, text: &mut Vec<u8>) {
        let mut row = |words: &str| {
            text.extend_from_slice(words.as_bytes());
            text.push(b'\n');
        };
        row(&format!("Title: {}", escape(&self.title)));
        row(&format!("Username: {}", escape(&self.username)));
        let password =
            self.password.as_ref().map_or(self.instead_of_password, |password| password.0.as_str());
        let mut line = Zeroizing::new(String::with_capacity(128));
        let _ = write!(line, "Password: {password}");
        row(&line);
        row(format!("URL: {}", escape(self.url.as_deref().unwrap_or_default())).trim_end());
        row("Notes:");
        self.notes.iter().for_each(|note| row(&format!("  - {}", escape(note))));
    }
}

/// The day of a time.
fn date(time: impl AsRef<str>) -> String {
    let time = time.as_ref();
    time.get(..10).unwrap_or(time).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::keys::shown::tests::{key, version};
    use keyagent_common::op::{Field, KeyEntry, KeyShowReply, RotationPolicy, StatusReply};

    fn sheet(name: &'static str) -> Sheet {
        let policy = RotationPolicy {
            enabled: true,
            interval_days: 90,
            grace_period_days: 30,
            next_rotation_at: 1_800_000_000 + 90 * 86_400,
            last_rotation_at: 0,
            auto_retire: false,
        };
        let versions = vec![version(1, 3, 0), version(2, 2, 0)];
        let key = KeyEntry { name, environment: "production", note: "ask\nops", versions, ..key() };
        Sheet::new(
            &KeyShowReply {
                key,
                policy,
                purpose: "Platform credential encryption",
                owner: "",
                url: "https://railway.app/project/calibr-api",
                usage: Vec::new(),
                generation: 1,
            },
            1_800_000_000,
        )
    }

    fn text(card: &Card) -> String {
        let mut text = Vec::new();
        card.write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_card_has_the_fields_of_the_entry_in_a_password_manager() {
        let fields = vec![
            Field { name: "master_fingerprint", value: "a83629bc061e08c49aa1ab899fea5ee6" },
            Field { name: "keyring", value: "/k" },
            Field { name: "backup_at", value: "1800000000" },
        ];
        let status = AgentStatus::from(StatusReply { fields });
        assert_eq!(
            text(&of_key(&sheet("openai"), &status)),
            "Title: openai encryption key - production\n\
             Username: production\n\
             Password: (none: this key never leaves the agent; backups of the keyring hold it)\n\
             URL: https://railway.app/project/calibr-api\n\
             Notes:\n  \
             - Generated: 2027-01-15\n  \
             - Used for: Platform credential encryption\n  \
             - Last rotated: never\n  \
             - Next rotation: 2027-04-15 (every 90 days)\n  \
             - Fingerprint: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc (version 2)\n  \
             - Backup: of 2027-01-15, by keyagent backup create\n  \
             - ask\\u{a}ops\n"
        );
        let hidden = text(&of_keyring(&sheet("default"), &status, None));
        assert!(hidden.starts_with("Title: keyagent master key - production\n"), "{hidden}");
        assert!(hidden.contains("Password: (hidden; --reveal writes it)\n"), "{hidden}");
        assert!(hidden.contains("  - Fingerprint: qDYp-vAYe a83629bc061e08c49aa1ab899fea5ee6\n"), "{hidden}");
        let shown = of_keyring(&sheet("default"), &status, Some(Password(Zeroizing::new("ab".repeat(32)))));
        assert!(text(&shown).contains(&format!("Password: {}\n", "ab".repeat(32))));
    }
}
