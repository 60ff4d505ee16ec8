//! The report as Markdown. What came from the log is escaped: it must never become markup.

use std::fmt::Write;

use keyagent_common::report::escape;

use super::{
    controls::ROWS,
    evidence::{Entry, Evidence},
    verify,
};

/// The whole document.
pub(super) fn document(evidence: &Evidence) -> String {
    let mut text = String::new();
    head(&mut text, evidence);
    let mut sections = ROWS.iter().map(|row| row.section);
    let bodies = [
        integrity(evidence),
        rotation(evidence),
        entries(&evidence.creations, "No key was made or imported."),
        access(evidence),
        entries(&evidence.policy_changes, "Neither policy nor configuration was read again."),
        entries(&evidence.access_changes, "Nobody gained or lost a right on a key."),
        failures(evidence),
        entries(&evidence.brakes, "The agent was neither locked nor unlocked, and no brake was used."),
        entries(&evidence.alerts, "No alert was raised."),
        backups(evidence),
    ];
    for body in bodies {
        let _ = write!(text, "\n## {}\n\n{body}", sections.next().unwrap_or_default());
    }
    controls(&mut text);
    text
}

fn head(text: &mut String, evidence: &Evidence) {
    let _ =
        writeln!(text, "# Key use and key management, {} to {}\n", day(&evidence.from), day(&evidence.to));
    let mut row = |label: &str, value: &str| {
        let _ = writeln!(text, "- {label}: {}", plain(value));
    };
    let ongoing = if evidence.ongoing { ", not over yet" } else { "" };
    row("Period", &format!("{} to {} (UTC){ongoing}", evidence.from, evidence.to));
    row("Made", &evidence.generated_at);
    for (label, value) in [
        ("Agent", &evidence.agent_version),
        ("Master key", &evidence.master_id),
        ("Policy", &evidence.policy_digest),
        ("Audit log", &evidence.audit_log),
    ] {
        if let Some(value) = value {
            row(label, value);
        }
    }
    let _ = writeln!(
        text,
        "\nThis document lists what the agent recorded. It is evidence towards the controls named at its end;\n\
         whether a control is met, an examiner decides."
    );
}

fn integrity(evidence: &Evidence) -> String {
    let log = &evidence.log;
    let mut text = format!(
        "{} lines of the period were read; the log has the numbers {} to {}.\n",
        log.lines, log.first_seq, log.last_seq
    );
    if let Some(oldest) = &log.oldest_kept {
        let _ = writeln!(text, "The oldest line that is kept is of {}.", plain(oldest));
    }
    if log.begins_within_period {
        let _ =
            writeln!(text, "**Lines of this period may have been deleted by retention before that time.**");
    }
    if log.unreadable > 0 {
        let _ = writeln!(text, "**{} lines could not be read.**", log.unreadable);
    }
    let verification = &evidence.verification;
    let _ = match verification.whole {
        Some(true) => writeln!(text, "\nThe chain of the log was recomputed: it is whole."),
        Some(false) => writeln!(text, "\n**The chain of the log was recomputed: it is NOT whole.**"),
        None => writeln!(
            text,
            "\n**The chain of the log was not recomputed**: {}. To do it, as a user who may read the master key:\n\n    keyagent audit verify",
            plain(verification.why.as_deref().unwrap_or("it was not asked for"))
        ),
    };
    let rows = verify::rows(&verification.found);
    if !rows.is_empty() {
        text.push('\n');
    }
    for (name, value) in rows {
        let _ = writeln!(text, "- {}: {}", plain(&name), plain(&value));
    }
    text
}

fn rotation(evidence: &Evidence) -> String {
    let mut text = String::new();
    if let Some(why) = &evidence.keys_unknown {
        let _ = writeln!(text, "The keys of today could not be listed: {}.\n", plain(why));
    } else {
        let _ = writeln!(text, "| Key | Standing | Versions | Newest version of | Rotation due | Why |");
        let _ = writeln!(text, "|---|---|---|---|---|---|");
        for key in &evidence.keys {
            let newest = key.versions.last().map_or("-", |version| version.created_at.as_str());
            let cells = [
                key.name.as_str(),
                key.standing,
                &key.versions.len().to_string(),
                newest,
                key.due_at.as_deref().unwrap_or("-"),
                key.due_reason.as_deref().or(key.standing_reason.as_deref()).unwrap_or("-"),
            ];
            table_row(&mut text, &cells);
        }
        text.push('\n');
    }
    if evidence.versions_made.is_empty() {
        text.push_str("No version of a key was made in the period.\n");
    } else {
        text.push_str("Versions made in the period:\n\n| Key | Version | Made | State today | Reason |\n|---|---|---|---|---|\n");
        for made in &evidence.versions_made {
            let version = made.version.to_string();
            table_row(&mut text, &[&made.key, &version, &made.created_at, made.state, made.reason]);
        }
    }
    text.push('\n');
    text.push_str(&entries(&evidence.rotations, "No rotation, retirement or destruction is recorded."));
    text
}

fn access(evidence: &Evidence) -> String {
    if evidence.access.is_empty() {
        return "No key was used.\n".to_owned();
    }
    let mut text =
        "| Key | Caller | Uses | Failed | First | Last | Operations |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for access in evidence.access.values() {
        let operations: Vec<String> =
            access.operations.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let cells = [
            access.key.as_str(),
            &access.caller,
            &access.uses.to_string(),
            &access.failures.to_string(),
            &access.first,
            &access.last,
            &operations.join(", "),
        ];
        table_row(&mut text, &cells);
    }
    text
}

fn failures(evidence: &Evidence) -> String {
    if evidence.failures.is_empty() {
        return "Nothing failed and nothing was denied.\n".to_owned();
    }
    let mut text =
        "| Operation | Caller | Error | Count | First | Last |\n|---|---|---|---|---|---|\n".to_owned();
    for group in evidence.failures.values() {
        let count = group.count.to_string();
        table_row(
            &mut text,
            &[&group.event_type, &group.caller, &group.error, &count, &group.first, &group.last],
        );
    }
    text
}

fn backups(evidence: &Evidence) -> String {
    let last = evidence.backups.iter().rfind(|entry| entry.event_type == "backup_create" && entry.success);
    let mut text = match last {
        Some(entry) => format!("The last backup of the period was made {}.\n\n", plain(&entry.timestamp)),
        None => "No backup is recorded.\n\n".to_owned(),
    };
    if !evidence.backups.is_empty() {
        text.push_str(&entries(&evidence.backups, ""));
        text.push('\n');
    }
    text.push_str(&entries(&evidence.retention, "No part of the log was deleted by retention."));
    let _ = writeln!(
        text,
        "\nThe agent was started {} times in the period.",
        evidence.runs.iter().filter(|entry| entry.event_type == "daemon.start").count()
    );
    text
}

fn entries(list: &[Entry], none: &str) -> String {
    if list.is_empty() {
        return format!("{none}\n");
    }
    let mut text = "| Time | Event | Result | Key | By | Details |\n|---|---|---|---|---|---|\n".to_owned();
    for entry in list {
        let cells = [
            entry.timestamp.as_str(),
            &entry.event_type,
            if entry.success { "ok" } else { "FAILED" },
            entry.key.as_deref().unwrap_or("-"),
            entry.caller.as_deref().unwrap_or("agent"),
            &entry.details.join("; "),
        ];
        table_row(&mut text, &cells);
    }
    text
}

fn controls(text: &mut String) {
    text.push_str(
        "\n## Controls\n\nEach section is evidence towards:\n\n| Section | SOC 2 | GDPR | PCI DSS 4.0.1 | ISO 27001:2022 |\n|---|---|---|---|---|\n",
    );
    for row in &ROWS {
        table_row(text, &[row.section, row.soc2, row.gdpr, row.pci, row.iso]);
    }
}

fn table_row(text: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| plain(cell)).collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// A text without markup: no character of it means anything to Markdown or HTML.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let text = escape(text);
    let mut characters = text.chars().peekable();
    let mut inside_word = false;
    while let Some(character) = characters.next() {
        let next_is_word = characters.peek().is_some_and(char::is_ascii_alphanumeric);
        match character {
            // Inside a word it means nothing.
            '_' if inside_word && next_is_word => plain.push('_'),
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => plain.extend(['\\', character]),
            '@' => plain.push_str("&#64;"),
            _ => plain.push(character),
        }
        inside_word = character.is_ascii_alphanumeric();
    }
    // Bare addresses become links in some readers.
    plain.replace("://", "&#58;//").replace("mailto:", "mailto&#58;").replace("www.", "www&#46;")
}

fn day(time: &str) -> &str {
    time.get(..10).unwrap_or(time)
}
