//! `keyagentd --verify-audit`: the whole log, read-only, beside a running daemon as well.

use std::fs;

use keyagent_common::context::EMPTY;
use serde_json::Value;

use crate::support::{Home, finish, snapshot};

/// Exit code and the one line of JSON.
fn verify(home: &Home) -> (i32, Value) {
    let before = snapshot(&home.state());
    let finished = finish(home.command().arg("--verify-audit"));
    assert_eq!(snapshot(&home.state()), before, "nothing is changed");
    assert_eq!(finished.stdout.lines().count(), 1, "{} {}", finished.stdout, finished.stderr);
    let found: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(found["schema"], "keyagent.audit_verify/1");
    assert_eq!(found["ok"], finished.code == Some(0));
    (finished.code.unwrap(), found)
}

fn with_history() -> Home {
    let home = Home::initialized();
    for _ in 0..2 {
        let daemon = home.start();
        for _ in 0..5 {
            daemon.client().encrypt(EMPTY, b"x").unwrap();
        }
        daemon.terminate();
    }
    home
}

#[test]
fn a_log_in_order_is_said_to_be() {
    let home = with_history();
    let (code, found) = verify(&home);
    assert_eq!(code, 0, "{found}");
    let lines = fs::read_to_string(home.state_file("audit.log")).unwrap().lines().count();
    assert_eq!((&found["lines"], &found["last_seq"]), (&lines.into(), &lines.into()));
    assert_eq!((&found["files"], &found["segments"], &found["first_seq"]), (&1.into(), &3.into(), &1.into()));
    assert_eq!((&found["pinned_seq"], &found["after_pin"]), (&lines.into(), &0.into()));
    assert_eq!(found["unauthenticated"], serde_json::json!([]));
}

#[test]
fn it_runs_beside_a_daemon_that_appends() {
    let home = with_history();
    let daemon = home.start();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = daemon.client();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                client.encrypt(EMPTY, b"x").unwrap();
            }
        });
        for _ in 0..5 {
            let finished = finish(home.command().arg("--verify-audit"));
            assert_eq!(finished.code, Some(0), "{} {}", finished.stdout, finished.stderr);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    daemon.terminate();
}

#[test]
fn what_is_wrong_is_named() {
    let home = with_history();
    let log = fs::read_to_string(home.state_file("audit.log")).unwrap();
    let all: Vec<&str> = log.split_inclusive('\n').collect();
    fs::write(home.state_file("audit.log"), [&all[..6], &all[7..]].concat().concat()).unwrap();
    let (code, found) = verify(&home);
    assert_eq!(code, 1);
    let problem = &found["problems"][0];
    assert_eq!(problem["file"], home.state_file("audit.log").to_str().unwrap());
    assert_eq!((&problem["line"], &problem["seq"]), (&7.into(), &7.into()), "{found}");
    fs::write(home.state_file("audit.log"), &log).unwrap();
    fs::write(home.state_file("audit.pin"), [0; 139]).unwrap();
    let (code, found) = verify(&home);
    assert_eq!((code, &found["pinned_seq"]), (1, &Value::Null));
    assert_eq!(found["problems"][0]["file"], home.state_file("audit.pin").to_str().unwrap());
}

#[test]
fn without_the_right_key_it_ends_as_a_start_does() {
    let home = with_history();
    fs::remove_file(home.key()).unwrap();
    home.refuses(&["--verify-audit"], 78, "KEY_MISSING");
    home.write_key(&crate::support::random_key());
    home.refuses(&["--verify-audit"], 79, "WRONG_MASTER_KEY");
}
