//! A state folder of an earlier program, kept for ever: whatever changes, it opens, and everything in it is as it was.
//!
//! `fixtures/store-1/README.md` says what it holds.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use keyagent_common::{
    codec, context,
    context::EMPTY,
    error::ErrorCode,
    fingerprint, kdf,
    op::{
        Decrypt, DecryptReply, DecryptRequest, Encrypt, EncryptReply, EncryptRequest, HmacReply, HmacRequest,
        HmacTag, JwtSign, JwtSignReply, JwtSignRequest, JwtVerify, JwtVerifyReply, JwtVerifyRequest,
        KeyConfigure, KeyConfigureRequest, KeyCreate, KeyCreateRequest, KeyDestroy, KeyDestroyRequest,
        KeyDisable, KeyDisableRequest, KeyList, KeyListReply, KeyListRequest, KeyPromote, KeyRetire,
        KeyRotate, KeyRotateRequest, KeyShow, KeyShowReply, KeyShowRequest, KeyStanding, MasterRotate,
        MasterRotateRequest, MasterStep, Takeover, VersionRequest,
    },
};
use serde_json::{Value, json};

use crate::support::{Client, Home, copy_files, finish, hex, log, make_folder, unhex};

const FILES: [&str; 5] = ["keyring", "audit.log", "audit.pin", "counters", "initialized"];
const CLAIMS: &[u8] = br#"{"sub":"kept","exp":4102444800}"#;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-1")
}

fn kept(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture().join(name)).unwrap()).unwrap()
}

/// A home with a copy of the kept state.
fn home() -> Home {
    let home = Home::with_key(&fs::read_to_string(fixture().join("key")).unwrap());
    make_folder(&home.state(), 0o700);
    for name in FILES {
        fs::copy(fixture().join(name), home.state_file(name)).unwrap();
        fs::set_permissions(home.state_file(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    home
}

fn context_of(value: &Value) -> Vec<u8> {
    let text = value["context"].as_str().unwrap();
    let pairs: Vec<(&str, &[u8])> =
        text.split_once('=').into_iter().map(|(name, value)| (name, value.as_bytes())).collect();
    if pairs.is_empty() { EMPTY.to_vec() } else { encoded(&pairs) }
}

fn encoded(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = u16::try_from(pairs.len()).unwrap().to_le_bytes().to_vec();
    for field in pairs.iter().flat_map(|(name, value)| [name.as_bytes(), value]) {
        bytes.extend_from_slice(&u16::try_from(field.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(field);
    }
    assert!(context::Context::parse(&bytes).is_ok());
    bytes
}

/// What `key_list` and `key_show` say, without what changes with time and use.
fn keys(client: &mut Client) -> Value {
    let body = client.ask::<KeyList>(&KeyListRequest { after: "", limit: 256 }).success().unwrap();
    let list = codec::decode::<KeyListReply<'_>>(&body).unwrap();
    let keys = list.keys.iter().map(|key| {
        let versions = key.versions.iter().map(|version| {
            json!({ "number": version.number, "state": version.state, "reason": version.reason,
                "created_at": version.created_at, "key_id": hex(&version.key_id), "used_at": version.used_at })
        });
        let versions: Vec<Value> = versions.collect();
        let body = client.ask::<KeyShow>(&KeyShowRequest { key: key.name }).success().unwrap();
        let shown = codec::decode::<KeyShowReply<'_>>(&body).unwrap();
        let usage = shown.usage.iter().map(|used| {
            json!([used.number, used.encryptions, used.decryptions, used.encrypted_at, used.decrypted_at, used.exact])
        });
        let usage: Vec<Value> = usage.collect();
        json!({ "name": key.name, "class": key.class, "standing": format!("{:?}", key.standing),
            "standing_reason": key.standing_reason, "created_at": key.created_at, "rotates": key.rotates,
            "environment": key.environment, "note": key.note, "purpose": shown.purpose, "owner": shown.owner,
            "url": shown.url, "interval_days": shown.policy.interval_days,
            "grace_period_days": shown.policy.grace_period_days, "versions": versions, "usage": usage })
    });
    Value::Array(keys.collect())
}

#[test]
fn a_kept_store_opens_with_everything_in_it() {
    let home = home();
    let before = finish(home.command().arg("--verify-audit"));
    assert_eq!(before.code, Some(0), "{}", before.stderr);
    let daemon = home.start();
    let mut client = daemon.client();
    assert_eq!(keys(&mut client), kept("keys.json"));
    let fingerprint = fingerprint::full(&kdf::master_fingerprint(&home.master()));
    assert_eq!(client.status("master_fingerprint"), fingerprint);
    for value in kept("values.json").as_array().unwrap() {
        open(&mut client, value);
    }
    daemon.terminate();
    log::verify(&home);
    home.start().terminate();
}

/// One kept value: it opens to what was sealed, or is refused for the reason that held then.
fn open(client: &mut Client, value: &Value) {
    let bytes = |name: &str| unhex(value[name].as_str().unwrap());
    let text = |name: &str| value[name].as_str().unwrap();
    match text("what") {
        "envelope" => {
            let (context, envelope) = (context_of(value), bytes("sealed"));
            let reply = client.ask::<Decrypt>(&DecryptRequest { context: &context, envelope: &envelope });
            if let Some(error) = value["error"].as_str() {
                assert_eq!(format!("{:?}", reply.error()), error, "{value}");
            } else {
                let body = reply.success().unwrap();
                let opened = codec::decode::<DecryptReply<'_>>(&body).unwrap();
                assert_eq!(opened.plaintext, bytes("plaintext"), "{value}");
            }
        }
        "tag" => assert_eq!(tags(client, text("key")), text("sealed")),
        "token" => {
            let request = JwtVerifyRequest { key: text("key"), token: text("sealed"), leeway_seconds: 0 };
            let body = client.ask::<JwtVerify>(&request).success().unwrap();
            assert_eq!(codec::decode::<JwtVerifyReply<'_>>(&body).unwrap().claims, CLAIMS);
        }
        other => panic!("{other}"),
    }
}

/// The tags of every version of an index key, of one value.
fn tags(client: &mut Client, key: &str) -> String {
    let request = HmacRequest { key, context: EMPTY, value: b"kept", tag_bytes: 16, every_version: true };
    let body = client.ask::<HmacTag>(&request).success().unwrap();
    let reply = codec::decode::<HmacReply<'_>>(&body).unwrap();
    reply.tags.iter().fold(String::new(), |text, tag| format!("{text}{} {}\n", tag.version, hex(tag.tag)))
}

/// The same key under its passphrase: the daemon knows it as the one of this keyring, and serves once it is brought.
#[test]
fn a_kept_protected_key_is_the_one_of_the_kept_store() {
    let home = home();
    let master = home.master();
    fs::remove_file(home.key()).unwrap();
    let protected = keyagent_common::protected_key::beside(&home.key());
    fs::copy(fixture().join("key.protected"), &protected).unwrap();
    fs::set_permissions(&protected, fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = home.command_without_key();
    command.arg("--key-file").arg(&protected);
    let daemon = crate::support::Daemon::start(command, &home.socket());
    let mut client = daemon.client();
    assert_eq!(client.status("state"), "locked");
    client.unlock(&master).unwrap();
    assert_eq!(keys(&mut client), kept("keys.json"));
}

/// Makes the folder `store-2` and so on: with `KEYAGENT_MAKE_STORE=<folder>` and the next master key in
/// `KEYAGENT_MAKE_STORE_MASTER` as hexadecimal digits.
#[test]
#[ignore = "makes a new kept store; what is kept is never made again"]
fn make_a_store_to_keep() {
    let folder = PathBuf::from(std::env::var_os("KEYAGENT_MAKE_STORE").unwrap());
    let next = std::env::var("KEYAGENT_MAKE_STORE_MASTER").unwrap();
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let mut maker = Maker { client: &mut client, values: Vec::new() };
    maker.fill();
    let Maker { values, .. } = maker;
    let request = MasterRotateRequest { step: MasterStep::Begin, current: &[], next: &unhex(&next) };
    client.ask::<MasterRotate>(&request).success().unwrap();
    home.write_key(&format!("{}\n", next.trim()));
    let request = MasterRotateRequest { step: MasterStep::Finish, current: &[], next: &[] };
    client.ask::<MasterRotate>(&request).success().unwrap();
    let seen = keys(&mut client);
    daemon.terminate();
    make_folder(&folder, 0o755);
    copy_files(&home.state(), &folder);
    for name in ["keyring.lock", "daemon.log"] {
        let _ = fs::remove_file(folder.join(name));
    }
    fs::copy(home.key(), folder.join("key")).unwrap();
    for (name, value) in [("keys.json", seen), ("values.json", Value::Array(values))] {
        fs::write(folder.join(name), format!("{value:#}\n")).unwrap();
    }
}

struct Maker<'c> {
    client: &'c mut Client,
    values: Vec<Value>,
}

impl Maker<'_> {
    fn fill(&mut self) {
        for (key, class, note) in [
            ("billing/cards", 1, "card numbers"),
            ("index", 2, ""),
            ("leaked", 1, ""),
            ("spare", 1, "disabled in the end"),
            ("tokens", 3, ""),
            ("torn", 1, ""),
        ] {
            self.client.ask::<KeyCreate>(&KeyCreateRequest { key, class, note }).success().unwrap();
        }
        let settings = KeyConfigureRequest {
            key: "billing/cards",
            enabled: None,
            interval_days: Some(90),
            grace_period_days: Some(365),
            auto_retire: None,
            environment: Some("production"),
            purpose: Some("card numbers at rest"),
            owner: Some("payments"),
            url: Some("https://example.org/runbook"),
            note: None,
        };
        self.client.ask::<KeyConfigure>(&settings).success().unwrap();
        for (key, context) in
            [("default", ""), ("billing/cards", "tenant=7"), ("leaked", ""), ("spare", ""), ("torn", "")]
        {
            self.seal(key, context, b"of version 1");
        }
        for key in ["default", "billing/cards", "index", "leaked", "torn"] {
            self.rotate(key, Takeover::Grace);
        }
        self.seal("default", "", "of version 2: \u{e4}\u{f6}\u{fc}".as_bytes());
        self.seal("billing/cards", "tenant=7", &[0; 1000]);
        self.rotate("billing/cards", Takeover::Grace);
        self.seal("billing/cards", "tenant=8", b"");
        self.rotate("billing/cards", Takeover::Staged);
        let retire = VersionRequest { key: "billing/cards", version: 1, reason: "a new provider" };
        self.client.ask::<KeyRetire>(&retire).success().unwrap();
        let stop =
            |key, version, compromised| KeyDisableRequest { key, version, compromised, reason: "kept" };
        self.client.ask::<KeyDisable>(&stop("leaked", 1, true)).success().unwrap();
        self.client.ask::<KeyDisable>(&stop("torn", 1, false)).success().unwrap();
        let destroy = KeyDestroyRequest { key: "torn", version: 1, force: true, reason: "kept" };
        self.client.ask::<KeyDestroy>(&destroy).success().unwrap();
        self.client.ask::<KeyDisable>(&stop("spare", 0, false)).success().unwrap();
        self.rotate("torn", Takeover::Staged);
        let promote = VersionRequest { key: "torn", version: 3, reason: "" };
        self.client.ask::<KeyPromote>(&promote).success().unwrap();
        let sealed = tags(self.client, "index");
        self.values.push(json!({ "what": "tag", "key": "index", "sealed": sealed }));
        let request = JwtSignRequest { key: "tokens", claims: CLAIMS };
        let body = self.client.ask::<JwtSign>(&request).success().unwrap();
        let token = codec::decode::<JwtSignReply<'_>>(&body).unwrap().token;
        self.values.push(json!({ "what": "token", "key": "tokens", "sealed": token }));
        for value in &mut self.values {
            if value["what"] == "envelope" {
                let (context, envelope) = (context_of(value), unhex(value["sealed"].as_str().unwrap()));
                let request = DecryptRequest { context: &context, envelope: &envelope };
                let reply = self.client.ask::<Decrypt>(&request);
                if reply.code != 0 {
                    value["error"] = Value::String(format!("{:?}", reply.error()));
                    assert_ne!(reply.error(), ErrorCode::DoesNotOpen);
                }
            }
        }
    }

    fn seal(&mut self, key: &str, context: &str, plaintext: &[u8]) {
        let mut value =
            json!({ "what": "envelope", "key": key, "context": context, "plaintext": hex(plaintext) });
        let request = EncryptRequest { key, context: &context_of(&value), plaintext };
        let body = self.client.ask::<Encrypt>(&request).success().unwrap();
        value["sealed"] = hex(codec::decode::<EncryptReply<'_>>(&body).unwrap().envelope).into();
        self.values.push(value);
    }

    fn rotate(&mut self, key: &str, takeover: Takeover) {
        let (lift, note) = (KeyStanding::Active, "kept");
        let request = KeyRotateRequest { key, reason: 5, takeover, lift, note };
        self.client.ask::<KeyRotate>(&request).success().unwrap();
    }
}
