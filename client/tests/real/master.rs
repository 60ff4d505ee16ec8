//! `keyagent master rotate`: another master key, wherever it was interrupted, and never a state that does not start.

mod attacks;

use std::{fs, process::Command};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use super::place::{Done, Place, gone, long_campaign, run, skipped};

const ROTATE: [&str; 4] = ["--json", "master", "rotate", "--yes"];

/// An agent that has sealed something.
fn started() -> Place {
    let place = Place::started();
    place.sh("printf before | keyagent encrypt > sealed").expect(0);
    place
}

fn opens(place: &Place) {
    assert_eq!(place.run(&["decrypt", "sealed"], b"").expect(0).stdout, b"before");
}

fn status(place: &Place) -> Value {
    serde_json::from_str(&place.sh("keyagent --json status || true").expect(0).line()).unwrap()
}

fn key(place: &Place) -> String {
    fs::read_to_string(place.key()).unwrap()
}

fn next_file(place: &Place) -> std::path::PathBuf {
    place.path(".config/keyagent/key.next")
}

fn fingerprint_of(place: &Place, file: &str) -> String {
    let done = place.run(&["fingerprint", "--key-file", file], b"").expect(0);
    done.line().split_whitespace().next().unwrap().to_owned()
}

/// Kills the agent and starts it with what is there.
fn again(place: &Place) {
    let pid = place.pid();
    kill(pid, Signal::SIGKILL).unwrap();
    assert!(gone(pid, std::time::Duration::from_secs(10)));
    place.run(&["start"], b"").expect(0);
}

#[test]
fn another_key_opens_what_was_sealed_before() {
    let place = started();
    let before = key(&place);
    let old = status(&place)["master_fingerprint"].as_str().unwrap().to_owned();
    let done = place.run(&[&ROTATE[..], &["--keep-previous", "old"]].concat(), b"").expect(0);
    let said: Value = serde_json::from_str(&done.line()).unwrap();
    assert_eq!((&said["schema"], &said["epoch"]), (&"keyagent.master_rotate/1".into(), &3.into()));
    assert_eq!((&said["previous"], &said["to_install"]), (&old.as_str().into(), &Value::Null));
    let now = status(&place);
    assert_eq!((&now["master_fingerprint"], &now["master_next"]), (&said["fingerprint"], &Value::Null));
    assert_ne!(key(&place), before);
    assert_eq!(fs::read_to_string(place.work("old")).unwrap(), before);
    assert_eq!(fingerprint_of(&place, "old"), old);
    assert!(!next_file(&place).exists());
    opens(&place);
    place.sh("keyagent lock && keyagent unlock").expect(0);
    opens(&place);
    again(&place);
    opens(&place);
    place.run(&["audit", "verify"], b"").expect(0);
    place.run(&["stop"], b"").expect(0);
    place.run(&["start", "--key-file", "old"], b"").refused(79, "WRONG_MASTER_KEY");
    place.run(&["start"], b"").expect(0);
    // A third one; what is kept is never overwritten by another key.
    place.run(&[&ROTATE[..], &["--keep-previous", "old"]].concat(), b"").refused_json(73);
    assert_eq!(fs::read_to_string(place.work("old")).unwrap(), before);
    place.run(&ROTATE, b"").expect(0);
    opens(&place);
    place.run(&["audit", "verify"], b"").expect(0);
}

impl Done {
    /// An error in JSON.
    #[track_caller]
    fn refused_json(self, code: i32) {
        assert_eq!(self.code, code, "{}", self.stderr);
        let error: Value = serde_json::from_str(self.stderr.trim()).unwrap();
        assert_eq!(error["schema"], "keyagent.error/1");
    }
}

#[test]
fn nothing_is_done_unasked_and_a_plan_can_be_seen() {
    let place = started();
    let before = place.snapshot();
    place.run(&["master", "rotate"], b"").refused(64, "USAGE");
    let plan = place.run(&["master", "rotate", "--dry-run"], b"").expect(0).text();
    assert_eq!(plan.lines().count(), 6, "{plan}");
    let nothing = place.run(&["master", "rotate", "--abandon", "--dry-run"], b"").expect(0).text();
    assert!(nothing.ends_with("nothing to do\n"), "{nothing}");
    fs::write(place.work("other"), format!("{}\n", "5a6b".repeat(16))).unwrap();
    super::place::chmod(&place.work("other"), 0o600);
    place.run(&["master", "rotate", "--yes", "--key-file", "other"], b"").refused(79, "WRONG_MASTER_KEY");
    fs::remove_file(place.work("other")).unwrap();
    let after = place.snapshot();
    assert_eq!(after.get(&place.key()), before.get(&place.key()));
    assert_eq!(after.get(&place.keyring()), before.get(&place.keyring()));
    place.run(&["lock"], b"").expect(0);
    place.run(&["master", "rotate", "--yes"], b"").refused(75, "LOCKED");
    assert!(!next_file(&place).exists());
}

fn killed(place: &Place, call: &str, when: usize) -> bool {
    let inject = format!("inject={call}:signal=KILL:when={when}");
    let mut command: Command = place.program("strace");
    command.args(["-f", "-qq", "-o/dev/null", "-e", &inject]);
    command.arg(super::place::client()).args(ROTATE);
    run(command, b"").code != 0
}

#[test]
fn killed_anywhere_the_agent_starts_and_the_same_command_goes_on() {
    const NAME: &str = "killed_anywhere_the_agent_starts_and_the_same_command_goes_on";
    if Command::new("strace").arg("--version").output().is_err() {
        return skipped(NAME, "needs strace");
    }
    let place = started();
    let calls: &[&str] = if long_campaign() {
        &[
            "linkat",
            "rename",
            "fsync",
            "sendmsg",
            "recvfrom",
            "connect",
            "openat",
            "close",
            "newfstatat",
            "write",
            "unlink",
        ]
    } else {
        &["linkat", "rename", "fsync", "sendmsg", "unlink"]
    };
    let mut seen = [0; 3];
    for call in calls {
        for when in 1.. {
            let before = key(&place);
            if !killed(&place, call, when) {
                break;
            }
            let unfinished = !status(&place)["master_next"].is_null();
            let state = usize::from(unfinished) + usize::from(key(&place) != before);
            seen[state] += 1;
            opens(&place);
            // Once as it is, once with an agent that was started with the key file that is there now.
            if when % 2 == 0 {
                again(&place);
                opens(&place);
            }
            place.run(&ROTATE, b"").expect(0);
            assert!(!next_file(&place).exists() && status(&place)["master_next"].is_null(), "{call} {when}");
            assert_ne!(key(&place), before, "{call} {when}");
            opens(&place);
        }
    }
    assert!(seen.iter().all(|kills| *kills > 0), "{seen:?}: the calls have other names here");
    again(&place);
    opens(&place);
    place.run(&["audit", "verify"], b"").expect(0);
}

#[test]
fn an_unfinished_rotation_is_told_and_can_be_given_up() {
    const NAME: &str = "an_unfinished_rotation_is_told_and_can_be_given_up";
    if Command::new("strace").arg("--version").output().is_err() {
        return skipped(NAME, "needs strace");
    }
    let place = started();
    let before = key(&place);
    // Before the key file is replaced.
    assert!(killed(&place, "rename", 1));
    let shown = place.run(&["status"], b"").expect(0).text();
    assert!(shown.contains("keyagent master rotate"), "{shown}");
    let found = place.sh("keyagent doctor || true").expect(0).text();
    assert!(found.contains("a rotation of the master key is unfinished"), "{found}");
    place.run(&["master", "rotate", "--yes", "--abandon"], b"").expect(0);
    assert!(!next_file(&place).exists() && key(&place) == before);
    assert!(status(&place)["master_next"].is_null());
    again(&place);
    opens(&place);
    place.run(&ROTATE, b"").expect(0);
    opens(&place);
}

#[test]
fn a_protected_key_stays_protected() {
    let place = Place::new();
    fs::write(place.work("first"), "correct horse battery\n").unwrap();
    fs::write(place.work("second"), "another staple entirely\n").unwrap();
    place.sh("keyagent init -q --protect passphrase --passphrase-fd 3 3< first; keyagent start -q").expect(0);
    place
        .sh("keyagent unlock --passphrase-fd 3 3< first; printf before | keyagent encrypt > sealed")
        .expect(0);
    let file = place.path(".config/keyagent/key.protected");
    let before = fs::read_to_string(&file).unwrap();
    place.sh("keyagent master rotate --yes --passphrase-fd 3 3< second").refused(79, "WRONG_PASSPHRASE");
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    place.sh("keyagent master rotate --yes --passphrase-fd 3 3< first").expect(0);
    let after = fs::read_to_string(&file).unwrap();
    assert!(after != before && after.starts_with("kp1."), "{after}");
    opens(&place);
    place.sh("keyagent lock; keyagent unlock --passphrase-fd 3 3< first").expect(0);
    opens(&place);
    let both = "keyagent master rotate --yes --passphrase-fd 3 --new-passphrase-fd 4 3< first 4< second";
    place.sh(both).expect(0);
    place.sh("keyagent lock; keyagent unlock --passphrase-fd 3 3< first").refused(79, "WRONG_PASSPHRASE");
    place.sh("keyagent unlock --passphrase-fd 3 3< second").expect(0);
    opens(&place);
    again(&place);
    place.sh("keyagent unlock --passphrase-fd 3 3< second").expect(0);
    opens(&place);
    place.sh("keyagent audit verify --passphrase-fd 3 3< second").expect(0);
}

#[test]
fn a_key_that_came_from_elsewhere_is_put_in_place_by_hand() {
    let place = Place::initialized();
    fs::rename(place.key(), place.work("given")).unwrap();
    let start = |file: &str| place.sh(&format!("keyagent start -q --key-fd 3 3< {file}")).expect(0);
    start("given");
    place.sh("printf before | keyagent encrypt > sealed").expect(0);
    place.run(&["master", "rotate", "--yes"], b"").refused(64, "USAGE");
    let by_hand = ["--json", "master", "rotate", "--yes", "--new-key-file", "next"];
    let done = place.run(&[&by_hand[..], &["--key-file", "given"]].concat(), b"").expect(0);
    let said: Value = serde_json::from_str(&done.line()).unwrap();
    assert_eq!(said["to_install"], place.work("next").to_str().unwrap());
    assert_eq!(status(&place)["master_next"], fingerprint_of(&place, "next"));
    opens(&place);
    place.run(&["stop"], b"").expect(0);
    start("next");
    let done = place.run(&by_hand, b"").expect(0);
    let said: Value = serde_json::from_str(&done.line()).unwrap();
    assert_eq!((&said["to_install"], &said["epoch"]), (&Value::Null, &3.into()));
    place.run(&["stop"], b"").expect(0);
    place.sh("keyagent start -q --key-fd 3 3< given").refused(79, "WRONG_MASTER_KEY");
    start("next");
    opens(&place);
}
