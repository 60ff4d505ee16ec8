//! What a caller learns of keys that are none of its business: nothing, byte for byte.

use keyagent_common::{
    codec,
    context::EMPTY,
    error::ErrorCode,
    op::{
        DataKey, DataKeyOpen, DataKeyOpenRequest, DataKeyRequest, Decrypt, DecryptRequest, Empty, Encrypt,
        EncryptRequest, Health, HealthReply, KeyCreate, KeyCreateRequest, KeyDisable, KeyDisableRequest,
        KeyEnable, KeyEnableRequest, Status, StatusReply,
    },
};

use super::stage::{Connection, Sealed, Stage};
use crate::support::{
    Client,
    client::{Reply, request},
};

const SHOP: u32 = 54_010;
const ALL: u32 = 54_011;
const LOOKER: u32 = 54_012;
const OPERATOR: u32 = 54_013;

const CONFIG: &str = r#"
[operators]
uid = 54013

[[rule]]
name = "shop"
uid = 54010
keys = ["shop/**"]
allow = ["data", "key_create", "key_disable", "key_enable", "key_list"]

[[rule]]
name = "all"
uid = 54011
keys = ["**"]
allow = ["decrypt", "data_key_open"]

[[rule]]
name = "looker"
uid = 54012
allow = ["status", "health"]
"#;

/// One answer as it comes, always under the same id.
fn raw(client: &mut Client, frame: &[u8]) -> Reply {
    client.send(frame).unwrap();
    client.expect()
}

/// Every operation that names a key.
fn by_name(client: &mut Client, key: &str) -> Vec<Reply> {
    let (context, plaintext) = (EMPTY, &b"x"[..]);
    let frames = [
        request::<Encrypt>(7, &EncryptRequest { key, context, plaintext }),
        request::<DataKey>(7, &DataKeyRequest { key, context, kind: 3 }),
        request::<DataKey>(7, &DataKeyRequest { key, context, kind: 9 }),
        request::<Encrypt>(7, &EncryptRequest { key, context: &[0xff; 9], plaintext }),
        request::<KeyCreate>(7, &KeyCreateRequest { key, class: 1, note: "" }),
        request::<KeyDisable>(7, &KeyDisableRequest { version: 0, key, compromised: true, reason: "" }),
        request::<KeyEnable>(7, &KeyEnableRequest { version: 0, key, lift_compromised: true, reason: "" }),
    ];
    frames.iter().map(|frame| raw(client, frame)).collect()
}

/// Every operation that names it by what it sealed; also bound to another context, and changed.
fn by_id(client: &mut Client, sealed: &Sealed) -> Vec<Reply> {
    let other = keyagent_common::context::encode([("a", &b"b"[..])]).unwrap();
    let mut changed = sealed.value.clone();
    *changed.last_mut().unwrap() ^= 1;
    let frames = [
        request::<Decrypt>(7, &DecryptRequest { context: EMPTY, envelope: &sealed.value }),
        request::<Decrypt>(7, &DecryptRequest { context: EMPTY, envelope: &changed }),
        request::<Decrypt>(7, &DecryptRequest { context: &other, envelope: &sealed.value }),
        request::<DataKeyOpen>(7, &DataKeyOpenRequest { context: EMPTY, envelope: &sealed.data_key }),
    ];
    frames.iter().map(|frame| raw(client, frame)).collect()
}

/// The same with the id of a key that nobody has.
fn of_nobody(sealed: &Sealed) -> Sealed {
    let replaced = |bytes: &[u8]| [&bytes[..1], &[0x5a; 32], &bytes[33..]].concat();
    Sealed { value: replaced(&sealed.value), data_key: replaced(&sealed.data_key) }
}

fn all_are(replies: &[Reply], error: ErrorCode) {
    assert!(replies.iter().all(|reply| reply.clone().error() == error), "{error:?}: {replies:?}");
}

#[test]
fn denied_and_no_such_key_are_the_same_bytes() {
    let Some(stage) = Stage::new("denied_and_no_such_key_are_the_same_bytes", CONFIG) else { return };
    let mut root = stage.root();
    for key in ["shop/cards", "mail", "braked"] {
        root.create_key(key).unwrap();
    }
    let mail = Sealed::under(&mut root, "mail", EMPTY);
    let braked = Sealed::under(&mut root, "braked", EMPTY);
    root.disable("braked").unwrap();
    let (mut shop, mut all) = (stage.user(SHOP), stage.user(ALL));
    let missing = by_name(&mut shop, "no-such-key");
    all_are(&missing, ErrorCode::Denied);
    for key in ["mail", "braked", "default"] {
        assert_eq!(by_name(&mut shop, key), missing, "{key}");
    }
    let unknown = by_id(&mut shop, &of_nobody(&mail));
    all_are(&unknown, ErrorCode::Denied);
    assert_eq!(by_id(&mut shop, &mail), unknown);
    assert_eq!(by_id(&mut shop, &braked), unknown);
    // Nor while nothing new is sealed.
    root.maintenance(true).unwrap();
    assert_eq!(by_name(&mut shop, "mail"), by_name(&mut shop, "no-such-key"));
    root.maintenance(false).unwrap();
    // Whoever has a right on the name may know; an unknown id only whoever has one on every key.
    assert_eq!(shop.encrypt_under("shop/missing", EMPTY, b"x"), Err(ErrorCode::UnknownKey));
    assert_eq!(shop.disable("shop/missing").unwrap_err(), ErrorCode::UnknownKey);
    let known = by_id(&mut all, &of_nobody(&mail));
    all_are(&known, ErrorCode::UnknownKeyId);
    assert_eq!(all.decrypt(EMPTY, &mail.value).unwrap(), b"sealed by root");
    assert_eq!(all.decrypt(EMPTY, &braked.value), Err(ErrorCode::KeyDisabled));
    // It may not encrypt, but knows every name.
    assert_eq!(all.encrypt_under("mail", EMPTY, b"x"), Err(ErrorCode::Denied));
    assert_eq!(all.encrypt_under("no-such-key", EMPTY, b"x"), Err(ErrorCode::UnknownKey));
    all_are(&by_id(&mut root, &of_nobody(&mail)), ErrorCode::UnknownKeyId);
    // An operator sees all names, and none of the data.
    let mut operator = stage.user(OPERATOR);
    all_are(&by_id(&mut operator, &mail), ErrorCode::Denied);
    assert_eq!(operator.encrypt_under("mail", EMPTY, b"x"), Err(ErrorCode::Denied));
    assert_eq!(operator.encrypt_under("no-such-key", EMPTY, b"x"), Err(ErrorCode::UnknownKey));
}

#[test]
fn a_list_of_keys_holds_the_callers_own() {
    let Some(stage) = Stage::new("a_list_of_keys_holds_the_callers_own", CONFIG) else { return };
    let mut root = stage.root();
    for key in ["mail", "shop/cards", "shop/orders", "shopping"] {
        root.create_key(key).unwrap();
    }
    let names =
        |client: &mut Client| client.keys().into_iter().map(|(name, ..)| name).collect::<Vec<_>>().join(" ");
    assert_eq!(names(&mut stage.user(SHOP)), "shop/cards shop/orders");
    for client in [&mut root, &mut *stage.user(OPERATOR)] {
        assert_eq!(names(client), "default mail shop/cards shop/orders shopping");
    }
    // Who has rights on them is nobody's business but theirs who oversee the agent.
    let access =
        |client: &mut Client| super::list(client).into_iter().map(|key| key.access).collect::<Vec<_>>();
    assert!(access(&mut stage.user(SHOP)).iter().all(Vec::is_empty));
    let shown = access(&mut stage.user(OPERATOR));
    assert_eq!(shown[1], ["uid:54011"]);
    assert_eq!(shown[2], ["uid:54010", "uid:54011"]);
}

/// Names of the fields of `status`.
fn fields(client: &mut Connection) -> Vec<String> {
    let body = client.ask::<Status>(&Empty {}).success().unwrap();
    let reply = codec::decode::<StatusReply<'_>>(&body).unwrap();
    reply.fields.iter().map(|field| field.name.to_owned()).collect()
}

/// Status, and of how many checks it tells.
fn health(client: &mut Client) -> (String, usize) {
    let body = client.ask::<Health>(&Empty {}).success().unwrap();
    let reply = codec::decode::<HealthReply<'_>>(&body).unwrap();
    (reply.status.into(), reply.checks.len())
}

#[test]
fn status_and_health_tell_a_user_little_and_an_operator_all() {
    let Some(stage) = Stage::new("status_and_health_tell_a_user_little_and_an_operator_all", CONFIG) else {
        return;
    };
    let mut looker = stage.user(LOOKER);
    let little = ["version", "protocol", "state", "instance", "master_fingerprint", "pid"];
    assert_eq!(fields(&mut looker), little);
    assert_eq!(health(&mut looker), ("healthy".into(), 0));
    assert_eq!(looker.encrypt(EMPTY, b"x"), Err(ErrorCode::Denied));
    assert_eq!(looker.lock().unwrap_err(), ErrorCode::Denied);
    assert_eq!(stage.user(SHOP).ask::<Health>(&Empty {}).error(), ErrorCode::Denied);
    let mut operator = stage.user(OPERATOR);
    let all = fields(&mut operator);
    for name in ["keyring", "audit_log", "policy_digest", "keys", "denied", "master_source"] {
        assert!(all.iter().any(|field| field == name), "{name}");
    }
    assert!(health(&mut operator).1 >= 6);
}
