//! A master key under a passphrase: made, asked for unseen, opened, and never left lying about.

mod making;
pub(crate) mod on_terminal;

use std::{
    fs,
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};

use super::place::{Place, chmod, files, repository};
use making::init;
use on_terminal::{ENTER, OnTerminal};

/// One published protected key: its text, its passphrase, its master key in hexadecimal digits.
struct Vector {
    text: String,
    passphrase: String,
    master: String,
}

/// The one whose passphrase has spaces at both ends and letters of many scripts.
fn vector(index: usize) -> Vector {
    let json = fs::read_to_string(repository("common/vectors/protected_key.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&json).unwrap();
    let case = &all["protected_key"][index];
    let text = |name: &str| case[name].as_str().unwrap().to_owned();
    let passphrase = String::from_utf8(hex::decode(text("passphrase")).unwrap()).unwrap();
    Vector { text: text("text"), passphrase, master: text("master") }
}

/// A home with a protected key, and a locked agent that cannot read that key again by itself.
fn locked() -> (Place, Vector) {
    let (place, vector) = (Place::new(), vector(1));
    assert!(vector.passphrase.starts_with(' ') && !vector.passphrase.is_ascii());
    fs::write(place.work("plain"), format!("{}\n", vector.master)).unwrap();
    place
        .sh("keyagent start -q --new-keyring --key-fd 3 3< plain; printf secret | keyagent encrypt > sealed")
        .expect(0);
    place.sh("keyagent lock -q; rm plain; mkdir -p -m 700 ~/.config/keyagent").expect(0);
    put(&place, &vector.text);
    fs::write(place.work("right"), &vector.passphrase).unwrap();
    (place, vector)
}

/// The protected key in its place.
fn put(place: &Place, text: &str) {
    fs::write(protected(place), text).unwrap();
    chmod(&protected(place), 0o600);
}

fn protected(place: &Place) -> std::path::PathBuf {
    place.path(".config/keyagent/key.protected")
}

fn is_locked(place: &Place) -> bool {
    place.run(&["status", "-q"], b"").code == 1
}

#[test]
fn a_passphrase_from_a_descriptor_is_taken_byte_for_byte() {
    let (place, vector) = locked();
    let before = place.run(&["decrypt", "sealed"], b"");
    before.refused(75, "LOCKED");
    let right = &vector.passphrase;
    for wrong in [right.trim(), &format!("{right} "), &format!("{right}\r\n"), &right.to_uppercase(), "x"] {
        fs::write(place.work("wrong"), wrong).unwrap();
        let done = place.sh("keyagent unlock --passphrase-fd 3 3< wrong");
        assert!(!done.stderr.contains(wrong) || wrong == "x", "{}", done.stderr);
        done.refused(79, "WRONG_PASSPHRASE");
        assert!(is_locked(&place), "{wrong:?}");
    }
    for (ending, words) in [("", ""), ("\n", "--key-file ~/.config/keyagent/key.protected")] {
        fs::write(place.work("right"), format!("{right}{ending}")).unwrap();
        let done = place.sh(&format!("keyagent unlock {words} --passphrase-fd 3 3< right")).expect(0);
        assert!(done.stderr.starts_with("keyagent: unlocked; master key "), "{}", done.stderr);
        assert_eq!(place.run(&["decrypt", "sealed"], b"").expect(0).stdout, b"secret");
        let again = place.sh("keyagent unlock --passphrase-fd 3 3< right").expect(0);
        assert!(again.stderr.contains("it was unlocked already"), "{}", again.stderr);
        place.run(&["lock"], b"").expect(0);
    }
    for (content, what) in [("", "empty"), ("\n", "empty"), (&"a".repeat(1025), "too long")] {
        fs::write(place.work("bad"), content).unwrap();
        let done = place.sh("keyagent unlock --passphrase-fd 3 3< bad");
        assert!(done.stderr.contains(what), "{}", done.stderr);
        done.refused(64, "USAGE");
    }
    place.sh("keyagent unlock --passphrase-fd 9").refused(78, "KEY_MISSING");
}

#[test]
fn a_passphrase_is_asked_for_unseen_and_found_nowhere_afterwards() {
    let (place, vector) = locked();
    let mut session = OnTerminal::new(&place, &["unlock"]);
    session.expect("key.protected: ", 1);
    assert!(!session.shows_what_is_typed());
    session.press("mistyped words");
    session.press(ENTER);
    session.expect("that is not the passphrase", 1);
    session.expect("key.protected: ", 2);
    assert!(!session.shows_what_is_typed());
    for name in ["cmdline", "environ", "limits"] {
        let bytes = fs::read(format!("/proc/{}/{name}", session.pid())).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("mistyped") && !text.contains(&vector.master), "{name}");
        assert!(name != "limits" || text.contains("Max core file size        0 "), "{text}");
    }
    // The line editing of the terminal still works.
    session.press("\u{15}wrong\u{15}");
    session.press(&vector.passphrase);
    session.press(ENTER);
    assert!(session.end().success(), "{}", session.screen());
    assert!(session.shows_what_is_typed());
    let screen = session.screen();
    assert!(screen.contains("unlocked; master key "), "{screen}");
    for typed in ["mistyped", "wrong", vector.passphrase.trim()] {
        assert!(!screen.contains(typed), "{screen}");
    }
    assert_eq!(place.run(&["decrypt", "sealed"], b"").expect(0).stdout, b"secret");
    for path in files(place.home()) {
        if !path.ends_with("right") && fs::symlink_metadata(&path).unwrap().is_file() {
            let content = fs::read(&path).unwrap();
            for secret in [vector.passphrase.trim(), &vector.master, "mistyped"] {
                let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{}", path.display());
            }
        }
    }
}

#[test]
fn three_wrong_passphrases_end_it_each_after_a_longer_wait() {
    let (place, _) = locked();
    let begin = Instant::now();
    let mut session = OnTerminal::new(&place, &["unlock"]);
    for count in 1..=3 {
        session.expect("key.protected: ", count);
        session.press(&format!("guess{count}{ENTER}"));
    }
    assert_eq!(session.end().code(), Some(79), "{}", session.screen());
    assert!(begin.elapsed() > Duration::from_secs(7), "{:?}", begin.elapsed());
    assert!(session.shows_what_is_typed() && is_locked(&place));
    assert!(session.screen().contains("code 79 WRONG_PASSPHRASE"), "{}", session.screen());
    assert!(!session.screen().contains("guess"), "{}", session.screen());
}

#[test]
fn whatever_ends_the_question_the_terminal_shows_again_what_is_typed() {
    let (place, _) = locked();
    for (keys, signal, code) in [
        ("\u{3}", None, 130),
        ("\u{1c}", None, 131),
        ("", Some(Signal::SIGTERM), 143),
        ("", Some(Signal::SIGHUP), 129),
    ] {
        let mut session = OnTerminal::new(&place, &["unlock"]);
        session.expect("key.protected: ", 1);
        session.press("half of it");
        assert!(!session.shows_what_is_typed());
        session.press(keys);
        if let Some(signal) = signal {
            kill(session.pid(), signal).unwrap();
        }
        assert_eq!(session.end().code(), Some(code), "{}", session.screen());
        assert!(session.shows_what_is_typed(), "{code}");
        assert!(session.screen().contains("keyagent: interrupted; nothing was done"), "{}", session.screen());
        assert!(!session.screen().contains("half") && is_locked(&place), "{}", session.screen());
    }
    let mut session = OnTerminal::new(&place, &["unlock"]);
    session.expect("key.protected: ", 1);
    // Nobody can put the leader of a session into the background: the question comes again.
    session.press("half\u{1a}");
    session.expect("key.protected: ", 2);
    session.press("\u{4}");
    assert_eq!(session.end().code(), Some(64), "{}", session.screen());
    assert!(session.shows_what_is_typed());
    let mut session = OnTerminal::new(&place, &["unlock"]);
    session.expect("key.protected: ", 1);
    session.press(ENTER);
    assert_eq!(session.end().code(), Some(64), "{}", session.screen());
    assert!(session.screen().contains("the passphrase is empty"), "{}", session.screen());
}

#[test]
fn without_a_terminal_it_says_how_to_give_the_passphrase() {
    let (place, _) = locked();
    for words in [&["unlock", "--no-input"][..], &["unlock", "--no-input", "--key-file", "protected"]] {
        fs::copy(protected(&place), place.work("protected")).unwrap();
        let done = place.run(words, b"");
        assert!(done.stderr.contains("--passphrase-fd 3"), "{}", done.stderr);
        done.refused(64, "USAGE");
    }
    let done = place.run(&["unlock", "--json"], b"");
    assert!(done.code == 64 && done.stderr.contains("\"name\":\"USAGE\""), "{done:?}");
    assert!(is_locked(&place));
}

#[test]
fn a_protected_key_of_another_agent_is_named_before_anything_is_asked() {
    let (place, _) = locked();
    put(&place, &vector(0).text);
    place.run(&["unlock", "--no-input"], b"").refused(79, "WRONG_MASTER_KEY");
    let others = vector(1).text;
    for (text, name) in
        [(others.replacen("kp1.", "kp2.", 1), "KEY_MALFORMED"), (others[..100].to_owned(), "KEY_MALFORMED")]
    {
        put(&place, &text);
        place.run(&["unlock", "--no-input"], b"").refused(78, name);
    }
    // 2^32 - 1 KiB of memory: refused when it is read, so no memory is asked for.
    put(&place, &format!("kp1._____w{}", &others[10..]));
    let done = place.run(&["unlock", "--no-input"], b"");
    assert!(
        done.stderr.contains("4294967295 KiB") || done.stderr.contains("out of bounds"),
        "{}",
        done.stderr
    );
    done.refused(78, "KEY_MALFORMED");
    put(&place, &others);
    chmod(&protected(&place), 0o640);
    place.run(&["unlock", "--no-input"], b"").refused(77, "KEY_PERMISSIONS");
    assert!(is_locked(&place));
}

#[test]
fn a_command_prints_the_key() {
    let (place, vector) = locked();
    fs::write(place.work("hex"), &vector.master).unwrap();
    fs::write(place.work("raw"), hex::decode(&vector.master).unwrap()).unwrap();
    for script in [
        "keyagent unlock --command -- cat hex",
        "keyagent unlock --command -- cat raw",
        "keyagent unlock --command -- sh -c 'echo $(cat hex); echo words >&2; test -z \"${KEYAGENT_KEY-}\"'",
    ] {
        let done = place.sh(script).expect(0);
        assert!(done.stderr.contains("unlocked; master key "), "{}", done.stderr);
        assert_eq!(done.stderr.starts_with("words\n"), script.contains("words"), "{}", done.stderr);
        assert!(done.stdout.is_empty());
        place.run(&["lock"], b"").expect(0);
    }
    for (script, code, name) in [
        ("keyagent unlock --command -- sh -c 'cat hex; exit 3'", 78, "KEY_MISSING"),
        ("keyagent unlock --command -- ./none", 78, "KEY_MISSING"),
        ("keyagent unlock --command -- true", 78, "KEY_MALFORMED"),
        ("keyagent unlock --command -- yes", 78, "KEY_MALFORMED"),
        ("keyagent unlock --command -- sh -c 'cat hex hex'", 78, "KEY_MALFORMED"),
        ("keyagent unlock --command -- sh -c 'tr 0-9 1-90 < hex'", 79, "WRONG_MASTER_KEY"),
    ] {
        let done = place.sh(script);
        assert!(!done.stderr.contains(&vector.master[..12]), "{}", done.stderr);
        assert!(
            done.stderr.ends_with(&format!("  code {code} {name}\n")) && done.code == code,
            "{script}: {done:?}"
        );
    }
    for words in [
        &["unlock", "--command"][..],
        &["unlock", "--", "cat", "hex"],
        &["unlock", "--command", "--key-fd", "3", "--", "x"],
    ] {
        assert_eq!(place.run(words, b"").code, 64, "{words:?}");
    }
    assert!(is_locked(&place));
}

/// A protected key, its keyring, and the passphrase in the file `new`.
fn initialized() -> Place {
    let place = Place::new();
    init(&place, "five random words are better", "").expect(0);
    place
}

#[test]
fn an_agent_with_a_protected_key_starts_locked_and_is_unlocked_after_each_start() {
    let place = initialized();
    for round in 0..2 {
        let done = place.run(&["start", "--no-input"], b"").expect(0);
        assert!(done.stderr.contains("keyagent unlock"), "{}", done.stderr);
        assert!(is_locked(&place));
        place.run(&["decrypt", "sealed"], if round == 0 { b"x" } else { b"" });
        place.run(&["encrypt"], b"secret").refused(75, "LOCKED");
        let done = place.run(&["lock"], b"").expect(0);
        assert!(done.stderr.starts_with("keyagent: it was locked already\n"), "{}", done.stderr);
        assert!(done.stderr.contains("with the passphrase: keyagent unlock"), "{}", done.stderr);
        let done = place.run(&["lock", "--json"], b"").expect(0);
        assert_eq!(done.line(), r#"{"schema":"keyagent.lock/1","changed":false,"unlockable_here":false}"#);
        place.run(&["unlock", "--no-input"], b"").refused(64, "USAGE");
        place.sh("echo other words | keyagent unlock --passphrase-fd 0").refused(79, "WRONG_PASSPHRASE");
        place.sh("keyagent unlock --passphrase-fd 3 3< new").expect(0);
        if round == 0 {
            place.sh("printf secret | keyagent encrypt > sealed").expect(0);
        }
        assert_eq!(place.run(&["decrypt", "sealed"], b"").expect(0).stdout, b"secret");
        place.run(&["lock"], b"").expect(0);
        place.sh("keyagent unlock --passphrase-fd 3 3< new").expect(0);
        place.run(&["stop"], b"").expect(0);
    }
}

#[test]
fn start_asks_for_the_passphrase_where_somebody_sits() {
    let place = initialized();
    let mut session = OnTerminal::new(&place, &["start"]);
    session.expect("key.protected: ", 1);
    assert!(!session.shows_what_is_typed());
    session.press(&format!("five random words are better{ENTER}"));
    assert!(session.end().success(), "{}", session.screen());
    assert!(session.screen().contains("unlocked; master key "), "{}", session.screen());
    place.sh("printf secret | keyagent encrypt | keyagent decrypt").expect(0);
    place.run(&["stop"], b"").expect(0);
    let mut session =
        OnTerminal::new(&place, &["start", "--", "sh", "-c", "printf x | keyagent encrypt | wc -c"]);
    session.expect("key.protected: ", 1);
    session.press(&format!("five random words are better{ENTER}"));
    assert!(session.end().success(), "{}", session.screen());
    session.expect("74", 1);
    place.run(&["status"], b"").refused(69, "AGENT_UNREACHABLE");
}

#[test]
fn a_protected_key_in_another_place_is_the_one_that_is_asked_for() {
    let place = Place::new();
    let words = "--key-file kept --state-dir apart --start";
    init(&place, "five random words are better", "--key-file ../kept").refused(73, "CANNOT_CREATE");
    let done = init(&place, "five random words are better", words).expect(0);
    assert!(done.stderr.contains("it is locked until somebody types the passphrase"), "{}", done.stderr);
    assert!(place.work("kept").exists() && !protected(&place).exists() && is_locked(&place));
    place.run(&["unlock", "--no-input"], b"").refused(64, "USAGE");
    let mut session = OnTerminal::new(&place, &["unlock"]);
    session.expect(&format!("Passphrase for {}: ", place.work("kept").display()), 1);
    session.press(&format!("five random words are better{ENTER}"));
    assert!(session.end().success(), "{}", session.screen());
    place.run(&["lock"], b"").expect(0);
    place.sh("keyagent unlock --passphrase-fd 3 3< new").expect(0);
    place.run(&["stop"], b"").expect(0);
    place.run(&["start", "--no-input", "--key-file", "kept", "--state-dir", "apart"], b"").expect(0);
    assert!(is_locked(&place));
}
