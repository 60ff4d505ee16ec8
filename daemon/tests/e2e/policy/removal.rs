//! Somebody loses a right: the keys it covered are due for rotation, however the loss came about.

use std::time::{Duration, SystemTime};

use keyagent_common::error::ErrorCode;

use super::{Listed, list, stage::Stage};

const DAY: u64 = 86_400;

fn rules(uids: &str, due: &str) -> String {
    format!(
        r#"
[policy]
rotation_due = "{due}"

[[rule]]
name = "shop"
uids = [{uids}]
keys = ["shop/*"]
allow = ["data"]

[[rule]]
name = "mailer"
uid = 54011
keys = ["mail"]
allow = ["decrypt"]
"#
    )
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A moment that lies so far in the future, give or take what a slow machine needs.
fn is_in(at: u64, seconds: u64) -> bool {
    at.abs_diff(now() + seconds) <= 30
}

fn key(stage: &Stage, name: &str) -> Listed {
    list(&mut stage.root()).into_iter().find(|key| key.name == name).unwrap()
}

fn stage(test: &str) -> Option<Stage> {
    let stage = Stage::new(test, &rules("54010, 54011, 54012", "24h"))?;
    for name in ["shop/cards", "mail"] {
        stage.root().create_key(name).unwrap();
    }
    Some(stage)
}

#[test]
fn who_loses_a_right_leaves_a_key_that_is_due() {
    let Some(mut stage) = stage("who_loses_a_right_leaves_a_key_that_is_due") else { return };
    let before = key(&stage, "shop/cards");
    assert_eq!((before.due_at, before.due_reason.as_str()), (0, ""));
    assert_eq!(before.access, ["uid:54010", "uid:54011", "uid:54012"]);
    let end = stage.root().watch(u64::MAX, 0).unwrap().next;
    // Whoever comes is no reason to rotate anything.
    stage.reload(&rules("54010, 54011, 54012, 54013", "24h"));
    assert_eq!(key(&stage, "shop/cards").due_at, 0);
    stage.reload(&rules("54010, 54011, 54013", "24h"));
    let due = key(&stage, "shop/cards");
    assert!(is_in(due.due_at, DAY), "{due:?} at {}", now());
    assert_eq!(due.due_reason, "personnel");
    assert_eq!(due.access, ["uid:54010", "uid:54011", "uid:54013"]);
    assert_eq!(key(&stage, "mail").due_at, 0);
    let mut root = stage.root();
    assert_eq!((root.status("keys_due"), root.status("keys_overdue")), ("1".into(), "0".into()));
    let events = root.watch(end, 0).unwrap();
    assert_eq!((events.count("rotation_due", "shop/cards"), events.count("rotation_due", "mail")), (1, 0));
    // A second loss does not put it off, nor does a return undo it; a shorter time brings it forward.
    std::thread::sleep(Duration::from_millis(2100));
    stage.reload(&rules("54010, 54011", "24h"));
    assert_eq!(key(&stage, "shop/cards").due_at, due.due_at);
    stage.reload(&rules("54010, 54011, 54013", "24h"));
    assert_eq!(key(&stage, "shop/cards").due_at, due.due_at);
    stage.reload(&rules("54010, 54011", "1h"));
    assert!(is_in(key(&stage, "shop/cards").due_at, 3600));
    drop(root);
    stage.stop();
    let lines = stage.lines("access.change");
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line["provider"] == "shop/cards")
        .map(|line| {
            let metadata = &line["metadata"];
            let text = |name: &str| metadata[name].as_str().unwrap().to_owned();
            (text("gained"), text("lost"), metadata["due_at"].as_u64().is_some())
        })
        .collect();
    let line = |gained: &str, lost: &str| (gained.to_owned(), lost.to_owned(), !lost.is_empty());
    let expected = [
        line("uid:54013", ""),
        line("", "uid:54012"),
        line("", "uid:54013"),
        line("uid:54013", ""),
        line("", "uid:54013"),
    ];
    assert_eq!(told, expected);
    assert!(lines.iter().all(|line| line["provider"] != "mail"));
}

#[test]
fn a_right_that_goes_while_the_daemon_is_stopped_is_noticed() {
    let Some(mut stage) = stage("a_right_that_goes_while_the_daemon_is_stopped_is_noticed") else { return };
    stage.stop();
    assert!(stage.lines("access.change").is_empty());
    stage.home.configure(&rules("54010", "2h"));
    stage.start();
    let due = key(&stage, "shop/cards");
    assert!(is_in(due.due_at, 7200), "{due:?} at {}", now());
    // It is in the keyring, not in a daemon's memory.
    stage.stop();
    std::thread::sleep(Duration::from_millis(1100));
    stage.start();
    assert_eq!(key(&stage, "shop/cards"), due);
    stage.stop();
    let lines = stage.lines("access.change");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["metadata"]["lost"], "uid:54011 uid:54012");
    assert_eq!(lines[0]["metadata"]["due_at"], due.due_at);
}

#[test]
fn a_right_that_goes_while_the_daemon_is_locked_is_noticed_at_unlock() {
    const NAME: &str = "a_right_that_goes_while_the_daemon_is_locked_is_noticed_at_unlock";
    let Some(mut stage) = stage(NAME) else { return };
    let (mut root, mut leaving) = (stage.root(), stage.user(54_012));
    root.lock().unwrap();
    stage.home.configure(&rules("54010, 54011", "24h"));
    assert_eq!(root.reload().unwrap_err(), ErrorCode::Locked);
    root.unlock(&[]).unwrap();
    let due = key(&stage, "shop/cards");
    assert!(is_in(due.due_at, DAY), "{due:?}");
    leaving.send(&crate::support::client::encrypt(1, b"x")).unwrap();
    leaving.expect_end();
    // A signal has the new policy at once, and the keys catch up.
    root.lock().unwrap();
    stage.home.configure(&rules("54010", "1h"));
    stage.daemon().signal(nix::sys::signal::Signal::SIGHUP);
    root.unlock(&[]).unwrap();
    crate::support::eventually("both are noticed", || is_in(key(&stage, "shop/cards").due_at, 3600));
    drop(root);
    stage.stop();
    let lost: Vec<_> =
        stage.lines("access.change").iter().map(|line| line["metadata"]["lost"].clone()).collect();
    assert_eq!(lost, ["uid:54012", "uid:54011"]);
}

#[test]
fn groups_units_delegates_and_new_keys_count_too() {
    let Some(mut stage) = stage("groups_units_delegates_and_new_keys_count_too") else { return };
    let with = |more: &str| rules("54010", "24h") + more;
    let rule = |name: &str, who: &str| {
        format!("[[rule]]\nname = \"{name}\"\n{who}\nkeys = [\"{name}/*\"]\nallow = [\"encrypt\"]\n")
    };
    let bridge = "[[rule]]\nname = \"bridge\"\nuid = 54030\nallow = [\"decrypt\"]\n\
                  delegate = { uid = 54010, keys = [\"lent/*\"] }\n";
    let all =
        [rule("group", "gid = 54100"), rule("unit", "unit = \"a@*.service\""), bridge.to_owned()].concat();
    stage.reload(&with(&all));
    // Made after the rules were: its list is as old as the key.
    for name in ["group/a", "unit/a", "lent/a"] {
        stage.root().create_key(name).unwrap();
    }
    stage.reload(&with(""));
    for (name, lost) in [("group/a", "gid:54100"), ("unit/a", "unit:a@*.service"), ("lent/a", "uid:54030")] {
        assert!(is_in(key(&stage, name).due_at, DAY), "{name}");
        let lines = crate::support::log::unverified_lines(&stage.home);
        let mut lines =
            lines.iter().filter(|line| line["event_type"] == "access.change" && line["provider"] == name);
        assert_eq!(lines.next().unwrap()["metadata"]["lost"], lost);
    }
    assert_eq!(key(&stage, "default").due_at, 0);
    stage.stop();
}
