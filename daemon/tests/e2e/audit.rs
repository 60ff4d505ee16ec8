//! The audit log as a record (rows 33, 43, 44): n operations, failed and locked ones too, give exactly n
//! records with the documented fields; nothing that was sealed, opened or bound appears in log or stderr.

use std::{collections::BTreeMap, fs};

use keyagent_common::{
    codec, context,
    context::EMPTY,
    error::ErrorCode,
    op::{
        AuditQuery, AuditQueryRequest, DataKeyOpen, DataKeyOpenRequest, DataKeyReply, Empty, Encrypt,
        EncryptRequest, Health, KeyDisable, KeyDisableRequest, KeyEnable, KeyEnableRequest, KeyList,
        KeyListRequest, Maintenance, MaintenanceRequest, OnBehalfOf, OperationCode, Reload, Watch,
        WatchRequest,
    },
};
use serde_json::{Value, json};

use crate::support::{Client, Home, bounded, client, log};

const CANARY: &str = "canary-7f3a9c51e2";

/// Every record has these members and no others.
fn check_fields(line: &Value) {
    let members: Vec<&str> =
        line.as_object().unwrap().keys().map(String::as_str).filter(|name| *name != "mac").collect();
    let mut expected = [
        "seq",
        "id",
        "timestamp",
        "event_type",
        "provider",
        "user_id",
        "ip_address",
        "user_agent",
        "success",
        "error_message",
        "metadata",
    ];
    expected.sort_unstable();
    let mut members = members;
    members.sort_unstable();
    assert_eq!(members, expected, "{line}");
    let timestamp = line["timestamp"].as_str().unwrap();
    assert!(timestamp.len() == 27 && timestamp.ends_with('Z'), "{timestamp}");
    assert_eq!(line["success"].as_bool().unwrap(), line["error_message"].is_null(), "{line}");
    let allowed = [
        "uid",
        "gid",
        "pid",
        "key_id",
        "version",
        "bytes",
        "count",
        "code",
        "reason",
        "context",
        "segment",
        "salt",
        "host",
        "epoch",
        "previous_mac",
        "keyring_id",
        "generation",
        "digest",
        "socket",
        "rule",
        "on_behalf_of",
        "kind",
        "message",
        "brake",
        "lift_compromised",
        "on",
    ];
    for name in line["metadata"].as_object().unwrap().keys() {
        assert!(allowed.contains(&name.as_str()), "{line}");
    }
}

/// How often each event is to be in the log.
type Expected = BTreeMap<&'static str, usize>;

fn done(expected: &mut Expected, event: &'static str) {
    *expected.entry(event).or_default() += 1;
}

/// Operations on keys and on the agent: each done, done in vain, and refused; and others that are not recorded.
fn on_keys_and_agent(client: &mut Client, round: usize, expected: &mut Expected) {
    let mut done = |event| done(expected, event);
    let key = format!("made/{round}");
    let disable = |key, reason| KeyDisableRequest { version: 0, key, compromised: false, reason };
    let enable = |key, reason| KeyEnableRequest { version: 0, key, lift_compromised: false, reason };
    client.create_key(&key).unwrap();
    assert_eq!(client.create_key(&key).unwrap_err(), ErrorCode::KeyExists);
    assert_eq!(client.create_key("No Name").unwrap_err(), ErrorCode::InvalidRequest);
    (0..3).for_each(|_| done("key_create"));
    assert_eq!(client.ask::<KeyDisable>(&disable(&key, "a test")).code, 0);
    assert_eq!(client.encrypt_under(&key, EMPTY, b"x"), Err(ErrorCode::KeyDisabled));
    done("encrypt");
    assert_eq!(client.ask::<KeyDisable>(&disable(&key, "again")).code, 0);
    assert_eq!(client.ask::<KeyDisable>(&disable("none", "")).error(), ErrorCode::UnknownKey);
    assert_eq!(client.ask::<KeyDisable>(&disable(&key, "a\u{1b}b")).error(), ErrorCode::InvalidRequest);
    (0..4).for_each(|_| done("key_disable"));
    assert_eq!(client.ask::<KeyEnable>(&enable(&key, "")).code, 0);
    assert_eq!(client.ask::<KeyEnable>(&enable(&key, "again")).code, 0);
    assert_eq!(client.ask::<KeyEnable>(&enable("none", "")).error(), ErrorCode::UnknownKey);
    (0..3).for_each(|_| done("key_enable"));
    // What changed the keyring: one key made, disabled and enabled.
    for event in ["keyring.intent", "keyring.commit"] {
        (0..3).for_each(|_| done(event));
    }
    for on in [true, false, false] {
        assert_eq!(client.ask::<Maintenance>(&MaintenanceRequest { on, reason: "a test" }).code, 0);
        if on {
            assert_eq!(client.encrypt(EMPTY, b"x"), Err(ErrorCode::Maintenance));
            done("encrypt");
        }
        done("maintenance");
    }
    let unfit = MaintenanceRequest { on: true, reason: "a\nb" };
    assert_eq!(client.ask::<Maintenance>(&unfit).error(), ErrorCode::InvalidRequest);
    done("maintenance");
    // On behalf of one whom a rule allows it, and of one whom none does.
    let sealed = EncryptRequest { key: "default", context: EMPTY, plaintext: CANARY.as_bytes() };
    let shop = OnBehalfOf { uid: 4242, gid: 4242, unit: "" };
    assert_eq!(client.ask_for::<Encrypt>(&shop, &sealed).code, 0);
    let nobody = OnBehalfOf { uid: 4243, gid: 4243, unit: "x.service" };
    assert_eq!(client.ask_for::<Encrypt>(&nobody, &sealed).error(), ErrorCode::Denied);
    done("encrypt");
    done("encrypt");
    for operation in [
        OperationCode::Maintenance,
        OperationCode::AuditQuery,
        OperationCode::Watch,
        OperationCode::KeyCreate,
        OperationCode::KeyList,
        OperationCode::KeyDisable,
        OperationCode::KeyEnable,
    ] {
        client.send(&codec::frame(1, operation as u16, &[0xee_u8; 3]).unwrap()).unwrap();
        assert_eq!(client.expect().error(), ErrorCode::Malformed);
        done(operation.name());
    }
    look_only(client);
}

/// Looking, which is not recorded.
fn look_only(client: &mut Client) {
    assert_eq!(client.ask::<Health>(&Empty {}).code, 0);
    assert_eq!(client.ask::<KeyList>(&KeyListRequest { after: "", limit: 9 }).code, 0);
    assert_eq!(client.ask::<Watch>(&WatchRequest { after: 0, wait_milliseconds: 0 }).code, 0);
    let all =
        AuditQueryRequest { from_seq: 0, to_seq: 9, from_micros: 0, to_micros: u64::MAX, max_bytes: 999 };
    assert_eq!(client.ask::<AuditQuery>(&all).code, 0);
    client.status("state");
}

#[test]
fn n_operations_give_n_records_with_the_documented_fields() {
    let home = Home::initialized();
    let config =
        home.configure("[[rule]]\nname = \"shop\"\nuid = 4242\nkeys = \"default\"\nallow = \"data\"\n");
    let daemon = home.start_with(&["--config", config.to_str().unwrap()]);
    let mut client = daemon.client();
    let secret = CANARY.as_bytes();
    let context =
        context::encode([("row", format!("{CANARY}-row").as_bytes()), ("table", b"cards")]).unwrap();
    let mut expected = Expected::new();
    for round in 0..bounded(20, 200) {
        on_keys_and_agent(&mut client, round, &mut expected);
        let mut done = |event| done(&mut expected, event);
        let envelope = client.encrypt(&context, secret).unwrap();
        done("encrypt");
        assert_eq!(client.decrypt(&context, &envelope).unwrap(), secret);
        done("decrypt");
        assert_eq!(client.decrypt(EMPTY, &envelope), Err(ErrorCode::DoesNotOpen));
        done("decrypt");
        assert_eq!(client.encrypt_under("no-such-key", &context, secret), Err(ErrorCode::UnknownKey));
        done("encrypt");
        assert_eq!(
            client.encrypt_under(CANARY.to_uppercase().as_str(), &context, secret),
            Err(ErrorCode::InvalidRequest)
        );
        done("encrypt");
        assert_eq!(client.encrypt(secret, secret), Err(ErrorCode::InvalidRequest));
        done("encrypt");
        let body = client.data_key(3).unwrap();
        done("data_key");
        let DataKeyReply { envelope: sealed, .. } = codec::decode(&body).unwrap();
        assert_eq!(
            client.ask::<DataKeyOpen>(&DataKeyOpenRequest { context: EMPTY, envelope: sealed }).code,
            0
        );
        done("data_key_open");
        assert_eq!(client.data_key(9), Err(ErrorCode::InvalidRequest));
        done("data_key");
        // Bodies that do not decode are attempts as well; the plaintext in them appears nowhere.
        let mut frame = client::encrypt(1, secret);
        let last = frame.len() - secret.len() - 1;
        frame[last] ^= 0x55;
        client.send(&frame).unwrap();
        assert_eq!(client.expect().error(), ErrorCode::Malformed);
        done("encrypt");
        client.lock().unwrap();
        done("lock");
        assert_eq!(client.unlock(&secret[..5]), Err(ErrorCode::InvalidRequest));
        done("unlock");
        for code in [OperationCode::Lock, OperationCode::Unlock, OperationCode::Reload, OperationCode::Stop] {
            client.send(&codec::frame(1, code as u16, &7_u8).unwrap()).unwrap();
            assert_eq!(client.expect().error(), ErrorCode::Malformed);
            done(code.name());
        }
        assert_eq!(client.encrypt(&context, secret), Err(ErrorCode::Locked));
        done("encrypt");
        assert_eq!(client.decrypt(&context, &envelope), Err(ErrorCode::Locked));
        done("decrypt");
        client.unlock(&[]).unwrap();
        done("unlock");
        done("audit.segment");
        assert_eq!(client.ask::<Reload>(&Empty {}).code, 0);
        done("reload");
        client.status("state");
    }
    for event in [
        "audit.segment",
        "audit.segment",
        "daemon.start",
        "daemon.start",
        // Made, and given its list of who has access.
        "keyring.intent",
        "keyring.intent",
        "keyring.commit",
        "keyring.commit",
        "policy.change",
        "daemon.stop",
        // More than five values did not open: of one key, and of one caller.
        "alert",
        "alert",
    ] {
        done(&mut expected, event);
    }
    let said = daemon.terminate();
    let lines = log::lines(&home);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for event in log::events(&lines) {
        *seen.entry(event).or_default() += 1;
    }
    assert_eq!(seen, expected);
    for (place, line) in lines.iter().enumerate() {
        check_fields(line);
        assert_eq!(line["seq"], place + 1);
    }
    let lent: Vec<_> = lines.iter().filter_map(|line| line["metadata"].get("on_behalf_of")).collect();
    assert_eq!(lent.len(), 2 * bounded(20, 200));
    assert!(lent.contains(&&json!({ "uid": 4242 })));
    assert!(lent.contains(&&json!({ "uid": 4243, "unit": "x.service" })));
    no_secret_in(&home, &said);
}

fn no_secret_in(home: &Home, said: &str) {
    let text = fs::read_to_string(home.state_file("audit.log")).unwrap();
    let key = fs::read_to_string(home.key()).unwrap();
    let base64 = keyagent_common::envelope::encode_base64(CANARY.as_bytes());
    let hex = crate::support::hex(CANARY.as_bytes());
    for needle in [CANARY, &CANARY.to_uppercase(), &base64[..15], &hex, &key[..32], &key[32..64], "cards"] {
        assert!(!text.contains(needle), "{needle} is in the log");
        assert!(!said.contains(needle), "{needle} is in stderr");
    }
}

#[test]
fn a_record_says_who_did_what_with_which_key() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let context = |value: &[u8]| context::encode([("row", value)]).unwrap();
    let envelope = client.encrypt(&context(b"17"), b"12 bytes....").unwrap();
    client.decrypt(&context(b"17"), &envelope).unwrap();
    assert!(client.decrypt(&context(b"18"), &envelope).is_err());
    daemon.terminate();
    let lines = log::lines(&home);
    let of =
        |event: &str| lines.iter().filter(|line| line["event_type"] == event).cloned().collect::<Vec<_>>();
    let (encrypt, decrypt) = (of("encrypt").remove(0), of("decrypt"));
    let me = keyagent_sys::peer::effective_uid();
    assert_eq!(encrypt["user_id"], me.to_string());
    assert_eq!(encrypt["metadata"]["uid"], me);
    assert_eq!(encrypt["metadata"]["pid"], std::process::id());
    assert_eq!(encrypt["user_agent"], "e2e/1");
    assert_eq!(encrypt["provider"], "default");
    assert_eq!(encrypt["metadata"]["bytes"], 12);
    assert_eq!(encrypt["metadata"]["version"], 1);
    let id = keyagent_common::envelope::encode_base64(&envelope[1..10]);
    assert_eq!(encrypt["metadata"]["key_id"], id.as_str());
    // The hash of a value: the same for the same value under the same key, another for another.
    let (keyring, _) = log::open_keyring(&home);
    let uid = keyring.find("default").unwrap().uid;
    let hash = |value: &[u8]| crate::support::hex(&keyring.context_value_hash(&uid, "row", value));
    assert_eq!(encrypt["metadata"]["context"], json!({ "row": hash(b"17") }));
    assert_eq!(decrypt[0]["metadata"]["context"], encrypt["metadata"]["context"]);
    assert_eq!(decrypt[1]["metadata"]["context"], json!({ "row": hash(b"18") }));
    assert_eq!(decrypt[0]["success"], true);
    assert_eq!(decrypt[1]["success"], false);
    assert_eq!(decrypt[1]["metadata"]["code"], ErrorCode::DoesNotOpen as u16);
}

#[test]
fn many_clients_at_once_are_recorded_one_by_one() {
    let home = Home::initialized();
    let daemon = home.start();
    let (clients, rounds) = (8, bounded(10, 500));
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let mut client = daemon.client();
                    let frames: Vec<u8> = (0..50).flat_map(|id| client::encrypt(id, b"x")).collect();
                    client.send(&frames).unwrap();
                    (0..50).for_each(|_| assert_eq!(client.expect().code, 0));
                    assert!(client.decrypt(EMPTY, &[1; 73]).is_err());
                }
            });
        }
    });
    daemon.terminate();
    let lines = log::lines(&home);
    assert_eq!(log::count(&lines, "encrypt"), clients * rounds * 50);
    assert_eq!(log::count(&lines, "decrypt"), clients * rounds);
}

#[test]
fn locking_under_load_answers_each_request_once() {
    let home = Home::initialized();
    let daemon = home.start();
    let (mut served, mut locked) = (0, 0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut counts) = (daemon.client(), (0, 0));
                    for _ in 0..bounded(300, 10_000) {
                        match client.encrypt(EMPTY, b"x") {
                            Ok(_) => counts.0 += 1,
                            Err(error) => {
                                assert_eq!(error, ErrorCode::Locked);
                                counts.1 += 1;
                            }
                        }
                    }
                    counts
                })
            })
            .collect();
        let mut operator = daemon.client();
        for _ in 0..20 {
            operator.lock().unwrap();
            operator.unlock(&[]).unwrap();
        }
        for worker in workers {
            let counts = worker.join().unwrap();
            served += counts.0;
            locked += counts.1;
        }
    });
    daemon.terminate();
    let lines = log::lines(&home);
    let encrypts = lines.iter().filter(|line| line["event_type"] == "encrypt");
    let (good, bad): (Vec<_>, Vec<_>) = encrypts.partition(|line| line["success"] == true);
    assert_eq!((good.len(), bad.len()), (served, locked));
}
