//! Keys as tables, sheets and documents.

use std::fmt::Write;

use keyagent_common::{
    envelope,
    op::{KeyEntry, KeyStanding, VersionEntry},
    report::escape,
};
use serde::Serialize;

use crate::{
    console::{Color, Console},
    utc,
};

/// A key, without its secret.
#[derive(Debug, Serialize)]
pub(crate) struct KeyDocument {
    pub(crate) name: String,
    class: u8,
    pub(crate) standing: &'static str,
    pub(crate) standing_reason: Option<String>,
    created_at: String,
    pub(crate) due_at: Option<String>,
    pub(crate) due_reason: Option<String>,
    note: Option<String>,
    access: Vec<String>,
    pub(crate) versions: Vec<VersionDocument>,
}

/// One of its versions.
#[derive(Debug, Serialize)]
pub(crate) struct VersionDocument {
    pub(crate) number: u32,
    pub(crate) state: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) created_at: String,
    key_id: String,
}

impl From<&KeyEntry<'_>> for KeyDocument {
    fn from(key: &KeyEntry<'_>) -> Self {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Self {
            name: key.name.to_owned(),
            class: key.class,
            standing: match key.standing {
                KeyStanding::Active => "active",
                KeyStanding::Disabled => "disabled",
                KeyStanding::Compromised => "compromised",
            },
            standing_reason: text(key.standing_reason),
            created_at: time(key.created_at),
            due_at: Some(key.due_at).filter(|due| *due > 0).map(time),
            due_reason: text(key.due_reason),
            note: text(key.note),
            access: key.access.iter().map(|subject| (*subject).to_owned()).collect(),
            versions: key.versions.iter().map(VersionDocument::from).collect(),
        }
    }
}

impl From<&VersionEntry> for VersionDocument {
    fn from(version: &VersionEntry) -> Self {
        Self {
            number: version.number,
            state: state_word(version.state),
            reason: reason_word(version.reason),
            created_at: time(version.created_at),
            key_id: envelope::encode_base64(&version.key_id),
        }
    }
}

/// The states of docs/FORMATS.md, section 3.
fn state_word(state: u8) -> &'static str {
    match state {
        1 => "staged",
        2 => "primary",
        3 => "grace",
        4 => "retired",
        5 => "disabled",
        6 => "compromised",
        7 => "destroyed",
        _ => "unknown",
    }
}

/// Why a version was made, from the same table.
fn reason_word(reason: u8) -> &'static str {
    match reason {
        0 => "none",
        1 => "scheduled",
        2 => "compromise",
        3 => "personnel",
        4 => "audit",
        5 => "manual",
        _ => "unknown",
    }
}

fn time(seconds: u64) -> String {
    utc::shown(seconds.saturating_mul(1_000_000))
}

/// Every key in a line.
pub(super) fn table(console: &Console, keys: &[KeyDocument]) -> String {
    let width = |cells: &mut dyn Iterator<Item = usize>, least: usize| cells.max().unwrap_or(0).max(least);
    let name = width(&mut keys.iter().map(|key| key.name.len()), 4);
    let mut text = format!("{:<name$}  STANDING     VERSIONS  CREATED     DUE         NOTE\n", "NAME");
    for key in keys {
        let standing = console.paint(color(key.standing), &format!("{:<11}", key.standing));
        let created = key.created_at.get(..10).unwrap_or_default();
        let due = key.due_at.as_deref().and_then(|due| due.get(..10)).unwrap_or("-");
        let line = format!(
            "{:<name$}  {standing}  {:>8}  {created}  {due:<10}  {}",
            escape(&key.name),
            key.versions.len(),
            escape(key.note.as_deref().unwrap_or_default()),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Everything about one key.
pub(super) fn sheet(console: &Console, key: &KeyDocument) -> String {
    let mut text = String::new();
    let mut row = |label: &str, value: &str| {
        let _ = writeln!(text, "{label:<10} {value}");
    };
    row("name", &escape(&key.name));
    row("class", &key.class.to_string());
    let because = key.standing_reason.as_deref().map(|why| format!(": {}", escape(why))).unwrap_or_default();
    row("standing", &format!("{}{because}", console.paint(color(key.standing), key.standing)));
    row("created", &key.created_at);
    if let Some(due) = &key.due_at {
        let why = key.due_reason.as_deref().map(|why| format!(" ({})", escape(why))).unwrap_or_default();
        row("due", &format!("{due}{why}"));
    }
    if let Some(note) = &key.note {
        row("note", &escape(note));
    }
    for (index, subject) in key.access.iter().enumerate() {
        row(if index == 0 { "access" } else { "" }, &escape(subject));
    }
    for version in &key.versions {
        let line = format!(
            "{}  {:<9}  {}  key id {}",
            version.number, version.state, version.created_at, version.key_id
        );
        row(
            if version.number == key.versions.first().map_or(0, |first| first.number) {
                "versions"
            } else {
                ""
            },
            &line,
        );
    }
    text
}

fn color(standing: &str) -> Color {
    match standing {
        "active" => Color::Green,
        "disabled" => Color::Yellow,
        _ => Color::Red,
    }
}
