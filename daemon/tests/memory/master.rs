//! After a rotation of the master key nothing of the old master, of the old root or of what was derived from it is in
//! memory, not even where keys may be; of the next ones only the subkeys that are kept.

use keyagent_common::op::{MasterRotate, MasterRotateRequest, MasterStep};

use super::{PINNED, WITHOUT_SECRET_MEMORY, Watched, assert_none, can_scan, release_daemon, sleep};
use crate::{
    memory_support::{needles, scanner::Scanner},
    support::{self, Client},
};

fn take(client: &mut Client, step: MasterStep, current: &[u8], next: &[u8]) {
    let reply = client.ask::<MasterRotate>(&MasterRotateRequest { step, current, next });
    assert_eq!(reply.code, 0, "{reply:?}");
}

#[test]
fn a_rotation_leaves_nothing_of_the_old_root() {
    const TEST: &str = "a_rotation_leaves_nothing_of_the_old_root";
    if !can_scan(TEST, &["strace"]) {
        return;
    }
    let mut watched = Watched::start(&WITHOUT_SECRET_MEMORY, release_daemon());
    watched.traffic.run(&watched.daemon, 500);
    let (old, state) = (watched.master, watched.home.state());
    let mut gone = needles::of_root("old", &old, &state);
    let begin = Scanner::new(&gone);
    let scan = watched.scan(&begin);
    let found = scan.inside();
    assert!(found.contains_key("old record") && found.contains_key("old head"), "the control: {found:?}");
    // The log's keys so far: the last of them is replaced by one under the next root.
    sleep(PINNED);
    let chain = watched.needles().all.into_iter().filter(|needle| needle.name.starts_with("audit key"));
    gone.extend(chain);
    let next: [u8; 32] = support::unhex(&support::random_key()).try_into().unwrap();
    let mut client = watched.daemon.client();
    take(&mut client, MasterStep::Begin, &old, &next);
    watched.home.write_key(&format!("{}\n", support::hex(&next)));
    take(&mut client, MasterStep::Finish, &[], &[]);
    watched.traffic.opens(&watched.daemon);
    sleep(PINNED);
    let scanner = Scanner::new(&gone);
    let scan = watched.scan(&scanner);
    assert_none(&scan, "the old root after a rotation");
    let left: Vec<&str> = scan.inside().into_keys().collect();
    assert_eq!(left, [""; 0], "left in locked pages");
    let now = needles::of_root("next", &next, &state);
    let scanner = Scanner::new(&now);
    let scan = watched.scan(&scanner);
    assert_none(&scan, "the next root after a rotation");
    let inside = scan.inside();
    for kept in ["next record", "next head", "next pin", "next context hash", "next reuse"] {
        assert!(inside.contains_key(kept), "{kept}: {inside:?}");
    }
    for wiped in ["next master", "next root", "next slot", "next audit", "next audit archive"] {
        assert!(!inside.contains_key(wiped), "{wiped}: {inside:?}");
    }
    drop(client);
    watched.daemon.terminate();
}
