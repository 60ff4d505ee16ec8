//! Batches: n results, one record.

use std::collections::BTreeSet;

use keyagent_common::op::{
    Decrypt, DecryptReply, DecryptRequest, Encrypt, EncryptReply, EncryptRequest, Hello, HelloReply,
    HelloRequest,
};
use serde_json::json;

use super::*;

#[test]
fn mixed_outcomes_are_told_in_one_line() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.create_of("index", 2);
    let item = |key| EncryptRequest { key, context: EMPTY, plaintext: b"a value" };
    let keys = ["default", "default", "none", "index", "default", "Not A Name"];
    let replies = client.batch::<Encrypt>(&keys.map(item)).unwrap();
    let codes: Vec<u16> = replies.iter().map(|reply| reply.code).collect();
    let (unknown, class, invalid) =
        (ErrorCode::UnknownKey as u16, ErrorCode::WrongClass as u16, ErrorCode::InvalidRequest as u16);
    assert_eq!(codes, [0, 0, unknown, class, 0, invalid]);
    let sealed: Vec<Vec<u8>> = [0, 1, 4]
        .iter()
        .map(|place: &usize| {
            codec::decode::<EncryptReply<'_>>(&replies[*place].body).unwrap().envelope.to_vec()
        })
        .collect();
    let nonces: BTreeSet<&[u8]> = sealed.iter().map(|envelope| &envelope[33..57]).collect();
    assert_eq!(nonces.len(), 3);
    let open: Vec<_> = sealed.iter().map(|envelope| DecryptRequest { context: EMPTY, envelope }).collect();
    for reply in client.batch::<Decrypt>(&open).unwrap() {
        assert_eq!(codec::decode::<DecryptReply<'_>>(&reply.body).unwrap().plaintext, b"a value");
    }
    let counted = client.status("metric:operations_total{operation=\"encrypt\",result=\"ok\"}");
    assert_eq!(counted, "3");
    daemon.terminate();
    let lines = log::lines(&home);
    assert_eq!(
        (log::count(&lines, "encrypt"), log::count(&lines, "decrypt"), log::count(&lines, "batch")),
        (1, 1, 0)
    );
    let line = lines.iter().find(|line| line["event_type"] == "encrypt").unwrap();
    assert_eq!((&line["success"], &line["provider"]), (&json!(true), &json!(null)));
    assert_eq!((&line["metadata"]["count"], &line["metadata"]["bytes"]), (&json!(6), &json!(42)));
    let outcomes = line["metadata"]["outcomes"].as_object().unwrap();
    let told: Vec<_> = ["0", "1", "2", "3"]
        .iter()
        .map(|place| {
            let outcome = &outcomes[*place];
            (
                outcome["key"].clone(),
                outcome["version"].clone(),
                outcome["code"].clone(),
                outcome["count"].clone(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (json!("default"), json!(1), json!(null), json!(3)),
            (json!("none"), json!(null), json!(unknown), json!(1)),
            (json!("index"), json!(1), json!(class), json!(1)),
            (json!(null), json!(null), json!(invalid), json!(1)),
        ]
    );
    let line = lines.iter().find(|line| line["event_type"] == "decrypt").unwrap();
    assert_eq!((&line["provider"], &line["metadata"]["version"]), (&json!("default"), &json!(1)));
}

#[test]
fn a_batch_is_announced_and_has_limits() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let hello = HelloRequest { protocol_min: 1, protocol_max: 1, client: "e2e" };
    let body = client.ask::<Hello>(&hello).success().unwrap();
    let reply = codec::decode::<HelloReply<'_>>(&body).unwrap();
    assert_eq!((reply.features & 2, reply.limits.in_flight), (2, 1024));
    let item = EncryptRequest { key: "default", context: EMPTY, plaintext: b"" };
    assert_eq!(client.batch::<Encrypt>(&vec![item; 1024]).unwrap().len(), 1024);
    assert_eq!(client.batch::<Encrypt>(&vec![item; 1025]).map(|_| ()), Err(ErrorCode::TooLarge));
    assert_eq!(client.batch::<Encrypt>(&[]).map(|_| ()), Err(ErrorCode::Malformed));
    let random = vec![RandomRequest { bytes: 4096 }; 300];
    assert_eq!(client.batch::<Random>(&random).map(|_| ()), Err(ErrorCode::TooLarge));
    let nested = BatchRequest { operation: 25, items: &[0; 12] };
    assert_eq!(client.ask::<Batch>(&nested).error(), ErrorCode::InvalidRequest);
    daemon.terminate();
    let lines = log::lines(&home);
    assert_eq!((log::count(&lines, "encrypt"), log::count(&lines, "batch")), (1, 4));
    assert_eq!(log::count(&lines, "random"), 0, "nothing was done");
}

#[test]
fn items_count_as_failures_one_by_one() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let mut damaged = client.encrypt(EMPTY, b"x").unwrap();
    damaged[60] ^= 1;
    let item = DecryptRequest { context: EMPTY, envelope: &damaged };
    let replies = client.batch::<Decrypt>(&[item; 30]).unwrap();
    assert!(replies.iter().all(|reply| reply.error() == ErrorCode::DoesNotOpen));
    assert_eq!(client.status("metric:operations_total{operation=\"decrypt\",result=\"failed\"}"), "30");
    assert_eq!(client.status("metric:operations_total{operation=\"batch\",result=\"ok\"}"), "1");
    daemon.terminate();
    let lines = log::lines(&home);
    let line = lines.iter().find(|line| line["event_type"] == "decrypt").unwrap();
    assert_eq!(
        (&line["success"], &line["metadata"]["count"], &line["metadata"]["code"]),
        (&json!(false), &json!(30), &json!(7))
    );
}

#[test]
fn a_locked_agent_refuses_a_batch_as_a_whole() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    client.lock().unwrap();
    let item = EncryptRequest { key: "default", context: EMPTY, plaintext: b"" };
    assert_eq!(client.batch::<Encrypt>(&[item; 3]).map(|_| ()), Err(ErrorCode::Locked));
    client.unlock(&[]).unwrap();
    assert_eq!(client.batch::<Encrypt>(&[item; 3]).unwrap().len(), 3);
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn a_batch_of_many_keys_has_as_many_lines_as_it_takes_and_each_is_complete() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let names: Vec<String> = (0..60).map(|number| format!("some/longer/name/{number:03}")).collect();
    for name in &names {
        client.create_of(name, 1);
    }
    let items: Vec<_> =
        names.iter().map(|key| EncryptRequest { key, context: EMPTY, plaintext: b"xyz" }).collect();
    let replies = client.batch::<Encrypt>(&items).unwrap();
    assert!(replies.iter().all(|reply| reply.code == 0));
    daemon.terminate();
    let lines = log::lines(&home);
    let told: Vec<_> = lines.iter().filter(|line| line["event_type"] == "encrypt").collect();
    assert!(told.len() > 1, "{}", told.len());
    let sum = |name: &str| told.iter().map(|line| line["metadata"][name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("count"), sum("bytes")), (60, 180));
    let keys: BTreeSet<&str> = told
        .iter()
        .flat_map(|line| line["metadata"]["outcomes"].as_object().unwrap().values())
        .map(|outcome| outcome["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys.len(), 60);
}
