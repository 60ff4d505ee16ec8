//! `init` with a passphrase.

use std::{fs, os::unix::fs::MetadataExt};

use super::{
    on_terminal::{ENTER, OnTerminal},
    protected,
};
use crate::place::{Done, Place};

/// `init --protect passphrase` with the passphrase of a file.
pub(super) fn init(place: &Place, passphrase: &str, words: &str) -> Done {
    fs::write(place.work("new"), passphrase).unwrap();
    place.sh(&format!("keyagent init --no-input --protect passphrase --passphrase-fd 3 {words} 3< new"))
}

#[test]
fn a_protected_key_is_made_without_a_plain_one() {
    let place = Place::new();
    let done = init(&place, "five random words are better\n", "--backup-key ../copy --json").expect(0);
    assert!(!place.key().exists() && place.keyring().exists());
    let metadata = fs::metadata(protected(&place)).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o600, 1));
    assert_eq!(fs::metadata(protected(&place).parent().unwrap()).unwrap().mode() & 0o7777, 0o700);
    let text = fs::read_to_string(protected(&place)).unwrap();
    assert!(
        text.starts_with("kp1.AAABAAMAAAABAAAA") && text.len() == 160,
        "64 MiB, 3 passes, 1 lane: {text}"
    );
    assert_eq!(fs::read_to_string(place.path("copy")).unwrap(), text);
    let document: serde_json::Value = serde_json::from_str(&done.line()).unwrap();
    assert_eq!(document["key_file"], protected(&place).to_str().unwrap());
    assert_eq!(document["protection"], "passphrase");
    let bytes = hex::encode(base64url(text.trim_end().strip_prefix("kp1.").unwrap()));
    assert_eq!(document["fingerprint"], bytes[56..88]);
    let before = place.snapshot();
    init(&place, "five random words are better\n", "").refused(73, "ALREADY_INITIALIZED");
    place.run(&["init", "--no-input"], b"").refused(73, "ALREADY_INITIALIZED");
    assert!(place.snapshot() == before, "nothing is touched");
}

/// For a text of the alphabet of base64url.
fn base64url(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        bits = bits << 6 | u32::try_from(ALPHABET.iter().position(|other| *other == byte).unwrap()).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 255).unwrap());
        }
    }
    bytes
}

#[test]
fn a_new_passphrase_has_to_be_fit_and_nothing_is_made_otherwise() {
    let place = Place::new();
    for (bad, what) in [("", "empty"), ("seven77", "too short"), ("with\tcontrol characters", "control")] {
        let done = init(&place, bad, "");
        assert!(done.stderr.contains(what), "{}", done.stderr);
        done.refused(64, "USAGE");
    }
    place.sh("keyagent init --no-input --passphrase-fd 3 3< new").refused(64, "USAGE");
    place.run(&["init", "--no-input", "--protect", "passphrase"], b"").refused(64, "USAGE");
    assert!(!protected(&place).exists() && !place.keyring().exists());
    // Where no keyring can be made, no key is left in the way of the next attempt.
    fs::write(place.path(".local"), "").unwrap();
    assert_ne!(init(&place, "five random words are better", "").code, 0);
    assert!(!protected(&place).exists());
    fs::remove_file(place.path(".local")).unwrap();
    let done = init(&place, "eight888", "").expect(0);
    assert!(done.stderr.contains("warning: fewer than 14 characters"), "{}", done.stderr);
}

#[test]
fn a_new_passphrase_is_asked_for_twice() {
    let place = Place::new();
    let words = ["init", "--no-start", "--backup-key", "copy"];
    let mut session = OnTerminal::new(&place, &words);
    session.expect("Protect the master key with a passphrase", 1);
    session.press(&format!("yes{ENTER}"));
    session.expect("key.protected] ", 1);
    session.press(ENTER);
    session.expect("Passphrase for the new master key: ", 1);
    assert!(!session.shows_what_is_typed());
    session.press(&format!("five random words{ENTER}"));
    session.expect("The same again: ", 1);
    session.press(&format!("five other words{ENTER}"));
    assert_eq!(session.end().code(), Some(64), "{}", session.screen());
    assert!(!protected(&place).exists());
    let words =
        ["init", "--no-start", "--backup-key", "copy", "--protect", "passphrase", "--key-file", "sealed"];
    let mut session = OnTerminal::new(&place, &words);
    session.expect("Passphrase for the new master key: ", 1);
    session.press(&format!("five random words{ENTER}"));
    session.expect("The same again: ", 1);
    session.press(&format!("five random words{ENTER}"));
    assert!(session.end().success(), "{}", session.screen());
    assert!(place.work("sealed").exists() && place.work("copy").exists());
    assert!(!place.key().exists() && !protected(&place).exists());
    assert!(
        !session.screen().contains("random words") && session.shows_what_is_typed(),
        "{}",
        session.screen()
    );
}
