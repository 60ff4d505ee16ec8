//! Damaged and forged backups: refused whole, with the code that says which it is.

use keyagent_common::backup::{Backup, BackupError};
use sha2::{Digest, Sha256};

use super::*;

fn repaired(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 32;
    let checksum = Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum);
    bytes
}

#[test]
fn every_changed_bit_and_every_cut_shows_in_the_checksum() {
    let (place, stick) = (Place::started(), Stick::new());
    place.created(&stick, "a", "");
    let whole = fs::read(stick.path("a")).unwrap();
    assert!(Backup::parse(&whole).is_ok());
    for place in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[place / 8] ^= 1 << (place % 8);
        assert!(Backup::parse(&bytes).is_err(), "bit {place}");
    }
    for length in 0..whole.len() {
        assert!(Backup::parse(&whole[..length]).is_err(), "{length}");
    }
    // As a person sees it.
    let half = &whole[..whole.len() / 2];
    for (name, bytes) in [("cut", half), ("empty", b""), ("other", b"something else entirely")] {
        fs::write(stick.path(name), bytes).unwrap();
        for verb in ["check", "restore --yes"] {
            place.backup(&format!("{verb} {}", stick.shown(name))).refused(65, "BACKUP_DAMAGED");
        }
    }
    place.backup(&format!("check {}", stick.shown("none"))).refused(66, "INPUT_MISSING");
}

/// One byte in each part, and the checksum made anew: only whoever has the key can do that.
#[test]
fn a_repaired_checksum_helps_nobody() {
    let (place, other, stick) = (furnished(), Place::started(), Stick::new());
    place.created(&stick, "a", "");
    let whole = fs::read(stick.path("a")).unwrap();
    let keyring = fs::read(other.keyring()).unwrap();
    let step = whole.len() / 24;
    for place in (16..whole.len() - 32).step_by(step) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        fs::write(stick.path("b"), repaired(bytes)).unwrap();
        let refused = other.backup(&format!("restore {} --yes", stick.shown("b")));
        assert!([65, 79].contains(&refused.code), "{place}: {refused:?}");
    }
    assert_eq!(fs::read(other.keyring()).unwrap(), keyring, "nothing of it was taken in");
}

/// Pages of one backup in another one, in another order, or left out.
#[test]
fn pages_are_those_of_this_backup() {
    let (place, stick) = (furnished(), Stick::new());
    place.created(&stick, "a", "");
    place.created(&stick, "b", "");
    let (a, b) = (fs::read(stick.path("a")).unwrap(), fs::read(stick.path("b")).unwrap());
    let (first, second) = (Backup::parse(&a).unwrap(), Backup::parse(&b).unwrap());
    assert_eq!(first.origin, second.origin, "the keyring did not change between them");
    let page = second.pages[0];
    let place_of_page = a.windows(first.pages[0].len()).position(|window| window == first.pages[0]).unwrap();
    let mut swapped = a.clone();
    swapped[place_of_page..place_of_page + page.len()].copy_from_slice(page);
    let swapped = repaired(swapped);
    assert!(Backup::parse(&swapped).is_ok(), "without the key it cannot be seen");
    fs::write(stick.path("c"), &swapped).unwrap();
    place.backup(&format!("check {}", stick.shown("c"))).refused(65, "BACKUP_DAMAGED");
    place.backup(&format!("restore {} --yes", stick.shown("c"))).refused(65, "BACKUP_DAMAGED");
    assert_eq!(first.verify(&[0; 32]), Err(BackupError::AnotherKey));
}
