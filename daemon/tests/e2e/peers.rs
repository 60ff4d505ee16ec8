//! Who is served (rows 1, 2, 6, 29, 31): the kernel's uid decides before a byte is read, and too many
//! connections or passed descriptors harm nobody.

mod identity;
mod told;

use std::{fs, io::IoSlice, os::fd::AsRawFd, path::Path, process::Command};

use keyagent_common::{
    codec,
    context::EMPTY,
    op::{Empty, Status, StatusReply},
};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::{
    helper::{Treatment, probe},
    policy::stage::{Person, Stage},
    support::{Client, Home, am_root, chmod, client, eventually, have, log, process::Daemon, skipped},
};

/// Nobody's uid here.
const FOREIGN: u32 = 54_321;

/// Opens folder and socket for everybody, on purpose: the check of the peer must hold alone.
pub(crate) fn open_for_all(home: &Home) {
    for folder in [home.path().to_path_buf(), home.join("run")] {
        chmod(&folder, 0o755);
    }
    chmod(&home.socket(), 0o777);
}

/// Lines about refused peers: uid and how often in all.
pub(crate) fn refusals(home: &Home, uid: u32) -> u64 {
    let lines = log::lines(home);
    let of_uid = |line: &&serde_json::Value| {
        line["event_type"] == "peer.refused" && line["metadata"]["uid"] == u64::from(uid)
    };
    lines
        .iter()
        .filter(of_uid)
        .map(|line| {
            assert_eq!(line["success"], false);
            line["metadata"]["count"].as_u64().unwrap()
        })
        .sum()
}

#[test]
fn another_user_is_refused_and_recorded() {
    if !am_root() {
        return skipped("another_user_is_refused_and_recorded", "needs root to become another user");
    }
    let home = Home::initialized();
    let daemon = home.start();
    // As it is, the file system keeps others away.
    assert_eq!(probe(daemon.socket(), &[], FOREIGN, FOREIGN), Treatment::Unreachable);
    open_for_all(&home);
    for gid in [FOREIGN, 0] {
        for _ in 0..3 {
            assert_eq!(probe(daemon.socket(), &[], FOREIGN, gid), Treatment::Refused);
        }
    }
    let mut client = daemon.client();
    client.encrypt(EMPTY, b"the owner is served meanwhile").unwrap();
    assert_eq!(client.status("denied"), "6");
    assert_eq!(client.status("connections"), "1");
    daemon.terminate();
    assert_eq!(refusals(&home, FOREIGN), 6);
    assert_eq!(log::count(&log::lines(&home), "encrypt"), 1);
}

#[test]
fn a_daemon_of_an_ordinary_user_does_not_serve_root() {
    const NAME: &str = "a_daemon_of_an_ordinary_user_does_not_serve_root";
    if !am_root() || !have("setpriv") {
        return skipped(NAME, "needs root and setpriv");
    }
    let home = Home::initialized();
    for path in ["", "config", "config/key", "state"].map(|name| home.join(name)) {
        std::os::unix::fs::chown(path, Some(FOREIGN), Some(FOREIGN)).unwrap();
    }
    for entry in fs::read_dir(home.state()).unwrap().map(Result::unwrap) {
        std::os::unix::fs::chown(entry.path(), Some(FOREIGN), Some(FOREIGN)).unwrap();
    }
    let become_user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"];
    let daemon = Daemon::spawn(home.command_through(&become_user), &home.socket());
    eventually("a socket", || fs::symlink_metadata(home.socket()).is_ok());
    open_for_all(&home);
    let treatment = probe(daemon.socket(), &[], FOREIGN, FOREIGN);
    assert_eq!(treatment, Treatment::Served, "{}", daemon.stderr());
    assert_eq!(probe(daemon.socket(), &[], 0, 0), Treatment::Refused);
    daemon.terminate();
    assert_eq!(refusals(&home, 0), 1);
}

/// Whether the daemon serves this caller and knows of no other connection.
fn is_alone(socket: &Path) -> bool {
    let asked = Client::connect(socket).and_then(|mut client| {
        client.send(&client::request::<Status>(1, &Empty {}))?;
        client.reply()
    });
    let Ok(Some(reply)) = asked else { return false };
    let body = reply.success().unwrap();
    let status = codec::decode::<StatusReply<'_>>(&body).unwrap();
    status.fields.iter().any(|field| field.name == "connections" && field.value == "1")
}

#[test]
fn beyond_the_cap_connections_end_and_room_comes_back() {
    let home = Home::initialized();
    let limited = ["sh", "-c", "ulimit -n 96; exec \"$0\" \"$@\""];
    let daemon = Daemon::start(home.command_through(&limited), &home.socket());
    for _ in 0..3 {
        let mut clients: Vec<Client> = (0..80).map(|_| Client::connect(daemon.socket()).unwrap()).collect();
        let mut served = 0;
        for client in &mut clients {
            // A connection above the cap has been closed, before or after the request.
            let asked = client.send(&client::hello(1)).and_then(|()| client.reply());
            served += usize::from(asked.is_ok_and(|reply| reply.is_some()));
        }
        assert!((16..=32).contains(&served), "{served} of a cap of 32");
        drop(clients);
        // Room comes back as soon as the daemon has seen the ends.
        eventually("room", || is_alone(daemon.socket()));
    }
    daemon.terminate();
}

#[test]
fn however_many_users_fill_the_seats_root_can_still_lock() {
    let config = "[[rule]]\nname = \"team\"\ngid = 54077\nkeys = \"**\"\nallow = \"data\"\n";
    let name = "however_many_users_fill_the_seats_root_can_still_lock";
    let Some(mut stage) = Stage::not_started(name, config) else { return };
    stage.start_through(&["sh", "-c", "ulimit -n 96; exec \"$0\" \"$@\""]);
    let mut held = Vec::new();
    for uid in 54_100..54_105 {
        let person = Person::with_groups(uid, &[54_077]);
        let mut crowd: Vec<_> = (0..9).map(|_| stage.connect(&person).unwrap()).collect();
        crowd.retain_mut(|connection| !connection.is_turned_away());
        assert!(crowd.len() <= 8, "a quarter of 32");
        held.push(crowd);
    }
    let counts: Vec<usize> = held.iter().map(Vec::len).collect();
    assert_eq!(counts, [8, 8, 8, 4, 0]);
    assert_eq!(stage.root().lock().map(|done| done.changed), Ok(true));
}

fn limit_descriptors(daemon: &Daemon, soft: usize) {
    let limit = format!("--nofile={soft}:");
    let pid = daemon.pid().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
}

#[test]
fn out_of_descriptors_it_survives_and_recovers() {
    const NAME: &str = "out_of_descriptors_it_survives_and_recovers";
    if !have("prlimit") {
        return skipped(NAME, "needs prlimit");
    }
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let Some(open) = daemon.descriptors() else { return skipped(NAME, "needs root to count descriptors") };
    limit_descriptors(&daemon, open + 2);
    let waiting: Vec<Client> = (0..50).map(|_| Client::connect(daemon.socket()).unwrap()).collect();
    for _ in 0..50 {
        client.encrypt(EMPTY, b"who is connected is served").unwrap();
    }
    drop(waiting);
    limit_descriptors(&daemon, 1000);
    daemon.client().encrypt(EMPTY, b"new ones too").unwrap();
    eventually("closed descriptors", || daemon.descriptors() <= Some(open + 1));
    daemon.terminate();
    log::lines(&home);
}

fn kernel_refuses_passed_descriptors() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(16))
}

#[test]
fn passed_descriptors_never_arrive() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut connection = daemon.client();
    // The first use opens the file of the usage counters, which stays open.
    connection.encrypt(EMPTY, b"first").unwrap();
    let before = daemon.descriptors();
    let file = fs::File::open(Path::new("/dev/null")).unwrap();
    let mut refused = 0;
    for _ in 0..100 {
        let passed = [file.as_raw_fd(); 10];
        let frame = client::encrypt(1, b"with descriptors");
        let control = [ControlMessage::ScmRights(&passed)];
        let parts = [IoSlice::new(&frame)];
        match sendmsg::<()>(connection.stream.as_raw_fd(), &parts, &control, MsgFlags::empty(), None) {
            Err(nix::errno::Errno::EPERM) => refused += 1,
            Ok(sent) => {
                assert_eq!(sent, frame.len());
                assert_eq!(connection.expect().code, 0);
            }
            Err(error) => panic!("{error}"),
        }
    }
    if kernel_refuses_passed_descriptors() {
        assert_eq!(refused, 100);
    } else {
        skipped("passed_descriptors_never_arrive (EPERM)", "the kernel is older than 6.16");
    }
    connection.encrypt(EMPTY, b"still served").unwrap();
    eventually("as many descriptors as before", || daemon.descriptors() <= before);
    daemon.terminate();
}
