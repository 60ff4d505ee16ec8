//! The entry of a password manager: with the master key only where that was asked for, and only the right one.

use std::{fs, os::unix::fs::PermissionsExt};

use super::{Place, document, keyagent};
use crate::place::run;

fn master(place: &Place) -> String {
    fs::read_to_string(place.key()).unwrap().trim_end().to_owned()
}

#[test]
fn only_reveal_writes_the_master_key() {
    let place = Place::started();
    let hidden = keyagent(&place, "keys card").expect(0);
    assert!(
        !hidden.text().contains(&master(&place)) && hidden.text().contains("Password: (hidden"),
        "{hidden:?}"
    );
    assert!(document(&place, "keys card")["password"].is_null());
    let shown = keyagent(&place, "keys card --reveal").expect(0).text();
    assert!(shown.contains(&format!("\nPassword: {}\n", master(&place))), "{shown}");
    assert_eq!(document(&place, "keys card --reveal")["password"], master(&place));
    // What is on the card makes the key file again.
    let copy = place.work("copy");
    fs::write(&copy, master(&place)).unwrap();
    fs::set_permissions(&copy, PermissionsExt::from_mode(0o600)).unwrap();
    let known = keyagent(&place, "fingerprint").expect(0).text();
    assert_eq!(keyagent(&place, "fingerprint --key-file copy").expect(0).text(), known);
    keyagent(&place, "keys card --reveal --key-file copy").expect(0);
}

#[test]
fn another_master_key_is_refused_and_not_shown() {
    let (place, other) = (Place::started(), Place::initialized());
    let file = other.key().display().to_string();
    let refused = keyagent(&place, &format!("keys card --reveal --key-file {file}"));
    assert!(refused.stdout.is_empty() && !refused.stderr.contains(&master(&other)), "{refused:?}");
    refused.refused(79, "WRONG_MASTER_KEY");
    fs::set_permissions(place.key(), PermissionsExt::from_mode(0o644)).unwrap();
    keyagent(&place, "keys card --reveal").refused(77, "KEY_PERMISSIONS");
}

#[test]
fn a_protected_master_key_needs_its_passphrase() {
    let place = Place::new();
    fs::write(place.work("words"), "correct horse battery staple\n").unwrap();
    fs::write(place.work("wrong"), "incorrect horse battery staple\n").unwrap();
    place.sh("keyagent init --no-input --protect passphrase --passphrase-fd 3 3<words").expect(0);
    place.sh("keyagent start; keyagent unlock --passphrase-fd 3 3<words").expect(0);
    let mut command = place.program("/bin/sh");
    command.args(["-euc", "keyagent keys card --reveal --passphrase-fd 3 3<words"]);
    let shown = run(command, b"").expect(0).text();
    let password = shown.lines().find_map(|line| line.strip_prefix("Password: ")).unwrap();
    assert!(password.len() == 64 && password.bytes().all(|byte| byte.is_ascii_hexdigit()), "{shown}");
    place.sh("keyagent keys card --reveal --passphrase-fd 3 3<wrong").refused(79, "WRONG_PASSPHRASE");
    keyagent(&place, "keys card --reveal --no-input").refused(64, "USAGE");
}
