//! Keys that are made, refused and served again; the kill switch; maintenance. What was acknowledged holds from
//! the reply on, for every connection, over restarts and kills, and is recorded exactly once.

mod full;
mod health;
mod locked;
pub(crate) mod many_keys;
mod meanwhile;

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use keyagent_common::{
    codec,
    context::EMPTY,
    error::ErrorCode,
    op::{
        DataKey, DataKeyOpen, DataKeyOpenRequest, DataKeyReply, DataKeyRequest, KeyCreate, KeyCreateRequest,
        KeyDisable, KeyDisableRequest, KeyEnable, KeyEnableRequest, KeyStanding, Maintenance,
        MaintenanceRequest,
    },
};

use crate::{
    as_user,
    support::{Client, Home, agent::MESSAGE, am_root, client, log, skipped},
};

#[test]
fn keys_are_made_once_under_good_names_and_never_by_a_typo() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(client.encrypt_under("billing/crads", EMPTY, b"x"), Err(ErrorCode::UnknownKey));
    let made = client.create_key("billing/cards").unwrap();
    assert_eq!((made.version, made.generation), (1, 3));
    assert_eq!(client.create_key("billing/cards"), Err(ErrorCode::KeyExists));
    assert_eq!(client.create_key("default"), Err(ErrorCode::KeyExists));
    for bad in ["", "Billing", "billing/", "/cards", "a//b", "a b", "..", &"a".repeat(300)] {
        assert_eq!(client.create_key(bad), Err(ErrorCode::InvalidRequest), "{bad:?}");
    }
    let request = KeyCreateRequest { key: "other", class: 9, note: "" };
    assert_eq!(client.ask::<KeyCreate>(&request).error(), ErrorCode::InvalidRequest);
    let long = "n".repeat(1025);
    let request = KeyCreateRequest { key: "other", class: MESSAGE, note: &long };
    assert_eq!(client.ask::<KeyCreate>(&request).error(), ErrorCode::InvalidRequest);
    // The id in the envelope is the one that was answered; other connections see the key at once.
    let envelope = daemon.client().encrypt_under("billing/cards", EMPTY, b"4711").unwrap();
    assert_eq!(envelope.windows(27).filter(|part| **part == made.key_id[..27]).count(), 1);
    assert_eq!(client.encrypt_under("billing/crads", EMPTY, b"x"), Err(ErrorCode::UnknownKey));
    let names: Vec<String> = client.keys().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["billing/cards", "default"]);
    daemon.kill();
    let daemon = home.start();
    assert_eq!(daemon.client().decrypt(EMPTY, &envelope).unwrap(), b"4711");
    daemon.terminate();
    let lines = log::lines(&home);
    let of = |success: bool| {
        let creates = lines.iter().filter(|line| line["event_type"] == "key_create");
        creates.filter(|line| line["success"] == success).count()
    };
    assert_eq!((of(true), of(false)), (1, 12), "each attempt is one line");
    let line = lines.iter().find(|line| line["event_type"] == "key_create").unwrap();
    assert_eq!(line["provider"], "billing/cards");
}

#[test]
fn a_disabled_key_is_refused_at_once_everywhere_and_for_good() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("one").unwrap();
    client.create_key("two").unwrap();
    let mut open: Vec<Client> = (0..4).map(|_| daemon.client()).collect();
    let one = client.encrypt_under("one", EMPTY, b"1").unwrap();
    let two = client.encrypt_under("two", EMPTY, b"2").unwrap();
    for other in &mut open {
        assert_eq!(other.decrypt(EMPTY, &one).unwrap(), b"1");
    }
    assert_eq!(client.disable("nothing"), Err(ErrorCode::UnknownKey));
    let done = client.disable("one").unwrap();
    assert_eq!((done.changed, done.generation), (1, 5));
    let refused = |client: &mut Client, code| {
        assert_eq!(client.decrypt(EMPTY, &one), Err(code));
        assert_eq!(client.encrypt_under("one", EMPTY, b"x"), Err(code));
        let request = DataKeyRequest { key: "one", context: EMPTY, kind: 2 };
        assert_eq!(client.ask::<DataKey>(&request).error(), code);
        assert_eq!(client.decrypt(EMPTY, &two).unwrap(), b"2");
        client.encrypt(EMPTY, b"others go on").unwrap();
    };
    for other in &mut open {
        refused(other, ErrorCode::KeyDisabled);
    }
    assert_eq!(ErrorCode::KeyDisabled.exit_code(), 79);
    let again = client.disable("one").unwrap();
    assert_eq!((again.changed, again.generation), (0, 5), "nothing to change, nothing to store");
    // Right after the reply.
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    refused(&mut client, ErrorCode::KeyDisabled);
    client.lock().unwrap();
    client.unlock(&[]).unwrap();
    refused(&mut client, ErrorCode::KeyDisabled);
    assert_eq!(client.enable("one", false).unwrap().changed, 1);
    assert_eq!(client.decrypt(EMPTY, &one).unwrap(), b"1");
    daemon.kill();
    let daemon = home.start();
    assert_eq!(daemon.client().decrypt(EMPTY, &one).unwrap(), b"1");
    daemon.terminate();
    let lines = log::lines(&home);
    // Of the three that disable, one failed and one changed nothing.
    assert_eq!((log::count(&lines, "key_disable"), log::count(&lines, "key_enable")), (3, 1));
    let counts: Vec<_> = lines.iter().filter(|line| line["event_type"] == "key_disable").collect();
    let counts: Vec<_> = counts.iter().map(|line| line["metadata"]["count"].as_u64()).collect();
    assert_eq!(counts, [None, Some(1), Some(0)]);
}

#[test]
fn compromised_is_stronger_than_disabled_and_lifted_by_its_name_alone() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("one").unwrap();
    client.create_key("two").unwrap();
    let one = client.encrypt_under("one", EMPTY, b"1").unwrap();
    client.disable("one").unwrap();
    assert_eq!(client.brake("one", true).code, 0);
    assert_eq!(client.decrypt(EMPTY, &one), Err(ErrorCode::KeyCompromised));
    assert_eq!(ErrorCode::KeyCompromised.exit_code(), 79);
    assert_eq!(client.disable("one").unwrap().changed, 0, "the stronger one stays");
    assert_eq!(client.decrypt(EMPTY, &one), Err(ErrorCode::KeyCompromised));
    assert_eq!(client.enable("one", false), Err(ErrorCode::KeyCompromised));
    client.disable("two").unwrap();
    assert_eq!(client.enable("", false).unwrap().changed, 0, "each was braked by its own name");
    assert_eq!(client.enable("two", false).unwrap().changed, 1);
    client.encrypt_under("two", EMPTY, b"x").unwrap();
    assert_eq!(client.decrypt(EMPTY, &one), Err(ErrorCode::KeyCompromised));
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(client.decrypt(EMPTY, &one), Err(ErrorCode::KeyCompromised));
    assert!(client.keys().iter().any(|(name, how, _)| name == "one" && *how == KeyStanding::Compromised));
    assert_eq!(client.enable("one", true).unwrap().changed, 1);
    assert_eq!(client.decrypt(EMPTY, &one).unwrap(), b"1");
    daemon.terminate();
    let lines = log::lines(&home);
    let of = |event: &str, member: &str| -> Vec<serde_json::Value> {
        let of = lines.iter().filter(|line| line["event_type"] == event && line["provider"] == "one");
        of.map(|line| line["metadata"][member].clone()).collect()
    };
    assert_eq!(of("key_disable", "brake"), ["disabled", "compromised", "disabled"]);
    assert_eq!(of("key_enable", "lift_compromised"), [serde_json::Value::Null, true.into()]);
}

/// From the reply on, whatever is asked is refused.
#[test]
fn the_kill_switch_holds_from_its_reply_on() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let names: Vec<String> = (0..4).map(|number| format!("key-{number}")).collect();
    for name in &names {
        client.create_key(name).unwrap();
    }
    let (stopped, end) = (AtomicBool::new(false), AtomicBool::new(false));
    let (before, after) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let load = |number: usize| {
        let mut client = daemon.client();
        let name = &names[number % names.len()];
        while !end.load(Ordering::SeqCst) {
            // Known before the request is sent.
            let must_fail = stopped.load(Ordering::SeqCst);
            let sealed = client.encrypt_under(name, EMPTY, b"load");
            match (must_fail, &sealed) {
                (false, Ok(_)) => before.fetch_add(1, Ordering::SeqCst),
                (_, Err(ErrorCode::KeyDisabled)) => after.fetch_add(1, Ordering::SeqCst),
                _ => panic!("must fail: {must_fail}, got {sealed:?}"),
            };
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || load(number))).collect();
        crate::support::eventually("load", || before.load(Ordering::SeqCst) > 400);
        let changed = client.disable("").unwrap().changed;
        stopped.store(true, Ordering::SeqCst);
        assert_eq!(changed, 5);
        crate::support::eventually("refusals", || after.load(Ordering::SeqCst) > 400);
        end.store(true, Ordering::SeqCst);
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(client.status("keys_disabled"), "5");
    assert_eq!(client.encrypt(EMPTY, b"x"), Err(ErrorCode::KeyDisabled));
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(client.encrypt(EMPTY, b"x"), Err(ErrorCode::KeyDisabled));
    assert_eq!(client.enable("", false).unwrap().changed, 5);
    client.encrypt(EMPTY, b"x").unwrap();
    daemon.terminate();
    let lines = log::lines(&home);
    for (event, brake) in [("key_disable", Some("disabled")), ("key_enable", None)] {
        // How many, and behind that each by its name.
        let of: Vec<_> = lines.iter().filter(|line| line["event_type"] == event).collect();
        let names: Vec<_> = of.iter().map(|line| line["provider"].as_str()).collect();
        assert_eq!(
            names,
            [None, Some("default"), Some("key-0"), Some("key-1"), Some("key-2"), Some("key-3")],
            "{event}"
        );
        let counts: Vec<_> = of.iter().map(|line| line["metadata"]["count"].as_u64()).collect();
        assert_eq!(counts, [Some(5), None, None, None, None, None]);
        assert!(of.iter().all(|line| line["metadata"]["brake"].as_str() == brake));
        let groups: Vec<_> = of.iter().map(|line| line.get("mac").is_some()).collect();
        assert_eq!(groups, [false, false, false, false, false, true], "one group, with the commit");
    }
    let sealed = lines.iter().filter(|line| line["event_type"] == "encrypt" && line["success"] == true);
    assert_eq!(sealed.count(), before.load(Ordering::SeqCst) + 1);
}

#[test]
fn users_with_rules_alone_pull_no_brake() {
    const NAME: &str = "users_with_rules_alone_pull_no_brake";
    const USER: u32 = 54_321;
    const OPERATOR: u32 = 54_322;
    if !am_root() {
        return skipped(NAME, "needs root to become another user");
    }
    let home = Home::initialized();
    let config = home.configure(
        "[operators]\nuids = [54322]\n[[rule]]\nname = \"app\"\nuids = [54321]\nkeys = [\"**\"]\nallow = [\"data\"]\n",
    );
    let daemon = home.start_with(&["--config", config.to_str().unwrap()]);
    as_user::open_for_all(&home);
    let brake = KeyDisableRequest { version: 0, key: "", compromised: false, reason: "" };
    let frames = [
        client::encrypt(1, b"served"),
        client::request::<KeyCreate>(2, &KeyCreateRequest { key: "mine", class: MESSAGE, note: "" }),
        client::request::<KeyDisable>(3, &brake),
        client::request::<KeyEnable>(
            4,
            &KeyEnableRequest { version: 0, key: "", lift_compromised: true, reason: "" },
        ),
        client::request::<Maintenance>(5, &MaintenanceRequest { on: true, reason: "" }),
    ];
    let (ok, denied) = (0, ErrorCode::Denied as u16);
    assert_eq!(as_user::send(daemon.socket(), USER, &frames), [ok, denied, denied, denied, denied]);
    assert_eq!(as_user::send(daemon.socket(), OPERATOR, &frames), [denied, denied, ok, ok, ok]);
    daemon.terminate();
    let lines = log::lines(&home);
    for (event, attempts) in [("key_create", 2), ("key_disable", 3), ("key_enable", 3), ("maintenance", 2)] {
        assert_eq!(log::count(&lines, event), attempts, "{event}");
    }
}

#[test]
fn in_maintenance_nothing_is_sealed_and_everything_opens() {
    let home = Home::initialized();
    let daemon = home.start();
    let (mut client, mut other) = (daemon.client(), daemon.client());
    let envelope = other.encrypt(EMPTY, b"old").unwrap();
    let made = other.data_key(2).unwrap();
    let made = codec::decode::<DataKeyReply<'_>>(&made).unwrap();
    let open = DataKeyOpenRequest { context: EMPTY, envelope: made.envelope };
    assert!(client.maintenance(true).unwrap() && !client.maintenance(true).unwrap());
    let check = |client: &mut Client| {
        assert_eq!(client.encrypt(EMPTY, b"x"), Err(ErrorCode::Maintenance));
        assert_eq!(client.data_key(2), Err(ErrorCode::Maintenance));
        assert_eq!(client.decrypt(EMPTY, &envelope).unwrap(), b"old");
        assert_eq!(client.ask::<DataKeyOpen>(&open).code, 0);
        assert_eq!(
            (client.status("maintenance"), client.status("maintenance_reason")),
            ("on".into(), "a test".into())
        );
    };
    check(&mut other);
    assert_eq!(ErrorCode::Maintenance.exit_code(), 75);
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    check(&mut client);
    client.lock().unwrap();
    client.unlock(&[]).unwrap();
    check(&mut client);
    assert!(client.maintenance(false).unwrap() && !client.maintenance(false).unwrap());
    client.encrypt(EMPTY, b"x").unwrap();
    let request = MaintenanceRequest { on: true, reason: "two\nlines" };
    assert_eq!(client.ask::<Maintenance>(&request).error(), ErrorCode::InvalidRequest);
    daemon.kill();
    let daemon = home.start();
    daemon.client().encrypt(EMPTY, b"x").unwrap();
    daemon.terminate();
    // The fifth was refused, and the start in between found it on.
    assert_eq!(log::count(&log::lines(&home), "maintenance"), 6);
}

#[test]
fn a_signal_locks() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let envelope = client.encrypt(EMPTY, b"x").unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGUSR1);
    let end = Instant::now() + Duration::from_secs(5);
    while client.decrypt(EMPTY, &envelope) != Err(ErrorCode::Locked) {
        assert!(Instant::now() < end, "the signal does not lock");
    }
    client.unlock(&[]).unwrap();
    assert_eq!(client.decrypt(EMPTY, &envelope).unwrap(), b"x");
    daemon.terminate();
    let lines = log::lines(&home);
    let locks: Vec<_> = lines.iter().filter(|line| line["event_type"] == "lock").collect();
    assert_eq!(locks.len(), 1);
    assert_eq!(locks[0]["metadata"]["reason"], "signal");
}
