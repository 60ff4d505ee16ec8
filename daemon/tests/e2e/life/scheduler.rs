//! What the daemon does by itself, with a clock that a test sets: the daemon runs under libfaketime.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use keyagent_common::{
    context::EMPTY,
    error::ErrorCode,
    op::{KeyConfigureRequest, Takeover},
};
use keyagent_core::keyring::State;
use serde_json::Value;

use super::NOTHING;
use crate::support::{Client, Daemon, Home, eventually, log, skipped};

/// The library, where the package `faketime` puts it.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}

/// A store with a key `k` that rotates every day and retires what is a day old, and a clock for it.
struct Stage {
    home: Home,
    library: PathBuf,
}

impl Stage {
    fn new(test: &str) -> Option<Self> {
        let Some(library) = library() else {
            skipped(test, "needs libfaketime (package faketime)");
            return None;
        };
        let stage = Self { home: Home::initialized(), library };
        let daemon = stage.start(0);
        let mut client = daemon.client();
        client.create_key("k").unwrap();
        client.configure_key(&every_day("k")).unwrap();
        daemon.terminate();
        Some(stage)
    }

    /// keyagentd whose clock is so many days ahead of the real one.
    fn command(&self, days: i64) -> Command {
        let mut command = self.home.command();
        command.env("LD_PRELOAD", &self.library).env("FAKETIME", format!("{days:+}d"));
        give_monotonic(&mut command);
        command
    }

    fn start(&self, days: i64) -> Daemon {
        Daemon::start(self.command(days), &self.home.socket())
    }

    /// The same with a clock that [`Self::set_clock`] moves while it runs.
    fn start_with_hand(&self) -> Daemon {
        let mut command = self.home.command();
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", self.hand());
        command.env("FAKETIME_NO_CACHE", "1");
        give_monotonic(&mut command);
        Daemon::start(command, &self.home.socket())
    }

    fn hand(&self) -> PathBuf {
        self.home.join("clock")
    }

    fn set_clock(&self, days: i64) {
        set(&self.hand(), days);
    }

    /// Lines of the daemon's own about keys.
    fn by_itself(&self) -> Vec<(String, u64, String)> {
        let of = |line: &Value| {
            let metadata = &line["metadata"];
            let (event, reason) = (line["event_type"].as_str()?, metadata["reason"].as_str()?);
            let own = line["user_id"].is_null() && event.starts_with("key_");
            own.then(|| (event.to_owned(), metadata["version"].as_u64().unwrap(), reason.to_owned()))
        };
        log::lines(&self.home).iter().filter_map(of).collect()
    }
}

fn give_monotonic(command: &mut Command) {
    // Sleeping and waiting go on as they are. Both names, for older versions.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
}

fn set(hand: &Path, days: i64) {
    let beside = hand.with_extension("new");
    fs::write(&beside, format!("{days:+}d\n")).unwrap();
    fs::rename(beside, hand).unwrap();
}

fn every_day(key: &str) -> KeyConfigureRequest<'_> {
    KeyConfigureRequest {
        key,
        enabled: Some(true),
        interval_days: Some(1),
        grace_period_days: Some(1),
        auto_retire: Some(true),
        ..NOTHING
    }
}

/// Any change of a key has the dates looked at again, as an hour does. What changes nothing has not.
fn look_again(client: &mut Client) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let note = COUNT.fetch_add(1, Ordering::SeqCst).to_string();
    let (changed, _) = client.configure_key(&KeyConfigureRequest { note: Some(&note), ..NOTHING }).unwrap();
    assert_eq!(changed, ["note"]);
}

/// Longer than between two looks.
fn until_it_looked() {
    std::thread::sleep(Duration::from_millis(1300));
}

fn rotated(version: u64) -> (String, u64, String) {
    ("key_rotate".into(), version, "scheduled".into())
}

fn retired(version: u64) -> (String, u64, String) {
    ("key_retire".into(), version, "grace is over".into())
}

#[test]
fn keys_rotate_and_retire_by_themselves_and_catch_up_once() {
    const NAME: &str = "keys_rotate_and_retire_by_themselves_and_catch_up_once";
    let Some(stage) = Stage::new(NAME) else { return };
    let daemon = stage.start(0);
    let mut client = daemon.client();
    let first = client.encrypt_under("k", EMPTY, b"1").unwrap();
    assert_eq!(client.states("k"), [State::Primary]);
    daemon.kill();
    // Nobody was there when it became due.
    let daemon = stage.start(2);
    let mut client = daemon.client();
    eventually("a rotation", || client.states("k") == [State::Grace, State::Primary]);
    assert_eq!(client.decrypt(EMPTY, &first).unwrap(), b"1");
    let second = client.encrypt_under("k", EMPTY, b"2").unwrap();
    assert!(client.watch(0, 0).unwrap().count("key_rotate", "k") == 1);
    daemon.kill();
    // Two days later: one more rotation, and what was a day in grace is refused. Nothing is destroyed.
    let daemon = stage.start(4);
    let mut client = daemon.client();
    let all = [State::Retired, State::Grace, State::Primary];
    eventually("a rotation and a retirement", || client.states("k") == all);
    assert_eq!(client.decrypt(EMPTY, &first), Err(ErrorCode::VersionRetired));
    assert_eq!(client.decrypt(EMPTY, &second).unwrap(), b"2");
    client.reinstate("k", 1).unwrap();
    assert_eq!(client.decrypt(EMPTY, &first).unwrap(), b"1");
    assert_eq!(client.states("default"), [State::Primary], "nobody asked for it");
    daemon.terminate();
    assert_eq!(stage.by_itself(), [rotated(2), rotated(3), retired(1)]);
}

#[test]
fn a_clock_that_goes_back_or_far_ahead_rotates_once_and_destroys_nothing() {
    const NAME: &str = "a_clock_that_goes_back_or_far_ahead_rotates_once_and_destroys_nothing";
    let Some(stage) = Stage::new(NAME) else { return };
    let daemon = stage.start(20_000);
    let mut client = daemon.client();
    let value = client.encrypt_under("k", EMPTY, b"1").unwrap();
    eventually("a rotation", || client.states("k") == [State::Grace, State::Primary]);
    look_again(&mut client);
    until_it_looked();
    assert_eq!(client.states("k"), [State::Grace, State::Primary]);
    daemon.terminate();
    // Back where it was: another version that is made now is not dated back, so its grace is not over at once.
    let daemon = stage.start(0);
    let mut client = daemon.client();
    client.rotate("k", Takeover::Grace).unwrap();
    until_it_looked();
    let states = [State::Grace, State::Grace, State::Primary];
    assert_eq!(client.states("k"), states);
    assert_eq!(client.decrypt(EMPTY, &value).unwrap(), b"1");
    daemon.terminate();
    // The log knows of the later time no longer, and a date that no interval explains is set anew.
    let daemon = stage.start(0);
    let mut client = daemon.client();
    let (_, next) = client.configure_key(&every_day("k")).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(next < now + 2 * 86_400, "{next}");
    daemon.terminate();
    assert_eq!(stage.by_itself()[0], rotated(2));
}

#[test]
fn nothing_happens_by_itself_while_the_clock_is_behind_what_was_seen() {
    const NAME: &str = "nothing_happens_by_itself_while_the_clock_is_behind_what_was_seen";
    let Some(stage) = Stage::new(NAME) else { return };
    stage.set_clock(0);
    let daemon = stage.start_with_hand();
    let mut client = daemon.client();
    stage.set_clock(2);
    look_again(&mut client);
    eventually("a rotation", || client.states("k") == [State::Grace, State::Primary]);
    stage.set_clock(-40);
    // Due by what was seen, had the clock not been behind it.
    client.configure_key(&KeyConfigureRequest { key: "default", ..every_day("default") }).unwrap();
    eventually("an alert", || client.watch(0, 0).unwrap().count("clock_went_back", "") == 1);
    assert_eq!(client.states("default"), [State::Primary]);
    stage.set_clock(2);
    look_again(&mut client);
    eventually("a rotation", || client.states("default") == [State::Grace, State::Primary]);
    assert_eq!(client.states("k"), [State::Grace, State::Primary], "not once more");
    daemon.terminate();
    assert_eq!(stage.by_itself(), [rotated(2), rotated(2)]);
}

#[test]
fn a_locked_daemon_does_nothing_and_catches_up_when_it_is_unlocked() {
    const NAME: &str = "a_locked_daemon_does_nothing_and_catches_up_when_it_is_unlocked";
    let Some(stage) = Stage::new(NAME) else { return };
    stage.set_clock(0);
    let daemon = stage.start_with_hand();
    let mut client = daemon.client();
    client.rotate("k", Takeover::Staged).unwrap();
    client.lock().unwrap();
    stage.set_clock(3);
    std::thread::sleep(Duration::from_millis(300));
    client.unlock(&[]).unwrap();
    // The version that waited is the one.
    eventually("a promotion", || client.states("k") == [State::Grace, State::Primary]);
    daemon.terminate();
    assert_eq!(stage.by_itself(), [("key_promote".into(), 2, "scheduled".into())]);
}

#[test]
fn what_cannot_be_stored_is_told_and_done_later() {
    const NAME: &str = "what_cannot_be_stored_is_told_and_done_later";
    let Some(stage) = Stage::new(NAME) else { return };
    stage.set_clock(0);
    let daemon = stage.start_with_hand();
    let mut client = daemon.client();
    fs::create_dir(stage.home.state_file("keyring.tmp")).unwrap();
    stage.set_clock(2);
    let wake = |client: &mut Client| {
        client.lock().unwrap();
        assert!(client.unlock(&[]).unwrap().changed);
    };
    wake(&mut client);
    eventually("an alert", || client.watch(0, 0).unwrap().count("rotation_failed", "k") == 1);
    assert_eq!(client.states("k"), [State::Primary]);
    client.encrypt_under("k", EMPTY, b"goes on").unwrap();
    fs::remove_dir(stage.home.state_file("keyring.tmp")).unwrap();
    // Not tried again so soon by whoever wakes it; a change that was stored shows that it can be.
    wake(&mut client);
    until_it_looked();
    assert_eq!(client.states("k"), [State::Primary]);
    look_again(&mut client);
    eventually("a rotation", || client.states("k") == [State::Grace, State::Primary]);
    daemon.terminate();
}
