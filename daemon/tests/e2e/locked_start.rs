//! A daemon that has nothing but a master key under a passphrase: it starts locked, answers as a locked one, and
//! goes on where it was once somebody brings the key. What it wrote meanwhile belongs to the log.

use std::{fs, io::Write, path::PathBuf, process::Command};

use keyagent_common::{
    codec,
    context::EMPTY,
    error::ErrorCode,
    fingerprint, kdf,
    op::{AuditQuery, AuditQueryReply, AuditQueryRequest, CheckResult},
    protected_key::{self, NONCE_BYTES, Parameters, ProtectedKey, SALT_BYTES, TAG_BYTES},
};
use serde_json::{Value, json};

use crate::support::{Client, Daemon, Home, chmod, copy_files, finish, log, make_folder, random_key, unhex};

/// A text that names a key. What it seals is nobody's business here: the daemon never opens it.
fn protected_text(master: &[u8; 32]) -> String {
    let key = ProtectedKey {
        parameters: Parameters::DEFAULT,
        salt: [1; SALT_BYTES],
        fingerprint: kdf::master_fingerprint(master),
        nonce: [2; NONCE_BYTES],
        sealed: [3; 32],
        tag: [4; TAG_BYTES],
    };
    key.to_text()
}

fn write_protected(path: &PathBuf, master: &[u8; 32]) {
    make_folder(path.parent().unwrap(), 0o700);
    fs::write(path, protected_text(master)).unwrap();
    chmod(path, 0o600);
}

/// A home with some history and both forms of its key; a value sealed before.
fn home() -> (Home, Vec<u8>) {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("one").unwrap();
    let sealed = client.encrypt_under("one", EMPTY, b"before").unwrap();
    daemon.terminate();
    protect(&home);
    (home, sealed)
}

/// With the protected key alone: the plain one is for the test's own eyes.
fn command(home: &Home) -> Command {
    let mut command = home.command_without_key();
    command.arg("--key-file").arg(protected_key::beside(&home.key()));
    command
}

/// The same through another program, whose arguments come first.
pub(crate) fn command_through(home: &Home, program: &[&str]) -> Command {
    let inner = command(home);
    let mut outer = Command::new(program[0]);
    outer.args(&program[1..]).arg(inner.get_program()).args(inner.get_args()).env_clear();
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

/// Puts the protected form of a home's key beside it.
pub(crate) fn protect(home: &Home) -> [u8; 32] {
    write_protected(&protected_key::beside(&home.key()), &home.master());
    home.master()
}

fn start(home: &Home) -> Daemon {
    let daemon = Daemon::start(command(home), &home.socket());
    assert_eq!(daemon.client().status("state"), "locked");
    daemon
}

/// What `--verify-audit` says, with the plain key.
fn verify(home: &Home) -> (i32, Value) {
    let finished = finish(home.command().arg("--verify-audit"));
    let found = serde_json::from_str(&finished.stdout);
    (finished.code.unwrap(), found.unwrap_or_else(|_| panic!("{}", finished.stderr)))
}

#[test]
fn it_starts_locked_and_goes_on_with_the_key() {
    let (home, sealed) = home();
    let daemon = start(&home);
    let mut client = daemon.client();
    let print = kdf::master_fingerprint(&home.master());
    assert_eq!(client.status("master_fingerprint"), fingerprint::full(&print));
    let health = client.health();
    assert_eq!((health.status.as_str(), health.check("canary").0), ("locked", CheckResult::Warning));
    assert_eq!(client.decrypt(EMPTY, &sealed), Err(ErrorCode::Locked));
    assert_eq!(client.create_key("two").map(|_| ()), Err(ErrorCode::Locked));
    assert_eq!(client.disable("one").map(|_| ()), Err(ErrorCode::Locked));
    assert_eq!(client.unlock(&[]), Err(ErrorCode::NotUnlockable));
    assert_eq!(client.unlock(&[9; 31]), Err(ErrorCode::InvalidRequest));
    assert_eq!(client.unlock(&unhex(&random_key())), Err(ErrorCode::WrongMasterKey));
    assert_eq!(client.status("state"), "locked");
    assert!(client.unlock(&home.master()).unwrap().changed);
    assert_eq!(client.decrypt(EMPTY, &sealed).unwrap(), b"before");
    client.create_key("two").unwrap();
    assert_eq!(client.health().status, "healthy");
    // Locked again like any other; this daemon cannot unlock by itself.
    assert!(!client.lock().unwrap().unlockable_here);
    assert_eq!(client.unlock(&[]), Err(ErrorCode::NotUnlockable));
    assert!(client.unlock(&home.master()).unwrap().changed);
    daemon.terminate();
    let (code, found) = verify(&home);
    assert_eq!((code, &found["unauthenticated"]), (0, &json!([])), "{found}");
    let lines = log::lines(&home);
    let unlocks: Vec<_> = lines.iter().filter(|line| line["event_type"] == "unlock").collect();
    let done: Vec<bool> = unlocks.iter().map(|line| line["success"].as_bool().unwrap()).collect();
    assert_eq!(done, [false, false, false, true, false, true]);
    // The plain key opens the same log.
    let daemon = home.start();
    assert_eq!(daemon.client().decrypt(EMPTY, &sealed).unwrap(), b"before");
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn the_protected_key_is_found_in_its_usual_place() {
    let (home, sealed) = home();
    let usual = home.join("user/.config/keyagent/key");
    write_protected(&protected_key::beside(&usual), &home.master());
    let daemon = Daemon::start(home.command_without_key(), &home.socket());
    let mut client = daemon.client();
    assert_eq!(client.status("state"), "locked");
    client.unlock(&home.master()).unwrap();
    assert_eq!(client.decrypt(EMPTY, &sealed).unwrap(), b"before");
    daemon.terminate();
    // A damaged one is no reason to start, nor is one that others can read.
    let path = protected_key::beside(&usual);
    fs::write(&path, "kp1.AAAA\n").unwrap();
    home.must_refuse(&mut home.command_without_key(), 78, "KEY_MALFORMED");
    write_protected(&path, &home.master());
    chmod(&path, 0o644);
    assert_eq!(finish(&mut home.command_without_key()).code, Some(77));
}

/// The lines of the log, by the operation.
fn query(client: &mut Client) -> Vec<Value> {
    let request = AuditQueryRequest {
        from_seq: 0,
        to_seq: u64::MAX,
        from_micros: 0,
        to_micros: u64::MAX,
        max_bytes: 48 << 10,
    };
    let body = client.ask::<AuditQuery>(&request).success().unwrap();
    let reply = codec::decode::<AuditQueryReply<'_>>(&body).unwrap();
    let text = std::str::from_utf8(reply.lines).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_log_can_be_read_while_locked() {
    let (home, _) = home();
    let daemon = start(&home);
    let mut client = daemon.client();
    client.unlock(&unhex(&random_key())).unwrap_err();
    let lines = query(&mut client);
    let last = lines.last().unwrap();
    assert_eq!((&last["event_type"], &last["success"]), (&json!("unlock"), &json!(false)));
    assert!(lines.iter().any(|line| line["event_type"] == "key_create"));
    daemon.terminate();
}

#[test]
fn lines_of_a_daemon_that_was_killed_while_locked_stay_and_are_said_to_be_unauthenticated() {
    let (home, sealed) = home();
    for _ in 0..2 {
        let daemon = start(&home);
        daemon.client().unlock(&unhex(&random_key())).unwrap_err();
        daemon.kill();
    }
    let daemon = start(&home);
    let mut client = daemon.client();
    client.unlock(&unhex(&random_key())).unwrap_err();
    assert!(client.unlock(&home.master()).unwrap().changed);
    assert_eq!(client.decrypt(EMPTY, &sealed).unwrap(), b"before");
    daemon.terminate();
    let (code, found) = verify(&home);
    assert_eq!((code, &found["ok"]), (0, &json!(true)), "{found}");
    let lines = log::unverified_lines(&home);
    let bridges: Vec<u64> = lines
        .iter()
        .filter(|line| line["event_type"] == "audit.segment" && line["metadata"]["bridge"] == true)
        .map(|line| line["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(bridges.len(), 3);
    let ranges = found["unauthenticated"].as_array().unwrap();
    assert!(!ranges.is_empty(), "{found}");
    // The first two, whose keys are lost, and not a line of the third.
    let text = found["unauthenticated"].to_string();
    assert!(text.contains(&bridges[0].to_string()) && text.contains(&(bridges[2] - 1).to_string()), "{text}");
    assert!(!text.contains(&bridges[2].to_string()), "{text}");
    let attempts = lines.iter().filter(|line| line["event_type"] == "unlock" && line["success"] == false);
    assert_eq!(attempts.count(), 3, "nothing is lost");
    home.start().terminate();
}

/// Starts locked, and must not unlock with the right key.
fn refuses_to_unlock(home: &Home, expected: ErrorCode) {
    match crate::support::recovery::serve_or_end(Daemon::spawn(command(home), &home.socket())) {
        Ok(daemon) => {
            let mut client = daemon.client();
            assert_eq!(client.unlock(&home.master()), Err(expected));
            assert_eq!(client.status("state"), "locked");
            assert_eq!(client.unlock(&home.master()), Err(expected), "not the second time either");
            assert_eq!(client.encrypt(EMPTY, b"x"), Err(ErrorCode::Locked));
            daemon.terminate();
        }
        // What can be seen without a key is seen at once.
        Err(ended) => assert_eq!(ended.code, Some(expected.exit_code().into()), "{ended:?}"),
    }
    // Nor does an ordinary start believe it.
    let name = expected.name();
    home.refuses(&[], i32::from(expected.exit_code()), name);
}

fn copied(home: &Home) -> PathBuf {
    let copy = home.join("copy");
    copy_files(&home.state(), &copy);
    copy
}

#[test]
fn a_log_that_was_changed_before_is_refused_at_unlock() {
    let (home, _) = home();
    let path = home.state_file("audit.log");
    let original = fs::read_to_string(&path).unwrap();
    let changed = original.replacen("\"event_type\":\"key_create\"", "\"event_type\":\"key_creatf\"", 1);
    assert_ne!(changed, original);
    fs::write(&path, changed).unwrap();
    refuses_to_unlock(&home, ErrorCode::AuditTampered);
    // A line less.
    let (home, _) = self::home();
    let path = home.state_file("audit.log");
    let original = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = original.split_inclusive('\n').collect();
    fs::write(&path, lines[..lines.len() - 2].concat()).unwrap();
    refuses_to_unlock(&home, ErrorCode::AuditTampered);
}

#[test]
fn lines_of_a_locked_daemon_that_are_changed_meanwhile_are_refused() {
    let (home, _) = home();
    let daemon = start(&home);
    let mut client = daemon.client();
    client.unlock(&unhex(&random_key())).unwrap_err();
    let path = home.state_file("audit.log");
    let original = fs::read_to_string(&path).unwrap();
    let at = original.rfind("\"success\":false").unwrap();
    let mut changed = original.clone();
    changed.replace_range(at + 10..at + 15, "true ");
    fs::write(&path, &changed).unwrap();
    assert_eq!(client.unlock(&home.master()), Err(ErrorCode::AuditTampered));
    assert_eq!(client.status("state"), "locked");
    daemon.kill();
}

#[test]
fn an_older_keyring_is_noticed_at_unlock() {
    let home = Home::initialized();
    let daemon = home.start();
    daemon.client().create_key("one").unwrap();
    daemon.terminate();
    let older = copied(&home);
    let daemon = home.start();
    daemon.client().create_key("two").unwrap();
    daemon.terminate();
    write_protected(&protected_key::beside(&home.key()), &home.master());
    fs::copy(older.join("keyring"), home.state_file("keyring")).unwrap();
    refuses_to_unlock(&home, ErrorCode::Rollback);
}

#[test]
fn a_torn_last_line_is_cut_off() {
    let (home, sealed) = home();
    let path = home.state_file("audit.log");
    let whole = fs::read(&path).unwrap();
    let last = whole.split_inclusive(|byte| *byte == b'\n').next_back().unwrap().to_vec();
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&last[..last.len() / 2]).unwrap();
    let daemon = start(&home);
    let mut client = daemon.client();
    client.unlock(&home.master()).unwrap();
    assert_eq!(client.decrypt(EMPTY, &sealed).unwrap(), b"before");
    daemon.terminate();
    let lines = log::lines(&home);
    let starts = lines.iter().filter(|line| line["event_type"] == "daemon.start");
    let reasons: Vec<_> = starts.map(|line| line["metadata"]["reason"].to_string()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("cut off")), "{reasons:?}");
    assert_eq!(verify(&home).0, 0);
}

#[test]
fn a_protected_key_of_another_keyring_is_refused_before_anybody_types_a_passphrase() {
    let (home, _) = home();
    let before = fs::read(home.state_file("audit.log")).unwrap();
    write_protected(&protected_key::beside(&home.key()), &[0x5a; 32]);
    let ended = finish(&mut command(&home));
    assert_eq!(ended.code, Some(79), "{}", ended.stderr);
    assert!(ended.stderr.contains("WRONG_MASTER_KEY"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains(&fingerprint::full(&kdf::master_fingerprint(&home.master()))),
        "{}",
        ended.stderr
    );
    assert_eq!(fs::read(home.state_file("audit.log")).unwrap(), before, "nothing was written");
}
