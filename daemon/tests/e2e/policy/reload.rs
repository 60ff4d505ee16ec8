//! Another policy under connections that are open: it holds from the next request on, or the old one does.

use std::{fs, io::Write, os::unix::fs::symlink, time::Duration};

use keyagent_common::{
    context::EMPTY,
    error::ErrorCode,
    op::{Empty, Reload, WatchRequest},
};
use nix::sys::signal::Signal;

use super::stage::{Person, Stage};
use crate::support::{Client, agent::words, chmod, client::request, eventually};

const SHOP: u32 = 54_010;
const NEW: u32 = 54_011;
const OPERATOR: u32 = 54_002;

fn rule(uid: u32, allow: &str) -> String {
    let keys = if allow.contains("crypt") { "keys = [\"default\"]\n" } else { "" };
    format!("[[rule]]\nname = \"rule-{uid}\"\nuid = {uid}\n{keys}allow = [{allow}]\n\n")
}

fn both() -> String {
    rule(SHOP, "\"encrypt\", \"decrypt\"")
}

#[test]
fn rights_come_and_go_under_an_open_connection() {
    let Some(mut stage) = Stage::new("rights_come_and_go_under_an_open_connection", &both()) else { return };
    let mut shop = stage.user(SHOP);
    let value = shop.encrypt(EMPTY, b"x").unwrap();
    shop.decrypt(EMPTY, &value).unwrap();
    stage.reload(&rule(SHOP, "\"encrypt\""));
    assert_eq!(shop.decrypt(EMPTY, &value), Err(ErrorCode::Denied));
    shop.encrypt(EMPTY, b"x").unwrap();
    assert!(stage.turns_away(&Person::of(NEW)));
    stage.reload(&(both() + &rule(NEW, "\"encrypt\"")));
    shop.decrypt(EMPTY, &value).unwrap();
    let mut new = stage.user(NEW);
    new.encrypt(EMPTY, b"x").unwrap();
    // Without any right left the connection ends unanswered; so do those on which nothing was said.
    let mut silent = stage.connect(&Person::of(SHOP)).unwrap();
    stage.reload(&rule(NEW, "\"encrypt\""));
    shop.send(&request::<Reload>(1, &Empty {})).unwrap();
    shop.expect_end();
    assert!(silent.is_turned_away());
    assert!(stage.turns_away(&Person::of(SHOP)));
    new.encrypt(EMPTY, b"still").unwrap();
    stage.stop();
    let policies = stage.lines("policy.change");
    assert_eq!(policies.iter().filter(|line| line["metadata"]["reason"] == "request").count(), 3);
}

#[test]
fn roles_come_and_go_as_well() {
    let admins = |uid: u32| format!("[admins]\nuid = {uid}\n[operators]\nuid = {OPERATOR}\n");
    let Some(stage) = Stage::new("roles_come_and_go_as_well", &admins(SHOP)) else { return };
    let (mut shop, mut operator) = (stage.user(SHOP), stage.user(OPERATOR));
    // Who reloads its own right away is answered, and then it is gone.
    stage.home.configure(&admins(NEW));
    assert!(shop.reload().unwrap().policy_changed);
    shop.send(&request::<Reload>(1, &Empty {})).unwrap();
    shop.expect_end();
    assert!(!operator.reload().unwrap().policy_changed);
    stage.reload(&rule(OPERATOR, "\"status\""));
    assert_eq!(operator.reload().unwrap_err(), ErrorCode::Denied);
    assert_eq!(operator.status("state"), "unlocked");
}

#[test]
fn a_watch_that_waits_ends_with_the_right_to_it() {
    let config = rule(SHOP, "\"watch\"");
    for (after, is_closed) in [(rule(SHOP, "\"status\""), false), (rule(NEW, "\"status\""), true)] {
        let Some(stage) = Stage::new("a_watch_that_waits_ends_with_the_right_to_it", &config) else { return };
        let mut shop = stage.user(SHOP);
        let end = shop.watch(u64::MAX, 0).unwrap().next;
        let frame =
            request::<keyagent_common::op::Watch>(1, &WatchRequest { after: end, wait_milliseconds: 30_000 });
        shop.send(&frame).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        stage.reload(&after);
        if is_closed {
            shop.expect_end();
        } else {
            assert_eq!(shop.expect().error(), ErrorCode::Denied);
        }
    }
}

/// Whether the policy of [`both`] is in use.
fn old_policy_holds(stage: &Stage, shop: &mut Client) -> bool {
    let value = shop.encrypt(EMPTY, b"x").unwrap();
    shop.decrypt(EMPTY, &value).is_ok() && stage.turns_away(&Person::of(NEW))
}

#[test]
fn what_cannot_be_taken_leaves_everything_as_it_was() {
    const NAME: &str = "what_cannot_be_taken_leaves_everything_as_it_was";
    let Some(mut stage) = Stage::new(NAME, &both()) else { return };
    let mut shop = stage.user(SHOP);
    let digest = stage.root().status("policy_digest");
    let new = rule(NEW, "\"encrypt\"");
    let broken = [
        (format!("{new}[[rule"), ""),
        (new.replace("uid =", "uidd ="), "did you mean uid"),
        (new.replace("[[rule]]", "[[rules]]"), "did you mean rule"),
        (format!("[audit]\nbudgets = 7\n{new}"), "did you mean budget"),
        (new.replace("\"encrypt\"", "\"encrpyt\""), "encrypt"),
        (new.replace("\"encrypt\"", "\"stop\""), "admins"),
        (new.replace("54011", "65534"), ""),
        (new.replace("uid = 54011", "user = \"nobody-of-this-name\""), "nobody-of-this-name"),
        (new.replace("uid = 54011\n", ""), ""),
        (new.repeat(2), ""),
        (format!("{new}no_reveal = true\n"), ""),
        ("\u{0}".into(), ""),
        ("#".repeat((1 << 20) + 1), ""),
    ];
    let count = broken.len();
    for (text, hint) in broken {
        stage.home.configure(&text);
        let mut root = stage.root();
        let reply = root.ask::<Reload>(&Empty {});
        let said = words(&reply);
        assert_eq!(reply.error(), ErrorCode::Configuration, "{text:.80}");
        assert!(said.starts_with("the old configuration stays in use: "), "{said}");
        assert!(said.contains(hint) && said.contains("config.toml"), "{hint}: {said}");
        assert!(old_policy_holds(&stage, &mut shop), "{text:.80}");
        assert_eq!(root.status("policy_digest"), digest);
    }
    assert_eq!(ErrorCode::Configuration.exit_code(), 78);
    stage.stop();
    let reloads = stage.lines("reload");
    assert_eq!(reloads.len(), count);
    assert!(reloads.iter().all(|line| line["success"] == false && line["user_id"] == "0"));
    assert_eq!(stage.lines("policy.change").len(), 1);
    // Nor does a daemon start with it.
    stage.home.configure(&new.replace("uid =", "uidd ="));
    assert!(stage.refuses().stderr.contains("did you mean uid"));
}

#[test]
fn a_file_that_others_could_change_is_not_read() {
    const NAME: &str = "a_file_that_others_could_change_is_not_read";
    let Some(mut stage) = Stage::new(NAME, &both()) else { return };
    let mut shop = stage.user(SHOP);
    let (home, path) = (stage.home.path().to_path_buf(), stage.home.join("config.toml"));
    let spoil: [(&str, &dyn Fn()); 7] = [
        ("group", &|| chmod(&path, 0o620)),
        ("others", &|| chmod(&path, 0o602)),
        ("owner", &|| std::os::unix::fs::chown(&path, Some(SHOP), None).unwrap()),
        ("folder", &|| chmod(&home, 0o775)),
        ("sticky", &|| chmod(&home, 0o1777)),
        ("link", &|| {
            fs::rename(&path, home.join("real.toml")).unwrap();
            symlink(home.join("real.toml"), &path).unwrap();
        }),
        ("missing", &|| fs::remove_file(&path).unwrap()),
    ];
    for (how, spoil) in spoil {
        stage.home.configure(&rule(NEW, "\"encrypt\""));
        spoil();
        let reply = stage.root().ask::<Reload>(&Empty {});
        assert_eq!(reply.error(), ErrorCode::Configuration, "{how}");
        assert!(old_policy_holds(&stage, &mut shop), "{how}");
        chmod(&home, 0o755);
        let _ = fs::remove_file(&path);
    }
    // Readable by all is fine: nothing in it is secret.
    stage.home.configure(&rule(NEW, "\"encrypt\""));
    chmod(&path, 0o644);
    stage.root().reload().unwrap();
    stage.user(NEW).encrypt(EMPTY, b"x").unwrap();
    stage.stop();
    chmod(&path, 0o664);
    let refused = stage.refuses();
    assert!(refused.stderr.contains("others may write to it (mode 0664)"), "{}", refused.stderr);
}

#[test]
fn a_hangup_is_a_reload() {
    let Some(mut stage) = Stage::new("a_hangup_is_a_reload", &both()) else { return };
    let mut shop = stage.user(SHOP);
    let value = shop.encrypt(EMPTY, b"x").unwrap();
    stage.home.configure(&rule(SHOP, "\"encrypt\""));
    stage.daemon().signal(Signal::SIGHUP);
    eventually("the new policy", || shop.decrypt(EMPTY, &value) == Err(ErrorCode::Denied));
    let end = stage.root().watch(u64::MAX, 0).unwrap().next;
    let path = stage.home.configure(&both());
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"x").unwrap();
    stage.daemon().signal(Signal::SIGHUP);
    eventually("a word about it", || stage.daemon().stderr().contains("the old configuration stays in use"));
    eventually("an event", || stage.root().watch(end, 0).unwrap().count("reload_failed", "") == 1);
    assert_eq!(shop.decrypt(EMPTY, &value), Err(ErrorCode::Denied));
    stage.stop();
    let reloads = stage.lines("reload");
    let told: Vec<_> =
        reloads.iter().map(|line| (line["success"] == true, &line["metadata"]["reason"])).collect();
    assert_eq!(told, [(true, &"signal".into()), (false, &"signal".into())]);
}
