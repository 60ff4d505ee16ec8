//! Key files and keyrings that are not as they must be: what is said, with which exit code, and that
//! nothing is repaired, replaced or made.

use std::{fs, os::unix::fs::symlink};

use super::place::{Done, Place, am_root, chmod};

/// `start` is refused like this, says why or what to do, and leaves every file as it was.
#[track_caller]
fn start_is_refused(place: &Place, words: &[&str], code: i32, name: &str) -> Done {
    let before = place.snapshot();
    let done = place.run(&[&["start"], words].concat(), b"").refused(code, name);
    assert!(done.stderr.contains("\n  why    ") || done.stderr.contains("\n  fix    "), "{}", done.stderr);
    assert_eq!(before.keys().collect::<Vec<_>>(), place.snapshot().keys().collect::<Vec<_>>());
    assert!(before == place.snapshot(), "a file was changed");
    assert_eq!(place.run(&["status"], b"").code, 69);
    done
}

#[test]
fn a_key_file_for_others_is_refused() {
    for mode in [0o644, 0o640, 0o604, 0o660] {
        let place = Place::initialized();
        chmod(&place.key(), mode);
        let done = start_is_refused(&place, &[], 77, "KEY_PERMISSIONS");
        let text = &done.stderr;
        assert!(text.contains(&format!("mode {mode:04o}")) && text.contains("chmod 600"), "{text}");
        chmod(&place.key(), 0o600);
        place.run(&["start"], b"").expect(0);
    }
}

#[test]
fn a_link_to_a_key_and_a_second_name_are_refused() {
    let place = Place::initialized();
    let elsewhere = place.path("elsewhere");
    fs::rename(place.key(), &elsewhere).unwrap();
    symlink(&elsewhere, place.key()).unwrap();
    start_is_refused(&place, &[], 77, "KEY_PERMISSIONS");
    fs::remove_file(place.key()).unwrap();
    fs::hard_link(&elsewhere, place.key()).unwrap();
    start_is_refused(&place, &[], 77, "KEY_PERMISSIONS");
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let place = Place::initialized();
    chmod(place.key().parent().unwrap(), 0o777);
    start_is_refused(&place, &[], 77, "KEY_PERMISSIONS");
}

#[test]
fn content_that_is_no_key_is_refused_and_never_replaced_or_repeated() {
    let place = Place::initialized();
    let key = fs::read_to_string(place.key()).unwrap();
    for content in [
        String::new(),
        "hunter2hunter2".to_owned(),
        key[..63].to_owned(),
        format!("{key}\n"),
        format!(" {key}"),
        format!("0x{key}"),
        key.replace('\n', "\r\n"),
        "z".repeat(64),
        "0".repeat(64),
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f".to_owned(),
        "A".repeat(100_000),
    ] {
        fs::write(place.key(), &content).unwrap();
        let done = start_is_refused(&place, &[], 78, "KEY_MALFORMED");
        let beginning = content.trim().get(..12).unwrap_or("no such text");
        assert!(!done.stderr.contains(beginning), "{}", done.stderr);
    }
}

#[test]
fn two_sources_that_disagree_are_refused_with_both_fingerprints() {
    let (place, other) = (Place::initialized(), Place::initialized());
    let folder = place.path("credentials");
    fs::create_dir(&folder).unwrap();
    chmod(&folder, 0o700);
    fs::copy(other.key(), folder.join("keyagent.master-key")).unwrap();
    let credentials = ["--credentials-dir", folder.to_str().unwrap()];
    let done = start_is_refused(&place, &credentials, 78, "KEY_SOURCES_DISAGREE");
    for home in [&place, &other] {
        let fingerprint = home.run(&["fingerprint", "--key-file", home.key().to_str().unwrap()], b"");
        let line = fingerprint.expect(0).line();
        let shown = line.split(' ').any(|form| done.stderr.contains(form));
        assert!(shown, "{line}: {}", done.stderr);
    }
    fs::copy(place.key(), folder.join("keyagent.master-key")).unwrap();
    place.run(&["start", credentials[0], credentials[1]], b"").expect(0);
}

#[test]
fn a_missing_keyring_is_not_made_again() {
    let place = Place::started();
    let sealed = place.run(&["encrypt"], b"secret").expect(0).stdout;
    place.run(&["stop"], b"").expect(0);
    fs::remove_file(place.keyring()).unwrap();
    start_is_refused(&place, &[], 78, "KEYRING_MISSING");
    // Asked for, a new one opens what the key `default` sealed: that key follows from the master key.
    place.run(&["start", "--new-keyring"], b"").expect(0);
    assert_eq!(place.run(&["decrypt"], &sealed).expect(0).stdout, b"secret");
}

#[test]
fn a_keyring_with_any_byte_changed_or_cut_off_is_refused() {
    let place = Place::initialized();
    let keyring = fs::read(place.keyring()).unwrap();
    for at in (0..keyring.len()).step_by(16) {
        let mut damaged = keyring.clone();
        damaged[at] ^= 0x10;
        fs::write(place.keyring(), damaged).unwrap();
        let before = place.snapshot();
        let done = place.run(&["start"], b"");
        assert!([65, 76, 78, 79].contains(&done.code), "byte {at}: {done:?}");
        assert!(
            done.stderr.contains("refusing to start") && done.stderr.contains("\n  fix    "),
            "{at}: {done:?}"
        );
        assert!(before == place.snapshot(), "byte {at}: a file was changed");
    }
    for cut in [0, 1, 47, 48, 135, 136, 300, keyring.len() - 1] {
        fs::write(place.keyring(), &keyring[..cut]).unwrap();
        start_is_refused(&place, &[], 65, "DAMAGED");
    }
    fs::write(place.keyring(), keyring).unwrap();
    place.run(&["start"], b"").expect(0);
}

#[test]
fn no_source_is_searched_behind_one_that_cannot_be_read() {
    let place = Place::initialized();
    start_is_refused(&place, &["--key-file", "nowhere"], 78, "KEY_MISSING");
    fs::rename(place.key(), place.path("key")).unwrap();
    fs::create_dir(place.key()).unwrap();
    start_is_refused(&place, &[], 78, "KEY_MALFORMED");
    if am_root() {
        // As another user: state_folder.rs.
        return;
    }
    chmod(&place.path("key"), 0);
    let key = place.path("key");
    start_is_refused(&place, &["--key-file", key.to_str().unwrap()], 77, "KEY_PERMISSIONS");
}
