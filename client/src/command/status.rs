//! `keyagent status`: what the agent is doing; exit 1 when it is locked.

use std::fmt::Write;

use keyagent_common::op::{Empty, Status};

use crate::{
    agent_status::AgentStatus,
    command::{NEGATIVE, OK},
    console::{self, Color, Console},
    failure::Failure,
    session::Session,
};

pub(crate) fn run(session: &Session<'_>) -> Result<u8, Failure> {
    let mut connection = session.connect()?;
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    if session.console.json {
        console::print_json(&status)?;
    } else if session.console.talks() {
        console::print(&text(session.console, &status))?;
    }
    Ok(if status.is_unlocked() { OK } else { NEGATIVE })
}

fn text(console: &Console, status: &AgentStatus) -> String {
    let locked = !status.is_unlocked();
    let (color, state) = if locked { (Color::Yellow, "locked") } else { (Color::Green, "unlocked") };
    let mut text = format!(
        "{} keyagent  running · {}   v{}  pid {} · up {}\n",
        console.paint(color, "●"),
        console.paint(color, state),
        status.shown("version"),
        status.shown("pid"),
        status.number("uptime_seconds").map_or("-".to_owned(), duration),
    );
    let mut row = |label: &str, value: String| {
        let _ = writeln!(text, "  {label:<9} {value}");
    };
    row("socket", status.shown("socket"));
    let master = status.short_fingerprint().unwrap_or_else(|| "-".to_owned());
    row("master", format!("{master}   from {}", status.shown("master_source")));
    row(
        "keys",
        format!("{}, {}", counted(status, "keys", "key"), counted(status, "key_versions", "version")),
    );
    row(
        "memory",
        format!("{} ({}) · core dumps {}", size(status), status.shown("memory"), status.shown("dumps")),
    );
    row(
        "clients",
        format!(
            "{} connected · {} ops · {} denied",
            status.shown("connections"),
            status.number("operations").map_or("-".to_owned(), grouped),
            status.number("denied").map_or("-".to_owned(), grouped)
        ),
    );
    row("failures", format!("{} decryption failures in the last hour", status.shown("failures_last_hour")));
    row("keyring", format!("{}   generation {}", status.shown("keyring"), status.shown("generation")));
    row("audit", status.shown("audit_log"));
    if let Some(degraded) = status.get("degraded") {
        row("degraded", console.paint(Color::Yellow, &keyagent_common::report::escape(degraded)));
    }
    if locked {
        row("fix", "keyagent unlock".to_owned());
    }
    text
}

fn size(status: &AgentStatus) -> String {
    status
        .number("memory_bytes")
        .map_or("-".to_owned(), |bytes| format!("{} KiB locked", bytes.div_ceil(1024)))
}

fn counted(status: &AgentStatus, field: &str, word: &str) -> String {
    match status.number(field) {
        Some(1) => format!("1 {word}"),
        Some(number) => format!("{} {word}s", grouped(number)),
        None => format!("- {word}s"),
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
fn grouped(number: u64) -> String {
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

    #[test]
    fn numbers_and_times_are_for_people() {
        assert_eq!(["7", "408", "12 408", "1 000 000"], [7, 408, 12_408, 1_000_000].map(grouped)[..]);
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3 * 3600 + 12 * 60), "3 h 12 m");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
