//! Runs the transcripts (blocks of the language `console`) of a document, section by section.
//!
//! Every section that begins with `## ` has a home of its own, with `/home/ana` for its path in the document. What
//! stands in `<!-- setup: … -->` is run before, unseen by readers. A command is a line that begins with `$ `, continued
//! by ` \`; it must exit with the code of the line `code N NAME` below it, with N where it ends with `# exits N`, else
//! with 0. What is below it must be what it writes, but for what differs from run to run (`loose`); a line `…` stands
//! for any lines, and `…` at the end of a line for any rest of it.
//!
//! `KEYAGENT_DOCUMENTS=overwrite cargo test -p keyagent-client --test real documents` writes what happened into the
//! document; read the difference before you commit it.

use std::{fmt::Write, fs};

use super::super::place::{Place, repository, run};

const HOME: &str = "/home/ana";
const ANY: &str = "…";

/// Runs every transcript of a document.
pub(super) fn check(name: &str) {
    let text = fs::read_to_string(repository(name)).unwrap();
    let mut actual = String::new();
    let mut wrong = String::new();
    let mut sections = text.split_inclusive('\n').fold(vec![String::new()], |mut sections, line| {
        if line.starts_with("## ") {
            sections.push(String::new());
        }
        sections.last_mut().unwrap().push_str(line);
        sections
    });
    let commands = |text: &str| text.lines().filter(|line| line.starts_with("$ ")).count();
    assert!(commands(&text) > 3, "{name} has no transcripts");
    for section in &mut sections {
        if commands(section) > 0 || section.contains("```console") {
            actual += &replay(section, &mut wrong);
        } else {
            actual += section;
        }
    }
    if std::env::var_os("KEYAGENT_DOCUMENTS").is_some_and(|value| value == "overwrite") {
        return fs::write(repository(name), actual).unwrap();
    }
    assert!(wrong.is_empty(), "{name} is not what happened:\n{wrong}");
}

/// The section with what its commands write today; `wrong` tells what was not expected.
fn replay(section: &str, wrong: &mut String) -> String {
    let place = Place::new();
    let mut actual = String::new();
    let mut lines = section.lines().peekable();
    let mut inside = false;
    while let Some(line) = lines.next() {
        let _ = writeln!(actual, "{line}");
        if line.starts_with("```") {
            inside = line == "```console";
        } else if line.starts_with("<!-- setup:") {
            let mut script = line.trim_start_matches("<!-- setup:").to_owned();
            while !script.trim_end().ends_with("-->") {
                let line = lines.next().unwrap();
                let _ = writeln!(actual, "{line}");
                script = format!("{script}\n{line}");
            }
            let (code, output) =
                shell(&place, &format!("set -eu\n{}", script.trim_end().trim_end_matches("-->")));
            assert_eq!(code, 0, "{script}: {output}");
        } else if inside && let Some(typed) = line.strip_prefix("$ ") {
            let mut typed = typed.to_owned();
            while typed.ends_with('\\') {
                let line = lines.next().unwrap();
                let _ = writeln!(actual, "{line}");
                typed = format!("{typed}\n{line}");
            }
            let mut expected = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ") && *line != "```") {
                expected.push(line);
            }
            actual += &compared(&place, &typed, &expected, wrong);
        }
    }
    actual
}

/// What stands below a command: as it was if that is what happened.
fn compared(place: &Place, typed: &str, expected: &[&str], wrong: &mut String) -> String {
    let (code, output) = shell(place, typed);
    let as_expected = expected.iter().fold(String::new(), |text, line| text + line + "\n");
    if fits(expected, &output) && code == expected_code(typed, expected) {
        return as_expected;
    }
    let _ = writeln!(wrong, "$ {typed}\nexpected:\n{as_expected}happened (exit code {code}):\n{output}");
    output
}

fn expected_code(typed: &str, expected: &[&str]) -> i32 {
    let number = |text: &str| text.split_whitespace().next().and_then(|word| word.parse().ok());
    if let Some((_, said)) = typed.rsplit_once("# exits ") {
        return number(said).unwrap();
    }
    expected.iter().filter_map(|line| line.strip_prefix("  code ")).find_map(number).unwrap_or(0)
}

fn shell(place: &Place, script: &str) -> (i32, String) {
    let home = place.home().display().to_string();
    let mut command = place.program("/bin/sh");
    command.current_dir(place.home());
    command.args(["-c", &format!("exec 2>&1\n{}", script.replace(HOME, &home))]);
    let done = run(command, b"");
    let text = done.text().replace(&home, HOME);
    let about_root =
        |line: &&str| !line.contains("root's own") && !line.contains("running as root in user mode");
    (done.code, text.lines().filter(about_root).fold(String::new(), |text, line| text + line + "\n"))
}

fn fits(expected: &[&str], output: &str) -> bool {
    let lines: Vec<String> = output.lines().map(loose).collect();
    let expected: Vec<String> = expected.iter().map(|line| loose(line)).collect();
    matches(&expected, &lines)
}

fn matches(expected: &[String], lines: &[String]) -> bool {
    match (expected.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == ANY => {
            (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..]))
        }
        (Some((first, rest)), Some((line, others))) => {
            let same = first.strip_suffix(ANY).map_or(first == line, |begin| line.starts_with(begin));
            same && matches(rest, others)
        }
        _ => false,
    }
}

/// The line without what differs: numbers (not after `code`), names of keys and digests, widths of columns.
fn loose(line: &str) -> String {
    if line.starts_with("  code ") {
        return line.to_owned();
    }
    let line = line.replace("(mlock)", "(memfd_secret)");
    let mut text = String::new();
    for word in line.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.')) {
        let (word, end) = match word.char_indices().last() {
            Some((at, c)) if !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.') => word.split_at(at),
            _ => (word, ""),
        };
        let fingerprint = word.len() == 9 && word.as_bytes()[4] == b'-';
        let hexadecimal = word.len() >= 12 && word.bytes().all(|c| c.is_ascii_hexdigit());
        let random = word.len() >= 32 && !word.contains('.')
            || word.starts_with("ka1.")
            || text.ends_with("key id ")
            || text.ends_with("key_id\":\"");
        if fingerprint || hexadecimal || random {
            text.push('#');
        } else {
            for c in word.chars() {
                match c {
                    '0'..='9' if text.ends_with('9') => {}
                    '0'..='9' => text.push('9'),
                    c => text.push(c),
                }
            }
        }
        if !(end == " " && text.ends_with(' ')) {
            text.push_str(end);
        }
    }
    text.trim_end().to_owned()
}

#[test]
fn what_differs_from_run_to_run_and_nothing_else_is_forgiven() {
    for (expected, actual) in [
        ("made master key rhWY-VXrk", "made master key _Iaj-ElkG"),
        ("2026-11-22 03:08:19Z  ok      lock  -  uid 1000", "2027-01-02 13:00:01Z  ok  lock  -  uid 0"),
        ("  digest 9a858a879885", "  digest 0a858a87988f"),
        ("\"key_id\":\"uzorAV98WW54\",", "\"key_id\":\"f-_FRYM3cSQ5\","),
        ("mac\":\"…", "mac\":\"4c15f884f85cbe31\"}"),
        ("  key id qJNgWzMAtjDm…  scheduled", "  key id _FRYM3cSQ5bz…  scheduled"),
    ] {
        assert!(matches(&[loose(expected)], &[loose(actual)]), "{expected}");
    }
    for (expected, actual) in
        [("ok  lock", "FAILED  lock"), ("  code 65 DAMAGED", "  code 78 DAMAGED"), ("a", "a b")]
    {
        assert!(!matches(&[loose(expected)], &[loose(actual)]), "{expected}");
    }
    let lines = ["a", "b", "c"].map(str::to_owned);
    for (expected, same) in
        [(vec!["…"], true), (vec!["a", "…", "c"], true), (vec!["b", "…"], false), (vec!["…", "b"], false)]
    {
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(matches(&expected, &lines), same, "{expected:?}");
    }
    assert_eq!(expected_code("keyagent status   # exits 1", &[]), 1);
    assert_eq!(expected_code("keyagent status", &["keyagent: x", "  code 75 LOCKED"]), 75);
}
