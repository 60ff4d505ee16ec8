//! What is said of a key: shown to whoever may know of it, and changed.

use keyagent_common::{
    error::ErrorCode,
    op::{KeyConfigureRequest, KeyShow, KeyShowRequest, Takeover},
};

use super::NOTHING;
use crate::{
    as_user,
    support::{Home, agent::words, am_root, client, log, skipped},
};

const DAY: u64 = 86_400;

#[test]
fn everything_that_is_said_of_a_key_is_shown_and_stays() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_key("k").unwrap();
    let made_at = client.show("k", |shown| shown.key.created_at).unwrap();
    let request = KeyConfigureRequest {
        key: "k",
        enabled: Some(true),
        interval_days: Some(90),
        grace_period_days: Some(30),
        auto_retire: Some(true),
        environment: Some("production"),
        purpose: Some("card numbers"),
        owner: Some("ana"),
        url: Some("https://example.org/k"),
        note: Some("see the runbook"),
    };
    let (changed, next) = client.configure_key(&request).unwrap();
    assert_eq!(changed.len(), 9, "{changed:?}");
    assert!((made_at + 89 * DAY..=made_at + 90 * DAY).contains(&next));
    assert_eq!(client.configure_key(&request).unwrap(), (vec![], next), "it is so already");
    client.rotate("k", Takeover::Grace).unwrap();
    daemon.kill();
    let daemon = home.start();
    let mut client = daemon.client();
    let generation = client.status("generation");
    client
        .show("k", |shown| {
            let policy = shown.policy;
            assert!(policy.enabled && policy.auto_retire && shown.key.rotates);
            assert_eq!((policy.interval_days, policy.grace_period_days), (90, 30));
            assert_eq!(policy.next_rotation_at, shown.key.due_at);
            assert_eq!(shown.key.due_reason, "scheduled");
            assert!(policy.last_rotation_at >= made_at);
            assert_eq!(
                (shown.purpose, shown.owner, shown.url),
                ("card numbers", "ana", "https://example.org/k")
            );
            assert_eq!((shown.key.environment, shown.key.note), ("production", "see the runbook"));
            assert_eq!(shown.generation.to_string(), generation);
            let of = |number: u32| shown.usage.iter().find(|usage| usage.number == number).unwrap();
            let ends = policy.last_rotation_at + 30 * DAY;
            assert_eq!((of(1).grace_ends_at, of(2).grace_ends_at), (ends, 0));
        })
        .unwrap();
    for bad in [
        KeyConfigureRequest { interval_days: Some(0), ..request },
        KeyConfigureRequest { interval_days: Some(40_000), ..request },
        KeyConfigureRequest { grace_period_days: Some(0), ..request },
        KeyConfigureRequest { environment: Some("two words"), ..request },
        KeyConfigureRequest { owner: Some("a\nb"), ..request },
    ] {
        assert_eq!(client.configure_key(&bad), Err(ErrorCode::InvalidRequest), "{bad:?}");
    }
    let off = KeyConfigureRequest { key: "k", enabled: Some(false), owner: Some(""), ..NOTHING };
    assert_eq!(client.configure_key(&off).unwrap(), (vec!["enabled".into(), "owner".into()], 0));
    let unknown = KeyConfigureRequest { key: "nothing", ..NOTHING };
    assert_eq!(client.configure_key(&unknown), Err(ErrorCode::UnknownKey));
    daemon.terminate();
    let lines = log::lines(&home);
    let of: Vec<_> = lines.iter().filter(|line| line["event_type"] == "key_configure").collect();
    assert_eq!((of.len(), log::count(&lines, "key_show")), (9, 0));
    let first = of[0]["metadata"]["changed"].as_str().unwrap();
    assert!(
        first.starts_with("enabled=true interval_days=90 grace_period_days=30 auto_retire=true"),
        "{first}"
    );
    assert!(!first.contains("ana"), "texts are not repeated: {first}");
    assert_eq!(of[7]["metadata"]["changed"], "enabled=false owner");
}

#[test]
fn who_has_no_right_on_a_name_cannot_tell_whether_there_is_such_a_key() {
    const NAME: &str = "who_has_no_right_on_a_name_cannot_tell_whether_there_is_such_a_key";
    if !am_root() {
        return skipped(NAME, "needs root, to be another user");
    }
    let home = Home::initialized();
    let config = home.configure(
        "[[rule]]\nname = \"shop\"\nuids = [54010]\nkeys = [\"shop/*\"]\nallow = [\"key_show\", \"encrypt\"]\n",
    );
    let daemon = home.start_with(&["--config", config.to_str().unwrap()]);
    as_user::open_for_all(&home);
    let mut root = daemon.client();
    for key in ["shop/cards", "mail"] {
        root.create_key(key).unwrap();
    }
    let show = |key| client::request::<KeyShow>(1, &KeyShowRequest { key });
    let frames = ["shop/cards", "shop/none", "mail", "none", "Not A Name", ""].map(show);
    let codes = as_user::send(&home.socket(), 54010, &frames);
    let (unknown, denied) = (ErrorCode::UnknownKey as u16, ErrorCode::Denied as u16);
    assert_eq!(codes, [0, unknown, denied, denied, denied, denied]);
    let reply = root.ask::<KeyShow>(&KeyShowRequest { key: "none" });
    assert!(words(&reply).contains("keyagent keys list"), "{}", words(&reply));
    daemon.terminate();
}
