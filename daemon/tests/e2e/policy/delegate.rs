//! Asking for somebody else: both rights are needed, a role is never lent, and the record says for whom.

use keyagent_common::{
    codec,
    context::EMPTY,
    error::ErrorCode,
    frame::Header,
    op::{
        AuditQuery, AuditQueryRequest, Batch, BatchReply, BatchRequest, DataKey, DataKeyRequest, Decrypt,
        DecryptRequest, Empty, Encrypt, EncryptRequest, Health, KeyCreate, KeyCreateRequest, KeyDisable,
        KeyDisableRequest, KeyEnable, KeyEnableRequest, KeyList, KeyListRequest, Lock, Maintenance,
        MaintenanceRequest, OnBehalfOf, OperationCode, Reload, Status, Stop, Unlock, UnlockRequest, Watch,
        WatchRequest,
    },
};
use serde_json::json;

use super::stage::{Sealed, Stage};
use crate::support::{
    Client,
    client::{self, Reply},
};

const ADMIN: u32 = 54_001;
const SHOP: u32 = 54_010;
const MAILER: u32 = 54_011;
const BRIDGE: u32 = 54_030;

const CONFIG: &str = r#"
[admins]
uid = 54001

[[rule]]
name = "bridge"
uid = 54030
allow = ["encrypt", "decrypt"]
delegate = { uids = [0, 54001, 54010], units = ["web@*.service"], keys = ["shop/*"] }

[[rule]]
name = "bridge-users"
uid = 54030
allow = ["encrypt", "decrypt"]
delegate = { uids = [0, 54001, 54010, 54012], keys = ["shop/*"] }

[[rule]]
name = "shop"
uid = 54010
keys = ["shop/*", "mail"]
allow = ["data"]

[[rule]]
name = "mailer"
uid = 54011
keys = ["shop/*", "mail"]
allow = ["data"]

[[rule]]
name = "web"
unit = "web@*.service"
keys = ["shop/web"]
allow = ["encrypt"]
"#;

fn user(uid: u32) -> OnBehalfOf<'static> {
    OnBehalfOf { uid, gid: uid, unit: "" }
}

fn web(unit: &str) -> OnBehalfOf<'_> {
    OnBehalfOf { uid: 54_040, gid: 54_040, unit }
}

fn encrypt_for(client: &mut Client, who: &OnBehalfOf<'_>, key: &str) -> Result<(), ErrorCode> {
    let request = EncryptRequest { key, context: EMPTY, plaintext: b"for somebody" };
    client.ask_for::<Encrypt>(who, &request).success().map(|_| ())
}

fn stage(test: &str) -> Option<Stage> {
    let stage = Stage::new(test, CONFIG)?;
    for key in ["shop/cards", "shop/web", "mail"] {
        stage.root().create_key(key).unwrap();
    }
    Some(stage)
}

#[test]
fn every_item_of_a_batch_is_asked_for_the_one_who_is_named() {
    let Some(stage) = stage("every_item_of_a_batch_is_asked_for_the_one_who_is_named") else { return };
    let mut bridge = stage.user(BRIDGE);
    let item = |key| EncryptRequest { key, context: EMPTY, plaintext: b"for somebody" };
    let frames: Vec<u8> = (0..)
        .zip(["shop/cards", "mail", "shop/web", "none"].map(item))
        .flat_map(|(id, item)| client::request::<Encrypt>(id, &item))
        .collect();
    let batch = BatchRequest { operation: OperationCode::Encrypt as u16, items: &frames };
    let body = bridge.ask_for::<Batch>(&user(SHOP), &batch).success().unwrap();
    let mut rest = codec::decode::<BatchReply<'_>>(&body).unwrap().results;
    let mut codes = Vec::new();
    while let Ok(Some(header)) = Header::parse(rest) {
        codes.push(header.code);
        rest = &rest[header.frame_bytes()..];
    }
    let denied = ErrorCode::Denied as u16;
    assert_eq!(codes, [0, denied, 0, denied]);
    // An item cannot name somebody itself.
    let inner = client::request_for::<Encrypt>(0, &user(SHOP), &item("shop/cards"));
    let batch = BatchRequest { operation: OperationCode::Encrypt as u16, items: &inner };
    assert_eq!(bridge.ask::<Batch>(&batch).error(), ErrorCode::Malformed);
    assert_eq!(bridge.ask_for::<Batch>(&user(SHOP), &batch).error(), ErrorCode::Malformed);
    drop(bridge);
    let lines = stage.lines("encrypt");
    let line = lines.iter().find(|line| line["metadata"]["outcomes"].is_object()).unwrap();
    assert_eq!(line["metadata"]["on_behalf_of"], json!({"uid": SHOP}));
    assert_eq!(line["metadata"]["outcomes"]["0"]["rule"], "shop");
}

#[test]
fn a_delegate_needs_its_own_right_and_theirs() {
    let Some(mut stage) = stage("a_delegate_needs_its_own_right_and_theirs") else { return };
    let sealed = Sealed::under(&mut stage.root(), "shop/cards", EMPTY);
    let mut bridge = stage.user(BRIDGE);
    assert_eq!(encrypt_for(&mut bridge, &user(SHOP), "shop/cards"), Ok(()));
    let open = DecryptRequest { context: EMPTY, envelope: &sealed.value };
    assert_eq!(bridge.ask_for::<Decrypt>(&user(SHOP), &open).code, 0);
    let denied = Err(ErrorCode::Denied);
    // A key, a caller, an operation that its rule does not name.
    assert_eq!(encrypt_for(&mut bridge, &user(SHOP), "mail"), denied);
    assert_eq!(encrypt_for(&mut bridge, &user(MAILER), "shop/cards"), denied);
    let data_key = DataKeyRequest { key: "shop/cards", context: EMPTY, kind: 3 };
    assert_eq!(bridge.ask_for::<DataKey>(&user(SHOP), &data_key).error(), ErrorCode::Denied);
    // A caller it may name who has no right; those who have every right by their role lend nothing.
    for uid in [54_012, 0, ADMIN, u32::MAX, 65_534] {
        assert_eq!(encrypt_for(&mut bridge, &user(uid), "shop/cards"), denied, "{uid}");
    }
    // For itself it has no right at all.
    assert_eq!(bridge.encrypt_under("shop/cards", EMPTY, b"x").map(|_| ()), denied);
    assert_eq!(encrypt_for(&mut bridge, &user(BRIDGE), "shop/cards"), denied);
    // Who may not ask for others may not even ask for itself that way.
    let mut mailer = stage.user(MAILER);
    for uid in [MAILER, SHOP, 0] {
        assert_eq!(encrypt_for(&mut mailer, &user(uid), "shop/cards"), denied, "{uid}");
    }
    mailer.encrypt_under("shop/cards", EMPTY, b"x").unwrap();
    // An admin may ask for everybody, and gives nobody more than they have.
    let mut admin = stage.user(ADMIN);
    assert_eq!(encrypt_for(&mut admin, &user(MAILER), "mail"), Ok(()));
    assert_eq!(encrypt_for(&mut admin, &user(MAILER), "default"), denied);
    assert_eq!(encrypt_for(&mut admin, &user(BRIDGE), "shop/cards"), denied);
    stage.stop();
    let lines = stage.lines("decrypt");
    let line = &lines[0];
    assert_eq!(line["user_id"], BRIDGE.to_string());
    assert_eq!(line["metadata"]["on_behalf_of"], json!({ "uid": SHOP }));
    assert_eq!(line["metadata"]["rule"], "shop");
    let of_bridge = |line: &&serde_json::Value| line["metadata"]["uid"] == BRIDGE;
    let lines = stage.lines("encrypt");
    let lent = lines.iter().filter(of_bridge).filter(|line| line["metadata"].get("on_behalf_of").is_some());
    assert_eq!((lines.iter().filter(of_bridge).count(), lent.count()), (10, 9));
}

#[test]
fn a_unit_can_be_named_too_and_hides_as_much() {
    let Some(stage) = stage("a_unit_can_be_named_too_and_hides_as_much") else { return };
    // `uids` and `units` of a delegate must both fit.
    let config = CONFIG.replace("delegate = { uids = [0, 54001, 54010], units", "delegate = { units");
    let mut bridge = stage.user(BRIDGE);
    assert_eq!(encrypt_for(&mut bridge, &web("web@1.service"), "shop/web"), Err(ErrorCode::Denied));
    stage.reload(&config);
    assert_eq!(encrypt_for(&mut bridge, &web("web@1.service"), "shop/web"), Ok(()));
    for unit in ["web.service", "", "web@1.service/x", "shop.service", "\u{1b}[31m", &"w".repeat(60_000)] {
        assert_eq!(encrypt_for(&mut bridge, &web(unit), "shop/web"), Err(ErrorCode::Denied), "{unit:.30}");
    }
    // Of a key that the named caller has no right on nothing is learned.
    let mut ask = |key: &str| {
        let request = EncryptRequest { key, context: EMPTY, plaintext: b"x" };
        let who = web("web@1.service");
        bridge.send(&crate::support::client::request_for::<Encrypt>(7, &who, &request)).unwrap();
        bridge.expect()
    };
    let refused = ask("shop/cards");
    assert_eq!(refused.clone().error(), ErrorCode::Denied);
    assert_eq!(refused, ask("shop/none"));
    assert_eq!(refused, ask("mail"));
}

#[test]
fn a_delegate_for_users_cannot_pick_their_unit_or_group() {
    let config = format!(
        "{CONFIG}\n[[rule]]\nname = \"team\"\ngid = 54077\nkeys = [\"shop/cards\"]\nallow = [\"encrypt\"]\n\n\
         [[rule]]\nname = \"bridge-team\"\nuid = 54031\nallow = [\"encrypt\"]\ndelegate = {{ gids = [54077], keys = [\"shop/*\"] }}\n"
    );
    let Some(mut stage) = stage("a_delegate_for_users_cannot_pick_their_unit_or_group") else { return };
    stage.reload(&config);
    let mut bridge = stage.user(BRIDGE);
    // It may name 54012, who has no right; the unit and the group that have one are its own invention.
    let invented = OnBehalfOf { uid: 54_012, gid: 54_077, unit: "web@1.service" };
    for key in ["shop/web", "shop/cards"] {
        assert_eq!(encrypt_for(&mut bridge, &invented, key), Err(ErrorCode::Denied), "{key}");
    }
    // A delegate that is limited to the group may name it, and then the record does; the user is not asked.
    let mut team = stage.user(54_031);
    assert_eq!(encrypt_for(&mut team, &invented, "shop/cards"), Ok(()));
    assert_eq!(encrypt_for(&mut team, &invented, "shop/web"), Err(ErrorCode::Denied));
    assert_eq!(
        encrypt_for(&mut team, &OnBehalfOf { gid: 54_077, ..user(SHOP) }, "shop/web"),
        Err(ErrorCode::Denied)
    );
    stage.stop();
    let lines = stage.lines("encrypt");
    let named: Vec<_> = lines.iter().map(|line| &line["metadata"]["on_behalf_of"]).collect();
    assert_eq!(*named[0], json!({ "uid": 54_012, "unit": "web@1.service" }));
    assert_eq!(*named[2], json!({ "uid": 54_012, "gid": 54_077, "unit": "web@1.service" }));
}

#[test]
fn a_delegate_pays_with_its_own_rate() {
    let config = CONFIG.replace(
        "keys = [\"shop/*\", \"mail\"]\nallow = [\"data\"]",
        "keys = [\"shop/*\", \"mail\"]\nallow = [\"data\"]\nrate = \"3/h\"",
    );
    let Some(stage) = stage("a_delegate_pays_with_its_own_rate") else { return };
    stage.reload(&config);
    let (mut bridge, mut shop) = (stage.user(BRIDGE), stage.user(SHOP));
    for _ in 0..3 {
        assert_eq!(encrypt_for(&mut bridge, &user(SHOP), "shop/cards"), Ok(()));
    }
    assert_eq!(encrypt_for(&mut bridge, &user(SHOP), "shop/cards"), Err(ErrorCode::RateLimited));
    // The named caller's own requests are as many as ever.
    for _ in 0..3 {
        shop.encrypt_under("shop/cards", EMPTY, b"x").unwrap();
    }
    assert_eq!(shop.encrypt_under("shop/cards", EMPTY, b"x"), Err(ErrorCode::RateLimited));
}

/// A frame that says it is for somebody, and does not say for whom.
fn for_nobody(operation: u16) -> Vec<u8> {
    let mut bytes = keyagent_common::codec::frame(9, operation, &[0xff_u8; 3]).unwrap().to_vec();
    bytes[10] = 1;
    bytes
}

#[test]
fn what_cannot_be_asked_for_others_is_recorded_all_the_same() {
    let Some(mut stage) = stage("what_cannot_be_asked_for_others_is_recorded_all_the_same") else { return };
    let mut bridge = stage.user(BRIDGE);
    bridge.send(&for_nobody(OperationCode::Encrypt as u16)).unwrap();
    assert_eq!(bridge.expect().error(), ErrorCode::Malformed);
    assert_eq!(bridge.ask_for::<Lock>(&user(SHOP), &Empty {}).error(), ErrorCode::InvalidRequest);
    bridge.send(&for_nobody(OperationCode::Lock as u16)).unwrap();
    assert_eq!(bridge.expect().error(), ErrorCode::InvalidRequest);
    let unlock = UnlockRequest { master: &[7; 32] };
    assert_eq!(bridge.ask_for::<Unlock>(&user(SHOP), &unlock).error(), ErrorCode::InvalidRequest);
    stage.stop();
    let (encrypt, lock) = (&stage.lines("encrypt")[0], stage.lines("lock"));
    for line in [encrypt, &lock[0], &lock[1]] {
        assert_eq!((&line["success"], &line["user_id"]), (&json!(false), &json!(BRIDGE.to_string())));
    }
    assert_eq!(encrypt["metadata"]["code"], ErrorCode::Malformed as u16);
    assert_eq!(lock[0]["metadata"]["code"], ErrorCode::InvalidRequest as u16);
    assert_eq!(lock[0]["metadata"]["on_behalf_of"], json!({ "uid": SHOP }));
    assert_eq!(stage.lines("unlock")[0]["metadata"].get("on_behalf_of"), None, "its body may be a key");
    assert_eq!((lock.len(), lock[1]["metadata"].get("on_behalf_of")), (2, None));
}

#[test]
fn only_operations_on_data_can_be_asked_for_others() {
    let Some(stage) = stage("only_operations_on_data_can_be_asked_for_others") else { return };
    for mut client in [stage.user(BRIDGE), stage.user(ADMIN)] {
        let (client, who) = (&mut *client, &user(SHOP));
        let (key, reason) = ("shop/cards", "");
        let all = AuditQueryRequest { from_seq: 0, to_seq: 9, from_micros: 0, to_micros: 9, max_bytes: 9 };
        let replies: Vec<Reply> = vec![
            client.ask_for::<Status>(who, &Empty {}),
            client.ask_for::<Health>(who, &Empty {}),
            client.ask_for::<Stop>(who, &Empty {}),
            client.ask_for::<Lock>(who, &Empty {}),
            client.ask_for::<Unlock>(who, &UnlockRequest { master: &[] }),
            client.ask_for::<Reload>(who, &Empty {}),
            client.ask_for::<Maintenance>(who, &MaintenanceRequest { on: true, reason }),
            client.ask_for::<AuditQuery>(who, &all),
            client.ask_for::<Watch>(who, &WatchRequest { after: 0, wait_milliseconds: 30_000 }),
            client.ask_for::<KeyCreate>(who, &KeyCreateRequest { key: "shop/new", class: 1, note: "" }),
            client.ask_for::<KeyList>(who, &KeyListRequest { after: "", limit: 9 }),
            client.ask_for::<KeyDisable>(
                who,
                &KeyDisableRequest { version: 0, key, compromised: true, reason },
            ),
            client.ask_for::<KeyEnable>(
                who,
                &KeyEnableRequest { version: 0, key, lift_compromised: true, reason },
            ),
        ];
        for (place, reply) in replies.into_iter().enumerate() {
            assert_eq!(reply.error(), ErrorCode::InvalidRequest, "number {place}");
        }
    }
    let mut root = stage.root();
    assert_eq!((root.status("state"), root.status("maintenance")), ("unlocked".into(), "off".into()));
    assert_eq!(root.keys().len(), 4);
}
