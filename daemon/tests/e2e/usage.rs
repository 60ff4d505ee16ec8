//! How much versions are used: exact after an orderly end, never too low after a crash, never zero because a file
//! was lost; and what that means for destroying them.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use keyagent_common::{
    codec,
    context::EMPTY,
    error::ErrorCode,
    op::{
        Batch, BatchRequest, CheckResult, Decrypt, DecryptRequest, HmacRequest, HmacTag, JwtSign,
        JwtSignReply, JwtSignRequest, JwtVerify, JwtVerifyRequest, KeyCreate, KeyCreateRequest, KeyDestroy,
        KeyDestroyReply, KeyDestroyRequest, KeyList, KeyListReply, KeyListRequest, KeyRetire, KeyRotate,
        KeyRotateRequest, KeyShow, KeyShowReply, KeyShowRequest, KeyStanding, MasterRotate,
        MasterRotateRequest, MasterStep, Operation, Rewrap, RewrapReply, RewrapRequest, Takeover,
        VersionRequest, VersionUsage,
    },
};

use crate::support::{
    Client, Daemon, Home, agent::words, bounded, client, eventually, log, random_key, unhex,
};

const MANUAL: u8 = 5;

/// How much each version of a key was used.
fn usage(client: &mut Client, key: &str) -> Vec<VersionUsage> {
    let body = client.ask::<KeyShow>(&KeyShowRequest { key }).success().unwrap();
    codec::decode::<KeyShowReply<'_>>(&body).unwrap().usage
}

/// The counts of version 1 of `default`, and whether they are exact.
fn first(daemon: &Daemon) -> (u64, u64, bool) {
    let VersionUsage { encryptions, decryptions, exact, .. } = usage(&mut daemon.client(), "default")[0];
    (encryptions, decryptions, exact)
}

fn rotate(client: &mut Client, key: &str) {
    let (lift, note) = (KeyStanding::Active, "");
    let request = KeyRotateRequest { key, reason: MANUAL, takeover: Takeover::Grace, lift, note };
    client.ask::<KeyRotate>(&request).success().unwrap();
}

fn retire(client: &mut Client, key: &str, version: u32) {
    client.ask::<KeyRetire>(&VersionRequest { key, version, reason: "" }).success().unwrap();
}

fn destroy(client: &mut Client, key: &str, version: u32, force: bool) -> client::Reply {
    client.ask::<KeyDestroy>(&KeyDestroyRequest { key, version, force, reason: "a test" })
}

/// Version 1 of a key, retired; its values were opened so often.
fn retired(client: &mut Client, key: &str, opened: usize) {
    client.create_key(key).unwrap();
    let sealed = client.encrypt_under(key, EMPTY, b"x").unwrap();
    for _ in 0..opened {
        client.decrypt(EMPTY, &sealed).unwrap();
    }
    rotate(client, key);
    retire(client, key, 1);
}

#[test]
fn an_orderly_life_is_counted_exactly() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let sealed = client.encrypt(EMPTY, b"x").unwrap();
    for _ in 0..3 {
        client.decrypt(EMPTY, &sealed).unwrap();
    }
    client.data_key(2).unwrap();
    // What does not open was not used.
    let mut broken = sealed.clone();
    *broken.last_mut().unwrap() ^= 1;
    assert!(client.decrypt(EMPTY, &broken).is_err());
    rotate(&mut client, "default");
    client.decrypt(EMPTY, &sealed).unwrap();
    client.encrypt(EMPTY, b"y").unwrap();
    let expected = |client: &mut Client| {
        let [old, new] = usage(client, "default").try_into().unwrap();
        assert_eq!((old.encryptions, old.decryptions, old.exact), (2, 4, true));
        assert_eq!((new.encryptions, new.decryptions, new.exact), (1, 0, true));
        assert!(old.encrypted_at >= 1_700_000_000 && old.decrypted_at >= old.encrypted_at);
        assert!(new.encrypted_at >= old.encrypted_at && new.decrypted_at == 0);
        let body = client.ask::<KeyList>(&KeyListRequest { after: "", limit: 9 }).success().unwrap();
        let list = codec::decode::<KeyListReply<'_>>(&body).unwrap();
        let used: Vec<u64> = list.keys[0].versions.iter().map(|version| version.used_at).collect();
        assert_eq!(used, [old.decrypted_at, new.encrypted_at]);
    };
    expected(&mut client);
    client.lock().unwrap();
    client.unlock(&[]).unwrap();
    expected(&mut client);
    daemon.terminate();
    let daemon = home.start();
    expected(&mut daemon.client());
    // Locked, killed: everything was stored at the lock.
    daemon.client().lock().unwrap();
    daemon.kill();
    expected(&mut home.start().client());
}

/// Uses `default` from several connections until the daemon is killed; how many answers came.
fn load_until_killed(daemon: Daemon, for_milliseconds: u64) -> (u64, u64) {
    let (sealed, opened) = (AtomicU64::new(0), AtomicU64::new(0));
    let envelope = daemon.client().encrypt(EMPTY, b"x").unwrap();
    sealed.fetch_add(1, Ordering::SeqCst);
    thread::scope(|scope| {
        for opens in [false, true, true] {
            let mut client = daemon.client();
            let (sealed, opened, envelope) = (&sealed, &opened, &envelope);
            scope.spawn(move || {
                let burst: Vec<u8> = (0..16)
                    .flat_map(|id| {
                        if opens {
                            client::request::<Decrypt>(id, &DecryptRequest { context: EMPTY, envelope })
                        } else {
                            client::encrypt(id, b"y")
                        }
                    })
                    .collect();
                while client.send(&burst).is_ok() {
                    for _ in 0..16 {
                        let Ok(Some(reply)) = client.reply() else { return };
                        assert_eq!(reply.code, 0);
                        (if opens { opened } else { sealed }).fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(for_milliseconds));
        daemon.kill();
    });
    (sealed.into_inner(), opened.into_inner())
}

#[test]
fn killed_under_load_no_count_is_too_low() {
    let home = Home::initialized();
    let (mut sealed, mut opened) = (0, 0);
    for round in 0..bounded(6, 60) {
        let more = load_until_killed(home.start(), 20 + 23 * (round % 7));
        (sealed, opened) = (sealed + more.0, opened + more.1);
        let (encryptions, decryptions, exact) = first(&home.start());
        assert!(
            !exact && encryptions >= sealed && decryptions >= opened,
            "{encryptions} {decryptions} {more:?}"
        );
        // Nor much too high: reservations double.
        assert!(
            encryptions <= 4 * sealed + 4096 && decryptions <= 4 * opened + 4096,
            "{encryptions} {sealed}"
        );
    }
    assert!(sealed > 100 && opened > 100, "{sealed} {opened}");
}

/// Control: reservations that reach the disk after the answers would be noticed by the test above.
#[test]
fn a_reservation_that_came_too_late_would_be_noticed() {
    let home = Home::initialized();
    home.start().terminate();
    let before = fs::read(home.state_file("counters")).unwrap();
    let (sealed, opened) = load_until_killed(home.start(), 60);
    fs::write(home.state_file("counters"), before).unwrap();
    let (encryptions, decryptions, _) = first(&home.start());
    assert!(encryptions < sealed && decryptions < opened, "{encryptions} {decryptions}");
}

#[test]
fn a_lost_or_damaged_file_is_not_known_rather_than_zero() {
    let cases: [fn(&Home); 4] = [
        |home| fs::remove_file(home.state_file("counters")).unwrap(),
        |home| fs::write(home.state_file("counters"), b"").unwrap(),
        |home| {
            let mut bytes = fs::read(home.state_file("counters")).unwrap();
            bytes[80] ^= 1;
            fs::write(home.state_file("counters"), bytes).unwrap();
        },
        |home| {
            // Of the right form, but of another keyring.
            let other = Home::initialized();
            other.start().terminate();
            fs::copy(other.state_file("counters"), home.state_file("counters")).unwrap();
        },
    ];
    for (number, damage) in cases.into_iter().enumerate() {
        let home = Home::initialized();
        let daemon = home.start();
        retired(&mut daemon.client(), "a", 0);
        daemon.terminate();
        damage(&home);
        let daemon = home.start();
        let mut client = daemon.client();
        let [old, new] = usage(&mut client, "a").try_into().unwrap();
        for version in [old, new] {
            let VersionUsage { encryptions, decryptions, exact, .. } = version;
            assert_eq!((encryptions, decryptions, exact), (u64::MAX, u64::MAX, false), "case {number}");
        }
        let refused = destroy(&mut client, "a", 1, false);
        assert_eq!(refused.error(), ErrorCode::StillNeeded);
        assert!(words(&refused).contains("not known"), "{}", words(&refused));
        // What is made from now on is known, also after the next start.
        thread::sleep(Duration::from_secs(1));
        client.create_key("b").unwrap();
        client.encrypt_under("b", EMPTY, b"x").unwrap();
        daemon.terminate();
        let daemon = home.start();
        let mut client = daemon.client();
        let [new] = usage(&mut client, "b").try_into().unwrap();
        assert_eq!((new.encryptions, new.decryptions, new.exact), (1, 0, true), "case {number}");
        assert_eq!(usage(&mut client, "a")[0].encryptions, u64::MAX);
        let body = destroy(&mut client, "a", 1, true).success().unwrap();
        let reply = codec::decode::<KeyDestroyReply<'_>>(&body).unwrap();
        assert_eq!((reply.destroyed, reply.needed.len()), (vec![1], 1), "case {number}");
    }
}

#[test]
fn what_opened_or_sealed_data_lately_is_not_destroyed_without_force() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    retired(&mut client, "used", 3);
    retired(&mut client, "sealed", 0);
    client.create_key("unused").unwrap();
    rotate(&mut client, "unused");
    retire(&mut client, "unused", 1);
    let refused = destroy(&mut client, "used", 1, false);
    assert_eq!(refused.error(), ErrorCode::StillNeeded);
    let said = words(&refused);
    assert!(said.contains("opened data 3 times, the last time less than an hour ago"), "{said}");
    // What nobody opened yet is there all the same.
    let refused = destroy(&mut client, "sealed", 1, false);
    assert_eq!(refused.error(), ErrorCode::StillNeeded);
    let said = words(&refused);
    assert!(said.contains("sealed data 1 times, the last time less than an hour ago"), "{said}");
    destroy(&mut client, "unused", 1, false).success().unwrap();
    let body = destroy(&mut client, "used", 1, true).success().unwrap();
    let reply = codec::decode::<KeyDestroyReply<'_>>(&body).unwrap();
    assert!(reply.needed[0].why.contains("opened data 3 times"), "{reply:?}");
}

#[test]
fn what_cannot_be_recorded_keeps_nobody_from_working_and_is_known_again_later() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    retired(&mut client, "a", 0);
    daemon.terminate();
    let daemon = home.start();
    let mut client = daemon.client();
    let counters = home.state_file("counters");
    fs::remove_file(&counters).unwrap();
    // Neither a file of that name can be written nor put in its place.
    fs::create_dir(&counters).unwrap();
    for _ in 0..3 {
        client.encrypt(EMPTY, b"x").unwrap();
    }
    let health = client.health();
    let (result, message) = health.check("usage");
    assert_eq!((result, health.status.as_str()), (CheckResult::Warning, "healthy"), "{message}");
    let refused = destroy(&mut client, "a", 1, false);
    assert_eq!(refused.error(), ErrorCode::StillNeeded);
    assert!(words(&refused).contains("cannot be recorded"), "{}", words(&refused));
    // Counted all the while.
    assert_eq!(usage(&mut client, "default")[0].encryptions, 3);
    fs::remove_dir(&counters).unwrap();
    // Tried again after ten seconds.
    eventually("it can be written again", || {
        client.encrypt(EMPTY, b"x").unwrap();
        thread::sleep(Duration::from_millis(200));
        client.health().check("usage").0 == CheckResult::Ok
    });
    let counted = usage(&mut client, "default")[0].encryptions;
    daemon.kill();
    let daemon = home.start();
    let after = usage(&mut daemon.client(), "default")[0];
    assert!(after.encryptions >= counted && after.encryptions < u64::MAX, "{after:?}");
}

#[test]
fn killed_while_nothing_could_be_recorded_the_use_is_not_known() {
    let home = Home::initialized();
    let daemon = home.start();
    let counters = home.state_file("counters");
    fs::remove_file(&counters).unwrap();
    fs::create_dir(&counters).unwrap();
    daemon.client().encrypt(EMPTY, b"x").unwrap();
    daemon.kill();
    let daemon = home.start();
    assert_eq!(first(&daemon), (u64::MAX, u64::MAX, false));
    assert!(counters.is_file());
}

#[test]
fn a_master_rotation_keeps_the_counts() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    for _ in 0..70 {
        client.encrypt(EMPTY, b"x").unwrap();
    }
    let next = unhex(&random_key());
    let request = MasterRotateRequest { step: MasterStep::Begin, current: &[], next: &next };
    client.ask::<MasterRotate>(&request).success().unwrap();
    assert!(!home.state_file("counters.next").exists());
    for _ in 0..70 {
        client.encrypt(EMPTY, b"x").unwrap();
    }
    assert_eq!(first(&daemon), (140, 0, true));
    daemon.kill();
    let daemon = home.start();
    let (encryptions, _, exact) = first(&daemon);
    assert!((140..1000).contains(&encryptions) && !exact, "{encryptions}");
    daemon.terminate();
    assert_eq!(first(&home.start()).0, encryptions);
}

/// Killed between the keyring with the next root and its counts, the daemon finds both.
#[test]
fn counts_for_the_next_root_are_found_beside_the_old_ones() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.encrypt(EMPTY, b"x").unwrap();
    client.lock().unwrap();
    client.unlock(&[]).unwrap();
    let old = fs::read(home.state_file("counters")).unwrap();
    let next = unhex(&random_key());
    let request = MasterRotateRequest { step: MasterStep::Begin, current: &[], next: &next };
    client.ask::<MasterRotate>(&request).success().unwrap();
    daemon.terminate();
    fs::rename(home.state_file("counters"), home.state_file("counters.next")).unwrap();
    fs::write(home.state_file("counters"), &old).unwrap();
    let daemon = home.start();
    assert_eq!(first(&daemon), (1, 0, true));
    assert!(!home.state_file("counters.next").exists());
    daemon.terminate();
    // Given up before the keyring was in place: what lies beside is none of this keyring.
    fs::write(home.state_file("counters.next"), &old).unwrap();
    assert_eq!(first(&home.start()), (1, 0, true));
    assert!(!home.state_file("counters.next").exists());
}

/// Calls of one version, sealing and opening, of a new key of some class with a second version.
fn counted(client: &mut Client, key: &str) -> Vec<(u64, u64)> {
    usage(client, key).iter().map(|version| (version.encryptions, version.decryptions)).collect()
}

#[test]
fn every_operation_counts_and_every_item_of_a_batch() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    for (key, class) in [("index", 2), ("tokens", 3)] {
        client.ask::<KeyCreate>(&KeyCreateRequest { key, class, note: "" }).success().unwrap();
    }
    let hmac = HmacRequest { key: "index", context: EMPTY, value: b"x", tag_bytes: 16, every_version: false };
    client.ask::<HmacTag>(&hmac).success().unwrap();
    assert_eq!(counted(&mut client, "index"), [(1, 0)]);
    let claims = br#"{"sub":"a","exp":4102444800}"#;
    let body = client.ask::<JwtSign>(&JwtSignRequest { key: "tokens", claims }).success().unwrap();
    let token = codec::decode::<JwtSignReply<'_>>(&body).unwrap().token.to_owned();
    let verify = JwtVerifyRequest { key: "tokens", token: &token, leeway_seconds: 0 };
    for _ in 0..2 {
        client.ask::<JwtVerify>(&verify).success().unwrap();
    }
    assert_eq!(counted(&mut client, "tokens"), [(1, 2)]);
    let sealed = client.encrypt(EMPTY, b"x").unwrap();
    rotate(&mut client, "default");
    let rewrap = RewrapRequest { context: EMPTY, envelope: &sealed };
    let body = client.ask::<Rewrap>(&rewrap).success().unwrap();
    let current = codec::decode::<RewrapReply<'_>>(&body).unwrap().envelope.to_vec();
    assert_eq!(counted(&mut client, "default"), [(1, 1), (1, 0)]);
    // What is current is opened and nothing more.
    client.ask::<Rewrap>(&RewrapRequest { context: EMPTY, envelope: &current }).success().unwrap();
    assert_eq!(counted(&mut client, "default"), [(1, 1), (1, 1)]);
    let mut broken = sealed.clone();
    *broken.last_mut().unwrap() ^= 1;
    let envelopes = [&sealed, &current, &sealed, &broken, &sealed];
    let items: Vec<u8> = (0..)
        .zip(envelopes)
        .flat_map(|(id, envelope)| {
            client::request::<Decrypt>(id, &DecryptRequest { context: EMPTY, envelope })
        })
        .collect();
    let batch = BatchRequest { operation: Decrypt::CODE as u16, items: &items };
    client.ask::<Batch>(&batch).success().unwrap();
    assert_eq!(counted(&mut client, "default"), [(1, 4), (1, 2)]);
    client.lock().unwrap();
    client.unlock(&[]).unwrap();
    daemon.kill();
    assert_eq!(counted(&mut home.start().client(), "default"), [(1, 4), (1, 2)]);
}

#[test]
fn tokens_and_look_ups_count_for_the_version_that_they_need() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    for (key, class) in [("index", 2), ("tokens", 3)] {
        client.ask::<KeyCreate>(&KeyCreateRequest { key, class, note: "" }).success().unwrap();
    }
    let claims = br#"{"sub":"a","exp":4102444800}"#;
    let body = client.ask::<JwtSign>(&JwtSignRequest { key: "tokens", claims }).success().unwrap();
    let token = codec::decode::<JwtSignReply<'_>>(&body).unwrap().token.to_owned();
    let write =
        HmacRequest { key: "index", context: EMPTY, value: b"x", tag_bytes: 16, every_version: false };
    client.ask::<HmacTag>(&write).success().unwrap();
    for key in ["index", "tokens"] {
        rotate(&mut client, key);
    }
    let verify = JwtVerifyRequest { key: "tokens", token: &token, leeway_seconds: 0 };
    for _ in 0..10 {
        client.ask::<JwtVerify>(&verify).success().unwrap();
    }
    assert_eq!(counted(&mut client, "tokens"), [(1, 10), (0, 0)]);
    let look_up = HmacRequest { every_version: true, ..write };
    client.ask::<HmacTag>(&look_up).success().unwrap();
    assert_eq!(counted(&mut client, "index"), [(1, 1), (0, 1)]);
    let items: Vec<u8> = (0..)
        .zip([look_up, write, look_up])
        .flat_map(|(id, item)| client::request::<HmacTag>(id, &item))
        .collect();
    let batch = BatchRequest { operation: HmacTag::CODE as u16, items: &items };
    client.ask::<Batch>(&batch).success().unwrap();
    assert_eq!(counted(&mut client, "index"), [(1, 3), (1, 3)]);
    for (key, times) in [("index", 3), ("tokens", 10)] {
        retire(&mut client, key, 1);
        let refused = destroy(&mut client, key, 1, false);
        assert_eq!(refused.error(), ErrorCode::StillNeeded);
        assert!(words(&refused).contains(&format!("opened data {times} times")), "{}", words(&refused));
    }
    daemon.terminate();
    let lines = log::lines(&home);
    let verified = lines.iter().filter(|line| line["event_type"] == "jwt_verify");
    assert!(verified.clone().count() == 10 && verified.clone().all(|line| line["metadata"]["version"] == 1));
}
