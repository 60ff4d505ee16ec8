//! `watch`: waits for what happens, tells it at once, and harms nobody meanwhile.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use keyagent_common::{
    context::EMPTY,
    error::ErrorCode,
    op::{Watch, WatchRequest},
};

use crate::{
    as_user,
    policy::stage::Stage,
    support::{Client, Home, agent::Watched, am_root, client, eventually, skipped},
};

/// A `watch` for what comes now, sent and not answered yet.
fn begin(client: &mut Client, wait_milliseconds: u32) {
    let after = client.watch(u64::MAX, 0).unwrap().next;
    client.send(&client::request::<Watch>(77, &WatchRequest { after, wait_milliseconds })).unwrap();
}

fn answer(client: &mut Client) -> Watched {
    let reply = client.expect();
    assert_eq!(reply.id, 77);
    Watched::decode(&reply.success().unwrap())
}

#[test]
fn a_watcher_hears_of_an_event_at_once() {
    let home = Home::initialized();
    let daemon = home.start();
    let (mut watcher, mut client) = (daemon.client(), daemon.client());
    let mut times = Vec::new();
    for round in 0..10 {
        begin(&mut watcher, 30_000);
        sleep(Duration::from_millis(30));
        let began = Instant::now();
        client.maintenance(round % 2 == 0).unwrap();
        let seen = answer(&mut watcher);
        times.push(began.elapsed());
        assert_eq!((seen.count("maintenance", ""), seen.lost), (1, false), "{seen:?}");
    }
    times.sort();
    // Half of them: the machine may be busy with others.
    assert!(times[5] < Duration::from_millis(100), "{times:?}");
    // Several wait for the same.
    let mut watchers: Vec<Client> = (0..20).map(|_| daemon.client()).collect();
    for watcher in &mut watchers {
        begin(watcher, 30_000);
    }
    client.create_key("one").unwrap();
    for watcher in &mut watchers {
        assert_eq!(answer(watcher).count("key_create", "one"), 1);
    }
    daemon.terminate();
}

#[test]
fn a_watch_in_which_nothing_happens_ends_at_its_time() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let after = client.watch(u64::MAX, 0).unwrap().next;
    let began = Instant::now();
    let seen = client.watch(after, 700).unwrap();
    let took = began.elapsed();
    assert_eq!((seen.events.len(), seen.next, seen.lost), (0, after, false));
    assert!(took >= Duration::from_millis(690) && took < Duration::from_secs(10), "{took:?}");
    // The present end is told at once, whatever the time.
    let began = Instant::now();
    client.watch(u64::MAX, 30_000).unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    daemon.terminate();
}

#[test]
fn watchers_hold_up_nobody_but_themselves() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut watchers: Vec<Client> = (0..64).map(|_| daemon.client()).collect();
    for watcher in &mut watchers {
        begin(watcher, 30_000);
    }
    let began = Instant::now();
    for _ in 0..8 {
        let mut client = daemon.client();
        for _ in 0..20 {
            client.encrypt(EMPTY, b"x").unwrap();
        }
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // What stands behind a watch on its own connection waits for it.
    let watcher = &mut watchers[0];
    watcher.send(&client::encrypt(78, b"behind")).unwrap();
    daemon.client().maintenance(true).unwrap();
    assert_eq!(answer(watcher).count("maintenance", ""), 1);
    let behind = watcher.expect();
    assert_eq!((behind.id, behind.code), (78, ErrorCode::Maintenance as u16));
    // Gone in the middle of it.
    drop(watchers);
    daemon.client().maintenance(false).unwrap();
    daemon.terminate();
}

#[test]
fn a_watcher_that_is_gone_leaves_its_seat_at_once() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut watchers: Vec<Client> = (0..20).map(|_| daemon.client()).collect();
    for watcher in &mut watchers {
        begin(watcher, 30_000);
    }
    // Some have something behind the watch, which is not read before the watch ends.
    for watcher in &mut watchers[..10] {
        watcher.send(&client::encrypt(78, b"behind")).unwrap();
    }
    let mut client = daemon.client();
    assert_eq!(client.status("connections"), "21");
    let began = Instant::now();
    drop(watchers);
    eventually("the seats of those who left", || client.status("connections") == "1");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    daemon.terminate();
}

#[test]
fn a_watcher_that_has_no_more_to_ask_still_hears() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut watcher = daemon.client();
    begin(&mut watcher, 30_000);
    watcher.send(&client::encrypt(78, b"behind")).unwrap();
    watcher.stream.shutdown(std::net::Shutdown::Write).unwrap();
    sleep(Duration::from_millis(50));
    daemon.client().maintenance(true).unwrap();
    assert_eq!(answer(&mut watcher).count("maintenance", ""), 1);
    assert_eq!(watcher.expect().id, 78);
    watcher.expect_end();
    daemon.terminate();
}

#[test]
fn the_end_of_the_daemon_ends_every_watch() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut watchers: Vec<Client> = (0..10).map(|_| daemon.client()).collect();
    for watcher in &mut watchers {
        begin(watcher, 30_000);
    }
    let began = Instant::now();
    daemon.terminate();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for watcher in &mut watchers {
        let seen = answer(watcher);
        assert!(seen.events.is_empty(), "{seen:?}");
        watcher.expect_end();
    }
}

#[test]
fn a_lock_is_told_and_then_nothing_more() {
    let home = Home::initialized();
    let daemon = home.start();
    let (mut watcher, mut client) = (daemon.client(), daemon.client());
    begin(&mut watcher, 30_000);
    // Time for it to arrive, on a worker that may be another one's.
    sleep(Duration::from_millis(200));
    client.lock().unwrap();
    assert_eq!(answer(&mut watcher).count("lock", ""), 1);
    assert_eq!(watcher.watch(0, 1000).map(|_| ()), Err(ErrorCode::Locked));
    client.unlock(&[]).unwrap();
    let seen = watcher.watch(0, 0).unwrap();
    assert_eq!((seen.count("lock", ""), seen.count("unlock", "")), (1, 1));
    daemon.terminate();
}

#[test]
fn users_without_the_right_do_not_watch() {
    const NAME: &str = "users_without_the_right_do_not_watch";
    if !am_root() {
        return skipped(NAME, "needs root to become another user");
    }
    let home = Home::initialized();
    let config = home.configure(
        "[operators]\nuids = [54322]\n[[rule]]\nname = \"app\"\nuids = [54321]\nkeys = [\"**\"]\nallow = [\"data\"]\n",
    );
    let daemon = home.start_with(&["--config", config.to_str().unwrap()]);
    as_user::open_for_all(&home);
    let watch =
        |wait_milliseconds| client::request::<Watch>(1, &WatchRequest { after: 0, wait_milliseconds });
    let frames = [client::encrypt(1, b"served"), watch(0), watch(500)];
    let denied = ErrorCode::Denied as u16;
    assert_eq!(as_user::send(daemon.socket(), 54_321, &frames), [0, denied, denied]);
    assert_eq!(as_user::send(daemon.socket(), 54_322, &frames), [denied, 0, 0]);
    daemon.terminate();
}

#[test]
fn whoever_watches_by_a_rule_hears_of_its_own_keys_alone() {
    const CONFIG: &str = r#"
[[rule]]
name = "shop"
uid = 54010
keys = ["shop/*"]
allow = ["data", "key_list"]

[[rule]]
name = "listens"
uid = 54010
allow = ["watch"]
"#;
    let Some(stage) = Stage::new("whoever_watches_by_a_rule_hears_of_its_own_keys_alone", CONFIG) else {
        return;
    };
    let (mut root, mut shop) = (stage.root(), stage.user(54_010));
    let next = shop.watch(u64::MAX, 0).unwrap().next;
    root.create_key("secret/project").unwrap();
    root.disable("secret/project").unwrap();
    let began = Instant::now();
    assert_eq!(shop.watch(next, 300).unwrap().events, []);
    assert!(began.elapsed() >= Duration::from_millis(290), "what is not for it does not wake it");
    root.create_key("shop/cards").unwrap();
    root.disable("shop/cards").unwrap();
    root.maintenance(true).unwrap();
    let told = |client: &mut Client| client.watch(next, 0).unwrap().events;
    let event = |kind: &str, key: &str, text: &str| (kind.to_owned(), key.to_owned(), text.to_owned());
    let wanted = [
        event("key_create", "shop/cards", "a key was made"),
        event("key_disable", "shop/cards", "disabled"),
        event("maintenance", "", "maintenance on"),
    ];
    assert_eq!(told(&mut shop), wanted, "no reason, no other key");
    let all = told(&mut root);
    assert_eq!(all.len(), 5);
    assert!(all.contains(&event("key_disable", "secret/project", "disabled: a test")));
}

#[test]
fn what_a_watcher_missed_is_told_or_said_to_be_lost() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let began = client.watch(u64::MAX, 0).unwrap().next;
    for round in 0..100 {
        client.maintenance(round % 2 == 0).unwrap();
    }
    let (mut next, mut told) = (began, 0);
    loop {
        let seen = client.watch(next, 0).unwrap();
        assert!(!seen.lost);
        if seen.events.is_empty() {
            break;
        }
        (next, told) = (seen.next, told + seen.events.len());
    }
    assert_eq!(told, 100, "each once, in as many replies as it takes");
    for round in 0..300 {
        client.maintenance(round % 2 == 0).unwrap();
    }
    assert!(client.watch(began, 0).unwrap().lost);
    assert!(client.watch(next, 0).unwrap().lost);
    let seen = client.watch(u64::MAX, 0).unwrap();
    assert!(!seen.lost && seen.next >= began + 400);
    daemon.terminate();
}
