//! Against the rotation itself: no file with the only usable key ever goes, whoever interrupts and whoever runs twice.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{ROTATE, again, key, next_file, opens, started, status};
use crate::place::{Done, Place, run, skipped};

const BOTH: &str = "keyagent master rotate --yes --passphrase-fd 3 --new-passphrase-fd 4 3< first 4< second";

fn no_strace(test: &str) -> bool {
    let missing = Command::new("strace").arg("--version").output().is_err();
    if missing {
        skipped(test, "needs strace");
    }
    missing
}

/// A script under strace with this injection.
fn traced(place: &Place, inject: &str, script: &str) -> Command {
    let mut command = place.program("strace");
    command.args(["-f", "-qq", "-o/dev/null", "-e", &format!("inject={inject}")]);
    command.args(["/bin/sh", "-euc", script]);
    command
}

#[track_caller]
fn kill_at(place: &Place, call: &str, script: &str) {
    assert_ne!(run(traced(place, &format!("{call}:signal=KILL:when=1"), script), b"").code, 0);
}

/// An agent whose key is protected by the passphrase in `first`; `second` and `third` hold others.
fn protected() -> (Place, PathBuf) {
    let place = Place::new();
    for (name, text) in [
        ("first", "correct horse battery"),
        ("second", "another staple entirely"),
        ("third", "neither of the two"),
    ] {
        fs::write(place.work(name), format!("{text}\n")).unwrap();
    }
    place.sh("keyagent init -q --protect passphrase --passphrase-fd 3 3< first; keyagent start -q").expect(0);
    place
        .sh("keyagent unlock --passphrase-fd 3 3< first; printf before | keyagent encrypt > sealed")
        .expect(0);
    let file = place.path(".config/keyagent/key.protected");
    (place, file)
}

fn beside(file: &std::path::Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", file.display()))
}

fn with(place: &Place, words: &str, passphrase: &str) -> Done {
    place.sh(&format!("keyagent master rotate --yes {words} --passphrase-fd 3 3< {passphrase}"))
}

#[test]
fn the_old_key_stays_until_the_next_one_was_opened() {
    if no_strace("the_old_key_stays_until_the_next_one_was_opened") {
        return;
    }
    let (place, file) = protected();
    let (next, replaced) = (beside(&file, ".next"), beside(&file, ".replaced"));
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
    let before = read(&file);
    kill_at(&place, "rename", BOTH);
    // Neither a wrong passphrase nor that of the key in use opens the next one: nothing is put anywhere.
    for passphrase in ["third", "first"] {
        with(&place, "", passphrase).refused(79, "WRONG_PASSPHRASE");
        assert!(read(&file) == before && next.exists(), "{passphrase}");
    }
    // Killed right behind the rename.
    fs::rename(&next, &file).unwrap();
    with(&place, "", "first").refused(79, "WRONG_PASSPHRASE");
    assert_eq!(read(&replaced), before);
    with(&place, "--abandon", "third").refused(79, "WRONG_PASSPHRASE");
    assert_eq!(read(&replaced), before);
    // The passphrase of the next key was mistyped: back to the old one.
    with(&place, "--abandon", "first").expect(0);
    assert!(read(&file) == before && !next.exists() && !replaced.exists());
    again(&place);
    place.sh("keyagent unlock --passphrase-fd 3 3< first").expect(0);
    opens(&place);
    // The same place, and the right one.
    kill_at(&place, "rename", BOTH);
    fs::rename(&next, &file).unwrap();
    again(&place);
    place.sh("keyagent unlock --passphrase-fd 3 3< second").expect(0);
    with(&place, "", "second").expect(0);
    assert!(!next.exists() && !replaced.exists());
    again(&place);
    place.sh("keyagent unlock --passphrase-fd 3 3< second").expect(0);
    opens(&place);
}

#[test]
fn a_replaced_key_goes_only_after_the_next_one_opened_the_keyring() {
    if no_strace("a_replaced_key_goes_only_after_the_next_one_opened_the_keyring") {
        return;
    }
    let place = started();
    let replaced = beside(&place.key(), ".replaced");
    let (first, script) = (key(&place), "keyagent master rotate --yes");
    // Finished, but for the file of the replaced key: no third key is made.
    kill_at(&place, "unlink", script);
    assert!(status(&place)["master_next"].is_null());
    assert_eq!(fs::read_to_string(&replaced).unwrap(), first);
    let second = key(&place);
    assert_ne!(second, first);
    place.run(&["master", "rotate", "--yes", "--keep-previous", "old"], b"").expect(0);
    assert!(key(&place) == second && !replaced.exists());
    assert_eq!(fs::read_to_string(place.work("old")).unwrap(), first);
    // Behind the rename, a plain key is put back as well.
    kill_at(&place, "rename", script);
    fs::rename(next_file(&place), place.key()).unwrap();
    again(&place);
    place.run(&["master", "rotate", "--yes", "--abandon"], b"").expect(0);
    assert!(key(&place) == second && !replaced.exists() && !next_file(&place).exists());
    again(&place);
    opens(&place);
    // A killed command's lock keeps nobody out.
    place.run(&ROTATE, b"").expect(0);
    assert!(!beside(&next_file(&place), ".lock").exists());
    again(&place);
    opens(&place);
}

#[test]
fn one_command_at_a_time_changes_the_files() {
    if no_strace("one_command_at_a_time_changes_the_files") {
        return;
    }
    let place = started();
    let before = key(&place);
    let mut slow = traced(&place, "rename:delay_enter=6000000:when=1", "keyagent master rotate --yes");
    let slow = slow.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !beside(&place.key(), ".replaced").exists() {
        assert!(Instant::now() < deadline, "it never got to the rename");
        thread::sleep(Duration::from_millis(20));
    }
    place.run(&["master", "rotate", "--yes", "--abandon"], b"").refused(75, "BUSY");
    place.run(&["master", "rotate", "--yes"], b"").refused(75, "BUSY");
    assert!(key(&place) == before && next_file(&place).exists());
    Done::from(slow.wait_with_output().unwrap()).expect(0);
    assert_ne!(key(&place), before);
    again(&place);
    opens(&place);
}

#[test]
fn a_passphrase_that_would_protect_nothing_is_refused() {
    let place = started();
    let before = key(&place);
    fs::write(place.work("first"), "correct horse battery\n").unwrap();
    let rotate = "keyagent master rotate --yes";
    for words in
        ["--new-passphrase-fd 3", "--new-passphrase", "--passphrase-fd 3", "--dry-run --new-passphrase"]
    {
        let done = place.sh(&format!("{rotate} {words} 3< first"));
        done.refused(64, "USAGE");
        assert!(key(&place) == before && !next_file(&place).exists(), "{words}");
        assert!(status(&place)["master_next"].is_null(), "{words}");
    }
}
