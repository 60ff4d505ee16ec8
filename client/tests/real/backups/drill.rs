//! The drill: a backup, everything else lost, and how long it takes until old data opens again.

use std::{io::Write as _, time::Instant};

use super::*;

#[test]
fn old_data_opens_on_a_new_machine() {
    let (place, stick) = (furnished(), Stick::new());
    let seal = "printf secret | keyagent encrypt -a -k openai -c app=web > value; \
                head -c 300000 /dev/zero > plain; keyagent encrypt -k billing/cards plain -o plain.ka; \
                keyagent keys rotate openai; printf later | keyagent encrypt -a -k openai > later; \
                printf default | keyagent encrypt -a > default";
    place.sh(seal).expect(0);
    place.created(&stick, "a", "");
    for file in ["value", "plain.ka", "later", "default"] {
        fs::copy(place.work(file), stick.path(file)).unwrap();
    }
    let (print, versions) = (place.run(&["fingerprint"], b"").expect(0).line(), place.versions());
    drop(place);
    let new = Place::new();
    let began = Instant::now();
    let done = new.restored(&stick, "a", "");
    let value = new.sh(&format!("keyagent decrypt -c app=web {}", stick.shown("value"))).expect(0);
    let took = began.elapsed();
    assert_eq!(value.stdout, b"secret", "{}", done.stderr);
    let _ = writeln!(
        std::io::stderr(),
        "restore drill: old data opened {} ms after the restore began",
        took.as_millis()
    );
    assert_eq!(new.sh(&format!("keyagent decrypt {}", stick.shown("later"))).expect(0).stdout, b"later");
    assert_eq!(new.sh(&format!("keyagent decrypt {}", stick.shown("default"))).expect(0).stdout, b"default");
    let plain = new.sh(&format!("keyagent decrypt {}", stick.shown("plain.ka"))).expect(0);
    assert!(plain.stdout == vec![0; 300_000]);
    // The same master key, the same ids, the same states.
    assert_eq!(new.run(&["fingerprint"], b"").expect(0).line(), print);
    assert_eq!(new.versions(), versions);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(new.key()).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o600);
    // It starts again by itself, and goes on.
    new.sh("keyagent stop; keyagent start; printf new | keyagent encrypt -k openai | keyagent decrypt")
        .expect(0);
    assert_eq!(new.restored(&stick, "a", "").text().lines().last(), Some("3 of 3 keys are the same here"));
}

#[test]
fn what_the_new_machine_seals_opens_on_the_old_one() {
    let (place, stick) = (furnished(), Stick::new());
    place.created(&stick, "a", "");
    let new = Place::new();
    new.restored(&stick, "a", "");
    for key in ["default", "openai", "billing/cards"] {
        let sealed = new.sh(&format!("printf new | keyagent encrypt -a -k {key}")).expect(0);
        assert_eq!(place.run(&["decrypt"], &sealed.stdout).expect(0).stdout, b"new");
    }
}

#[test]
fn the_keys_of_a_lost_state_folder_come_into_a_new_one() {
    let (place, stick) = (furnished(), Stick::new());
    let sealed = place.sh("printf secret | keyagent encrypt -a -k openai").expect(0);
    place.created(&stick, "a", "");
    let versions = place.versions();
    // The disk with the state is lost, the key file is not.
    place.sh("keyagent stop; rm -r ~/.local; keyagent start --new-keyring").expect(0);
    place.restored(&stick, "a", "");
    assert_eq!(place.run(&["decrypt"], &sealed.stdout).expect(0).stdout, b"secret");
    assert_eq!(place.versions(), versions);
}

#[test]
fn a_machine_that_has_anything_is_no_new_one() {
    let (place, stick) = (furnished(), Stick::new());
    place.created(&stick, "a", "");
    place.sh("keyagent stop").expect(0);
    let before = place.snapshot();
    let refused = place.backup(&format!("restore {} --yes", stick.shown("a")));
    let refused = refused.refused(69, "AGENT_UNREACHABLE");
    assert!(refused.stderr.contains("no new machine"), "{}", refused.stderr);
    fs::write(place.work("passphrase"), b"").unwrap();
    let after = place.snapshot();
    assert!(
        before.iter().all(|(path, bytes)| path.ends_with("passphrase") || after.get(path) == Some(bytes))
    );
    // A new machine on which nobody says yes stays as it is.
    let new = Place::new();
    new.backup(&format!("restore {}", stick.shown("a"))).refused(64, "USAGE");
    let looked = new.backup(&format!("restore {} --dry-run", stick.shown("a"))).expect(0);
    assert!(looked.text().contains("openai"), "{}", looked.text());
    assert!(!new.key().exists() && !new.keyring().exists() && !new.state().exists());
}

#[test]
fn a_protected_master_key_goes_along() {
    let (place, stick) = (Place::new(), Stick::new());
    fs::write(place.work("key-passphrase"), "one two three four five").unwrap();
    place
        .sh("keyagent init --no-input --protect passphrase --passphrase-fd 4 4< key-passphrase; keyagent start; \
             keyagent unlock --passphrase-fd 4 4< key-passphrase; keyagent keys create openai")
        .expect(0);
    let sealed = place.sh("printf secret | keyagent encrypt -a -k openai").expect(0);
    let print = place.run(&["fingerprint"], b"").expect(0).line();
    fs::write(place.work("passphrase"), PASSPHRASE).unwrap();
    let file = stick.shown("a");
    let said = place
        .sh(&format!("keyagent backup create -o {file} --passphrase-fd 3 3< passphrase --key-passphrase-fd 4 4< key-passphrase"))
        .expect(0);
    assert!(said.text().contains("with the master key"), "{said:?}");
    let new = Place::new();
    new.restored(&stick, "a", "");
    assert_eq!(new.run(&["fingerprint"], b"").expect(0).line(), print);
    assert_eq!(new.run(&["decrypt"], &sealed.stdout).expect(0).stdout, b"secret");
}
