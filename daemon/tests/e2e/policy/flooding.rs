//! A user with few rights who makes as many lines as can be: nobody else is kept from anything by it, and what was
//! refused can still be counted in the log.

use std::time::Instant;

use keyagent_common::{
    context::EMPTY,
    error::ErrorCode,
    op::{Empty, Operation, Reload},
};
use serde_json::Value;

use super::stage::Stage;
use crate::support::{
    Client,
    client::{self, request},
};

const SHOP: u32 = 54_050;
const RULE: &str = r#"
[[rule]]
name = "shop"
uids = [54050]
keys = ["default"]
allow = ["encrypt"]
"#;

/// Sends requests and takes their answers, a hundred at a time; how many got each code.
fn ask(client: &mut Client, times: usize, frame: impl Fn(u32) -> Vec<u8>) -> Vec<(u16, usize)> {
    let mut codes = std::collections::BTreeMap::new();
    for _ in 0..times / 100 {
        let frames: Vec<u8> = (0..100).flat_map(&frame).collect();
        client.send(&frames).unwrap();
        (0..100).for_each(|_| *codes.entry(client.expect().code).or_default() += 1);
    }
    codes.into_iter().collect()
}

fn reload(id: u32) -> Vec<u8> {
    request::<Reload>(id, &Empty {})
}

#[test]
fn whoever_fills_the_log_keeps_nobody_from_the_brakes() {
    const TEST: &str = "whoever_fills_the_log_keeps_nobody_from_the_brakes";
    let audit = |budget: &str| {
        format!("[audit]\nbudget = \"{budget}\"\nrotate_size = \"64KiB\"\nwhen_full = \"refuse\"\n{RULE}")
    };
    let Some(mut stage) = Stage::new(TEST, &audit("128KiB")) else { return };
    stage.root().create_key("other").unwrap();
    let mut shop = stage.user(SHOP);
    let full = ErrorCode::AuditUnwritable as u16;
    let served = |answers: &[(u16, usize)]| answers.iter().any(|(code, _)| *code == 0);
    while served(&ask(&mut shop, 1000, |id| client::encrypt(id, b"x"))) {}
    while shop.encrypt(EMPTY, b"x").is_ok() {}
    // What is refused now, for want of a right, is counted as long as there is room, and then not recorded either.
    let answers = ask(&mut shop, 6000, reload);
    assert!(answers.iter().all(|(code, _)| [full, ErrorCode::Denied as u16].contains(code)), "{answers:?}");
    let denied =
        answers.iter().find(|(code, _)| *code == ErrorCode::Denied as u16).map_or(0, |found| found.1);
    let mut root = stage.root();
    assert_eq!(root.encrypt(EMPTY, b"x"), Err(ErrorCode::AuditUnwritable));
    assert!(root.lock().unwrap().changed && root.unlock(&[]).unwrap().changed);
    assert!(root.maintenance(true).unwrap() && root.maintenance(false).unwrap());
    assert_eq!(root.disable("other").unwrap().changed, 1);
    assert_eq!(root.enable("other", false).unwrap().changed, 1);
    root.create_key("more").unwrap();
    root.reload().unwrap();
    // It starts, however full it is.
    stage.stop();
    stage.start();
    let mut shop = stage.user(SHOP);
    assert_eq!(shop.encrypt(EMPTY, b"x"), Err(ErrorCode::AuditUnwritable));
    // The way out that the message names.
    stage.reload(&audit("16MiB"));
    shop.encrypt(EMPTY, b"x").unwrap();
    stage.root().decrypt(EMPTY, &shop.encrypt(EMPTY, b"y").unwrap()).unwrap();
    stage.stop();
    assert_eq!((stage.lines("lock").len(), stage.lines("key_disable").len()), (1, 1));
    let (lines, summed) = in_vain(&stage, "reload");
    assert_eq!(lines as u64 + summed, denied as u64);
}

/// Lines of an operation in vain, and how many more the sums tell of.
fn in_vain(stage: &Stage, operation: &str) -> (usize, u64) {
    let lines = stage.lines(operation).into_iter();
    let lines = lines.filter(|line| line["success"] == false && line["metadata"]["uid"] == SHOP).count();
    let sums = stage.lines("request.refused").into_iter().filter(|line| {
        assert_eq!((&line["success"], &line["metadata"]["uid"]), (&Value::Bool(false), &SHOP.into()));
        line["metadata"]["operation"] == operation
    });
    (lines, sums.map(|line| line["metadata"]["count"].as_u64().unwrap()).sum())
}

#[test]
fn refusals_by_the_thousand_are_few_lines_and_none_is_missing() {
    let Some(mut stage) = Stage::new("refusals_by_the_thousand_are_few_lines_and_none_is_missing", RULE)
    else {
        return;
    };
    let (mut root, mut shop) = (stage.root(), stage.user(SHOP));
    let value = root.encrypt(EMPTY, b"x").unwrap();
    let began = Instant::now();
    let denied = ErrorCode::Denied as u16;
    let request_decrypt = |id| {
        use keyagent_common::op::{Decrypt, DecryptRequest};
        request::<Decrypt>(id, &DecryptRequest { context: EMPTY, envelope: &value })
    };
    assert_eq!(ask(&mut shop, 5000, request_decrypt), [(denied, 5000)]);
    assert_eq!(ask(&mut shop, 1000, reload), [(denied, 1000)]);
    assert_eq!(ask(&mut shop, 1000, |id| client::encrypt(id, b"x")), [(0, 1000)]);
    root.lock().unwrap();
    let locked = ErrorCode::Locked as u16;
    assert_eq!(ask(&mut shop, 3000, |id| client::encrypt(id, b"x")), [(locked, 3000)]);
    // Whoever oversees has a line for each.
    assert_eq!(ask(&mut root, 300, |id| client::encrypt(id, b"x")), [(locked, 300)]);
    root.unlock(&[]).unwrap();
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    stage.stop();
    let counted = [("decrypt", 5000), (Reload::CODE.name(), 1000), ("encrypt", 3000)].map(|(name, all)| {
        let (lines, summed) = in_vain(&stage, name);
        assert_eq!(lines as u64 + summed, all, "{name}");
        lines
    });
    let lines: usize = counted.iter().sum();
    assert!(lines <= 50 * seconds, "{lines} lines in {seconds} s");
    let encrypts = stage.lines("encrypt");
    let done = encrypts.iter().filter(|line| line["success"] == true).count();
    assert_eq!((done, encrypts.len()), (1001, 1001 + 300 + counted[2]));
}
