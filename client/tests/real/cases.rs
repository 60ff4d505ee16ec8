//! Runs the transcripts in `client/tests/cmd/*.case` and compares every byte.
//!
//! A transcript is a list of commands in one fresh home, each with what it must write:
//!
//! ```text
//! # a remark
//! $ printf x | keyagent decrypt
//! | a line of standard output
//! |~ its last line, if that has no newline
//! ! a line of standard error
//! = 65
//! ```
//!
//! What differs from run to run is masked (`mask.rs`). `KEYAGENT_CASES=overwrite cargo test -p keyagent-client
//! --test real cases` writes what happened into the files; read the difference before you commit it.

use std::{fmt::Write, fs, path::Path};

use super::{
    mask::mask,
    place::{Place, run, skipped},
};

fn case(name: &str) {
    if ["/run/keyagent/agent.sock", &format!("/run/user/{}/keyagent/agent.sock", nix::unistd::geteuid())]
        .iter()
        .any(|path| Path::new(path).exists())
    {
        return skipped(name, "an agent of this machine is running; these commands would find it");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd").join(format!("{name}.case"));
    let expected = fs::read_to_string(&path).unwrap();
    let place = Place::new();
    let actual = replay(&place, &expected);
    if actual == expected {
        return;
    }
    if std::env::var_os("KEYAGENT_CASES").is_some_and(|value| value == "overwrite") {
        return fs::write(&path, actual).unwrap();
    }
    let differences = differences(&expected, &actual);
    panic!("{} is not what happened (- expected, + happened):\n{differences}", path.display());
}

fn replay(place: &Place, transcript: &str) -> String {
    let mut actual = String::new();
    for line in transcript.lines() {
        if line.is_empty() || line.starts_with('#') {
            let _ = writeln!(actual, "{line}");
            continue;
        }
        let Some(typed) = line.strip_prefix("$ ") else { continue };
        let mut shell = place.program("/bin/sh");
        shell.args(["-c", typed]);
        let done = run(shell, b"");
        let _ = writeln!(actual, "{line}");
        lines(&mut actual, '|', &mask(place, &String::from_utf8_lossy(&done.stdout)));
        lines(&mut actual, '!', &mask(place, &done.stderr));
        let _ = writeln!(actual, "= {}", done.code);
    }
    actual
}

fn lines(transcript: &mut String, mark: char, text: &str) {
    for line in text.split_inclusive('\n') {
        let whole = if line.ends_with('\n') { "" } else { "~" };
        let _ =
            writeln!(transcript, "{}", format!("{mark}{whole} {}", line.trim_end_matches('\n')).trim_end());
    }
}

fn differences(expected: &str, actual: &str) -> String {
    let (mut expected, mut actual) = (expected.lines(), actual.lines());
    let mut text = String::new();
    loop {
        let (before, now) = (expected.next(), actual.next());
        if before == now {
            match now {
                Some(line) if line.starts_with('$') => text = format!("  {line}\n"),
                Some(_) => {}
                None => return text,
            }
            continue;
        }
        for (mark, rest) in [('-', before.into_iter().chain(expected)), ('+', now.into_iter().chain(actual))]
        {
            for line in rest.take(12) {
                let _ = writeln!(text, "{mark} {line}");
            }
        }
        return text;
    }
}

macro_rules! cases {
    ($($name:ident)*) => {
        $(#[test] fn $name() { case(stringify!($name)); })*

        #[test]
        fn every_file_is_run() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd");
            let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            let mut named = vec![$(concat!(stringify!($name), ".case")),*];
            found.sort();
            named.sort_unstable();
            assert_eq!(found, named);
        }
    };
}

cases! {
    a_key_is_made_once
    audit
    encrypt_and_decrypt
    files_that_are_in_the_way
    help_and_usage
    keys
    keys_json
    keys_life
    keys_refused
    locked
    looking_at_things
    maintenance
    no_agent
    no_key
    other_master_key
    policy
    start_and_stop
    watch
}
