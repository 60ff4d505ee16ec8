//! The pin of the audit log: it follows every second of activity, also after lock and unlock, and nothing that
//! is taken away beside it makes a shortened log pass.

use std::fs;

use keyagent_common::context::EMPTY;

use crate::support::{
    Home, eventually,
    log::{self, open_keyring},
};

fn pinned_seq(home: &Home) -> u64 {
    let (keyring, _) = open_keyring(home);
    keyring.open_pin(&fs::read(home.state_file("audit.pin")).unwrap()).unwrap().seq
}

fn last_seq(home: &Home) -> u64 {
    log::verify(home).tail.unwrap().seq
}

#[test]
fn the_pin_follows_after_lock_and_unlock() {
    let home = Home::initialized();
    let daemon = home.start();
    for locked_requests in [0, 3] {
        let mut client = daemon.client();
        client.lock().unwrap();
        for _ in 0..locked_requests {
            client.encrypt(EMPTY, b"refused").unwrap_err();
        }
        // Long enough for the pin to have been due while the daemon was locked.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        client.unlock(&[]).unwrap();
        client.encrypt(EMPTY, b"x").unwrap();
        let written = last_seq(&home);
        eventually("the pin reaches what was written after unlock", || pinned_seq(&home) >= written);
        client.encrypt(EMPTY, b"y").unwrap();
        let written = last_seq(&home);
        eventually("and goes on", || pinned_seq(&home) >= written);
    }
    daemon.kill();
    fs::remove_file(home.socket()).unwrap();
    // A kill right after a pin loses nothing: a log cut behind it is noticed.
    let whole = fs::read_to_string(home.state_file("audit.log")).unwrap();
    let cut = whole.trim_end().rfind('\n').unwrap();
    fs::write(home.state_file("audit.log"), &whole[..=cut]).unwrap();
    home.refuses(&[], 65, "AUDIT_TAMPERED");
}

#[test]
fn without_pin_and_marker_a_shortened_log_is_refused_all_the_same() {
    let home = Home::initialized();
    let daemon = home.start();
    for _ in 0..5 {
        daemon.client().encrypt(EMPTY, b"x").unwrap();
    }
    daemon.terminate();
    fs::remove_file(home.state_file("audit.pin")).unwrap();
    fs::remove_file(home.state_file("initialized")).unwrap();
    let whole = fs::read_to_string(home.state_file("audit.log")).unwrap();
    let first_lines: String = whole.split_inclusive('\n').take(4).collect();
    fs::write(home.state_file("audit.log"), first_lines).unwrap();
    home.refuses(&[], 65, "ROLLBACK");
}

#[test]
fn a_new_keyring_for_an_old_key_keeps_what_was_there_and_starts_ever_after() {
    let home = Home::initialized();
    let daemon = home.start();
    let value = daemon.client().encrypt(EMPTY, b"of `default`").unwrap();
    daemon.terminate();
    let old_marker = fs::read_to_string(home.state_file("initialized")).unwrap();
    fs::remove_file(home.state_file("keyring")).unwrap();
    home.refuses(&[], 78, "KEYRING_MISSING");
    let said = home.start_with(&["--new-keyring"]).terminate();
    assert!(said.contains(old_marker.trim()), "the lost keyring is named: {said}");
    let aside = |what: &str| {
        let names = fs::read_dir(home.state()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with(&format!("{what}.set-aside-"))).count()
    };
    assert_eq!((aside("audit.log"), aside("audit.pin")), (1, 1));
    assert_ne!(fs::read_to_string(home.state_file("initialized")).unwrap(), old_marker);
    let start = &log::lines(&home)[1];
    assert!(start["metadata"]["reason"].as_str().unwrap().contains(old_marker.trim()));
    for arguments in [&["--new-keyring"][..], &[]] {
        let daemon = home.start_with(arguments);
        assert_eq!(daemon.client().decrypt(EMPTY, &value).unwrap(), b"of `default`");
        daemon.terminate();
    }
}

#[test]
fn behind_the_pin_a_power_loss_may_have_torn_the_log_anywhere() {
    let home = Home::initialized();
    home.start().terminate();
    let daemon = home.start();
    for _ in 0..5 {
        daemon.client().encrypt(EMPTY, b"x").unwrap();
    }
    // Killed within the second before the pin: what was not synced yet may be lost in any order.
    daemon.kill();
    let (path, pinned) = (home.state_file("audit.log"), pinned_seq(&home));
    let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    let written = lines.len();
    let torn = usize::try_from(pinned).unwrap() + 1;
    if torn + 1 >= written {
        // The pin was quicker than the kill; then there is nothing behind it to be torn.
        return;
    }
    let zeros = "\0".repeat(lines[torn].len());
    lines[torn] = zeros;
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    home.start().terminate();
    let after = log::lines(&home);
    let reason = after[torn + 1]["metadata"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("a crash left "), "{reason}");
    let kept = fs::read_dir(home.state()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(kept.filter(|name| name.to_str().unwrap().starts_with("audit.log.set-aside-")).count(), 1);
}
