//! Opening where no agent can run: with the master key and the keyring, or with a backup.

use std::fs;

use super::place::{Place, files, noise};

/// Values of every form, and an agent that is gone.
fn left_behind() -> (Place, Vec<u8>) {
    let place = Place::started();
    let plain = noise(300_000);
    fs::write(place.work("plain"), &plain).unwrap();
    place.sh("printf phrase-of-five-random-words > phrase; mkdir ../safe").expect(0);
    place
        .sh("keyagent keys create billing; printf 4111 | keyagent encrypt -a -k billing -c row=7 > card
             keyagent encrypt -k billing plain -o plain.ka; keyagent keys rotate billing
             printf 4222 | keyagent encrypt -k billing -o card2; printf x | keyagent encrypt -o x.ka
             keyagent backup create -o ../safe/ring.kabackup --passphrase-fd 3 3< phrase; keyagent stop; rm plain")
        .expect(0);
    (place, plain)
}

fn opens(place: &Place, flags: &str, plain: &[u8]) {
    let opened =
        |words: &str| place.sh(&format!("keyagent decrypt --offline {flags} {words}")).expect(0).stdout;
    assert_eq!(opened("-c row=7 card"), b"4111");
    assert_eq!(opened("card2"), b"4222");
    assert_eq!(opened("x.ka"), b"x");
    assert!(opened("plain.ka") == plain);
    assert!(opened("--offset 100000 --length 50000 plain.ka") == plain[100_000..150_000]);
    place.sh(&format!("keyagent decrypt --offline {flags} -c row=8 card")).refused(65, "DOES_NOT_OPEN");
}

#[test]
fn key_and_keyring_open_everything_and_nothing_is_touched() {
    let (place, plain) = left_behind();
    let before = place.snapshot();
    opens(&place, "", &plain);
    assert!(place.snapshot().keys().eq(before.keys()), "no file came or went, no agent was started");
    // Moved to where nobody expects them.
    place
        .sh("mkdir -m 700 ../moved; mv ~/.config/keyagent/key ~/.local/share/keyagent/keyring ../moved/")
        .expect(0);
    place.sh("keyagent decrypt --offline card2").refused(78, "KEY_MISSING");
    opens(&place, "--key-file ../moved/key --keyring ../moved/keyring", &plain);
}

#[test]
fn a_backup_alone_opens_everything() {
    let (place, plain) = left_behind();
    place.sh("rm -r ~/.config/keyagent ~/.local/share/keyagent ~/.local/state/keyagent").expect(0);
    let backup = "--backup ../safe/ring.kabackup --passphrase-fd 3 3< phrase";
    opens(&place, backup, &plain);
    place.sh("printf another-phrase-of-five > wrong").expect(0);
    place
        .sh("keyagent decrypt --offline --backup ../safe/ring.kabackup --passphrase-fd 3 card2 3< wrong")
        .refused(79, "BACKUP_NOT_OPENED");
    assert!(!files(place.home()).iter().any(|file| file.ends_with("keyring")), "nothing was written");
}

#[test]
fn states_hold_and_other_keys_open_nothing() {
    let (place, _) = left_behind();
    place.sh("keyagent start -q; keyagent keys retire billing 1; keyagent stop").expect(0);
    let refused = place.sh("keyagent decrypt --offline -c row=7 card").refused(79, "VERSION_RETIRED");
    assert!(refused.stderr.contains("key id"), "{}", refused.stderr);
    assert_eq!(place.sh("keyagent decrypt --offline card2").expect(0).stdout, b"4222");
    // Another master key: both are named.
    let other = Place::initialized();
    let flags = format!("--key-file {}", other.key().display());
    let refused =
        place.sh(&format!("keyagent decrypt --offline {flags} card2")).refused(79, "WRONG_MASTER_KEY");
    assert!(refused.stderr.contains("opens none of the keyring's slots"), "{}", refused.stderr);
    // A changed keyring.
    let mut bytes = fs::read(place.keyring()).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(place.work("changed"), bytes).unwrap();
    place.sh("keyagent decrypt --offline --keyring changed card2").refused(65, "DAMAGED");
    // Only asked for by name.
    place.sh("KEYAGENT_AUTOSTART=0 keyagent decrypt card2").refused(69, "AGENT_UNREACHABLE");
    assert_eq!(place.sh("keyagent decrypt --key-file x card2").code, 64);
    place.sh("keyagent decrypt --passphrase-fd 3 card2 3< phrase").refused(64, "USAGE");
}
