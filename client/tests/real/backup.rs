//! The backup drill, by the words of README and ARCHITECTURE: two files, everything else lost.

use std::fs;

use super::place::{Place, noise};

const SAVE: &str = "mkdir -p ../safe1 ../safe2; cp ~/.config/keyagent/key ../safe1/; \
                    cp ~/.local/share/keyagent/keyring ../safe2/";
const RESTORE: &str = "mkdir -p -m 700 ~/.config ~/.config/keyagent ~/.local/share/keyagent; \
                       install -m 600 ../safe1/key ~/.config/keyagent/key; \
                       install -m 600 ../safe2/keyring ~/.local/share/keyagent/keyring";

fn with_data() -> (Place, Vec<u8>) {
    let place = Place::started();
    let plain = noise(2_000_000);
    fs::write(place.work("plain"), &plain).unwrap();
    place.sh("printf secret | keyagent encrypt -a -c app=web > value; keyagent encrypt plain -o plain.ka; rm plain").expect(0);
    (place, plain)
}

#[track_caller]
fn opens(place: &Place, plain: &[u8]) {
    assert_eq!(place.sh("keyagent decrypt -c app=web value").expect(0).stdout, b"secret");
    assert!(place.sh("keyagent decrypt plain.ka").expect(0).stdout == plain);
}

#[test]
fn two_files_bring_everything_back() {
    let (place, plain) = with_data();
    place.sh(SAVE).expect(0);
    place.sh("keyagent stop; rm -r ~/.config ~/.local ~/run/*").expect(0);
    place.sh("keyagent start").refused(78, "KEY_MISSING");
    place.sh(RESTORE).expect(0);
    // The keyring knows of a log that is lost: that is said, and accepted on purpose.
    let refused = place.sh("keyagent start").refused(65, "ROLLBACK");
    assert!(refused.stderr.contains("--accept-rollback"), "{}", refused.stderr);
    place.sh("keyagent start --accept-rollback").expect(0);
    opens(&place, &plain);
    place.sh("keyagent stop; keyagent start").expect(0);
    opens(&place, &plain);
}

#[test]
fn an_older_keyring_beside_a_newer_log_is_refused_until_accepted() {
    let (place, plain) = with_data();
    place.sh(SAVE).expect(0);
    // A keyring of another time, which the log has seen committed.
    place.sh("keyagent stop; rm ~/.local/share/keyagent/keyring; keyagent start --new-keyring").expect(0);
    place.sh(&format!("keyagent stop; {RESTORE}")).expect(0);
    let refused = place.sh("keyagent start");
    assert!([65, 78].contains(&refused.code) && refused.stderr.contains("--accept-rollback"), "{refused:?}");
    place.sh("keyagent start --accept-rollback").expect(0);
    opens(&place, &plain);
    place.sh("keyagent stop; keyagent start").expect(0);
    opens(&place, &plain);
}

#[test]
fn neither_file_alone_starts_an_agent_or_is_taken_for_nothing() {
    let (place, _) = with_data();
    place.sh(SAVE).expect(0);
    place.sh("keyagent stop; rm ~/.local/share/keyagent/keyring").expect(0);
    place.sh("keyagent start").refused(78, "KEYRING_MISSING");
    place
        .sh("rm -r ~/.config ~/.local; mkdir -p -m 700 ~/.local ~/.local/share ~/.local/share/keyagent")
        .expect(0);
    place
        .sh("install -m 600 ../safe2/keyring ~/.local/share/keyagent/keyring; keyagent start")
        .refused(78, "KEY_MISSING");
    // Nor does init make a new key beside an old keyring.
    place.sh("keyagent init --no-input").refused(73, "ALREADY_INITIALIZED");
}

#[test]
fn init_copies_the_key_where_asked_and_the_copy_is_as_good() {
    let place = Place::new();
    place.sh("mkdir ../usb; keyagent init --no-input --backup-key ../usb/key").expect(0);
    assert_eq!(place.sh("stat -c %a ../usb/key").line(), "600");
    place
        .sh("cmp ../usb/key ~/.config/keyagent/key; keyagent start -q; printf x | keyagent encrypt -o value")
        .expect(0);
    place.sh("keyagent stop -q; rm ~/.config/keyagent/key; keyagent start -q --key-file ~/usb/key").expect(0);
    assert_eq!(place.sh("keyagent decrypt value").expect(0).stdout, b"x");
}
