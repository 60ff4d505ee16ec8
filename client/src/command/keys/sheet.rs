//! `keyagent keys show`: everything about one key but its secret.

use std::fmt::Write;

use keyagent_common::{
    name::KeyName,
    op::{KeyShowReply, RotationPolicy, VersionUsage},
    report::escape,
};
use serde::Serialize;

use super::{
    due,
    shown::{self, KeyDocument, VersionDocument, some_time, text},
};
use crate::{
    command::{OK, status::grouped},
    console,
    failure::Failure,
    session::Session,
};

/// Characters of a key id that tell keys apart at a glance.
const SHOWN_CHARACTERS: usize = 12;

#[derive(Debug, Serialize)]
pub(super) struct Sheet {
    schema: &'static str,
    #[serde(flatten)]
    pub(super) key: KeyDocument,
    pub(super) purpose: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) url: Option<String>,
    pub(super) policy: Policy,
    /// By version; none for callers that do not oversee the agent.
    usage: Option<Vec<Usage>>,
    generation: u64,
}

/// When the key is rotated, in the words of docs/FORMATS.md.
#[derive(Debug, Serialize)]
pub(super) struct Policy {
    pub(super) enabled: bool,
    pub(super) interval_days: u32,
    grace_period_days: u32,
    pub(super) next_rotation_at: Option<String>,
    pub(super) last_rotation_at: Option<String>,
    auto_retire: bool,
}

#[derive(Debug, Serialize)]
struct Usage {
    number: u32,
    /// None: not known, because the counters were lost.
    encryptions: Option<u64>,
    decryptions: Option<u64>,
    /// Else the counts are upper bounds.
    exact: bool,
    encrypted_at: Option<String>,
    decrypted_at: Option<String>,
    grace_ends_at: Option<String>,
    #[serde(skip)]
    grace_is_over: bool,
    #[serde(skip)]
    last: u64,
}

pub(super) fn show(session: &Session<'_>, name: KeyName<'_>) -> Result<u8, Failure> {
    let now = super::now();
    let sheet = Sheet::new(&session.connect()?.key_show(name)?, now);
    if session.console.json {
        console::print_json(&sheet)?;
    } else {
        let standing = sheet.key.standing_shown();
        let standing = session.console.paint(shown::color(standing), standing);
        console::print(&sheet.text(&standing, session.globals.verbose, now))?;
    }
    Ok(OK)
}

impl Sheet {
    pub(super) fn new(reply: &KeyShowReply<'_>, now: u64) -> Self {
        let usage: Vec<_> = reply.usage.iter().map(|usage| Usage::new(usage, now)).collect();
        Self {
            schema: "keyagent.key/1",
            key: KeyDocument::new(&reply.key, now),
            purpose: text(reply.purpose),
            owner: text(reply.owner),
            url: text(reply.url),
            policy: Policy::from(&reply.policy),
            usage: Some(usage).filter(|usage| !usage.is_empty()),
            generation: reply.generation,
        }
    }

    fn text(&self, standing: &str, whole_ids: bool, now: u64) -> String {
        let Self { key, purpose, owner, url, .. } = self;
        let mut rows = vec![
            ("name", escape(&key.name)),
            ("class", format!("{:02x} {}", key.class, shown::class_word(key.class))),
        ];
        let because = key.standing_reason.as_deref().map(|why| format!(": {}", escape(why)));
        rows.push(("standing", format!("{standing}{}", because.unwrap_or_default())));
        rows.push(("created", key.created_at.clone()));
        let labels = [
            ("environment", &key.environment),
            ("purpose", purpose),
            ("owner", owner),
            ("url", url),
            ("note", &key.note),
        ];
        rows.extend(labels.into_iter().filter_map(|(label, text)| Some((label, escape(text.as_deref()?)))));
        if let Some(due) = &key.due_at {
            let why = key.due_reason.as_deref().map(|why| format!(", {}", escape(why))).unwrap_or_default();
            rows.push(("due", format!("{due} ({}{why})", due::words(key.due, now))));
        }
        rows.extend(labelled("policy", self.policy.lines()));
        rows.extend(labelled("access", key.access.iter().map(|subject| escape(subject))));
        let versions = key.versions.iter().flat_map(|version| self.version_lines(version, whole_ids));
        let more = key.has_more_versions().then(|| "older versions are not shown".to_owned());
        rows.extend(labelled("versions", more.into_iter().chain(versions)));
        rows.into_iter().fold(String::new(), |mut text, (label, value)| {
            let _ = writeln!(text, "{}", format!("{label:<11} {value}").trim_end());
            text
        })
    }

    /// One line about a version, one about its use, one for a hint.
    fn version_lines(&self, version: &VersionDocument, whole_id: bool) -> Vec<String> {
        let VersionDocument { number, state, created_at, key_id, .. } = version;
        let id = match key_id.get(..SHOWN_CHARACTERS) {
            Some(short) if !whole_id => format!("key id {short}…"),
            _ if key_id.is_empty() => "its id is gone".to_owned(),
            _ => format!("key id {key_id}"),
        };
        let reason = if version.reason == "none" { "" } else { version.reason };
        let mut lines =
            vec![format!("{number}  {state:<11}  {created_at}  {id}  {reason}").trim_end().to_owned()];
        let usage =
            self.usage.iter().flatten().find(|usage| usage.number == *number && *state != "destroyed");
        lines.extend(usage.map(|usage| format!("   {}", usage.words())));
        if let Some(hint) = version.hint() {
            lines.push(format!("   {hint} → keyagent keys retire {} {number}", self.key.name));
        }
        if *state == "staged" {
            lines.push(format!("   opens, seals nothing yet → keyagent keys promote {}", self.key.name));
        }
        lines
    }
}

impl From<&RotationPolicy> for Policy {
    fn from(policy: &RotationPolicy) -> Self {
        Self {
            enabled: policy.enabled,
            interval_days: policy.interval_days,
            grace_period_days: policy.grace_period_days,
            next_rotation_at: some_time(policy.next_rotation_at),
            last_rotation_at: some_time(policy.last_rotation_at),
            auto_retire: policy.auto_retire,
        }
    }
}

impl Policy {
    fn lines(&self) -> [String; 6] {
        let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "never".to_owned());
        let fields = [
            ("enabled", self.enabled.to_string()),
            ("interval_days", self.interval_days.to_string()),
            ("grace_period_days", self.grace_period_days.to_string()),
            ("next_rotation_at", time(&self.next_rotation_at)),
            ("last_rotation_at", time(&self.last_rotation_at)),
            ("auto_retire", self.auto_retire.to_string()),
        ];
        fields.map(|(name, value)| format!("{name:<17}  {value}"))
    }
}

impl Usage {
    fn new(usage: &VersionUsage, now: u64) -> Self {
        Self {
            number: usage.number,
            encryptions: Some(usage.encryptions).filter(|count| *count != u64::MAX),
            decryptions: Some(usage.decryptions).filter(|count| *count != u64::MAX),
            exact: usage.exact,
            encrypted_at: some_time(usage.encrypted_at),
            decrypted_at: some_time(usage.decrypted_at),
            grace_ends_at: some_time(usage.grace_ends_at),
            grace_is_over: usage.grace_ends_at <= now,
            last: usage.encrypted_at.max(usage.decrypted_at),
        }
    }

    fn words(&self) -> String {
        let most = if self.exact { "" } else { "at most " };
        let count = |count: Option<u64>| {
            count.map_or("not known".to_owned(), |count| format!("{most}{}", grouped(count)))
        };
        let unknown = self.encryptions.is_none() || self.decryptions.is_none();
        let last = some_time(self.last).map(|time| format!("last used {time}"));
        let last =
            last.unwrap_or_else(|| if unknown { "last use not known" } else { "never used" }.to_owned());
        let mut words = format!(
            "encryptions {} · decryptions {} · {last}",
            count(self.encryptions),
            count(self.decryptions)
        );
        if let Some(end) = &self.grace_ends_at {
            let verb = if self.grace_is_over { "was over" } else { "ends" };
            let _ = write!(words, " · grace {verb} {end}");
        }
        words
    }
}

/// Lines of which the first has a label.
fn labelled(
    label: &'static str,
    lines: impl IntoIterator<Item = String>,
) -> impl Iterator<Item = (&'static str, String)> {
    lines.into_iter().enumerate().map(move |(index, line)| (if index == 0 { label } else { "" }, line))
}

#[cfg(test)]
mod tests;
