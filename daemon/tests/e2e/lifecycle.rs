//! From `--init` to the end: what is made, what is refused, what outlives a kill, what signals do.

use std::fs;

use keyagent_common::{
    codec, context,
    error::ErrorCode,
    op::{Empty, OperationCode},
};
use nix::sys::signal::Signal;

use crate::support::{
    self, Client, Home, am_root, assert_no_failure, chmod, client, copy_files, eventually, finish, log,
    make_folder, process::Daemon, snapshot,
};

#[test]
fn init_makes_the_documented_files_and_nothing_else() {
    let home = Home::new();
    let finished = finish(home.command().args(["--init", "--no-serve"]));
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_no_failure(&finished.stderr);
    let expected = [
        ("config", 0o40700),
        ("config/key", 0o100_600),
        ("state", 0o40700),
        ("state/audit.log", 0o100_600),
        ("state/audit.pin", 0o100_600),
        ("state/counters", 0o100_600),
        ("state/initialized", 0o100_600),
        ("state/keyring", 0o100_600),
        ("state/keyring.lock", 0o100_600),
    ];
    let seen: Vec<_> = snapshot(home.path()).into_iter().map(|(path, (mode, _))| (path, mode)).collect();
    assert_eq!(seen, expected.map(|(name, mode)| (home.join(name), mode)));
    let text = fs::read_to_string(home.key()).unwrap();
    assert_eq!(text.len(), 65);
    let print = keyagent_common::kdf::master_fingerprint(&home.master());
    let full = keyagent_common::fingerprint::full(&print);
    assert!(finished.stdout.starts_with(&format!("fingerprint {full} ")), "{}", finished.stdout);
    assert!(!finished.stdout.contains(text.trim()) && !finished.stderr.contains(text.trim()));
    let lines = log::lines(&home);
    let events = ["audit.segment", "daemon.start", "keyring.intent", "keyring.commit"];
    assert_eq!(log::events(&lines), events);
}

#[test]
fn init_refuses_when_any_one_file_exists_and_touches_nothing() {
    let complete = Home::initialized();
    for name in ["config/key", "state/keyring", "state/audit.log", "state/audit.pin", "state/initialized"] {
        let home = Home::new();
        let place = home.join(name);
        make_folder(place.parent().unwrap(), 0o700);
        fs::copy(complete.join(name), &place).unwrap();
        let before = snapshot(home.path());
        let finished = home.refuses(&["--init", "--no-serve"], 73, "ALREADY_INITIALIZED");
        assert!(finished.stderr.contains(place.to_str().unwrap()), "{}", finished.stderr);
        assert_eq!(snapshot(home.path()), before, "{name}");
    }
    // Not even a link that leads nowhere counts as absent.
    let home = Home::new();
    make_folder(&home.join("config"), 0o700);
    std::os::unix::fs::symlink("/nonexistent", home.key()).unwrap();
    let before = snapshot(home.path());
    home.refuses(&["--init", "--no-serve"], 73, "ALREADY_INITIALIZED");
    assert_eq!(snapshot(home.path()), before);
}

#[test]
fn init_races_make_one_key() {
    for _ in 0..support::bounded(5, 100) {
        let home = Home::new();
        let (stop, start) = (["--init", "--no-serve"], std::sync::Barrier::new(4));
        let codes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        finish(home.command().args(stop))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(codes.iter().filter(|ended| ended.code == Some(0)).count(), 1, "{codes:?}");
        for refused in codes.iter().filter(|ended| ended.code != Some(0)) {
            // Somebody else is at it (75), or was (73).
            assert!(matches!(refused.code, Some(73 | 75)), "{refused:?}");
        }
        let winner = codes.iter().find(|ended| ended.code == Some(0)).unwrap();
        let print = keyagent_common::kdf::master_fingerprint(&home.master());
        assert!(winner.stdout.contains(&keyagent_common::fingerprint::full(&print)), "the key was replaced");
        home.start().terminate();
    }
}

#[test]
fn stores_that_race_for_one_key_file_never_replace_it() {
    for _ in 0..support::bounded(5, 100) {
        let homes: Vec<Home> = (0..4).map(|_| Home::new()).collect();
        let key = homes[0].key();
        let start = std::sync::Barrier::new(homes.len());
        let run = |home: &Home| {
            let mut command = home.command_without_key();
            command.arg("--key-file").arg(&key).args(["--init", "--no-serve"]);
            start.wait();
            finish(&mut command)
        };
        let ended: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = homes.iter().map(|home| scope.spawn(|| run(home))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let made: Vec<_> = ended.iter().filter(|ended| ended.code == Some(0)).collect();
        assert_eq!(made.len(), 1, "{ended:?}");
        let print = keyagent_common::kdf::master_fingerprint(&homes[0].master());
        assert!(made[0].stdout.contains(&keyagent_common::fingerprint::full(&print)), "the key was replaced");
        assert!(ended.iter().all(|ended| matches!(ended.code, Some(0 | 73 | 74))), "{ended:?}");
    }
}

#[test]
fn without_key_or_keyring_it_refuses_and_makes_neither() {
    let home = Home::new();
    home.must_refuse(&mut home.command_without_key(), 78, "KEY_MISSING");
    home.refuses(&[], 78, "KEY_MISSING");
    assert!(!home.key().exists());
    home.write_key(&support::random_key());
    let finished = home.refuses(&[], 78, "KEYRING_MISSING");
    assert!(finished.stderr.contains("--new-keyring"), "{}", finished.stderr);
    assert!(!home.state_file("keyring").exists() && !home.state_file("audit.log").exists());
    home.start_with(&["--new-keyring"]).terminate();
    home.start().terminate();
    // On a complete state it is an ordinary start: a keyring is never replaced.
    let keyring = fs::read(home.state_file("keyring")).unwrap();
    home.start_with(&["--new-keyring"]).terminate();
    assert_eq!(fs::read(home.state_file("keyring")).unwrap(), keyring);
}

#[test]
fn hosts_with_one_master_key_open_each_others_values_and_others_do_not() {
    let key = support::random_key();
    let (one, two, other) = (Home::with_key(&key), Home::with_key(&key), Home::initialized());
    let (one, two, other) =
        (one.start_with(&["--new-keyring"]), two.start_with(&["--new-keyring"]), other.start());
    let (mut one, mut two, mut other) = (one.client(), two.client(), other.client());
    let context = context::encode([("row", &b"17"[..])]).unwrap();
    let envelope = one.encrypt(&context, b"shared").unwrap();
    assert_eq!(two.decrypt(&context, &envelope).unwrap(), b"shared");
    let back = two.encrypt(context::EMPTY, b"").unwrap();
    assert_eq!(one.decrypt(context::EMPTY, &back).unwrap(), b"");
    assert_eq!(other.decrypt(&context, &envelope), Err(ErrorCode::UnknownKeyId));
    assert_eq!(ErrorCode::UnknownKeyId.exit_code(), 79);
    let elsewhere = context::encode([("row", &b"18"[..])]).unwrap();
    assert_eq!(two.decrypt(&elsewhere, &envelope), Err(ErrorCode::DoesNotOpen));
    assert_eq!(two.decrypt(context::EMPTY, &envelope), Err(ErrorCode::DoesNotOpen));
    let mut changed = envelope.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(two.decrypt(&context, &changed), Err(ErrorCode::DoesNotOpen));
    assert_eq!(ErrorCode::DoesNotOpen.exit_code(), 65);
}

#[test]
fn another_master_key_is_refused_for_an_existing_keyring() {
    let home = Home::initialized();
    home.write_key(&support::random_key());
    let before = snapshot(&home.state());
    for arguments in [&[][..], &["--new-keyring"], &["--accept-rollback"]] {
        home.refuses(arguments, 79, "WRONG_MASTER_KEY");
        assert_eq!(snapshot(&home.state()), before);
    }
}

#[test]
fn old_values_open_after_kill_and_restart() {
    let home = Home::initialized();
    let mut envelopes = Vec::new();
    for round in 0..4_u8 {
        let daemon = home.start();
        let mut client = daemon.client();
        for number in 0..20 {
            envelopes.push((client.encrypt(context::EMPTY, &[round, number]).unwrap(), [round, number]));
        }
        for (envelope, plaintext) in &envelopes {
            assert_eq!(client.decrypt(context::EMPTY, envelope).unwrap(), plaintext);
        }
        daemon.kill();
        assert!(home.socket().exists(), "a killed daemon leaves its socket");
    }
    let lines = log::lines(&home);
    assert_eq!(log::count(&lines, "encrypt"), 80);
    assert_eq!(log::count(&lines, "decrypt"), 20 + 40 + 60 + 80);
}

#[test]
fn terminate_answers_what_is_in_flight_and_removes_the_socket() {
    let home = Home::initialized();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let daemon = home.start();
        let mut client = daemon.client();
        let frames: Vec<u8> = (1..=300).flat_map(|id| client::encrypt(id, b"in flight")).collect();
        client.send(&frames).unwrap();
        daemon.signal(signal);
        for id in 1..=300 {
            let reply = client.expect();
            assert_eq!((reply.id, reply.code), (id, 0));
        }
        client.expect_end();
        let ended = daemon.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(fs::symlink_metadata(home.socket()).is_err());
        let lines = log::lines(&home);
        assert_eq!(lines.last().unwrap()["event_type"], "daemon.stop");
    }
    assert_eq!(log::count(&log::lines(&home), "encrypt"), 600);
}

#[test]
fn a_signal_at_any_moment_of_the_start_ends_it_cleanly() {
    let home = Home::initialized();
    for step in 0..support::bounded(12, 200) {
        let daemon = Daemon::spawn(home.command(), &home.socket());
        std::thread::sleep(std::time::Duration::from_micros(step * 3000));
        while fs::symlink_metadata(home.socket()).is_err() && step % 2 == 0 {
            std::thread::yield_now();
        }
        daemon.signal(Signal::SIGTERM);
        let ended = daemon.wait();
        assert_no_failure(&ended.stderr);
        if step % 2 == 0 {
            // The socket was there: whoever can connect can also rely on an orderly end.
            assert_eq!((ended.code, ended.signal), (Some(0), None), "{ended:?}");
            assert!(fs::symlink_metadata(home.socket()).is_err());
        }
    }
    home.start().terminate();
    log::lines(&home);
}

#[test]
fn hangup_compares_the_keyring_and_goes_on() {
    let home = Home::initialized();
    let saved = home.join("saved");
    let daemon = home.start();
    copy_files(&home.state(), &saved);
    let reloads = || {
        let lines = log::unverified_lines(&home);
        lines.into_iter().filter(|line| line["event_type"] == "reload").collect::<Vec<_>>()
    };
    let wait_for = |count: usize| {
        eventually("a line about the reload", || reloads().len() >= count);
    };
    daemon.signal(Signal::SIGHUP);
    wait_for(1);
    assert_eq!(reloads()[0]["success"], true);
    assert_eq!(reloads()[0]["metadata"]["reason"], "signal");
    let other = Home::initialized();
    fs::copy(other.state_file("keyring"), home.state_file("keyring")).unwrap();
    daemon.signal(Signal::SIGHUP);
    wait_for(2);
    assert_eq!(reloads()[1]["success"], false);
    let mut client = daemon.client();
    client.encrypt(context::EMPTY, b"still served").unwrap();
    fs::copy(saved.join("keyring"), home.state_file("keyring")).unwrap();
    let said = daemon.terminate();
    assert!(said.contains("ROLLBACK"), "{said}");
    log::lines(&home);
}

#[test]
fn an_expected_key_id_admits_that_key_only() {
    let home = Home::initialized();
    let print = keyagent_common::kdf::master_fingerprint(&home.master());
    let (full, short) =
        (keyagent_common::fingerprint::full(&print), keyagent_common::fingerprint::short(&print));
    for good in [&full, &short] {
        let mut command = home.command();
        command.env("KEYAGENT_EXPECT_KEY_ID", good);
        Daemon::start(command, &home.socket()).terminate();
    }
    let mut wrong = full.clone();
    wrong.replace_range(0..1, if full.starts_with('0') { "1" } else { "0" });
    for bad in [&wrong, "nonsense"] {
        let mut command = home.command();
        let refused = home.must_refuse(command.env("KEYAGENT_EXPECT_KEY_ID", bad), 79, "WRONG_MASTER_KEY");
        assert!(refused.stderr.contains(&short) && refused.stderr.contains(bad), "{}", refused.stderr);
    }
}

#[test]
fn lock_takes_every_key_away_and_unlock_brings_them_back() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let envelope = client.encrypt(context::EMPTY, b"before").unwrap();
    let locked = client.lock().unwrap();
    assert!(locked.changed && locked.unlockable_here);
    assert_eq!(client.status("state"), "locked");
    answers_locked_but_for_six(&mut client);
    let mut other = daemon.client();
    assert_eq!(other.decrypt(context::EMPTY, &envelope), Err(ErrorCode::Locked));
    assert_eq!(other.encrypt(context::EMPTY, b"x"), Err(ErrorCode::Locked));
    assert_eq!(client.unlock(&[7; 31]), Err(ErrorCode::InvalidRequest));
    assert_eq!(client.unlock(&support::unhex(&support::random_key())), Err(ErrorCode::WrongMasterKey));
    // A key file that became readable by others meanwhile is refused at unlock as well.
    chmod(&home.key(), 0o644);
    assert_eq!(client.unlock(&[]), Err(ErrorCode::KeyPermissions));
    assert_eq!(client.status("state"), "locked");
    chmod(&home.key(), 0o600);
    assert!(client.unlock(&[]).unwrap().changed);
    assert!(!client.unlock(&[]).unwrap().changed);
    assert_eq!(other.decrypt(context::EMPTY, &envelope).unwrap(), b"before");
    client.lock().unwrap();
    assert!(client.unlock(&home.master()).unwrap().changed);
    daemon.terminate();
    log::lines(&home);
}

/// Locked, an agent answers `hello`, `status`, `health`, `unlock`, `stop` and `audit_query`, and nothing else.
fn answers_locked_but_for_six(client: &mut Client) {
    let answers = |operation| {
        use OperationCode::{AuditQuery, Health, Hello, Status, Stop, Unlock};
        matches!(operation, Hello | Status | Health | Unlock | Stop | AuditQuery)
    };
    for operation in OperationCode::ALL.iter().copied() {
        // A body that none of those takes: they say that, all others do not come so far.
        client.send(&codec::frame(9, operation as u16, &[7_u8; 3]).unwrap()).unwrap();
        let expected = if answers(operation) { ErrorCode::Malformed } else { ErrorCode::Locked };
        let emptied = matches!(operation, OperationCode::Lock | OperationCode::Reload);
        if emptied {
            // Checked before the lock is: without a body they come to it.
            assert_eq!(client.expect().error(), ErrorCode::Malformed, "{operation:?}");
            client.send(&codec::frame(9, operation as u16, &Empty {}).unwrap()).unwrap();
        }
        assert_eq!(client.expect().error(), expected, "{operation:?}");
    }
}

#[test]
fn inherited_oddities_do_no_harm() {
    let home = Home::initialized();
    for setup in [
        "exec 0<&- 1>&- 2>&- ; exec \"$0\" \"$@\"",
        "umask 0; exec 7</etc/passwd 8</etc/passwd; exec \"$0\" \"$@\"",
        "trap '' TERM HUP PIPE; cd /; exec \"$0\" \"$@\"",
        "ulimit -n 10; exec \"$0\" \"$@\"",
        "ulimit -v 60000; exec \"$0\" \"$@\"",
    ] {
        let mut daemon = Daemon::spawn(home.command_through(&["sh", "-c", setup]), &home.socket());
        eventually("it serves or ends", || client::answers(&home.socket()) || daemon.has_ended());
        assert_no_failure(&daemon.stderr());
        if daemon.has_ended() {
            // Too little of something: said so, in place of a crash.
            let ended = daemon.wait();
            assert!(ended.code.is_some_and(|code| (64..=79).contains(&code)), "{setup}: {ended:?}");
            continue;
        }
        if am_root() {
            let links = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
            let open: Vec<_> = links.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect();
            assert!(open.iter().all(|target| *target != *"/etc/passwd" && *target != home.key()), "{open:?}");
        }
        Client::greeted(&home.socket()).encrypt(context::EMPTY, b"served").unwrap();
        daemon.terminate();
    }
    log::lines(&home);
}
