//! Somebody has the master key that a rotation takes away, and every file from while both master keys opened the
//! keyring. Of what is on the disk once the rotation has ended, finished or given up, they open nothing.

use std::fs;

use keyagent_common::{context::EMPTY, op::MasterStep};
use keyagent_core::{
    arena::HeapArena,
    keyring::{Keyring, file::HEADER_BYTES},
};

use super::{ask, install, new_key, print, take, verify};
use crate::support::Home;

const SLOT_BYTES: usize = 88;

/// The keyring that is there now with the slot and the epoch of a copy: as if the root of the copy were still in use.
fn with_slot_of(copy: &[u8], now: &[u8], place: usize) -> Vec<u8> {
    let slot = &copy[HEADER_BYTES + place * SLOT_BYTES..][..SLOT_BYTES];
    let mut header = now[..HEADER_BYTES].to_vec();
    header[36..40].copy_from_slice(&copy[36..40]);
    [&header, slot, &now[HEADER_BYTES + SLOT_BYTES..]].concat()
}

fn a_copy_opens_nothing_behind(step: MasterStep) {
    let home = Home::initialized();
    let (old, next) = (home.master(), new_key());
    let (stays, goes, place) = if step == MasterStep::Finish { (next, old, 0) } else { (old, next, 1) };
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("other").unwrap();
    let sealed = client.encrypt_under("other", EMPTY, b"before").unwrap();
    take(&mut client, MasterStep::Begin, &old, &next);
    let copy = fs::read(home.state_file("keyring")).unwrap();
    let pin = fs::read(home.state_file("audit.pin")).unwrap();
    install(&home, &stays);
    let done = take(&mut client, step, &[], &[]);
    assert_eq!((done.masters, done.epoch), (vec![print(&stays)], 3));
    client.create_key("later").unwrap();
    assert_eq!(client.decrypt(EMPTY, &sealed).unwrap(), b"before");
    daemon.terminate();
    let now = fs::read(home.state_file("keyring")).unwrap();
    // The control: the copy opens with either.
    for master in [&stays, &goes] {
        let (stolen, _) = Keyring::open(&HeapArena, &copy, master).unwrap();
        stolen.check_canary().unwrap();
    }
    let (current, _) = Keyring::open(&HeapArena, &now, &stays).unwrap();
    current.check_canary().unwrap();
    assert!(Keyring::open(&HeapArena, &now, &goes).is_err());
    assert!(Keyring::open(&HeapArena, &with_slot_of(&copy, &now, place), &goes).is_err(), "the same root");
    let (stolen, _) = Keyring::open(&HeapArena, &copy, &goes).unwrap();
    let pin_now = fs::read(home.state_file("audit.pin")).unwrap();
    assert!(stolen.open_pin(&pin).is_ok() && stolen.open_pin(&pin_now).is_err(), "the same pin key");
    assert_eq!(verify(&home).0, 0);
    // What they put back is refused.
    fs::write(home.state_file("keyring"), &copy).unwrap();
    home.refuses(&[], 65, "AUDIT_TAMPERED");
    fs::write(home.state_file("keyring"), &now).unwrap();
    fs::write(home.state_file("audit.pin"), &pin).unwrap();
    home.refuses(&[], 65, "AUDIT_TAMPERED");
    fs::write(home.state_file("audit.pin"), &pin_now).unwrap();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(client.decrypt(EMPTY, &sealed).unwrap(), b"before");
    let again = ask(&mut client, step, &[], &[]);
    assert_eq!(again.code, 0);
    drop(client);
    daemon.terminate();
}

#[test]
fn a_copy_from_in_between_opens_nothing_that_a_finished_rotation_left() {
    a_copy_opens_nothing_behind(MasterStep::Finish);
}

#[test]
fn a_copy_from_in_between_opens_nothing_that_a_rotation_given_up_left() {
    a_copy_opens_nothing_behind(MasterStep::Abandon);
}
