//! The audit log over rotations of the master key.

use std::fs;

use keyagent_common::{context::EMPTY, error::ErrorCode, op::MasterStep};

use super::{ask, install, new_key, rotate, take, verify};
use crate::support::{Home, log, snapshot};

/// A log of five epochs, each of the odd ones with starts, unlocks and requests in it: two rotations.
fn five_epochs() -> Home {
    let home = Home::initialized();
    for rotation in 0..3 {
        let daemon = home.start();
        let mut client = daemon.client();
        for _ in 0..4 {
            client.encrypt(EMPTY, b"x").unwrap();
        }
        client.lock().unwrap();
        client.unlock(&[]).unwrap();
        if rotation < 2 {
            rotate(&home, &mut client);
            client.encrypt(EMPTY, b"x").unwrap();
        }
        daemon.terminate();
    }
    home
}

#[test]
fn a_log_of_five_epochs_verifies_and_a_bit_in_any_is_noticed() {
    let home = five_epochs();
    let (code, found) = verify(&home);
    assert_eq!(code, 0, "{found}");
    let lines = log::lines(&home);
    let epochs: Vec<u64> = lines
        .iter()
        .filter(|line| line["event_type"] == "audit.segment")
        .map(|line| line["metadata"]["epoch"].as_u64().unwrap())
        .collect();
    assert!(epochs.is_sorted() && (1..=5).all(|epoch| epochs.contains(&epoch)), "{epochs:?}");
    // The first line of a segment under each root stands right behind the step that made it.
    let steps: Vec<usize> =
        (0..lines.len()).filter(|place| lines[*place]["event_type"] == "master_rotate").collect();
    assert_eq!(steps.len(), 4);
    for (place, epoch) in steps.iter().zip(2..) {
        let behind = &lines[place + 1];
        assert_eq!(
            (&behind["event_type"], &behind["metadata"]["epoch"]),
            (&"audit.segment".into(), &epoch.into())
        );
    }
    let path = home.state_file("audit.log");
    let whole = fs::read_to_string(&path).unwrap();
    let every: Vec<&str> = whole.split_inclusive('\n').collect();
    for epoch in 1..=5 {
        let begins = lines
            .iter()
            .position(|line| line["event_type"] == "audit.segment" && line["metadata"]["epoch"] == epoch)
            .unwrap();
        // The first line of that segment that says something went well; of an even epoch it is about the change.
        let place =
            (begins + 1..lines.len()).find(|place| every[*place].contains("\"success\":true")).unwrap();
        assert!(lines[begins + 1..place].iter().all(|line| line["event_type"] != "audit.segment"), "{epoch}");
        let changed = every[place].replacen("\"success\":true", "\"success\":false", 1);
        let bad = [&every[..place], &[changed.as_str()], &every[place + 1..]].concat().concat();
        fs::write(&path, bad).unwrap();
        let (code, found) = verify(&home);
        assert_eq!((code, found["problems"].as_array().unwrap().len()), (1, 1), "epoch {epoch}: {found}");
    }
    fs::write(&path, whole).unwrap();
    home.start().terminate();
}

#[test]
fn killed_before_the_first_pin_of_an_epoch_it_starts_and_only_then() {
    let home = Home::initialized();
    home.start().terminate();
    let pin = fs::read(home.state_file("audit.pin")).unwrap();
    let next = new_key();
    let daemon = home.start();
    take(&mut daemon.client(), MasterStep::Begin, &[], &next);
    daemon.kill();
    let _ = fs::remove_file(home.socket());
    // As if the kill had come before the pin was written; and before any line after the keyring was in place.
    fs::write(home.state_file("audit.pin"), &pin).unwrap();
    let whole = fs::read_to_string(home.state_file("audit.log")).unwrap();
    let intent = whole.rfind("\"event_type\":\"keyring.intent\"").unwrap();
    let end = intent + whole[intent..].find('\n').unwrap() + 1;
    for log in [&whole[..end], &whole] {
        fs::write(home.state_file("audit.log"), log).unwrap();
        fs::write(home.state_file("audit.pin"), &pin).unwrap();
        assert_eq!(verify(&home).0, 0);
        let before = snapshot(&home.state());
        let daemon = home.start();
        daemon.client().encrypt(EMPTY, b"x").unwrap();
        daemon.kill();
        let _ = fs::remove_file(home.socket());
        assert_eq!(verify(&home).0, 0);
        // Now it has one of its own.
        log::verify(&home);
        for (path, (_, content)) in before {
            if path.is_file() {
                fs::write(path, content).unwrap();
            }
        }
    }
    // A keyring further on - the end of the rotation, the next epoch already - that pin says nothing any more.
    let daemon = home.start();
    install(&home, &next);
    take(&mut daemon.client(), MasterStep::Finish, &[], &[]);
    daemon.terminate();
    fs::write(home.state_file("audit.pin"), &pin).unwrap();
    home.refuses(&[], 65, "AUDIT_TAMPERED");
}

#[test]
fn a_pin_that_could_not_be_written_is_written_before_the_next_keyring() {
    let home = Home::initialized();
    let daemon = home.start();
    let next = new_key();
    let old = fs::read(home.state_file("audit.pin")).unwrap();
    take(&mut daemon.client(), MasterStep::Begin, &[], &next);
    // As a full disk would have left it.
    fs::write(home.state_file("audit.pin"), old).unwrap();
    install(&home, &next);
    // While it cannot be written, no further epoch begins: that pin would be one of two epochs before.
    let keyring = fs::read(home.state_file("keyring")).unwrap();
    let in_the_way = home.state_file("audit.pin.tmp");
    let _ = fs::remove_file(&in_the_way);
    fs::create_dir_all(in_the_way.join("x")).unwrap();
    let refused = ask(&mut daemon.client(), MasterStep::Finish, &[], &[]);
    assert_eq!(refused.error(), ErrorCode::StoreFailed);
    assert_eq!(fs::read(home.state_file("keyring")).unwrap(), keyring);
    fs::remove_dir_all(&in_the_way).unwrap();
    take(&mut daemon.client(), MasterStep::Finish, &[], &[]);
    daemon.kill();
    let _ = fs::remove_file(home.socket());
    home.start().terminate();
}

#[test]
fn a_log_begun_anew_knows_of_no_earlier_epoch() {
    let home = five_epochs();
    fs::remove_file(home.state_file("audit.pin")).unwrap();
    home.refuses(&[], 65, "ROLLBACK");
    let daemon = home.start_with(&["--accept-rollback"]);
    daemon.client().encrypt(EMPTY, b"x").unwrap();
    daemon.terminate();
    assert_eq!(verify(&home).0, 0);
    let daemon = home.start();
    rotate(&home, &mut daemon.client());
    daemon.terminate();
    let (code, found) = verify(&home);
    assert_eq!(code, 0, "{found}");
    home.start().terminate();
}

#[test]
fn a_file_that_goes_on_in_an_earlier_epoch_is_read_with_the_root_of_that_epoch() {
    let home = Home::initialized();
    let small = home.configure("[audit]\nrotate_size = \"64KiB\"\nbudget = \"1MiB\"\n");
    let arguments = ["--config", small.to_str().unwrap()];
    let daemon = home.start_with(&arguments);
    let mut client = daemon.client();
    let files = || log::log_files(&home);
    while files().len() < 3 {
        client.encrypt(EMPTY, b"x").unwrap();
    }
    rotate(&home, &mut client);
    let current = fs::read_to_string(home.state_file("audit.log")).unwrap();
    assert!(current.lines().next().unwrap().contains("\"audit.file\""), "it goes on with a segment");
    assert!(current.contains("\"epoch\":2"), "and another epoch begins in it");
    daemon.kill();
    let _ = fs::remove_file(home.socket());
    let daemon = home.start_with(&arguments);
    daemon.client().encrypt(EMPTY, b"x").unwrap();
    daemon.terminate();
    let (code, found) = verify(&home);
    assert_eq!(code, 0, "{found}");
    home.start_with(&arguments).terminate();
}
