//! Keys and versions as documents, the words for their states, and the table of `keys list`.

use std::fmt::Write;

use keyagent_common::{
    envelope,
    op::{KeyEntry, KeyStanding, VersionEntry},
    report::escape,
};
use serde::Serialize;

use super::due;
use crate::{
    console::{Color, Console},
    utc,
};

/// A key, without its secret.
#[derive(Debug, Serialize)]
pub(crate) struct KeyDocument {
    pub(crate) name: String,
    pub(super) class: u8,
    pub(crate) standing: &'static str,
    pub(crate) standing_reason: Option<String>,
    pub(super) created_at: String,
    pub(crate) due_at: Option<String>,
    pub(crate) due_reason: Option<String>,
    pub(super) note: Option<String>,
    pub(super) access: Vec<String>,
    /// Of very many the agent tells the newest ones, and those that are in use.
    pub(crate) versions: Vec<VersionDocument>,
    /// Whether it is rotated by itself when that is due.
    pub(super) rotates: bool,
    pub(super) environment: Option<String>,
    /// Seconds since 1970; 0 for no such time.
    #[serde(skip)]
    pub(super) due: u64,
}

/// One of its versions.
#[derive(Debug, Serialize)]
pub(crate) struct VersionDocument {
    pub(crate) number: u32,
    pub(crate) state: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) created_at: String,
    pub(crate) key_id: String,
    used_at: Option<String>,
    /// Days since it was last used; none where no use is known.
    pub(super) unused_days: Option<u64>,
    pub(super) can_be_retired: bool,
}

impl KeyDocument {
    pub(super) fn new(key: &KeyEntry<'_>, now: u64) -> Self {
        Self {
            name: key.name.to_owned(),
            class: key.class,
            standing: standing_word(key.standing),
            standing_reason: text(key.standing_reason),
            created_at: time(key.created_at),
            due_at: some_time(key.due_at),
            due_reason: text(key.due_reason),
            note: text(key.note),
            access: key.access.iter().map(|subject| (*subject).to_owned()).collect(),
            versions: key.versions.iter().map(|version| VersionDocument::new(version, now)).collect(),
            rotates: key.rotates,
            environment: text(key.environment),
            due: key.due_at,
        }
    }

    /// Whether there are more versions than the agent told: the numbers have no gap, for none is ever taken away.
    pub(crate) fn has_more_versions(&self) -> bool {
        let last = self.versions.last().map_or(0, |version| version.number);
        usize::try_from(last).is_ok_and(|last| last > self.versions.len())
    }

    /// As people read it: of a key whose every secret is gone only the name is left.
    pub(super) fn standing_shown(&self) -> &'static str {
        let gone = |version: &VersionDocument| version.state == "destroyed";
        if !self.versions.is_empty() && self.versions.iter().all(gone) { "destroyed" } else { self.standing }
    }

    /// How many versions it has.
    fn count_shown(&self) -> String {
        let more = if self.has_more_versions() { "+" } else { "" };
        format!("{}{more}", self.versions.len())
    }

    /// When it is to be rotated, and why unless that was planned.
    fn due_words(&self, now: u64) -> String {
        if self.due == 0 {
            return "-".to_owned();
        }
        let why = self.due_reason.as_deref().filter(|why| *why != "scheduled");
        let why = why.map(|why| format!(" ({})", escape(why))).unwrap_or_default();
        format!("{}{why}", due::words(self.due, now))
    }

    /// What somebody should know beside the columns, and the note.
    fn remarks(&self) -> String {
        let mut remarks: Vec<String> = Vec::new();
        for version in &self.versions {
            if version.state == "staged" {
                remarks.push(format!("version {} is staged", version.number));
            }
            remarks.extend(version.hint().map(|hint| format!("version {} {hint}", version.number)));
        }
        remarks.extend(self.note.as_deref().map(escape));
        remarks.join(" · ")
    }
}

impl VersionDocument {
    fn new(version: &VersionEntry, now: u64) -> Self {
        let state = state_word(version.state);
        let unused_days = due::unused_days(version.used_at, now);
        Self {
            number: version.number,
            state,
            reason: reason_word(version.reason),
            created_at: time(version.created_at),
            // The daemon gives zeros for what is destroyed.
            key_id: if state == "destroyed" {
                String::new()
            } else {
                envelope::encode_base64(&version.key_id)
            },
            used_at: some_time(version.used_at),
            unused_days,
            can_be_retired: due::can_be_retired(state, unused_days),
        }
    }

    /// `can be retired: unused for 41 days`
    pub(super) fn hint(&self) -> Option<String> {
        let days = self.unused_days.filter(|_| self.can_be_retired)?;
        Some(format!("can be retired: unused for {days} days"))
    }
}

/// Whether a key is served.
pub(super) fn standing_word(standing: KeyStanding) -> &'static str {
    match standing {
        KeyStanding::Active => "active",
        KeyStanding::Disabled => "disabled",
        KeyStanding::Compromised => "compromised",
    }
}

/// The classes of docs/FORMATS.md, section 6.
pub(super) fn class_word(class: u8) -> &'static str {
    match class {
        0x01 => "message",
        0x02 => "index",
        0x03 => "hs256",
        0x04 => "vault-gcm",
        0x05 => "age-x25519",
        0x40 => "legacy raw",
        0x41 => "legacy text",
        _ => "unknown",
    }
}

/// The states of docs/FORMATS.md, section 3.
pub(super) fn state_word(state: u8) -> &'static str {
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
pub(super) fn reason_word(reason: u8) -> &'static str {
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

/// A time for people and documents.
pub(super) fn time(seconds: u64) -> String {
    utc::shown(seconds.saturating_mul(1_000_000))
}

/// A time; none for 0.
pub(super) fn some_time(seconds: u64) -> Option<String> {
    Some(seconds).filter(|seconds| *seconds > 0).map(time)
}

/// A text; none if it is empty.
pub(super) fn text(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// Every key in a line.
pub(super) fn table(console: &Console, keys: &[KeyDocument], now: u64) -> String {
    let name = width("NAME", keys.iter().map(|key| key.name.as_str()));
    let class = width("CLASS", keys.iter().map(|key| class_word(key.class)));
    let place = width("ENVIRONMENT", keys.iter().filter_map(|key| key.environment.as_deref()));
    let dues: Vec<String> = keys.iter().map(|key| key.due_words(now)).collect();
    let due = width("DUE", dues.iter().map(String::as_str));
    let mut text = format!(
        "{:<name$}  {:<class$}  STANDING     {:<place$}  VERSIONS  CREATED     {:<due$}  NOTE\n",
        "NAME", "CLASS", "ENVIRONMENT", "DUE"
    );
    for (key, words) in keys.iter().zip(dues) {
        let standing = console.paint(color(key.standing_shown()), &format!("{:<11}", key.standing_shown()));
        let environment = key.environment.as_deref().map_or("-".to_owned(), escape);
        let words = format!("{words:<due$}");
        let overdue = key.due > 0 && key.due <= now;
        let line = format!(
            "{:<name$}  {:<class$}  {standing}  {environment:<place$}  {:>8}  {}  {}  {}",
            escape(&key.name),
            class_word(key.class),
            key.count_shown(),
            key.created_at.get(..10).unwrap_or_default(),
            if overdue { console.paint(Color::Red, &words) } else { words },
            key.remarks(),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Of a column with this head.
fn width<'c>(head: &str, cells: impl Iterator<Item = &'c str>) -> usize {
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(head.len())
}

/// Of a standing.
pub(super) fn color(standing: &str) -> Color {
    match standing {
        "active" => Color::Green,
        "disabled" => Color::Yellow,
        _ => Color::Red,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::command::watch::tests::console;

    const NOW: u64 = 1_800_000_000;

    /// A key with nothing to say.
    pub(in super::super) fn key() -> KeyEntry<'static> {
        KeyEntry {
            name: "default",
            class: 1,
            standing: KeyStanding::Active,
            standing_reason: "",
            created_at: NOW,
            due_at: 0,
            due_reason: "",
            rotates: false,
            environment: "",
            note: "",
            access: Vec::new(),
            versions: Vec::new(),
        }
    }

    pub(in super::super) fn version(number: u32, state: u8, used_at: u64) -> VersionEntry {
        VersionEntry { number, state, reason: 1, created_at: NOW, key_id: [7; 32], used_at }
    }

    #[test]
    fn what_is_due_and_what_waits_is_in_the_list() {
        let versions = vec![version(1, 3, NOW - 41 * 86_400), version(2, 2, NOW), version(3, 1, 0)];
        let openai = KeyEntry {
            name: "openai",
            environment: "production",
            due_at: NOW - 3 * 86_400,
            due_reason: "personnel",
            note: "mine\u{1b}[2J",
            versions,
            ..key()
        };
        let keys = [KeyDocument::new(&key(), NOW), KeyDocument::new(&openai, NOW)];
        assert_eq!(
            table(&console(), &keys, NOW),
            "NAME     CLASS    STANDING     ENVIRONMENT  VERSIONS  CREATED     DUE                      NOTE\n\
             default  message  active       -                   0  2027-01-15  -\n\
             openai   message  active       production          3  2027-01-15  OVERDUE 3 d (personnel)  \
             version 1 can be retired: unused for 41 days · version 3 is staged · mine\\u{1b}[2J\n"
        );
    }

    #[test]
    fn versions_that_are_not_told_are_not_counted_as_all() {
        let of = |numbers: &[u32]| {
            let versions = numbers.iter().map(|number| version(*number, 3, 0)).collect();
            let document = KeyDocument::new(&KeyEntry { versions, ..key() }, NOW);
            (document.count_shown(), document.has_more_versions())
        };
        assert_eq!(of(&[]), ("0".into(), false));
        assert_eq!(of(&[1, 2, 3]), ("3".into(), false));
        assert_eq!(of(&[2, 3]), ("2+".into(), true));
        // An old one that is in use is told all the same.
        assert_eq!(of(&[1, 4, 5]), ("3+".into(), true));
    }

    #[test]
    fn what_is_destroyed_has_no_id() {
        let version = VersionDocument::new(&VersionEntry { key_id: [0; 32], ..version(1, 7, 0) }, NOW);
        assert_eq!((version.key_id.as_str(), version.state), ("", "destroyed"));
    }
}
