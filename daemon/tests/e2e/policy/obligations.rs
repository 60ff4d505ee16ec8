//! What a rule asks in return: a rate, names in the context, a data key that nobody sees.

use std::time::{Duration, Instant};

use keyagent_common::{
    codec, context,
    context::EMPTY,
    error::ErrorCode,
    op::{DataKey, DataKeyReply, DataKeyRequest, Encrypt, EncryptRequest},
};

use super::stage::{Person, Sealed, Stage};
use crate::support::{Client, agent::words};

const SHOP: u32 = 54_010;
const OTHER: u32 = 54_011;

#[test]
fn a_rate_lets_a_burst_through_and_then_so_many_a_second() {
    let config = r#"
[[rule]]
name = "slow"
uids = [54010, 54011]
keys = ["default"]
allow = ["encrypt"]
rate = "2/s burst 4"

[[rule]]
name = "hourly"
uids = [54010]
keys = ["rare"]
allow = ["encrypt", "decrypt"]
rate = "3/h"
"#;
    let Some(mut stage) = Stage::new("a_rate_lets_a_burst_through_and_then_so_many_a_second", config) else {
        return;
    };
    stage.root().create_key("rare").unwrap();
    let (mut shop, mut other) = (stage.user(SHOP), stage.user(OTHER));
    let served = |client: &mut Client, times: usize| {
        (0..times).filter(|_| client.encrypt(EMPTY, b"x").is_ok()).count()
    };
    let begin = Instant::now();
    let count = served(&mut shop, 50);
    let most = 4 + usize::try_from(begin.elapsed().as_millis()).unwrap() / 500 + 1;
    assert!((4..=most).contains(&count), "{count} of at most {most}");
    assert_eq!(shop.encrypt(EMPTY, b"x"), Err(ErrorCode::RateLimited));
    assert_eq!(ErrorCode::RateLimited.exit_code(), 75);
    // Another connection of the same user is no way around it; another user has a rate of their own.
    assert_eq!(stage.user(SHOP).encrypt(EMPTY, b"x"), Err(ErrorCode::RateLimited));
    assert!(served(&mut other, 4) == 4);
    // It comes back by itself, no faster than it may.
    let pause = Instant::now();
    std::thread::sleep(Duration::from_millis(1100));
    let back = served(&mut shop, 20);
    let most = usize::try_from(pause.elapsed().as_millis()).unwrap() / 500 + 1;
    assert!((2..=most).contains(&back), "{back} of at most {most}");
    // A rule that another key has counts for itself, for all operations together.
    let value = shop.encrypt_under("rare", EMPTY, b"x").unwrap();
    shop.decrypt(EMPTY, &value).unwrap();
    shop.decrypt(EMPTY, &value).unwrap();
    assert_eq!(shop.decrypt(EMPTY, &value), Err(ErrorCode::RateLimited));
    assert_eq!(stage.user(SHOP).encrypt_under("rare", EMPTY, b"x"), Err(ErrorCode::RateLimited));
    // A reload that changes nothing does not fill it again.
    stage.root().reload().unwrap();
    assert_eq!(shop.decrypt(EMPTY, &value), Err(ErrorCode::RateLimited));
    stage.stop();
    let lines = stage.lines("decrypt");
    let limited: Vec<_> = lines.iter().filter(|line| line["success"] == false).collect();
    assert_eq!(limited.len(), 2);
    for line in limited {
        assert_eq!((&line["metadata"]["rule"], &line["metadata"]["code"]), (&"hourly".into(), &20.into()));
    }
}

#[test]
fn who_is_named_as_a_group_has_one_rate_together() {
    let config =
        "[[rule]]\nname = \"team\"\ngid = 54077\nkeys = \"default\"\nallow = \"encrypt\"\nrate = \"5/h\"\n";
    let Some(stage) = Stage::new("who_is_named_as_a_group_has_one_rate_together", config) else { return };
    // Somebody with thousands of user ids in one group is nobody but one of that group.
    let served: usize = (0..8)
        .map(|number| stage.client(&Person::with_groups(54_100 + number, &[54_077])))
        .map(|mut client| (0..2).filter(|_| client.encrypt(EMPTY, b"x").is_ok()).count())
        .sum();
    assert_eq!(served, 5);
}

#[test]
fn a_burst_of_frames_is_counted_one_by_one() {
    let config =
        "[[rule]]\nname = \"slow\"\nuid = 54010\nkeys = \"default\"\nallow = \"encrypt\"\nrate = \"5/h\"\n";
    let Some(stage) = Stage::new("a_burst_of_frames_is_counted_one_by_one", config) else { return };
    let mut shop = stage.user(SHOP);
    let frames: Vec<u8> = (0..40).flat_map(|id| crate::support::client::encrypt(id, b"x")).collect();
    shop.send(&frames).unwrap();
    let codes: Vec<u16> = (0..40).map(|_| shop.expect().code).collect();
    let limited = ErrorCode::RateLimited as u16;
    assert_eq!(codes, [vec![0; 5], vec![limited; 35]].concat());
}

#[test]
fn a_context_that_a_rule_demands_must_be_there() {
    let config = r#"
[[rule]]
name = "bound"
uid = 54010
keys = ["default"]
allow = ["data"]
require_context = ["table", "row"]
"#;
    let Some(stage) = Stage::new("a_context_that_a_rule_demands_must_be_there", config) else { return };
    let mut shop = stage.user(SHOP);
    let with = |pairs: &[(&'static str, &'static [u8])]| context::encode(pairs.iter().copied()).unwrap();
    let full = with(&[("row", b"17"), ("table", b"cards")]);
    let more = with(&[("a", b""), ("row", b""), ("table", b"")]);
    for context in [&full, &more] {
        let value = shop.encrypt(context, b"bound").unwrap();
        assert_eq!(shop.decrypt(context, &value).unwrap(), b"bound");
    }
    let sealed = Sealed::under(&mut stage.root(), "default", EMPTY);
    for context in [EMPTY.to_vec(), with(&[("row", b"17")]), with(&[("rows", b"17"), ("table", b"cards")])] {
        let refused =
            shop.ask::<Encrypt>(&EncryptRequest { key: "default", context: &context, plaintext: b"x" });
        assert!(words(&refused).contains("context"), "{}", words(&refused));
        assert_eq!(refused.error(), ErrorCode::Denied);
        assert_eq!(shop.decrypt(&context, &sealed.value), Err(ErrorCode::Denied));
    }
    assert_eq!(shop.data_key(3), Err(ErrorCode::Denied));
}

#[test]
fn without_reveal_a_data_key_comes_sealed_only() {
    let config = r#"
[[rule]]
name = "blind"
uid = 54010
keys = ["default"]
allow = ["data_key"]
no_reveal = true

[[rule]]
name = "reader"
uid = 54011
keys = ["default"]
allow = ["data_key_open"]
"#;
    let Some(mut stage) = Stage::new("without_reveal_a_data_key_comes_sealed_only", config) else { return };
    let mut shop = stage.user(SHOP);
    for kind in [2, 3] {
        let request = DataKeyRequest { key: "default", context: EMPTY, kind };
        let body = shop.ask::<DataKey>(&request).success().unwrap();
        let reply: DataKeyReply<'_> = codec::decode(&body).unwrap();
        assert_eq!((reply.plain.len(), reply.envelope.len()), (0, 105));
        let open = keyagent_common::op::DataKeyOpenRequest { context: EMPTY, envelope: reply.envelope };
        let refused = shop.ask::<keyagent_common::op::DataKeyOpen>(&open);
        assert_eq!(refused.error(), ErrorCode::Denied);
        // It is a key all the same: whoever may open it finds one.
        let opened = stage.user(OTHER).ask::<keyagent_common::op::DataKeyOpen>(&open).success().unwrap();
        let opened: keyagent_common::op::DataKeyOpenReply<'_> = codec::decode(&opened).unwrap();
        assert_eq!(opened.plain.len(), 32);
        assert!(!body.windows(32).any(|window| window == opened.plain), "the key is in the reply");
    }
    drop(shop);
    stage.stop();
    // What cannot be enforced does not load.
    for (allow, more) in [
        ("[\"data_key\", \"decrypt\"]", "no_reveal = true"),
        ("[\"data\"]", "no_reveal = true"),
        ("[\"encrypt\"]", "no_reveal = true"),
        ("[\"key_list\"]", "rate = \"1/s\""),
        ("[\"key_list\"]", "require_context = [\"table\"]"),
        ("[\"stop\"]", ""),
    ] {
        let rule = format!(
            "[[rule]]\nname = \"x\"\nuid = {}\nkeys = [\"default\"]\nallow = {allow}\n{more}\n",
            Person::of(SHOP).uid
        );
        stage.home.configure(&rule);
        let refused = stage.refuses();
        assert!(refused.stderr.contains("config.toml:"), "{}", refused.stderr);
    }
}
