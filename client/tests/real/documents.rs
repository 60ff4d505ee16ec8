//! What the documents tell people to type, typed.

use std::fs;

use super::place::{Place, chmod, repository, run};

mod transcript;

fn read(name: &str) -> String {
    fs::read_to_string(repository(name)).unwrap()
}

/// The code blocks of this language, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    text.split(&begin).skip(1).map(|part| part.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_quick_start_shows_what_it_promises() {
    let place = Place::new();
    let script = read("packaging/quickstart");
    let steps: Vec<&str> = script.lines().filter(|line| !line.starts_with("cargo build")).collect();
    assert_eq!(script.lines().count(), steps.len() + 1, "one line builds");
    // A home inside a home: with the long name its socket's path may pass 107 bytes.
    let steps = steps.join("\n").replace(".keyagent-quickstart.", ".q.");
    let folder = repository("packaging/..");
    let steps = steps
        .replace("$PWD/target/release:", "")
        .replace("\"$(dirname \"$0\")/..\"", &format!("'{}'", folder.display()));
    let mut command = place.program("bash");
    command.args(["-c", &steps]);
    let before = place.snapshot();
    let done = run(command, b"").expect(0);
    let text = done.text();
    for promised in ["byte-equal: ", "\nka1.", "\nsecret\n", "● keyagent  running · unlocked"] {
        assert!(text.contains(promised), "{promised}: {text}");
    }
    assert_eq!(text.matches("\nsecret\n").count(), 2, "{text}");
    assert!(before == place.snapshot(), "something was left behind");
    let left: Vec<_> = fs::read_dir(place.home()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".q.")), "{left:?}");
}

#[test]
fn the_first_lines_of_the_readme_do_what_stands_beside_them() {
    let place = Place::new();
    let text = read("README.md");
    let block = blocks(&text, "console").remove(0);
    fs::write(place.work("backup.tar"), "a tape archive").unwrap();
    let mut value = String::new();
    let (mut typed, mut expected) = (None::<String>, Vec::new());
    let mut examples: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.lines().chain(["$ "]) {
        match line.strip_prefix("$ ") {
            Some(command) => {
                examples.extend(
                    typed.replace(command.to_owned()).map(|typed| (typed, std::mem::take(&mut expected))),
                );
            }
            None => expected.push(line.to_owned()),
        }
    }
    assert!(examples.len() >= 6, "{examples:?}");
    for (typed, expected) in examples {
        let shortened = typed.split_whitespace().find(|word| word.starts_with("ka1."));
        let command = shortened.map_or(typed.clone(), |word| typed.replace(word, &value));
        let done = place.sh(&command);
        assert_eq!(done.code, 0, "{typed}: {}", done.stderr);
        let output = format!("{}{}", done.text(), done.stderr);
        for line in expected {
            // Keys and ciphertexts differ; what stands before them does not.
            let constant =
                line.split_inclusive(' ').take_while(|word| !word.contains("rhWY")).collect::<String>();
            let constant = if line.starts_with("ka1.") { "ka1." } else { constant.as_str() };
            assert!(output.contains(constant), "{typed}: {output}");
        }
        if done.text().starts_with("ka1.") {
            value = done.line();
        }
    }
    assert_eq!(place.run(&["status"], b"").code, 1, "locked at the end");
    place.run(&["unlock"], b"").expect(0);
    assert_eq!(place.run(&["decrypt", "backup.tar.ka"], b"").expect(0).stdout, b"a tape archive");
}

#[test]
fn the_shell_lines_of_the_readme_run_as_they_stand() {
    let place = Place::started();
    let text = read("README.md");
    let script = blocks(&text, "sh").into_iter().find(|block| block.contains("token=")).unwrap();
    let dump = place.work("pg_dump");
    fs::write(&dump, "#!/bin/sh\nhead -c 3000000 /dev/zero; echo \"$1\"\n").unwrap();
    chmod(&dump, 0o755);
    place.sh("printf hunter2 | keyagent encrypt -a -c service=billing > token.ka").expect(0);
    let done = place.sh(&format!("PATH=$PWD:$PATH\n{script}\n[ \"$token\" = hunter2 ]")).expect(0);
    assert_eq!(done.text(), "", "{}", done.stderr);
    let dumped = place.run(&["decrypt", "-c", "table=shop", "shop.ka"], b"").expect(0).stdout;
    assert!(dumped.len() == 3_000_005 && dumped.ends_with(b"shop\n"));
    place.run(&["lock"], b"").expect(0);
    let locked = place.sh("keyagent status -q || keyagent unlock").expect(0);
    assert_eq!(locked.text(), "", "quiet means quiet");
    place.run(&["lock"], b"").expect(0);
    assert_eq!(place.sh("token=$(keyagent decrypt -c service=billing token.ka) || exit").code, 75);
}

#[test]
fn the_runbook_does_what_it_says() {
    transcript::check("docs/RUNBOOK.md");
}

#[test]
fn the_page_about_keys_shows_what_happens() {
    transcript::check("docs/KEYS.md");
}

#[test]
fn the_page_about_rotation_shows_what_happens() {
    transcript::check("docs/ROTATION.md");
}

#[test]
fn the_page_about_backups_shows_what_happens() {
    transcript::check("docs/BACKUP.md");
}

#[test]
fn the_page_about_the_audit_log_shows_what_happens() {
    transcript::check("docs/AUDIT.md");
}

/// A field that is refused names its table's fields; each of them is in the manual.
#[test]
fn the_manual_names_every_field_of_the_configuration() {
    let place = Place::new();
    let manual = read("docs/man/keyagent.toml.5").replace("\\fB", "").replace("\\fR", "");
    let words: Vec<&str> = manual.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for table in
        ["", "[daemon]", "[lock]", "[audit]", "[alerts]", "[policy]", "[admins]", "[[listen]]", "[[rule]]"]
    {
        fs::write(place.work("try.toml"), format!("{table}\nno_such_field = 1\n")).unwrap();
        let done = place.run(&["policy", "check", "--config", "try.toml"], b"").refused(78, "CONFIGURATION");
        let known = done.stderr.lines().find_map(|line| line.strip_prefix("  fix    known here: "));
        let known = known.unwrap_or_else(|| panic!("{table}: {}", done.stderr));
        for field in known.split(", ") {
            assert!(words.contains(&field), "{table} {field}");
        }
    }
}

#[test]
fn what_the_readme_says_of_policy_audit_and_brakes_can_be_typed() {
    let place = Place::started();
    let text = read("README.md");
    fs::write(place.work("config.toml"), blocks(&text, "toml").remove(0)).unwrap();
    place.run(&["policy", "check", "--system", "--config", "config.toml"], b"").expect(0);
    let brakes = blocks(&text, "console").into_iter().find(|block| block.contains("maintenance on")).unwrap();
    for command in brakes.lines().filter_map(|line| line.strip_prefix("$ ")) {
        place.sh(command).expect(0);
    }
    let inline: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    for (quoted, more) in [
        ("keyagent policy check --system", " --config config.toml"),
        (
            "keyagent policy explain --system --uid 33 --unit shop.service --op decrypt --key shop/cards",
            " --config config.toml",
        ),
        ("audit query --since 24h --failed", ""),
        ("audit verify", ""),
        ("keyagent report --quarter 2026Q4", ""),
    ] {
        assert!(inline.contains(&quoted), "{quoted}");
        let command = format!("keyagent {}{more}", quoted.trim_start_matches("keyagent "));
        place.sh(&command).expect(0);
    }
}
