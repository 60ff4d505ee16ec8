//! A full disk under a running daemon (row 43): what cannot be recorded is refused, and once there is room
//! again everything goes on; n answers, n records.

use std::{
    fs::{self, File},
    io::Write,
    process::Command,
};

use keyagent_common::{context::EMPTY, error::ErrorCode};

use crate::support::{
    Client, Daemon, Home, am_root, assert_no_failure, client, copy_files, finish, have, log,
    recovery::{Expect, recover},
    skipped,
    small_disk::SmallDisk,
};

/// Requests until the log refuses; how many were served before.
fn until_refused(client: &mut Client) -> usize {
    for served in 0.. {
        assert!(served < 100_000, "it never refuses");
        match client.encrypt(EMPTY, b"until it is full") {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, ErrorCode::AuditUnwritable);
                return served;
            }
        }
    }
    0
}

/// While nothing can be recorded: data is refused whole, looking is allowed, `lock` locks.
fn refuses_everything(daemon: &Daemon, envelope: &[u8]) {
    let mut client = daemon.client();
    assert_eq!(client.decrypt(EMPTY, envelope), Err(ErrorCode::AuditUnwritable));
    assert_eq!(client.data_key(2), Err(ErrorCode::AuditUnwritable));
    assert_eq!(client.status("state"), "unlocked");
    // A burst: what is not recorded is answered, the rest refused, each exactly once.
    let mut frames = client::hello(1000);
    (0..50).for_each(|id| frames.extend(client::encrypt(id, b"in a burst")));
    client.send(&frames).unwrap();
    let replies: Vec<_> = (0..51).map(|_| client.expect()).collect();
    let mut refused: Vec<u32> = replies
        .iter()
        .filter(|reply| reply.code == ErrorCode::AuditUnwritable as u16)
        .map(|reply| reply.id)
        .collect();
    refused.sort_unstable();
    assert_eq!(refused, (0..50).collect::<Vec<_>>());
    assert!(replies.iter().any(|reply| reply.id == 1000 && reply.code == 0));
    let secret = b"in a burst".as_slice();
    assert!(replies.iter().all(|reply| !reply.body.windows(secret.len()).any(|window| window == secret)));
    // Its line is shorter and may just fit; it holds in any case.
    assert!(client.lock().map_or_else(|error| error == ErrorCode::AuditUnwritable, |locked| locked.changed));
    assert_eq!(client.status("state"), "locked");
    assert_eq!(client.unlock(&[]), Err(ErrorCode::AuditUnwritable));
    assert_eq!(client.status("state"), "locked");
}

#[test]
fn on_a_full_disk_requests_are_refused_until_there_is_room() {
    const NAME: &str = "on_a_full_disk_requests_are_refused_until_there_is_room";
    let home = Home::new();
    let state = home.state();
    let disk = if am_root() { SmallDisk::mount(&state, 128) } else { None };
    let Some(disk) = disk else { return skipped(NAME, "needs root and tmpfs") };
    home.init();
    let daemon = home.start();
    let mut client = daemon.client();
    let envelope = client.encrypt(EMPTY, b"first").unwrap();
    let mut served = 1;
    for _ in 0..3 {
        disk.fill();
        served += until_refused(&mut client);
        refuses_everything(&daemon, &envelope);
        disk.make_room();
        assert!(client.unlock(&[]).unwrap().changed);
        client.encrypt(EMPTY, b"again").unwrap();
        assert_eq!(client.decrypt(EMPTY, &envelope).unwrap(), b"first");
        served += 1;
    }
    let said = daemon.terminate();
    assert!(said.contains("audit"), "{said}");
    let lines = log::lines(&home);
    assert_eq!(log::count(&lines, "encrypt"), served);
    assert_eq!(log::count(&lines, "decrypt"), 3);
    assert_eq!(log::count(&lines, "data_key"), 0);
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_no_signal() {
    const NAME: &str = "a_limit_on_file_sizes_is_an_error_and_no_signal";
    if !have("prlimit") {
        return skipped(NAME, "needs prlimit");
    }
    let home = Home::initialized();
    let daemon = home.start();
    let limit = |bytes: &str| {
        let pid = daemon.pid().to_string();
        let limit = format!("--fsize={bytes}:unlimited");
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    };
    let mut client = daemon.client();
    let envelope = client.encrypt(EMPTY, b"first").unwrap();
    let length = fs::metadata(home.state_file("audit.log")).unwrap().len();
    // Room for a part of a line: half a group must never stay.
    limit(&(length + 5000).to_string());
    let served = 1 + until_refused(&mut client);
    refuses_everything(&daemon, &envelope);
    limit("unlimited");
    client.unlock(&[]).unwrap();
    client.encrypt(EMPTY, b"again").unwrap();
    daemon.terminate();
    assert_eq!(log::count(&log::lines(&home), "encrypt"), served + 1);
}

#[test]
fn init_on_disks_of_every_size_is_complete_or_repairable() {
    const NAME: &str = "init_on_disks_of_every_size_is_complete_or_repairable";
    if !am_root() {
        return skipped(NAME, "needs root and tmpfs");
    }
    let mut failures = 0;
    for free_pages in 0..8 {
        let home = Home::new();
        let state = home.state();
        let Some(disk) = SmallDisk::mount(&state, 128) else {
            return skipped(NAME, "tmpfs cannot be mounted");
        };
        disk.fill();
        let filler = File::options().write(true).open(state.join("filler")).unwrap();
        filler.set_len(filler.metadata().unwrap().len() - free_pages * 4096).unwrap();
        let ended = finish(home.command().args(["--init", "--no-serve"]));
        assert_no_failure(&ended.stderr);
        assert!(matches!(ended.code, Some(0 | 74)), "{free_pages}: {ended:?}");
        failures += usize::from(ended.code == Some(74));
        drop(filler);
        disk.make_room();
        recover(&home, Expect::UnderConstruction, &[]).unwrap_or_else(|why| panic!("{free_pages}: {why}"));
    }
    assert!((1..8).contains(&failures), "{failures} of 8 sizes failed: nothing was tested");
}

#[test]
fn a_log_that_changes_from_outside_is_noticed() {
    let home = Home::initialized();
    let saved = home.join("saved");
    copy_files(&home.state(), &saved);
    let daemon = home.start();
    let mut client = daemon.client();
    client.encrypt(EMPTY, b"x").unwrap();
    let healthy = |client: &mut Client| {
        use keyagent_common::{
            codec,
            op::{Empty, Health, HealthReply},
        };
        let body = client.ask::<Health>(&Empty {}).success().unwrap();
        codec::decode::<HealthReply<'_>>(&body).unwrap().status.to_owned()
    };
    assert_eq!(healthy(&mut client), "healthy");
    let mut log = File::options().append(true).open(home.state_file("audit.log")).unwrap();
    log.write_all(b"{\"seq\":99}\n").unwrap();
    assert_eq!(healthy(&mut client), "unhealthy");
}
