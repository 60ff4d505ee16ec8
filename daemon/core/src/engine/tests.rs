use alloc::{sync::Arc, vec, vec::Vec};

use keyagent_common::{
    codec,
    context::{self, EMPTY},
    envelope::Kind,
    error::ErrorCode,
    frame::{HEADER_BYTES, Header, MAX_MESSAGE_BYTES},
    op::{
        DataKeyOpenReply, DataKeyOpenRequest, DataKeyReply, DataKeyRequest, DecryptReply, DecryptRequest,
        Empty, EncryptReply, EncryptRequest,
    },
};

use super::*;
use crate::{
    arena::HeapArena,
    entropy::{Entropy, EntropyFailed},
    policy::{Meter, Payer, Policy, Rate, Rights, Subject},
};

mod derived;
mod rights;
mod states;

/// Rights of the owner of a daemon that serves nobody else.
fn owner() -> Rights {
    Arc::new(Policy::owner_only(7)).rights(&subject(7)).unwrap()
}

fn subject(uid: u32) -> Subject<'static> {
    Subject { uid, gid: uid, groups: &[], unit: None, socket: "main" }
}

fn caller(rights: &Rights) -> Caller<'_> {
    let (uid, gid) = (rights.uid(), rights.uid());
    Caller { uid, gid, pid: 1, unit: None, socket: "main", client: "test", rights, on_behalf_of: None }
}

/// Pays until there is nothing left.
struct Purse(u32);

impl Meter for Purse {
    fn take(&mut self, _: u16, _: &Rate, _: Payer) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or_default();
        left.is_some()
    }
}

/// Bytes that differ from call to call; nothing here has to be unpredictable.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        self.0 = self.0.wrapping_add(1);
        for (index, byte) in out.iter_mut().enumerate() {
            *byte = self.0 ^ u8::try_from(index % 251).unwrap();
        }
        Ok(())
    }
}

fn engine(master: u8) -> Engine<HeapArena> {
    let (keyring, _) = Keyring::create(&HeapArena, &[master; 32], &mut Counting(master), 0).unwrap();
    Engine::new(&HeapArena, keyring).unwrap()
}

/// Asks and returns code, body of the reply and failure of the facts.
fn ask<A: Arena, T: codec::Encode>(
    engine: &Engine<A>,
    caller: &Caller<'_>,
    operation: OperationCode,
    request: &T,
) -> (u16, Vec<u8>, Option<OperationError>) {
    let body = codec::frame(5, operation as u16, request).unwrap();
    let (mut entropy, mut associated_data) = (Counting(99), Vec::new());
    let mut work = Work {
        entropy: &mut entropy,
        associated_data: &mut associated_data,
        meter: &mut Purse(0),
        maintenance: false,
        now_unix: 0,
    };
    let mut bytes = vec![0; MAX_MESSAGE_BYTES + 4096];
    let mut replies = ReplyBuffer::new(&mut bytes);
    let request = Request { operation, id: 5, body: &body[HEADER_BYTES..] };
    let facts = engine.handle(caller, request, &mut work, &mut replies).unwrap();
    let header = Header::parse(replies.frames()).unwrap().unwrap();
    assert_eq!((header.request_id, header.frame_bytes()), (5, replies.len()), "exactly one reply");
    assert_eq!(
        facts.failure.map_or(0, |failure| failure.code() as u16),
        header.code,
        "record and reply agree"
    );
    (header.code, replies.frames()[HEADER_BYTES..].to_vec(), facts.failure)
}

fn seal(engine: &Engine<HeapArena>, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let request = EncryptRequest { key: "default", context, plaintext };
    let (code, body, _) = ask(engine, &caller(&owner()), OperationCode::Encrypt, &request);
    assert_eq!(code, 0);
    codec::decode::<EncryptReply<'_>>(&body).unwrap().envelope.to_vec()
}

fn open(engine: &Engine<HeapArena>, context: &[u8], envelope: &[u8]) -> Result<Vec<u8>, OperationError> {
    let (_, body, failure) =
        ask(engine, &caller(&owner()), OperationCode::Decrypt, &DecryptRequest { context, envelope });
    match failure {
        Some(failure) => Err(failure),
        None => Ok(codec::decode::<DecryptReply<'_>>(&body).unwrap().plaintext.to_vec()),
    }
}

#[test]
fn what_is_sealed_opens_under_the_same_master_only() {
    let (engine, twin, stranger) = (engine(3), engine(3), engine(4));
    for plaintext in [vec![], b"secret".to_vec(), vec![9; 70_000]] {
        let envelope = seal(&engine, EMPTY, &plaintext);
        assert_eq!(open(&engine, EMPTY, &envelope).unwrap(), plaintext);
        assert_eq!(
            open(&twin, EMPTY, &envelope).unwrap(),
            plaintext,
            "`default` follows from the master key"
        );
        assert_eq!(open(&stranger, EMPTY, &envelope), Err(OperationError::UnknownKeyId));
    }
}

#[test]
fn every_changed_bit_and_every_cut_is_refused() {
    let engine = engine(3);
    let envelope = seal(&engine, EMPTY, b"abc");
    for bit in 0..envelope.len() * 8 {
        let mut changed = envelope.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let failure = open(&engine, EMPTY, &changed).unwrap_err();
        assert!(matches!(failure, OperationError::DoesNotOpen | OperationError::UnknownKeyId), "bit {bit}");
    }
    for length in 0..envelope.len() {
        assert_eq!(open(&engine, EMPTY, &envelope[..length]), Err(OperationError::DoesNotOpen));
    }
}

#[test]
fn data_keys_open_by_their_own_operation_only() {
    let engine = engine(3);
    let context = context::encode([("file", &b"a"[..])]).unwrap();
    for kind in [Kind::StreamKey, Kind::DataKey] {
        let request = DataKeyRequest { key: "default", context: &context, kind: kind as u8 };
        let (_, body, _) = ask(&engine, &caller(&owner()), OperationCode::DataKey, &request);
        let made: DataKeyReply<'_> = codec::decode(&body).unwrap();
        assert_eq!((made.plain.len(), made.envelope.len(), made.envelope[0]), (32, 105, kind as u8));
        assert_eq!(open(&engine, &context, made.envelope), Err(OperationError::DoesNotOpen));
        let request = DataKeyOpenRequest { context: &context, envelope: made.envelope };
        let (_, body, _) = ask(&engine, &caller(&owner()), OperationCode::DataKeyOpen, &request);
        assert_eq!(codec::decode::<DataKeyOpenReply<'_>>(&body).unwrap().plain, made.plain);
    }
    let message = seal(&engine, EMPTY, &[1; 32]);
    let request = DataKeyOpenRequest { context: EMPTY, envelope: &message };
    assert_eq!(
        ask(&engine, &caller(&owner()), OperationCode::DataKeyOpen, &request).2,
        Some(OperationError::DoesNotOpen)
    );
}

fn code(engine: &Engine<HeapArena>, key: &str, context: &[u8], plaintext: &[u8]) -> u16 {
    ask(engine, &caller(&owner()), OperationCode::Encrypt, &EncryptRequest { key, context, plaintext }).0
}

#[test]
fn bad_requests_are_told_apart_and_leave_one_error_reply() {
    let engine = engine(3);
    assert_eq!(code(&engine, "none", EMPTY, b""), ErrorCode::UnknownKey as u16);
    assert_eq!(code(&engine, "../etc", EMPTY, b""), ErrorCode::InvalidRequest as u16);
    assert_eq!(code(&engine, "default", b"", b""), ErrorCode::InvalidRequest as u16);
    assert_eq!(code(&engine, "default", EMPTY, &vec![0; MAX_MESSAGE_BYTES + 1]), ErrorCode::TooLarge as u16);
    assert_eq!(code(&engine, "default", EMPTY, &vec![0; MAX_MESSAGE_BYTES]), 0);
    let kind = DataKeyRequest { key: "default", context: EMPTY, kind: 1 };
    assert_eq!(
        ask(&engine, &caller(&owner()), OperationCode::DataKey, &kind).0,
        ErrorCode::InvalidRequest as u16
    );
    assert_eq!(
        ask(&engine, &caller(&owner()), OperationCode::Encrypt, &Empty {}).0,
        ErrorCode::Malformed as u16
    );
}

#[test]
fn a_record_holds_hashes_of_context_values_only() {
    let engine = engine(3);
    let context = context::encode([("user", &b"canary-value"[..])]).unwrap();
    let body =
        codec::frame(1, 0, &EncryptRequest { key: "default", context: &context, plaintext: b"x" }).unwrap();
    let (mut entropy, mut associated_data) = (Counting(1), Vec::new());
    let mut work = Work {
        entropy: &mut entropy,
        associated_data: &mut associated_data,
        meter: &mut Purse(0),
        maintenance: false,
        now_unix: 0,
    };
    let mut bytes = [0; 1024];
    let mut replies = ReplyBuffer::new(&mut bytes);
    let request = Request { operation: OperationCode::Encrypt, id: 1, body: &body[HEADER_BYTES..] };
    let facts = engine.handle(&caller(&owner()), request, &mut work, &mut replies).unwrap();
    assert_eq!((facts.key, facts.bytes, facts.context.len()), (Some("default"), 1, 1));
    assert_eq!(facts.context[0].0, "user");
    assert!(!alloc::format!("{facts:?}").contains("canary"));
}

#[test]
fn the_locked_engine_refuses_and_reports() {
    let mut bytes = [0; 512];
    let mut replies = ReplyBuffer::new(&mut bytes);
    let request = Request { operation: OperationCode::Decrypt, id: 4, body: &[] };
    let facts = LockedEngine.handle(request, &mut replies);
    assert_eq!(facts.failure, Some(OperationError::Locked));
    assert_eq!(Header::parse(replies.frames()).unwrap().unwrap().code, ErrorCode::Locked as u16);
}
