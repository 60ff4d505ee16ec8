//! The examples in `docs/` and the protocol check against what the real programs made.

use std::{fs, path::PathBuf, process::Command};

use super::place::{Done, Place, noise, repository, run, skipped};

/// The Python that whoever runs the tests would get, if it has these modules.
fn python(test: &str, modules: &str) -> Option<PathBuf> {
    let script = format!("import sys, {modules}; print(sys.executable)");
    let output = Command::new("python3").args(["-c", &script]).output();
    match output {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8(output.stdout).unwrap().trim().into())
        }
        _ => {
            skipped(test, &format!("python3 with {modules} is needed"));
            None
        }
    }
}

#[test]
fn the_example_client_and_the_command_line_open_each_others_values() {
    let test = "the_example_client_and_the_command_line_open_each_others_values";
    let Some(python) = python(test, "socket") else { return };
    let place = Place::started();
    let example = |words: &[&str], input: &[u8]| {
        let mut command = place.program(&python);
        command.arg(repository("docs/examples/client.py")).args(words);
        run(command, input)
    };
    for (pairs, context) in [(&[][..], &[][..]), (&["app=web", "row=17"], &["-c", "row=17", "-c", "app=web"])]
    {
        for plain in [&b""[..], b"secret", &noise(100_000), &noise(1 << 20)] {
            let made = example(&[&["encrypt"], pairs].concat(), plain).expect(0).stdout;
            let opened = place.run(&[&["decrypt"], context].concat(), &made).expect(0).stdout;
            assert!(opened == plain, "example to command, {} bytes", plain.len());
            let made = place.run(&[&["encrypt", "-a"], context].concat(), plain).expect(0).stdout;
            let opened = example(&[&["decrypt"], pairs].concat(), &made).expect(0).stdout;
            assert!(opened == plain, "command to example, {} bytes", plain.len());
            let done = example(&["decrypt", "app=other"], &made);
            assert!(
                done.code == 1 && done.stderr.starts_with("error 7") && done.stdout.is_empty(),
                "{done:?}"
            );
        }
    }
    place.run(&["lock"], b"").expect(0);
    let done = example(&["encrypt"], b"secret");
    assert!(done.code == 1 && done.stdout.is_empty() && done.stderr.contains("locked"), "{done:?}");
}

#[test]
fn everything_opens_without_keyagent() {
    let test = "everything_opens_without_keyagent";
    let Some(python) = python(test, "cryptography") else { return };
    let place = Place::started();
    let without = |pairs: &[&str], input: &[u8]| -> Done {
        let mut command = place.program(&python);
        command.arg(repository("docs/examples/decrypt_without_keyagent.py"));
        command.arg(place.key()).arg(place.keyring()).args(pairs);
        run(command, input)
    };
    let context = ["-c", "row=17", "-c", "table=cards"];
    let mut sealed = Vec::new();
    for size in [0, 6, 16_384, 1 << 20, (1 << 20) + 1, 65 * 16_384] {
        for words in [&["encrypt"][..], &["encrypt", "-a"]] {
            let plain = noise(size);
            let bare = place.run(words, &plain).expect(0).stdout;
            let bound = place.run(&[words, &context[..]].concat(), &plain).expect(0).stdout;
            sealed.push((plain, bare, bound));
        }
    }
    // With the agent gone, these two files are enough.
    place.run(&["stop"], b"").expect(0);
    for (plain, bare, bound) in sealed {
        assert!(without(&[], &bare).expect(0).stdout == plain, "{} bytes", plain.len());
        assert!(
            without(&["table=cards", "row=17"], &bound).expect(0).stdout == plain,
            "{} bytes",
            plain.len()
        );
        for (pairs, sealed) in [(&["row=17"][..], &bound), (&[], &bound), (&["row=17"], &bare)] {
            let done = without(pairs, sealed);
            assert!(done.code == 1 && done.stdout.is_empty() && done.stderr.lines().count() == 1, "{done:?}");
        }
    }
}

#[test]
fn the_daemon_answers_every_frame_as_documented() {
    let test = "the_daemon_answers_every_frame_as_documented";
    let Some(python) = python(test, "socket") else { return };
    let place = Place::started();
    let mut command = place.program(&python);
    command.arg(repository("common/tests/check_daemon.py")).arg(place.socket());
    let done = run(command, b"");
    assert_eq!(done.code, 0, "{}{}", done.text(), done.stderr);
    assert!(fs::metadata(place.socket()).is_ok());
    assert_eq!(place.run(&["health"], b"").expect(0).line().lines().next(), Some("healthy"));
}
