//! Replaces what differs from run to run by names in brackets, so that output can be compared exactly.

use std::{fs, path::Path};

use keyagent_common::{fingerprint, kdf, key_text};

use super::place::{Place, programs};

/// Whether what changes goes on with a character.
type GoesOn = fn(char) -> bool;

/// After which text what changes, for how long it goes on, and what stands there instead.
const CHANGING: [(&str, GoesOn, &str); 34] = [
    ("ka1.", is_base64, "[TEXT]"),
    ("ks1.", is_base64, "[TEXT]"),
    ("key id      ", is_base64, "[KEY ID]"),
    ("\"key_id\":\"", is_base64, "[KEY ID]"),
    ("\"label\":\"key id\",\"value\":\"", is_base64, "[KEY ID]"),
    ("key id ", is_base64, "[KEY ID]"),
    ("  key id   ", is_base64, "[KEY ID]"),
    ("Fingerprint: ", is_base64, "[KEY ID]"),
    ("  took     ", is_digit, "[TIME]"),
    ("\"milliseconds\":", is_digit, "[TIME]"),
    ("· p50 ", is_line, "[TIMES]"),
    ("  policy    ", is_base64, "[DIGEST]"),
    (", policy ", is_base64, "[DIGEST]"),
    ("digest ", is_base64, "[DIGEST]"),
    ("_digest\":\"", is_base64, "[DIGEST]"),
    ("\"instance\":\"", is_base64, "[INSTANCE]"),
    ("pid ", is_digit, "[PID]"),
    ("\"pid\":", is_digit, "[PID]"),
    ("KEYAGENT_PID=", is_digit, "[PID]"),
    ("KEYAGENT_PID ", is_digit, "[PID]"),
    ("· up ", is_line, "[TIME]"),
    ("\"uptime_seconds\":", is_digit, "[TIME]"),
    ("\"operations\":", is_digit, "[COUNT]"),
    ("connected · ", |c| is_digit(c) || c == ' ', "[COUNT] "),
    ("  clients   ", is_digit, "[COUNT]"),
    ("\"connections\":", is_digit, "[COUNT]"),
    ("\"audit_bytes\":", is_digit, "[BYTES]"),
    ("\"audit_free_disk_bytes\":", is_digit, "[BYTES]"),
    ("\"memory_bytes\":", is_digit, "[BYTES]"),
    ("\"memory\":\"", is_word, "[MEMORY]"),
    ("\"message\":\"[MEMORY], ", is_digit, "[BYTES]"),
    ("  memory    ", is_line, "[MEMORY]"),
    ("  memory     ", is_line, "[MEMORY]"),
    ("  memory            ", is_line, "[MEMORY]"),
];

const ROOT_WARNING: &str =
    "keyagentd: running as root in user mode; a service belongs to a user of its own (--system)";

/// The text of a command that ran in this place.
pub(crate) fn mask(place: &Place, text: &str) -> String {
    let mut text = text.replace(&programs().display().to_string(), "[BIN]");
    let (key, other) = (place.key(), place.path("other/.config/keyagent/key"));
    for (key, name) in [(&other, "OTHER "), (&place.work("kept"), ""), (&key, "")] {
        if let Some((full, short)) = fingerprints(key) {
            text = text.replace(&full, &format!("[{name}FINGERPRINT]"));
            text = text.replace(&short, &format!("[{name}MASTER ID]"));
        }
    }
    text = text.replace(&place.home().display().to_string(), "[HOME]");
    text = text.replace(&format!("/run/user/{}/", nix::unistd::geteuid()), "/run/user/[UID]/");
    text = text.replace(&format!("uid {}  keyagent/", nix::unistd::geteuid()), "uid [UID]  keyagent/");
    text = text.replace("memfd_secret", "[MEMORY]").replace("(mlock)", "([MEMORY])");
    text = text.replace(&format!("{ROOT_WARNING}\\n"), "");
    text = text.replace(env!("CARGO_PKG_VERSION"), "[VERSION]");
    for (before, goes_on, instead) in CHANGING {
        text = after(&text, before, goes_on, instead);
    }
    text = dates(&text);
    let lines = text.lines().filter(|line| !is_about_root(line)).map(columns);
    let mut masked = lines.collect::<Vec<_>>().join("\n");
    if text.ends_with('\n') && !masked.is_empty() {
        masked.push('\n');
    }
    masked
}

fn fingerprints(key_file: &Path) -> Option<(String, String)> {
    let mut key = [0; 32];
    key_text::parse(&fs::read(key_file).ok()?, &mut key).ok()?;
    let bytes = kdf::master_fingerprint(&key);
    Some((fingerprint::full(&bytes), fingerprint::short(&bytes)))
}

fn after(text: &str, before: &str, goes_on: GoesOn, instead: &str) -> String {
    let mut parts = text.split(before);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push_str(before);
        let rest = part.trim_start_matches(goes_on);
        if rest.len() < part.len() {
            masked.push_str(instead);
        }
        masked.push_str(rest);
    }
    masked
}

/// Times and days, wherever they stand; a digit is a `9` in the form.
fn dates(text: &str) -> String {
    const FORMS: [&str; 3] = ["9999-99-99T99:99:99.999999Z", "9999-99-99 99:99:99Z", "9999-99-99"];
    let (mut masked, mut rest) = (String::new(), text);
    while let Some(next) = rest.chars().next() {
        let fits = |form: &&&str| {
            let same = |(form, c): (char, char)| if form == '9' { c.is_ascii_digit() } else { form == c };
            rest.len() >= form.len() && form.chars().zip(rest.chars()).all(same)
        };
        let form = FORMS.iter().find(fits);
        masked.push_str(if form.is_some() { "[DATE]" } else { &rest[..next.len_utf8()] });
        rest = &rest[form.map_or(next.len_utf8(), |form| form.len())..];
    }
    masked
}

/// Lines that only root sees.
fn is_about_root(line: &str) -> bool {
    line.contains("root's own") || line.contains("the program is run as root") || line == ROOT_WARNING
}

/// Columns are as wide as their paths: in lines about sockets three spaces and more become three.
fn columns(line: &str) -> String {
    if !line.contains("agent.sock") && !line.contains("$KEYAGENT_SOCK") {
        return line.to_owned();
    }
    let indent = line.len() - line.trim_start().len();
    let (indent, mut rest) = line.split_at(indent);
    let mut text = indent.to_owned();
    while let Some((before, after)) = rest.split_once("   ") {
        text.push_str(before);
        text.push_str("   ");
        rest = after.trim_start();
    }
    text.push_str(rest);
    text
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn is_word(c: char) -> bool {
    is_base64(c)
}

fn is_line(c: char) -> bool {
    c != '\n'
}
