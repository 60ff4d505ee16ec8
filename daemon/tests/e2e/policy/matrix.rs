//! Who may do which operation on which key: every combination, through connections of real users.

use std::collections::BTreeMap;

use keyagent_common::{context::EMPTY, error::ErrorCode, op::*};

use super::stage::{Connection, Person, Sealed, Stage};
use crate::support::{Client, client::Reply, slice::Slice};

const ADMIN: u32 = 54_001;
const OPERATOR: u32 = 54_002;
const SHOP: u32 = 54_010;
const MAILER: u32 = 54_011;
const CLERK: u32 = 54_012;
const KEEPER: u32 = 54_013;
const STRANGER: u32 = 54_099;
const CLERKS: u32 = 54_100;

const CONFIG: &str = r#"
[admins]
uids = [54001]

[operators]
uids = [54002]

[[rule]]
name = "shop"
uid = 54010
keys = ["shop/*"]
allow = ["data", "key_list"]

[[rule]]
name = "mailer"
uid = 54011
keys = ["mail"]
allow = ["decrypt"]

[[rule]]
name = "clerks"
gid = 54100
keys = ["mail", "shop/orders"]
allow = ["encrypt", "status"]

[[rule]]
name = "keeper"
uid = 54013
keys = ["shop/**"]
allow = [
    "key_create", "key_list", "key_disable", "key_enable", "key_show", "key_configure", "key_rotate", "key_retire",
    "health", "watch",
]
"#;

const KEYS: [&str; 4] = ["default", "mail", "shop/cards", "shop/orders"];
/// The name of none of them, for the kill switch.
const EVERY_KEY: &str = "";

/// What was meant, said another way than in the configuration.
fn is_meant(uid: u32, operation: OperationCode, key: &str) -> bool {
    use OperationCode as Op;
    let on_data = matches!(
        operation,
        Op::Encrypt
            | Op::Decrypt
            | Op::Rewrap
            | Op::DataKey
            | Op::DataKeyOpen
            | Op::Hmac
            | Op::JwtSign
            | Op::JwtVerify
    );
    // Its right on any key will do; each item of a batch needs a right of its own.
    if operation == Op::Random {
        return matches!(uid, 0 | ADMIN | SHOP);
    }
    if operation == Op::Batch {
        return uid != STRANGER;
    }
    match uid {
        0 | ADMIN => true,
        OPERATOR => {
            let admins = matches!(
                operation,
                Op::KeyCreate
                    | Op::KeyConfigure
                    | Op::KeyDestroy
                    | Op::BackupCreate
                    | Op::BackupRestore
                    | Op::MasterRotate
                    | Op::Stop
            );
            !on_data && !admins
        }
        SHOP => operation == Op::KeyList || on_data && matches!(key, "shop/cards" | "shop/orders"),
        MAILER => operation == Op::Decrypt && key == "mail",
        CLERK => operation == Op::Status || operation == Op::Encrypt && matches!(key, "mail" | "shop/orders"),
        KEEPER => match operation {
            Op::Health | Op::Watch | Op::KeyList => true,
            Op::KeyCreate
            | Op::KeyDisable
            | Op::KeyEnable
            | Op::KeyShow
            | Op::KeyConfigure
            | Op::KeyRotate
            | Op::KeyRetire => key.starts_with("shop/"),
            _ => false,
        },
        _ => false,
    }
}

/// One request; what it comes to if it is allowed is seen elsewhere.
fn attempt(client: &mut Client, operation: OperationCode, key: &str, sealed: &Sealed) -> Reply {
    let (context, envelope) = (EMPTY, sealed.value.as_slice());
    match operation {
        OperationCode::Encrypt => client.ask::<Encrypt>(&EncryptRequest { key, context, plaintext: b"x" }),
        OperationCode::Decrypt => client.ask::<Decrypt>(&DecryptRequest { context, envelope }),
        OperationCode::DataKey => client.ask::<DataKey>(&DataKeyRequest { key, context, kind: 3 }),
        OperationCode::DataKeyOpen => {
            client.ask::<DataKeyOpen>(&DataKeyOpenRequest { context, envelope: &sealed.data_key })
        }
        OperationCode::Status => client.ask::<Status>(&Empty {}),
        OperationCode::Health => client.ask::<Health>(&Empty {}),
        OperationCode::Stop => client.ask::<Stop>(&Empty {}),
        OperationCode::Lock => client.ask::<Lock>(&Empty {}),
        OperationCode::Unlock => client.ask::<Unlock>(&UnlockRequest { master: &[] }),
        OperationCode::Reload => client.ask::<Reload>(&Empty {}),
        OperationCode::Maintenance => {
            client.ask::<Maintenance>(&MaintenanceRequest { on: false, reason: "" })
        }
        OperationCode::AuditQuery => client.ask::<AuditQuery>(&AuditQueryRequest {
            from_seq: 0,
            to_seq: 1,
            from_micros: 0,
            to_micros: u64::MAX,
            max_bytes: 4000,
        }),
        OperationCode::Watch => client.ask::<Watch>(&WatchRequest { after: 0, wait_milliseconds: 0 }),
        OperationCode::KeyCreate => client.ask::<KeyCreate>(&KeyCreateRequest { key, class: 1, note: "" }),
        OperationCode::KeyList => client.ask::<KeyList>(&KeyListRequest { after: "", limit: 9 }),
        OperationCode::KeyDisable => {
            client.ask::<KeyDisable>(&KeyDisableRequest { version: 0, key, compromised: false, reason: "" })
        }
        OperationCode::KeyEnable => client.ask::<KeyEnable>(&KeyEnableRequest {
            version: 0,
            key,
            lift_compromised: false,
            reason: "",
        }),
        OperationCode::Rewrap => client.ask::<Rewrap>(&RewrapRequest { context, envelope }),
        OperationCode::Hmac => client.ask::<HmacTag>(&HmacRequest {
            key,
            context,
            value: b"x",
            tag_bytes: 16,
            every_version: false,
        }),
        OperationCode::JwtSign => client.ask::<JwtSign>(&JwtSignRequest { key, claims: b"{}" }),
        OperationCode::JwtVerify => {
            client.ask::<JwtVerify>(&JwtVerifyRequest { key, token: "a.b.c", leeway_seconds: 0 })
        }
        OperationCode::Random => client.ask::<Random>(&RandomRequest { bytes: 8 }),
        OperationCode::Batch => client.ask::<Batch>(&BatchRequest { operation: 16, items: &[] }),
        OperationCode::KeyShow => client.ask::<KeyShow>(&KeyShowRequest { key }),
        OperationCode::KeyConfigure => client.ask::<KeyConfigure>(&KeyConfigureRequest {
            key,
            enabled: None,
            interval_days: None,
            grace_period_days: None,
            auto_retire: None,
            environment: None,
            purpose: None,
            owner: None,
            url: None,
            note: None,
        }),
        OperationCode::KeyRotate => client.ask::<KeyRotate>(&KeyRotateRequest {
            key,
            reason: 5,
            takeover: Takeover::Grace,
            lift: KeyStanding::Active,
            note: "",
        }),
        OperationCode::KeyPromote => {
            client.ask::<KeyPromote>(&VersionRequest { key, version: 1, reason: "" })
        }
        OperationCode::KeyRetire => client.ask::<KeyRetire>(&VersionRequest { key, version: 1, reason: "" }),
        OperationCode::KeyReinstate => {
            client.ask::<KeyReinstate>(&VersionRequest { key, version: 1, reason: "" })
        }
        OperationCode::KeyDestroy => {
            client.ask::<KeyDestroy>(&KeyDestroyRequest { key, version: 99, force: false, reason: "" })
        }
        OperationCode::BackupCreate => {
            client.ask::<BackupCreate>(&BackupCreateRequest { backup_key: &[7; 32], keys: "", after: &[] })
        }
        OperationCode::BackupRestore => client.ask::<BackupRestore>(&BackupRestoreRequest {
            backup_key: &[7; 32],
            page: &[],
            dry_run: true,
            promote: false,
        }),
        OperationCode::MasterRotate => client.ask::<MasterRotate>(&MasterRotateRequest {
            step: MasterStep::Finish,
            current: &[],
            next: &[],
        }),
        OperationCode::Hello => unreachable!("every connection begins with it"),
    }
}

/// The keys that an operation is tried with.
fn keys_of(operation: OperationCode) -> Vec<&'static str> {
    match operation {
        OperationCode::KeyDisable | OperationCode::KeyEnable => KEYS.into_iter().chain([EVERY_KEY]).collect(),
        OperationCode::Encrypt
        | OperationCode::Decrypt
        | OperationCode::DataKey
        | OperationCode::DataKeyOpen
        | OperationCode::Rewrap
        | OperationCode::Hmac
        | OperationCode::JwtSign
        | OperationCode::JwtVerify
        | OperationCode::KeyCreate
        | OperationCode::KeyShow
        | OperationCode::KeyConfigure
        | OperationCode::KeyRotate
        | OperationCode::KeyPromote
        | OperationCode::KeyRetire
        | OperationCode::KeyReinstate
        | OperationCode::KeyDestroy => KEYS.to_vec(),
        _ => vec![EVERY_KEY],
    }
}

/// The code of an operation that is allowed; `None` where it depends on what else is asked, or was before.
fn done(operation: OperationCode) -> Option<u16> {
    use OperationCode as Op;
    match operation {
        // Every key there is exists already.
        Op::KeyCreate => Some(ErrorCode::KeyExists as u16),
        Op::Hmac | Op::JwtSign | Op::JwtVerify => Some(ErrorCode::WrongClass as u16),
        Op::KeyDestroy => Some(ErrorCode::WrongState as u16),
        Op::KeyPromote
        | Op::KeyRetire
        | Op::KeyReinstate
        | Op::Batch
        | Op::BackupCreate
        | Op::BackupRestore
        | Op::MasterRotate => None,
        _ => Some(0),
    }
}

/// Every operation on every key by one caller, and everything back as it was.
fn try_everything(
    uid: u32,
    client: &mut Client,
    root: &mut Client,
    sealed: &BTreeMap<&str, Sealed>,
) -> usize {
    let mut allowed = 0;
    for operation in OperationCode::ALL.iter().copied() {
        let ends_it = operation == OperationCode::Stop && is_meant(uid, operation, "");
        if operation == OperationCode::Hello || ends_it {
            continue;
        }
        for key in keys_of(operation) {
            let any = &sealed["default"];
            let reply = attempt(client, operation, key, sealed.get(key).unwrap_or(any));
            let case = format!("uid {uid}: {} on {key:?}", operation.name());
            let denied = ErrorCode::Denied as u16;
            if !is_meant(uid, operation, key) {
                assert_eq!(reply.code, denied, "{case}");
                continue;
            }
            match done(operation) {
                Some(code) => assert_eq!(reply.code, code, "{case}"),
                None => assert_ne!(reply.code, denied, "{case}"),
            }
            allowed += 1;
            if operation == OperationCode::Lock {
                root.unlock(&[]).unwrap();
            }
            if matches!(operation, OperationCode::KeyDisable | OperationCode::KeyEnable) {
                for key in KEYS.into_iter().chain([EVERY_KEY]) {
                    root.enable(key, false).unwrap();
                }
            }
        }
    }
    allowed
}

#[test]
fn everybody_may_do_what_the_rules_say_and_nothing_else() {
    let Some(stage) = Stage::new("everybody_may_do_what_the_rules_say_and_nothing_else", CONFIG) else {
        return;
    };
    let mut root = stage.root();
    for key in &KEYS[1..] {
        root.create_key(key).unwrap();
    }
    let sealed: BTreeMap<&str, Sealed> =
        KEYS.iter().map(|key| (*key, Sealed::under(&mut root, key, EMPTY))).collect();
    let people = [
        (Person::of(ADMIN), 88),
        (Person::of(OPERATOR), 40),
        (Person::of(SHOP), 19),
        (Person::of(MAILER), 2),
        (Person::with_groups(CLERK, &[7, CLERKS]), 4),
        (Person::of(KEEPER), 18),
    ];
    for (person, number) in people {
        let allowed = try_everything(person.uid, &mut stage.client(&person), &mut root, &sealed);
        assert_eq!(allowed, number, "{person:?}");
    }
    // A right that came by the group goes without it, and nobody gets in without any.
    for stranger in [Person::of(STRANGER), Person::of(CLERK), Person::with_groups(STRANGER, &[7, 8])] {
        assert!(stage.turns_away(&stranger), "{stranger:?}");
    }
    assert_eq!(stage.client(&Person::of(ADMIN)).ask::<Stop>(&Empty {}).code, 0);
}

#[test]
fn a_right_of_a_unit_is_that_units() {
    const NAME: &str = "a_right_of_a_unit_is_that_units";
    let Some(slice) = Slice::new(NAME) else { return };
    let config = r#"
[[rule]]
name = "by-unit"
units = ["shop.service", "worker@*.service"]
keys = ["shop/*"]
allow = ["encrypt"]

[[rule]]
name = "unit-and-user"
unit = "mailer.service"
uid = 54011
keys = ["mail"]
allow = ["encrypt"]
"#;
    let Some(stage) = Stage::new(NAME, config) else { return };
    let mut root = stage.root();
    for key in ["mail", "shop/cards"] {
        root.create_key(key).unwrap();
    }
    for (uid, group, key) in [
        (SHOP, "shop.service", "shop/cards"),
        (MAILER, "worker@3.service", "shop/cards"),
        (MAILER, "mailer.service", "mail"),
    ] {
        let mut client = stage.client(&Person::in_unit(uid, &slice, group));
        for tried in ["mail", "shop/cards"] {
            let expected = if tried == key { Ok(()) } else { Err(ErrorCode::Denied) };
            assert_eq!(client.encrypt_under(tried, EMPTY, b"x").map(|_| ()), expected, "{group} {tried}");
        }
    }
    for (uid, group) in [
        (SHOP, "shop2.service"),
        (SHOP, "mailer.service"),
        (SHOP, "user-54010.slice/user@54010.service/app.slice/shop.service"),
        (MAILER, "worker@x.service.slice"),
    ] {
        let person = Person::in_unit(uid, &slice, group);
        assert!(stage.turns_away(&person), "{group}");
    }
    assert!(stage.turns_away(&Person::of(SHOP)));
}

#[test]
fn a_right_of_a_door_is_that_doors() {
    let rules = |folder: &str| {
        format!(
            r#"
[[listen]]
name = "agent"
mode = "0600"

[[listen]]
name = "open"
path = "{folder}/run/open.sock"
mode = "0666"

[[rule]]
name = "open-door"
uid = 54010
socket = "open"
keys = ["default"]
allow = ["encrypt"]

[[rule]]
name = "other-door"
uid = 54010
socket = "agent"
keys = ["default"]
allow = ["data"]
"#
        )
    };
    let Some(mut stage) = Stage::not_started("a_right_of_a_door_is_that_doors", "") else { return };
    let folder = stage.home.path().display().to_string();
    stage.home.configure(&rules(&folder));
    stage.start();
    let open = stage.home.join("run/open.sock");
    // The file system keeps everybody but root from the first door.
    assert!(stage.connect(&Person::of(SHOP)).is_none());
    let mut shop = Connection::make(&open, &Person::of(SHOP)).unwrap();
    assert!(!shop.is_turned_away());
    let value = shop.encrypt(EMPTY, b"x").unwrap();
    assert_eq!(shop.decrypt(EMPTY, &value), Err(ErrorCode::Denied));
    assert!(Connection::make(&open, &Person::of(STRANGER)).unwrap().is_turned_away());
    // Opened by hand, the first door is still another one.
    crate::support::chmod(&stage.home.socket(), 0o666);
    assert_eq!(stage.user(SHOP).decrypt(EMPTY, &value).unwrap(), b"x");
    assert!(stage.turns_away(&Person::of(STRANGER)));
    stage.stop();
    let doors: Vec<_> =
        stage.lines("encrypt").iter().map(|line| line["metadata"]["socket"].clone()).collect();
    assert_eq!(doors, ["open"]);
}
