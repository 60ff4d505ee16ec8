//! A log that is larger than usual, or takes nothing: what a start needs to know of it, and what is not done.

use std::{fs, process::Command};

use keyagent_common::{
    context::EMPTY,
    error::ErrorCode,
    op::{Maintenance, MaintenanceRequest},
};

use crate::support::{Client, Home, client, have, log, skipped};

#[test]
fn a_start_knows_how_large_the_log_may_be() {
    let home = Home::initialized();
    let config =
        home.configure("[audit]\nbudget = \"10GiB\"\nrotate_size = \"64KiB\"\nwhen_full = \"refuse\"\n");
    let arguments = ["--config", config.to_str().unwrap()];
    let daemon = home.start_with(&arguments);
    let mut client = daemon.client();
    let frames: Vec<u8> = (0..100).flat_map(|id| client::encrypt(id, b"x")).collect();
    while log::log_files(&home).len() < 3 {
        client.send(&frames).unwrap();
        (0..100).for_each(|_| assert_eq!(client.expect().code, 0));
    }
    daemon.terminate();
    // More than the default budget, in a file that a start has no reason to read.
    let oldest = fs::File::options().write(true).open(&log::log_files(&home)[0]).unwrap();
    oldest.set_len(3 << 30).unwrap();
    let daemon = home.start_with(&arguments);
    daemon.client().encrypt(EMPTY, b"x").unwrap();
    daemon.terminate();
}

#[test]
fn maintenance_that_cannot_be_recorded_does_not_begin_or_end() {
    const NAME: &str = "maintenance_that_cannot_be_recorded_does_not_begin_or_end";
    if !have("prlimit") {
        return skipped(NAME, "needs prlimit");
    }
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let limit = |bytes: &str| {
        let pid = daemon.pid().to_string();
        let limit = format!("--fsize={bytes}:unlimited");
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    };
    let full = || limit(&fs::metadata(home.state_file("audit.log")).unwrap().len().to_string());
    full();
    assert_eq!(client.maintenance(true), Err(ErrorCode::AuditUnwritable));
    assert!(!home.state_file("maintenance").exists());
    limit("unlimited");
    client.encrypt(EMPTY, b"served").unwrap();
    let begin = |client: &mut Client, reason| {
        client.ask::<Maintenance>(&MaintenanceRequest { on: true, reason }).success().unwrap();
        fs::read_to_string(home.state_file("maintenance")).unwrap()
    };
    assert_eq!(begin(&mut client, "a new disk"), "a new disk\n");
    assert_eq!(begin(&mut client, "a newer disk"), "a newer disk\n");
    full();
    assert_eq!(client.maintenance(false), Err(ErrorCode::AuditUnwritable));
    limit("unlimited");
    assert_eq!(client.encrypt(EMPTY, b"refused"), Err(ErrorCode::Maintenance));
    assert!(client.maintenance(false).unwrap());
    client.encrypt(EMPTY, b"served").unwrap();
    daemon.terminate();
    assert_eq!(log::count(&log::lines(&home), "maintenance"), 3);
}
