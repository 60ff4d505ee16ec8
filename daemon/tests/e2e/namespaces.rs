//! User namespaces (row 3): an unmapped user shows as the overflow uid and is never served, nor can a daemon
//! run as it; a caller that calls itself root in its own namespace is seen as who it is.

use std::{fs, process::Command};

use crate::{
    helper::{Treatment, probe},
    peers::{open_for_all, refusals},
    support::{Home, am_root, eventually, have, log, process::Daemon, skipped, snapshot},
};

const FOREIGN: u32 = 54_321;

fn overflow_uid() -> u32 {
    fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap().trim().parse().unwrap()
}

/// Whether a user namespace can be made at all.
fn can_unshare(arguments: &[&str]) -> bool {
    Command::new("unshare").args(arguments).arg("true").output().is_ok_and(|output| output.status.success())
}

fn start_in_namespace(home: &Home, unshare: &[&str]) -> Daemon {
    let mut daemon = Daemon::spawn(home.command_through(unshare), &home.socket());
    eventually("a socket", || {
        assert!(!daemon.has_ended(), "{}", daemon.stderr());
        fs::symlink_metadata(home.socket()).is_ok()
    });
    open_for_all(home);
    daemon
}

#[test]
fn an_unmapped_user_is_refused() {
    const NAME: &str = "an_unmapped_user_is_refused";
    if !am_root() || !can_unshare(&["-U", "-r"]) {
        return skipped(NAME, "needs root and user namespaces");
    }
    let home = Home::initialized();
    let daemon = start_in_namespace(&home, &["unshare", "-U", "-r"]);
    assert_eq!(probe(daemon.socket(), &[], FOREIGN, FOREIGN), Treatment::Refused);
    assert_eq!(probe(daemon.socket(), &[], 0, 0), Treatment::Served);
    daemon.terminate();
    assert_eq!(refusals(&home, overflow_uid()), 1);
}

#[test]
fn a_daemon_of_the_overflow_user_does_not_start() {
    const NAME: &str = "a_daemon_of_the_overflow_user_does_not_start";
    if !am_root() || !can_unshare(&["-U"]) {
        return skipped(NAME, "needs root and user namespaces");
    }
    let home = Home::initialized();
    let before = snapshot(home.path());
    // Without a map everybody is 65534 in there: an owner who could be anybody.
    let refused = home.must_refuse(&mut home.command_through(&["unshare", "-U"]), 78, "CONFIGURATION");
    assert!(refused.stderr.contains(&overflow_uid().to_string()), "{}", refused.stderr);
    assert_eq!(snapshot(home.path()), before);
}

#[test]
fn the_overflow_user_outside_a_namespace_is_refused_too() {
    if !am_root() {
        return skipped("the_overflow_user_outside_a_namespace_is_refused_too", "needs root");
    }
    let home = Home::initialized();
    let daemon = home.start();
    open_for_all(&home);
    assert_eq!(probe(daemon.socket(), &[], overflow_uid(), overflow_uid()), Treatment::Refused);
    daemon.terminate();
    assert_eq!(refusals(&home, overflow_uid()), 1);
}

#[test]
fn a_caller_in_a_namespace_is_seen_as_who_it_is() {
    const NAME: &str = "a_caller_in_a_namespace_is_seen_as_who_it_is";
    if !am_root() || !can_unshare(&["-U", "-r"]) {
        return skipped(NAME, "needs root and user namespaces");
    }
    let home = Home::initialized();
    let daemon = home.start();
    open_for_all(&home);
    // The owner, whatever it calls itself in there.
    for unshare in [&["unshare", "-U", "-r"][..], &["unshare", "-U"]] {
        assert_eq!(probe(daemon.socket(), unshare, 0, 0), Treatment::Served, "{unshare:?}");
    }
    // A stranger that has made itself root.
    match probe(daemon.socket(), &["unshare", "-U", "-r"], FOREIGN, FOREIGN) {
        Treatment::NoProbe => skipped(NAME, "another user cannot reach the test binary or make a namespace"),
        treatment => {
            assert_eq!(treatment, Treatment::Refused);
            daemon.terminate();
            assert_eq!(refusals(&home, FOREIGN), 1);
            assert_eq!(log::count(&log::lines(&home), "peer.refused"), 1);
        }
    }
}

#[test]
fn groups_without_a_number_are_left_out() {
    const NAME: &str = "groups_without_a_number_are_left_out";
    if !am_root() || !have("setpriv") || !can_unshare(&["-U", "-r"]) {
        return skipped(NAME, "needs root, setpriv and user namespaces");
    }
    let home = Home::initialized();
    // Only root has a number in there: the owner's other groups show as the overflow group, and give nothing.
    let daemon = start_in_namespace(&home, &["unshare", "-U", "-r"]);
    assert_eq!(probe(daemon.socket(), &["setpriv", "--groups=54321,7"], 0, 0), Treatment::Served);
    // As primary group such a one makes it a stranger.
    assert_eq!(probe(daemon.socket(), &[], 0, FOREIGN), Treatment::Refused);
    daemon.terminate();
    assert_eq!(refusals(&home, 0), 1);
}
