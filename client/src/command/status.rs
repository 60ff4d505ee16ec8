//! `keyagent status`: what the agent is doing; exit 1 when it is locked.

use std::fmt::Write;

use keyagent_client::Connection;
use keyagent_common::{
    op::{Empty, Status},
    report::escape,
};
use serde::Serialize;

use crate::{
    agent_status::AgentStatus,
    command::{
        NEGATIVE, OK,
        keys::{self, due::Hints},
        reload::SHOWN_DIGITS,
    },
    console::{self, Color, Console},
    failure::Failure,
    session::Session,
};

/// Up to so many keys are asked for what they wait for, so that the answer stays a quick one.
const MOST_KEYS: u64 = 1024;

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    status: &'a AgentStatus,
    /// None where this caller is not told, or there are too many keys to look at.
    keys_waiting: Option<&'a Hints>,
}

pub(crate) fn run(session: &Session<'_>) -> Result<u8, Failure> {
    let mut connection = session.connect()?;
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    let code = if status.is_unlocked() { OK } else { NEGATIVE };
    if !session.console.json && !session.console.talks() {
        return Ok(code);
    }
    let hints = hints(&mut connection, &status);
    if session.console.json {
        console::print_json(&Document { status: &status, keys_waiting: hints.as_ref() })?;
    } else {
        console::print(&text(session.console, &status, hints.as_ref()))?;
    }
    Ok(code)
}

/// What the keys wait for; none where that is not told, and never an error: it is no part of the question.
pub(crate) fn hints(connection: &mut Connection, status: &AgentStatus) -> Option<Hints> {
    status.number("keys").filter(|number| *number <= MOST_KEYS)?;
    Some(Hints::of(&keys::all(connection).ok()?, keys::now()))
}

/// Only what the agent told: a caller without the right to see its inside gets the first rows.
fn text(console: &Console, status: &AgentStatus, hints: Option<&Hints>) -> String {
    let locked = !status.is_unlocked();
    let (color, state) = if locked { (Color::Yellow, "locked") } else { (Color::Green, "unlocked") };
    let up = status.number("uptime_seconds").map(|seconds| format!(" · up {}", duration(seconds)));
    let mut text = format!(
        "{} keyagent  running · {}   v{}  pid {}{}\n",
        console.paint(color, "●"),
        console.paint(color, state),
        status.shown("version"),
        status.shown("pid"),
        up.unwrap_or_default(),
    );
    let rows = [
        ("socket", status.told("socket")),
        ("master", master(status)),
        ("keys", keys(console, status, hints)),
        ("memory", memory(status)),
        ("clients", clients(status)),
        ("failures", failures(console, status)),
        ("keyring", keyring(status)),
        ("audit", audit(console, status)),
        ("policy", policy(status)),
        ("lock", automatic_lock(status)),
        ("brake", maintenance(console, status)),
        ("degraded", status.told("degraded").map(|why| console.paint(Color::Yellow, &why))),
        ("fix", locked.then(|| "keyagent unlock".to_owned())),
    ];
    for (label, value) in rows {
        if let Some(value) = value {
            let _ = writeln!(text, "  {label:<9} {value}");
        }
    }
    text
}

fn master(status: &AgentStatus) -> Option<String> {
    let from = status.told("master_source").map(|from| format!("   from {from}")).unwrap_or_default();
    let unfinished = " · its rotation is unfinished → keyagent master rotate";
    let unfinished = status.get("master_next").map(|_| unfinished).unwrap_or_default();
    status.short_fingerprint().map(|id| format!("{id}{from}{unfinished}"))
}

fn keys(console: &Console, status: &AgentStatus, hints: Option<&Hints>) -> Option<String> {
    let mut parts = vec![counted(status, "keys", "key")?];
    if let Some(versions) = counted(status, "key_versions", "version") {
        parts = vec![format!("{}, {versions}", parts.concat())];
    }
    let (due, overdue) =
        (("keys_due", "to be rotated", Color::Yellow), ("keys_overdue", "OVERDUE", Color::Red));
    let counts: &[_] = if hints.is_some() { &[] } else { &[due, overdue] };
    for (overdue, words) in hints.iter().flat_map(|hints| hints.rotations_named(keys::now())) {
        parts.push(if overdue { console.paint(Color::Red, &escape(&words)) } else { escape(&words) });
    }
    for (field, words, color) in counts.iter().chain(&[("keys_disabled", "disabled", Color::Yellow)]) {
        if let Some(number) = status.number(field).filter(|number| *number > 0) {
            parts.push(console.paint(*color, &format!("{} {words}", grouped(number))));
        }
    }
    if let Some(hints) = hints {
        parts.extend(waiting(hints));
    }
    Some(parts.join(" · "))
}

/// Versions that wait for somebody.
fn waiting(hints: &Hints) -> impl Iterator<Item = String> {
    let staged = match hints.staged.as_slice() {
        [] => None,
        [one] => Some(format!("{} version {} staged", one.key, one.version)),
        several => Some(format!("{} versions staged", several.len())),
    };
    let unused = match hints.retirable.as_slice() {
        [] => None,
        [one] => Some(format!(
            "{} version {} can be retired: unused for {} days",
            one.key, one.version, one.unused_days
        )),
        several => Some(format!("{} versions can be retired", several.len())),
    };
    staged.into_iter().chain(unused)
}

fn memory(status: &AgentStatus) -> Option<String> {
    let size = status.number("memory_bytes").map(|bytes| format!("{} KiB locked", bytes.div_ceil(1024)))?;
    let dumps = status.told("dumps").map(|dumps| format!(" · core dumps {dumps}")).unwrap_or_default();
    Some(format!("{size} ({}){dumps}", status.shown("memory")))
}

fn clients(status: &AgentStatus) -> Option<String> {
    let mut parts = vec![format!("{} connected", grouped(status.number("connections")?))];
    for (field, word) in [("operations", "ops"), ("denied", "denied")] {
        parts.extend(status.number(field).map(|number| format!("{} {word}", grouped(number))));
    }
    let times = [("p50_micros", "p50"), ("p99_micros", "p99")];
    let times = times.map(|(field, word)| status.number(field).map(|micros| format!("{word} {micros} µs")));
    let times: Vec<String> = times.into_iter().flatten().collect();
    parts.extend(Some(times.join("  ")).filter(|times| !times.is_empty()));
    Some(parts.join(" · "))
}

fn failures(console: &Console, status: &AgentStatus) -> Option<String> {
    let number = status.number("failures_last_hour")?;
    let words = format!("{} decryption failures in the last hour", grouped(number));
    if number == 0 {
        return Some(words);
    }
    Some(format!("{}  → keyagent audit query --failed --since 1h", console.paint(Color::Yellow, &words)))
}

fn keyring(status: &AgentStatus) -> Option<String> {
    let generation = status.number("generation").map(|number| format!("   generation {number}"));
    Some(format!("{}{}", status.told("keyring")?, generation.unwrap_or_default()))
}

fn audit(console: &Console, status: &AgentStatus) -> Option<String> {
    let used = match (status.number("audit_percent"), status.number("audit_bytes")) {
        (Some(percent), _) if percent > 0 => format!("   {percent} % of its budget"),
        _ => String::new(),
    };
    let warnings = status
        .told("audit_warnings")
        .map(|warnings| format!(" · {}", console.paint(Color::Yellow, &warnings)));
    Some(format!("{}{used}{}", status.told("audit_log")?, warnings.unwrap_or_default()))
}

fn policy(status: &AgentStatus) -> Option<String> {
    let rules = counted(status, "policy_rules", "rule")?;
    let digest = status.told("policy_digest").unwrap_or_default();
    Some(format!("{}   {rules}", digest.get(..SHOWN_DIGITS).unwrap_or("-")))
}

fn automatic_lock(status: &AgentStatus) -> Option<String> {
    let idle =
        status.number("lock_idle_seconds").map(|time| format!("after {} without work", duration(time)));
    let at_most =
        status.number("lock_absolute_seconds").map(|time| format!("{} after unlock", duration(time)));
    let parts: Vec<String> = idle.into_iter().chain(at_most).collect();
    Some(parts.join(" · ")).filter(|text| !text.is_empty())
}

fn maintenance(console: &Console, status: &AgentStatus) -> Option<String> {
    status.get("maintenance").filter(|state| *state == "on")?;
    let why = status.told("maintenance_reason").map(|why| format!(": {why}")).unwrap_or_default();
    let words = format!("maintenance{why}");
    Some(format!("{} → keyagent maintenance off", console.paint(Color::Yellow, &words)))
}

/// A number with its word; none where the agent does not tell it.
fn counted(status: &AgentStatus, field: &str, word: &str) -> Option<String> {
    match status.number(field)? {
        1 => Some(format!("1 {word}")),
        number => Some(format!("{} {word}s", grouped(number))),
    }
}

/// The two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} m {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} m", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{
        keys::due::{Retirable, Upcoming, Waiting},
        watch::tests::console,
    };
    use keyagent_common::op::{Field, StatusReply};

    fn told(fields: &[(&str, &str)]) -> String {
        let fields = fields.iter().map(|(name, value)| Field { name, value }).collect();
        text(&console(), &AgentStatus::from(StatusReply { fields }), None)
    }

    #[test]
    fn what_is_not_told_is_not_shown() {
        assert_eq!(
            told(&[("state", "unlocked"), ("version", "1"), ("pid", "7"), ("keys", ""), ("degraded", "")]),
            "● keyagent  running · unlocked   v1  pid 7\n"
        );
    }

    #[test]
    fn what_needs_somebody_is_shown_with_its_command() {
        let text = told(&[
            ("state", "locked"),
            ("keys", "4"),
            ("key_versions", "1"),
            ("keys_due", "2"),
            ("keys_overdue", "1"),
            ("keys_disabled", "0"),
            ("failures_last_hour", "6"),
            ("maintenance", "on"),
            ("maintenance_reason", "new\u{1b} disk"),
            ("connections", "3"),
            ("p99_micros", "88"),
            ("lock_idle_seconds", "900"),
            ("policy_digest", &"ab".repeat(32)),
            ("policy_rules", "1"),
            ("metric:x", "1"),
        ]);
        for row in [
            "  keys      4 keys, 1 version · 2 to be rotated · 1 OVERDUE\n",
            "  failures  6 decryption failures in the last hour  → keyagent audit query --failed --since 1h\n",
            "  brake     maintenance: new\\u{1b} disk → keyagent maintenance off\n",
            "  clients   3 connected · p99 88 µs\n",
            "  lock      after 15 m 0 s without work\n",
            "  policy    abababababab   1 rule\n",
            "  fix       keyagent unlock\n",
        ] {
            assert!(text.contains(row), "{row}{text}");
        }
        assert!(!text.contains("metric"), "{text}");
    }

    #[test]
    fn keys_that_wait_are_named_instead_of_counted() {
        let upcoming = |name: &str, overdue, words: &str| Upcoming::at(name, keys::now(), overdue, words);
        let hints = Hints {
            rotations: vec![
                upcoming("b", true, "billing OVERDUE 3 d"),
                upcoming("o", false, "openai rotates in 12 d"),
            ],
            staged: vec![Waiting { key: "openai".into(), version: 3 }],
            retirable: vec![Retirable { key: "openai".into(), version: 1, unused_days: 41 }],
        };
        let fields = [("keys", "4"), ("key_versions", "9"), ("keys_overdue", "1"), ("keys_disabled", "2")];
        let fields = fields.map(|(name, value)| Field { name, value }).into();
        let text = text(&console(), &AgentStatus::from(StatusReply { fields }), Some(&hints));
        let row = "  keys      4 keys, 9 versions · billing OVERDUE 3 d · openai rotates in 12 d · 2 disabled · \
                   openai version 3 staged · openai version 1 can be retired: unused for 41 days\n";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn numbers_and_times_are_for_people() {
        assert_eq!(["7", "408", "12 408", "1 000 000"], [7, 408, 12_408, 1_000_000].map(grouped)[..]);
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3 * 3600 + 12 * 60), "3 h 12 m");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
