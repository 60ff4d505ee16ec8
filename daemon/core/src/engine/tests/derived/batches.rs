//! `batch`: every item as if it had come alone, one record for all.

use keyagent_common::{
    frame::MAX_BODY_BYTES,
    op::{BatchReply, BatchRequest},
};

use super::*;
use crate::{audit::record::Outcome, engine::Batched};

/// Request frames, one behind the other, with the ids 0, 1, 2 and so on.
fn frames<T: codec::Encode>(operation: OperationCode, items: &[T]) -> Vec<u8> {
    let frames = (0..).zip(items).map(|(id, item)| codec::frame(id, operation as u16, item).unwrap());
    frames.flat_map(|frame| frame.to_vec()).collect()
}

/// Key, version, code, how many items and how many bytes.
type Counted = (Option<String>, Option<u32>, u16, u64, u64);

/// Code of the whole; codes and bodies of the items; what the record says.
struct Told {
    code: u16,
    results: Vec<(u16, Vec<u8>)>,
    outcomes: Vec<Counted>,
    facts_key: Option<String>,
    rule: Option<String>,
    context: Vec<String>,
    operation: OperationCode,
}

fn send(bench: &mut Bench, rights: &Rights, purse: &mut Purse, request: &BatchRequest<'_>) -> Told {
    send_into(bench, rights, purse, request, MAX_BODY_BYTES + 4096)
}

fn send_into(
    bench: &mut Bench,
    rights: &Rights,
    purse: &mut Purse,
    request: &BatchRequest<'_>,
    room: usize,
) -> Told {
    let body = codec::frame(5, 0, request).unwrap();
    let (mut entropy, mut associated_data) = (bench.entropy(), Vec::new());
    let mut work = Work {
        entropy: &mut entropy,
        associated_data: &mut associated_data,
        meter: purse,
        maintenance: bench.maintenance,
        now_unix: bench.now,
    };
    let mut bytes = vec![0; room];
    let mut replies = ReplyBuffer::new(&mut bytes);
    let request = Request { operation: OperationCode::Batch, id: 5, body: &body[HEADER_BYTES..] };
    let facts = bench.engine.handle(&caller(rights), request, &mut work, &mut replies).unwrap();
    let header = Header::parse(replies.frames()).unwrap().unwrap();
    assert_eq!((header.request_id, header.frame_bytes()), (5, replies.len()), "exactly one reply");
    let mut results = Vec::new();
    if header.code == 0 {
        let reply: BatchReply<'_> = codec::decode(&replies.frames()[HEADER_BYTES..]).unwrap();
        let mut rest = reply.results;
        while let Ok(Some(header)) = Header::parse(rest) {
            assert_eq!(usize::try_from(header.request_id).unwrap(), results.len(), "in order");
            results.push((header.code, rest[HEADER_BYTES..header.frame_bytes()].to_vec()));
            rest = &rest[header.frame_bytes()..];
        }
        assert!(rest.is_empty());
        let (needed, ..) = engine_needs(&body[HEADER_BYTES..]);
        assert!(replies.len() <= needed, "the bound holds");
    }
    let outcomes = facts.batch.as_ref().map_or(vec![], |batch| {
        let Batched { outcomes } = &**batch;
        let told = |Outcome { key, version, failure, count, bytes, .. }: &Outcome<'_>| {
            let code = failure.map_or(0, |failure| failure.code() as u16);
            (key.map(String::from), version.map(|(_, number)| number), code, *count, *bytes)
        };
        outcomes.iter().map(told).collect()
    });
    assert_eq!(facts.failure.map_or(0, |failure| failure.code() as u16), header.code);
    Told {
        code: header.code,
        results,
        outcomes,
        facts_key: facts.key.map(String::from),
        rule: facts.rule.as_deref().map(String::from),
        context: facts.context.iter().map(|(name, _)| String::from(*name)).collect(),
        operation: facts.operation,
    }
}

fn engine_needs(body: &[u8]) -> (usize, OperationCode, usize) {
    let (operation, items, bytes) = batch_needs(body).unwrap();
    (bytes, operation, items.count())
}

fn of(operation: OperationCode, items: &[u8]) -> BatchRequest<'_> {
    BatchRequest { operation: operation as u16, items }
}

#[test]
fn mixed_outcomes_have_a_result_each_and_are_told_together() {
    let mut bench = Bench::new();
    let row = context::encode([("row", &b"7"[..])]).unwrap();
    let old = bench.seal("m", &row, b"old").unwrap();
    let retired = bench.seal("default", &row, b"gone").unwrap();
    bench.rotate("m", Takeover::Grace);
    bench.rotate("default", Takeover::Grace);
    bench.change("default", 1, How::Retire);
    let new = bench.seal("m", &row, b"newer").unwrap();
    let damaged = [&new[..new.len() - 1], &[new[new.len() - 1] ^ 1]].concat();
    let mut unknown = new.clone();
    unknown[7] ^= 1;
    let envelopes = [&new, &old, &damaged, &new, &unknown, &retired, &damaged, &old];
    let items: Vec<_> = envelopes.iter().map(|envelope| DecryptRequest { context: &row, envelope }).collect();
    let items = frames(OperationCode::Decrypt, &items);
    let told = send(&mut bench, &owner(), &mut Purse(0), &of(OperationCode::Decrypt, &items));
    let codes: Vec<u16> = told.results.iter().map(|(code, _)| *code).collect();
    let (broken, nobody, gone) =
        (ErrorCode::DoesNotOpen as u16, ErrorCode::UnknownKeyId as u16, ErrorCode::VersionRetired as u16);
    assert_eq!((told.code, codes), (0, vec![0, 0, broken, 0, nobody, gone, broken, 0]));
    for (place, text) in [(0, &b"newer"[..]), (1, b"old"), (3, b"newer"), (7, b"old")] {
        assert_eq!(codec::decode::<DecryptReply<'_>>(&told.results[place].1).unwrap().plaintext, text);
    }
    let (m, default) = (Some(String::from("m")), Some(String::from("default")));
    assert_eq!(
        told.outcomes,
        [
            (m.clone(), Some(2), 0, 2, 156),
            (m.clone(), Some(1), 0, 2, 152),
            (m, Some(2), broken, 2, 156),
            (None, None, nobody, 1, 78),
            (default, Some(1), gone, 1, 77),
        ]
    );
    assert_eq!((told.operation, told.facts_key, told.context.len()), (OperationCode::Decrypt, None, 0));
}

#[test]
fn what_all_items_share_is_told_once() {
    let mut bench = Bench::new();
    let row = context::encode([("row", &b"7"[..])]).unwrap();
    let other = context::encode([("row", &b"8"[..])]).unwrap();
    let item = |context| EncryptRequest { key: "m", context, plaintext: b"x" };
    for (items, names) in [(vec![item(&row); 3], vec!["row"]), (vec![item(&row), item(&other)], vec![])] {
        let items = frames(OperationCode::Encrypt, &items);
        let told = send(&mut bench, &owner(), &mut Purse(0), &of(OperationCode::Encrypt, &items));
        assert_eq!(
            (told.facts_key.as_deref(), told.context),
            (Some("m"), names.iter().map(|name| String::from(*name)).collect())
        );
        let envelopes: Vec<Vec<u8>> = told
            .results
            .iter()
            .map(|(_, body)| codec::decode::<EncryptReply<'_>>(body).unwrap().envelope.to_vec())
            .collect();
        assert_ne!(envelopes[0], envelopes[1], "a nonce each");
        assert_eq!(bench.open(&row, &envelopes[0]).unwrap(), b"x");
    }
}

#[test]
fn every_operation_on_data_and_no_other_one() {
    let mut bench = Bench::new();
    let old = bench.seal("m", EMPTY, b"x").unwrap();
    let (_, data_key) = bench.data_key("m", EMPTY, Kind::DataKey);
    bench.rotate("m", Takeover::Grace);
    let token = bench.sign("t", r#"{"exp":1800000600}"#).unwrap();
    let claims = br#"{"exp":1800000600}"#;
    let batches = [
        (
            OperationCode::Encrypt,
            frames(OperationCode::Encrypt, &[EncryptRequest { key: "m", context: EMPTY, plaintext: b"" }; 2]),
        ),
        (
            OperationCode::Decrypt,
            frames(OperationCode::Decrypt, &[DecryptRequest { context: EMPTY, envelope: &old }; 2]),
        ),
        (
            OperationCode::Rewrap,
            frames(OperationCode::Rewrap, &[RewrapRequest { context: EMPTY, envelope: &old }; 2]),
        ),
        (
            OperationCode::DataKey,
            frames(OperationCode::DataKey, &[DataKeyRequest { key: "m", context: EMPTY, kind: 3 }; 2]),
        ),
        (
            OperationCode::DataKeyOpen,
            frames(
                OperationCode::DataKeyOpen,
                &[DataKeyOpenRequest { context: EMPTY, envelope: &data_key }; 2],
            ),
        ),
        (OperationCode::Hmac, frames(OperationCode::Hmac, &[look_up("i", EMPTY, b"v"); 2])),
        (OperationCode::JwtSign, frames(OperationCode::JwtSign, &[JwtSignRequest { key: "t", claims }; 2])),
        (
            OperationCode::JwtVerify,
            frames(
                OperationCode::JwtVerify,
                &[JwtVerifyRequest { key: "t", token: &token, leeway_seconds: 0 }; 2],
            ),
        ),
        (OperationCode::Random, frames(OperationCode::Random, &[RandomRequest { bytes: 4096 }; 2])),
    ];
    for (operation, items) in &batches {
        let told = send(&mut bench, &owner(), &mut Purse(0), &of(*operation, items));
        assert_eq!(told.code, 0, "{operation:?}");
        assert!(told.results.len() == 2 && told.results.iter().all(|(code, _)| *code == 0), "{operation:?}");
        assert_eq!(told.outcomes.iter().map(|(.., count, _)| count).sum::<u64>(), 2);
    }
    for operation in OperationCode::ALL {
        if batches.iter().any(|(served, _)| served == operation) {
            continue;
        }
        let items = frames(*operation, &[Empty {}]);
        let told = send(&mut bench, &owner(), &mut Purse(0), &of(*operation, &items));
        assert_eq!(told.code, ErrorCode::InvalidRequest as u16, "{operation:?}");
        assert_eq!(told.operation, OperationCode::Batch);
    }
    let told = send(&mut bench, &owner(), &mut Purse(0), &BatchRequest { operation: 999, items: &[] });
    assert_eq!(told.code, ErrorCode::InvalidRequest as u16);
}

#[test]
fn frames_that_do_not_follow_the_protocol_refuse_the_whole() {
    let mut bench = Bench::new();
    let item = EncryptRequest { key: "m", context: EMPTY, plaintext: b"x" };
    let good = frames(OperationCode::Encrypt, &[item; 3]);
    let length = good.len() / 3;
    let changed = |place: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[place] = to;
        bytes
    };
    for bad in [
        vec![],
        good[1..].to_vec(),
        good[..good.len() - 1].to_vec(),
        [&good[..], &[0]].concat(),
        [&good[..], &good[..11]].concat(),
        changed(4, 1),
        changed(length + 4, 0),
        changed(length + 8, 17),
        changed(10, 1),
        changed(10, 2),
        changed(3, 0xff),
        [&good[length..], &good[..length]].concat(),
    ] {
        let told = send(&mut bench, &owner(), &mut Purse(0), &of(OperationCode::Encrypt, &bad));
        assert_eq!((told.code, told.results.len()), (ErrorCode::Malformed as u16, 0));
        assert!(told.outcomes.is_empty());
    }
    // What an item says within its frame is that item's affair.
    let items = [frames(OperationCode::Encrypt, &[Empty {}]), good[length..].to_vec()].concat();
    let told = send(&mut bench, &owner(), &mut Purse(0), &of(OperationCode::Encrypt, &items));
    let codes: Vec<u16> = told.results.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [ErrorCode::Malformed as u16, 0, 0]);
}

#[test]
fn a_batch_that_is_too_large_is_refused_before_anything_is_done() {
    let mut bench = Bench::new();
    let item = EncryptRequest { key: "m", context: EMPTY, plaintext: b"x" };
    let most = frames(OperationCode::Encrypt, &vec![item; 1024]);
    let told = send(&mut bench, &owner(), &mut Purse(0), &of(OperationCode::Encrypt, &most));
    assert_eq!((told.code, told.results.len()), (0, 1024));
    let more = frames(OperationCode::Encrypt, &vec![item; 1025]);
    let too_large = ErrorCode::TooLarge as u16;
    let mut purse = Purse(5);
    let random = frames(OperationCode::Random, &vec![RandomRequest { bytes: 4096 }; 300]);
    for (operation, items, room) in [
        (OperationCode::Encrypt, &more, MAX_BODY_BYTES),
        (OperationCode::Random, &random, 4 << 20),
        (OperationCode::Encrypt, &most, 60_000),
    ] {
        let told = send_into(&mut bench, &owner(), &mut purse, &of(operation, items), room);
        assert_eq!((told.code, told.results.len(), purse.0), (too_large, 0, 5));
    }
}

/// Limits do not depend on how many versions there are, nor on whether there is such a key.
#[test]
fn what_would_try_every_version_is_limited_by_number() {
    let mut bench = Bench::new();
    let token = bench.sign("t", r#"{"exp":1800000600}"#).unwrap();
    let (_, behind) = token.split_once('.').unwrap();
    // {"alg":"HS256"}
    let foreign = alloc::format!("eyJhbGciOiJIUzI1NiJ9.{behind}");
    let verify = |token| JwtVerifyRequest { key: "none", token, leeway_seconds: 0 };
    let write = HmacRequest { every_version: false, ..look_up("i", EMPTY, b"v") };
    let too_large = ErrorCode::TooLarge as u16;
    let (hmac, jwt) = (OperationCode::Hmac, OperationCode::JwtVerify);
    for (operation, items, code) in [
        (hmac, frames(hmac, &[look_up("i", EMPTY, b"v"); 64]), 0),
        (hmac, frames(hmac, &[look_up("i", EMPTY, b"v"); 65]), too_large),
        (hmac, frames(hmac, &vec![write; 1024]), 0),
        (jwt, frames(jwt, &[verify(&foreign); 64]), 0),
        (jwt, frames(jwt, &[verify(&foreign); 65]), too_large),
        (jwt, frames(jwt, &vec![verify(&token); 1024]), 0),
        (jwt, frames(jwt, &vec![verify("a.b.c"); 1024]), 0),
    ] {
        let told = send(&mut bench, &owner(), &mut Purse(0), &of(operation, &items));
        assert_eq!((told.code, told.results.is_empty()), (code, code != 0), "{operation:?}");
    }
}

#[test]
fn every_item_has_its_own_right_rate_and_brake() {
    let mut bench = Bench::new();
    let some = Rate { count: 1, per_seconds: 1, burst: 1 };
    let rule = |name: &str, keys: &[&str], allow: &[&str], rate| RuleSpec {
        name: String::from(name),
        who: Who { uids: vec![1001], ..Who::default() },
        keys: keys.iter().map(|key| String::from(*key)).collect(),
        allow: allow.iter().map(|word| String::from(*word)).collect(),
        rate,
        ..RuleSpec::default()
    };
    let rules = vec![
        rule("slowly", &["m"], &["encrypt"], Some(some)),
        rule("freely", &["default"], &["encrypt"], None),
    ];
    let spec = PolicySpec { mode: Mode::System, admins: Who::default(), operators: Who::default(), rules };
    let rights = Arc::new(Policy::build(spec).unwrap()).rights(&subject(1001)).unwrap();
    let item = |key| EncryptRequest { key, context: EMPTY, plaintext: b"x" };
    let items = frames(OperationCode::Encrypt, &["m", "default", "m", "i", "none", "m"].map(item));
    let request = of(OperationCode::Encrypt, &items);
    let told = send(&mut bench, &rights, &mut Purse(2), &request);
    let codes: Vec<u16> = told.results.iter().map(|(code, _)| *code).collect();
    let (denied, limited) = (ErrorCode::Denied as u16, ErrorCode::RateLimited as u16);
    assert_eq!(codes, [0, 0, 0, denied, denied, limited]);
    assert_eq!(told.results[3].1, told.results[4].1, "there or not, the same bytes");
    assert_eq!(told.rule, None, "the rules differ");
    bench.brake("m", Brake::Disabled);
    let told = send(&mut bench, &rights, &mut Purse(9), &request);
    let codes: Vec<u16> = told.results.iter().map(|(code, _)| *code).collect();
    let disabled = ErrorCode::KeyDisabled as u16;
    assert_eq!(codes, [disabled, 0, disabled, denied, denied, disabled]);
    bench.maintenance = true;
    let one = frames(OperationCode::Encrypt, &[item("default"); 2]);
    let told = send(&mut bench, &rights, &mut Purse(9), &of(OperationCode::Encrypt, &one));
    let maintenance = ErrorCode::Maintenance as u16;
    assert!(told.results.iter().all(|(code, _)| *code == maintenance));
    assert_eq!((told.rule.as_deref(), told.outcomes.len()), (Some("freely"), 1));
}

#[test]
fn without_a_key_a_right_is_needed_all_the_same() {
    let mut bench = Bench::new();
    let rule = RuleSpec {
        name: String::from("dice"),
        who: Who { uids: vec![1001], ..Who::default() },
        keys: vec![String::from("no/such/key")],
        allow: vec![String::from("random")],
        rate: Some(Rate { count: 1, per_seconds: 1, burst: 1 }),
        ..RuleSpec::default()
    };
    let other = RuleSpec {
        name: String::from("other"),
        who: Who { uids: vec![1002], ..Who::default() },
        allow: vec![String::from("encrypt")],
        ..rule.clone()
    };
    let rules = vec![rule, other];
    let spec = PolicySpec { mode: Mode::System, admins: Who::default(), operators: Who::default(), rules };
    let policy = Arc::new(Policy::build(spec).unwrap());
    let items = frames(OperationCode::Random, &[RandomRequest { bytes: 8 }; 2]);
    let (denied, limited) = (ErrorCode::Denied as u16, ErrorCode::RateLimited as u16);
    for (uid, wanted, rule) in [(1001, [0, limited], Some("dice")), (1002, [denied; 2], None)] {
        let rights = policy.rights(&subject(uid)).unwrap();
        let told = send(&mut bench, &rights, &mut Purse(1), &of(OperationCode::Random, &items));
        assert_eq!(told.results.iter().map(|(code, _)| *code).collect::<Vec<_>>(), wanted);
        assert_eq!(told.rule.as_deref(), rule);
    }
}
