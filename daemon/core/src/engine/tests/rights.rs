//! What a caller without all rights is told, and what its rights cost it.

use alloc::{borrow::ToOwned, string::String};

use keyagent_common::envelope::DATA_KEY_BYTES;
use proptest::prelude::*;

use super::*;
use crate::{
    change::{self, Selection},
    keyring::{Brake, Draft},
    policy::{Mode, PolicySpec, RuleSpec, Who},
};

mod delegating;

const KEYS: [&str; 3] = ["billing/cards", "default", "tenant/a"];

fn commit(keyring: &mut Keyring<HeapArena>, draft: Draft<HeapArena>) {
    let prepared = draft.prepare(None, &mut Counting(77)).unwrap();
    keyring.confirm(prepared).unwrap();
}

fn keyring() -> Keyring<HeapArena> {
    let mut keyring = Keyring::create(&HeapArena, &[3; 32], &mut Counting(3), 0).unwrap().0;
    for (name, seed) in [("billing/cards", 20), ("tenant/a", 40)] {
        let mut draft = keyring.draft();
        draft.add_key(KeyName::parse(name).unwrap(), Class::Message, &mut Counting(seed), 0).unwrap();
        commit(&mut keyring, draft);
    }
    keyring
}

fn braked(brakes: &[(&str, Brake)]) -> Engine<HeapArena> {
    let mut keyring = keyring();
    for (name, brake) in brakes {
        let one = Selection::One(KeyName::parse(name).unwrap());
        let draft = change::disable(&keyring, one, *brake, "test", 1).unwrap().0;
        commit(&mut keyring, draft);
    }
    Engine::new(&HeapArena, keyring).unwrap()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn uids(uids: &[u32]) -> Who {
    Who { uids: uids.to_vec(), ..Who::default() }
}

fn rule(name: &str, uid: u32, keys: &[&str], allow: &[&str]) -> RuleSpec {
    let (name, keys, allow) = (name.to_owned(), texts(keys), texts(allow));
    RuleSpec { name, who: uids(&[uid]), keys, allow, ..RuleSpec::default() }
}

fn policy(rules: Vec<RuleSpec>) -> Arc<Policy> {
    let spec = PolicySpec { mode: Mode::System, admins: uids(&[10]), operators: uids(&[20]), rules };
    Arc::new(Policy::build(spec).unwrap())
}

/// What came of a request: code, the whole body, the rule in the record.
type Outcome = (ErrorCode, Vec<u8>, Option<String>);

/// How a request is made: by whom, with how many tokens left, in maintenance or not.
struct Asking<'a> {
    engine: &'a Engine<HeapArena>,
    caller: Caller<'a>,
    purse: Purse,
    maintenance: bool,
}

impl<'a> Asking<'a> {
    fn new(engine: &'a Engine<HeapArena>, rights: &'a Rights) -> Self {
        Self { engine, caller: caller(rights), purse: Purse(0), maintenance: false }
    }

    fn ask<T: codec::Encode>(&mut self, operation: OperationCode, request: &T) -> Outcome {
        let body = codec::frame(5, operation as u16, request).unwrap();
        let (mut entropy, mut associated_data) = (Counting(99), Vec::new());
        let mut work = Work {
            entropy: &mut entropy,
            associated_data: &mut associated_data,
            meter: &mut self.purse,
            maintenance: self.maintenance,
            now_unix: 0,
        };
        let mut bytes = vec![0; 4096];
        let mut replies = ReplyBuffer::new(&mut bytes);
        let request = Request { operation, id: 5, body: &body[HEADER_BYTES..] };
        let facts = self.engine.handle(&self.caller, request, &mut work, &mut replies).unwrap();
        let header = Header::parse(replies.frames()).unwrap().unwrap();
        assert_eq!(header.code, facts.failure.map_or(0, |failure| failure.code() as u16));
        let code = ErrorCode::from_number(header.code).unwrap_or(DONE);
        (code, replies.frames()[HEADER_BYTES..].to_vec(), facts.rule.map(|rule| (*rule).to_owned()))
    }

    fn encrypt(&mut self, key: &str, context: &[u8]) -> Outcome {
        self.ask(OperationCode::Encrypt, &EncryptRequest { key, context, plaintext: b"x" })
    }

    fn decrypt(&mut self, envelope: &[u8]) -> Outcome {
        self.ask(OperationCode::Decrypt, &DecryptRequest { context: EMPTY, envelope })
    }

    fn data_key(&mut self, key: &str) -> Outcome {
        self.ask(OperationCode::DataKey, &DataKeyRequest { key, context: EMPTY, kind: 3 })
    }

    fn data_key_open(&mut self, envelope: &[u8]) -> Outcome {
        self.ask(OperationCode::DataKeyOpen, &DataKeyOpenRequest { context: EMPTY, envelope })
    }
}

/// Stands for success where a table holds error codes; no operation here ends with it.
const DONE: ErrorCode = ErrorCode::Usage;

/// A message and a data key, sealed by an admin.
fn sealed(engine: &Engine<HeapArena>, key: &str) -> (Vec<u8>, Vec<u8>) {
    let admin = policy(vec![]).rights(&subject(10)).unwrap();
    let mut asking = Asking::new(engine, &admin);
    let (code, message, _) = asking.encrypt(key, EMPTY);
    assert_eq!(code, DONE);
    let (_, data_key, _) = asking.data_key(key);
    let message = codec::decode::<EncryptReply<'_>>(&message).unwrap().envelope.to_vec();
    (message, codec::decode::<DataKeyReply<'_>>(&data_key).unwrap().envelope.to_vec())
}

/// The same envelope with an id that no key has.
fn of_nobody(envelope: &[u8]) -> Vec<u8> {
    let mut changed = envelope.to_vec();
    changed[5] ^= 1;
    assert_ne!(Envelope::parse(envelope).unwrap().key_id, Envelope::parse(&changed).unwrap().key_id);
    changed
}

#[test]
fn without_a_right_a_key_that_exists_and_one_that_does_not_are_the_same_bytes() {
    let engine = braked(&[("billing/cards", Brake::Disabled)]);
    let rules = policy(vec![rule("tenant", 1001, &["tenant/*"], &["encrypt", "decrypt"])]);
    let rights = rules.rights(&subject(1001)).unwrap();
    let mut asking = Asking::new(&engine, &rights);
    asking.maintenance = true;
    let absent = asking.encrypt("none", EMPTY);
    assert_eq!(absent.0, ErrorCode::Denied);
    for key in ["default", "billing/cards", "none/at/all", "tenantx", "tenant/a/b"] {
        assert_eq!(asking.encrypt(key, EMPTY), absent, "{key}");
        assert_eq!(asking.encrypt(key, b"no context"), absent, "{key}");
        let (code, body, rule) = asking.data_key(key);
        assert_eq!((code, body, rule), absent, "{key}");
    }
    let (message, data_key) = sealed(&braked(&[]), "default");
    for envelope in [message.clone(), of_nobody(&message)] {
        assert_eq!(asking.decrypt(&envelope), absent);
    }
    for envelope in [data_key.clone(), of_nobody(&data_key)] {
        assert_eq!(asking.data_key_open(&envelope), absent);
    }
    // An id of a key that it may use is served; one of nobody is not told apart from one of another's.
    let (own, _) = sealed(&engine, "tenant/a");
    assert_eq!(asking.decrypt(&own).0, DONE);
    assert_eq!(asking.decrypt(&of_nobody(&own)), absent);
    // A right on the name lets the caller know.
    assert_eq!(asking.encrypt("tenant/none", EMPTY).0, ErrorCode::UnknownKey);
    assert_eq!(asking.data_key("tenant/none").0, ErrorCode::UnknownKey);
    assert_eq!(asking.data_key("tenant/a").0, ErrorCode::Denied);
}

#[test]
fn an_id_of_nobody_is_told_to_those_who_know_of_every_key() {
    let engine = braked(&[]);
    let (message, _) = sealed(&engine, "default");
    let rules = policy(vec![
        rule("all", 1001, &["default", "**"], &["encrypt"]),
        rule("most", 1002, &["*", "*/**"], &["decrypt"]),
    ]);
    for (uid, nobody, somebody) in [
        (10, ErrorCode::UnknownKeyId, DONE),
        (20, ErrorCode::UnknownKeyId, ErrorCode::Denied),
        (1001, ErrorCode::UnknownKeyId, ErrorCode::Denied),
        (1002, ErrorCode::Denied, DONE),
    ] {
        let rights = rules.rights(&subject(uid)).unwrap();
        let mut asking = Asking::new(&engine, &rights);
        assert_eq!(asking.decrypt(&of_nobody(&message)).0, nobody, "{uid}");
        assert_eq!(asking.decrypt(&message).0, somebody, "{uid}");
    }
}

#[test]
fn the_matrix_of_callers_operations_and_keys_with_real_keys() {
    let engine = braked(&[]);
    let rules = policy(vec![
        rule("cards", 1001, &["billing/*"], &["encrypt", "decrypt"]),
        rule("data", 1002, &["tenant/**", "default"], &["data"]),
        rule("keys only", 1003, &["**"], &["key_list", "key_disable"]),
        rule("opens", 1004, &["**"], &["decrypt", "data_key_open"]),
    ]);
    for (uid, operations, keys) in [
        (0, "edko", &KEYS[..]),
        (10, "edko", &KEYS[..]),
        (20, "", &[]),
        (1001, "ed", &["billing/cards"]),
        (1002, "edko", &["default", "tenant/a"]),
        (1003, "", &[]),
        (1004, "do", &KEYS[..]),
    ] {
        let rights = rules.rights(&subject(uid)).unwrap();
        let mut asking = Asking::new(&engine, &rights);
        for key in KEYS {
            let (message, data_key) = sealed(&engine, key);
            let outcomes = [
                ('e', asking.encrypt(key, EMPTY)),
                ('d', asking.decrypt(&message)),
                ('k', asking.data_key(key)),
                ('o', asking.data_key_open(&data_key)),
            ];
            for (operation, (code, _, rule)) in outcomes {
                let wanted = operations.contains(operation) && keys.contains(&key);
                assert_eq!(code == DONE, wanted, "{uid} {operation} {key}");
                assert!(wanted || code == ErrorCode::Denied);
                assert_eq!(rule.is_some(), wanted && uid > 1000, "the record names the rule");
            }
        }
    }
}

#[test]
fn obligations_hold_and_the_first_rule_whose_are_met_counts() {
    let engine = braked(&[]);
    let some = Rate { count: 1, per_seconds: 1, burst: 1 };
    let with_user = RuleSpec {
        require_context: texts(&["user", "tenant"]),
        ..rule("with user", 1001, &["default"], &["encrypt"])
    };
    let slowly = RuleSpec { rate: Some(some), ..rule("slowly", 1001, &["default"], &["encrypt"]) };
    let rules = policy(vec![with_user.clone(), slowly]);
    let rights = rules.rights(&subject(1001)).unwrap();
    let mut asking = Asking::new(&engine, &rights);
    let full = context::encode([("a", &b""[..]), ("tenant", b"t"), ("user", b"u")]).unwrap();
    let half = context::encode([("user", &b"u"[..])]).unwrap();
    let named = |name: &str| Some(name.to_owned());

    let (code, _, rule) = asking.encrypt("default", &full);
    assert_eq!((code, rule), (DONE, named("with user")));
    let (code, _, rule) = asking.encrypt("default", &half);
    assert_eq!((code, rule), (ErrorCode::RateLimited, named("slowly")), "that one passes by itself");
    asking.purse = Purse(2);
    for left in [1, 0] {
        let (code, _, rule) = asking.encrypt("default", EMPTY);
        assert_eq!((code, rule, asking.purse.0), (DONE, named("slowly"), left));
    }
    assert_eq!(asking.encrypt("default", b"").0, ErrorCode::InvalidRequest);

    let rules = policy(vec![with_user]);
    let rights = rules.rights(&subject(1001)).unwrap();
    let mut asking = Asking::new(&engine, &rights);
    let (code, body, rule) = asking.encrypt("default", &half);
    assert_eq!((code, rule), (ErrorCode::Denied, named("with user")));
    let said = codec::decode::<ErrorReply<'_>>(&body).unwrap();
    assert_eq!(said.what, OperationError::ContextRequired.what());
}

#[test]
fn a_rule_about_something_else_does_not_step_in_for_one_whose_obligations_are_not_met() {
    let engine = braked(&[]);
    let rate = Some(Rate { count: 1, per_seconds: 1, burst: 1 });
    let rules = policy(vec![
        RuleSpec { rate, ..rule("slowly", 1001, &["default"], &["encrypt"]) },
        rule("another key", 1001, &["tenant/a"], &["encrypt"]),
        rule("another operation", 1001, &["default"], &["decrypt"]),
        rule("another caller", 1002, &["default"], &["encrypt"]),
    ]);
    let rights = rules.rights(&subject(1001)).unwrap();
    let (code, _, rule) = Asking::new(&engine, &rights).encrypt("default", EMPTY);
    assert_eq!((code, rule.as_deref()), (ErrorCode::RateLimited, Some("slowly")));
}

#[test]
fn a_key_that_may_not_be_seen_is_not_in_the_reply_and_opens_all_the_same() {
    let engine = braked(&[]);
    let hidden = RuleSpec { no_reveal: true, ..rule("hidden", 1001, &["default"], &["data_key"]) };
    let rules = policy(vec![hidden]);
    let rights = rules.rights(&subject(1001)).unwrap();
    let (code, body, _) = Asking::new(&engine, &rights).data_key("default");
    let reply = codec::decode::<DataKeyReply<'_>>(&body).unwrap();
    assert_eq!((code, reply.plain.len(), reply.envelope.len()), (DONE, 0, DATA_KEY_BYTES));
    let admin = rules.rights(&subject(10)).unwrap();
    let (code, opened, _) = Asking::new(&engine, &admin).data_key_open(reply.envelope);
    assert_eq!(code, DONE);
    let plain = codec::decode::<DataKeyOpenReply<'_>>(&opened).unwrap().plain.to_vec();
    assert_eq!(plain.len(), 32);
    assert!(!body.windows(32).any(|window| window == plain));
}

#[test]
fn brakes_hold_for_everybody_and_maintenance_for_whatever_seals() {
    let open = braked(&[]);
    let (cards, tenant, default) =
        (sealed(&open, "billing/cards"), sealed(&open, "tenant/a"), sealed(&open, "default"));
    let engine = braked(&[("billing/cards", Brake::Disabled), ("tenant/a", Brake::Compromised)]);
    let rules = policy(vec![rule("all", 1001, &["**"], &["data"])]);
    for uid in [10, 1001] {
        let rights = rules.rights(&subject(uid)).unwrap();
        let mut asking = Asking::new(&engine, &rights);
        for maintenance in [false, true] {
            asking.maintenance = maintenance;
            for (key, (message, data_key), code) in [
                ("billing/cards", &cards, ErrorCode::KeyDisabled),
                ("tenant/a", &tenant, ErrorCode::KeyCompromised),
            ] {
                let codes = [
                    asking.encrypt(key, EMPTY).0,
                    asking.decrypt(message).0,
                    asking.data_key(key).0,
                    asking.data_key_open(data_key).0,
                ];
                assert_eq!(codes, [code; 4], "{uid} {key}");
            }
            let sealing = if maintenance { ErrorCode::Maintenance } else { DONE };
            assert_eq!(asking.encrypt("default", EMPTY).0, sealing);
            assert_eq!(asking.data_key("default").0, sealing);
            assert_eq!(asking.decrypt(&default.0).0, DONE);
            assert_eq!(asking.data_key_open(&default.1).0, DONE);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the rules: what a caller without a right on a name is told does not depend on what exists.
    #[test]
    fn two_keyrings_look_the_same_to_whoever_has_no_right(
        patterns in proptest::collection::vec(proptest::sample::select(&["default", "tenant/*", "billing/**", "*", "x"][..]), 1..3),
        word in proptest::sample::select(&["encrypt", "decrypt", "data", "key_list"][..]),
        key in proptest::sample::select(&["default", "tenant/a", "billing/cards", "x"][..]),
        operation in 0..4,
    ) {
        let full = braked(&[("tenant/a", Brake::Compromised)]);
        // The same keys but for the one that is asked for.
        let mut without = keyring();
        let mut draft = without.draft();
        if draft.key_mut(key).is_some() {
            draft.remove_key(key).unwrap();
        }
        commit(&mut without, draft);
        let without = Engine::new(&HeapArena, without).unwrap();
        let policy = policy(vec![rule("some", 1001, &patterns, &[word])]);
        let rights = policy.rights(&subject(1001)).unwrap();
        let (message, data_key) = sealed(&braked(&[]), if key == "x" { "default" } else { key });
        let message = if key == "x" { of_nobody(&message) } else { message };
        let data_key = if key == "x" { of_nobody(&data_key) } else { data_key };
        let outcome = |engine| {
            let mut asking = Asking::new(engine, &rights);
            match operation {
                0 => asking.encrypt(key, EMPTY),
                1 => asking.data_key(key),
                2 => asking.decrypt(&message),
                _ => asking.data_key_open(&data_key),
            }
        };
        let (there, not_there) = (outcome(&full), outcome(&without));
        if !rights.any_on(key) {
            prop_assert_eq!(there.0, ErrorCode::Denied);
            prop_assert_eq!(there, not_there);
        } else if operation < 2 {
            prop_assert_eq!(not_there.0, ErrorCode::UnknownKey);
        }
    }
}
