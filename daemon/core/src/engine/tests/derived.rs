//! Operations beside sealing and opening, on keys whose versions change.

use keyagent_common::op::{
    DataKeyOpenReply, DataKeyReply, ErrorReply, HmacReply, HmacRequest, JwtSignReply, JwtSignRequest,
    JwtVerifyReply, JwtVerifyRequest, RandomReply, RandomRequest, RewrapReply, RewrapRequest, VersionTag,
};

use super::*;
use crate::{
    change::{self, Rotation, Selection, Takeover, VersionChange},
    keyring::{Draft, Reason},
    ops::{ClaimsFault, TokenFault},
    policy::{Mode, PolicySpec, RuleSpec, Who},
};

mod batches;
mod classes;
mod hmac;
mod random;
mod rewrap;
mod tokens;
mod versions;

const NOW: u64 = 1_800_000_000;

/// An engine whose keyring changes: `default` and `m` are of class 1, `i` of class 2, `t` and `u` of class 3.
struct Bench {
    keyring: Keyring<HeapArena>,
    engine: Engine<HeapArena>,
    maintenance: bool,
    now: u64,
    seed: u8,
    /// What the record of the last request says: number of the version, and whether it used every one.
    recorded: (Option<u32>, bool),
}

impl Bench {
    fn new() -> Self {
        let keyring = Keyring::create(&HeapArena, &[3; 32], &mut Counting(3), NOW).unwrap().0;
        let engine = Engine::new(&HeapArena, keyring.clone()).unwrap();
        let mut bench =
            Self { keyring, engine, maintenance: false, now: NOW, seed: 100, recorded: (None, false) };
        let keys = [("m", Class::Message), ("i", Class::Index), ("t", Class::Hs256), ("u", Class::Hs256)];
        for (name, class) in keys {
            let mut entropy = bench.entropy();
            let made = change::create_key(&bench.keyring, named(name), class, "", NOW, &mut entropy).unwrap();
            bench.commit(made.0);
        }
        bench
    }

    /// Other bytes each time.
    fn entropy(&mut self) -> Counting {
        self.seed = self.seed.wrapping_add(7);
        Counting(self.seed)
    }

    fn commit(&mut self, draft: Draft<HeapArena>) {
        let mut entropy = self.entropy();
        let prepared = draft.prepare(None, &mut entropy).unwrap();
        self.keyring.confirm(prepared).unwrap();
        self.engine.adopt(self.keyring.clone());
    }

    /// The number of the new version.
    fn rotate(&mut self, key: &str, takeover: Takeover) -> u32 {
        let rotation = Rotation { reason: Reason::Manual, takeover, lift: None };
        let mut entropy = self.entropy();
        let (draft, rotated) =
            change::rotate(&self.keyring, named(key), rotation, NOW, &mut entropy).unwrap();
        self.commit(draft);
        rotated.version
    }

    fn change(&mut self, key: &str, version: u32, how: How) {
        let change = VersionChange { name: named(key), version, reason: "test", now_unix: NOW };
        let draft = match how {
            How::Promote => change::promote(&self.keyring, change).unwrap().0,
            How::Retire => change::retire(&self.keyring, change).unwrap().0,
            How::Reinstate => change::reinstate(&self.keyring, change).unwrap().0,
            How::Disable => change::disable_version(&self.keyring, change, false).unwrap().0,
            How::Compromise => change::disable_version(&self.keyring, change, true).unwrap().0,
            How::Enable => change::enable_version(&self.keyring, change, true).unwrap().0,
        };
        self.commit(draft);
    }

    fn brake(&mut self, key: &str, brake: Brake) {
        let one = Selection::One(named(key));
        let draft = change::disable(&self.keyring, one, brake, "test", NOW).unwrap().0;
        self.commit(draft);
    }

    /// Code and body of the reply; whatever is refused leaves zeros behind its error in the buffer.
    fn ask<T: codec::Encode>(
        &mut self,
        operation: OperationCode,
        request: &T,
    ) -> Result<Vec<u8>, OperationError> {
        let body = codec::frame(5, operation as u16, request).unwrap();
        let (mut entropy, mut associated_data) = (self.entropy(), Vec::new());
        let mut work = Work {
            entropy: &mut entropy,
            associated_data: &mut associated_data,
            meter: &mut Purse(0),
            maintenance: self.maintenance,
            now_unix: self.now,
        };
        let mut bytes = vec![0; body.len() + 32_768];
        let mut replies = ReplyBuffer::new(&mut bytes);
        let request = Request { operation, id: 5, body: &body[HEADER_BYTES..] };
        let rights = owner();
        let facts = self.engine.handle(&caller(&rights), request, &mut work, &mut replies).unwrap();
        self.recorded = (facts.version.map(|(_, number)| number), facts.is_look_up);
        let header = Header::parse(replies.frames()).unwrap().unwrap();
        assert_eq!(header.frame_bytes(), replies.len(), "exactly one reply");
        assert_eq!(facts.failure.map_or(0, |failure| failure.code() as u16), header.code);
        let (failure, length) = (facts.failure, replies.len());
        if let Some(failure) = failure {
            let said: ErrorReply<'_> = codec::decode(&replies.frames()[HEADER_BYTES..]).unwrap();
            assert_eq!((said.what, said.why, said.fix), (failure.what(), failure.why(), failure.fix()));
            assert!(bytes[length..].iter().all(|byte| *byte == 0), "nothing is left of {failure:?}");
            return Err(failure);
        }
        Ok(bytes[HEADER_BYTES..length].to_vec())
    }

    fn recorded<T: codec::Encode>(&mut self, operation: OperationCode, request: &T) -> (Option<u32>, bool) {
        let _ = self.ask(operation, request);
        self.recorded
    }

    fn seal(&mut self, key: &str, context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, OperationError> {
        let body = self.ask(OperationCode::Encrypt, &EncryptRequest { key, context, plaintext })?;
        Ok(codec::decode::<EncryptReply<'_>>(&body).unwrap().envelope.to_vec())
    }

    fn open(&mut self, context: &[u8], envelope: &[u8]) -> Result<Vec<u8>, OperationError> {
        let body = self.ask(OperationCode::Decrypt, &DecryptRequest { context, envelope })?;
        Ok(codec::decode::<DecryptReply<'_>>(&body).unwrap().plaintext.to_vec())
    }

    /// Plain and sealed.
    fn data_key(&mut self, key: &str, context: &[u8], kind: Kind) -> (Vec<u8>, Vec<u8>) {
        let request = DataKeyRequest { key, context, kind: kind as u8 };
        let body = self.ask(OperationCode::DataKey, &request).unwrap();
        let made: DataKeyReply<'_> = codec::decode(&body).unwrap();
        (made.plain.to_vec(), made.envelope.to_vec())
    }

    fn open_data_key(&mut self, context: &[u8], envelope: &[u8]) -> Result<Vec<u8>, OperationError> {
        let body = self.ask(OperationCode::DataKeyOpen, &DataKeyOpenRequest { context, envelope })?;
        Ok(codec::decode::<DataKeyOpenReply<'_>>(&body).unwrap().plain.to_vec())
    }

    /// Version, whether it changed, and the envelope.
    fn rewrap(&mut self, context: &[u8], envelope: &[u8]) -> Result<(u32, bool, Vec<u8>), OperationError> {
        let body = self.ask(OperationCode::Rewrap, &RewrapRequest { context, envelope })?;
        let reply: RewrapReply<'_> = codec::decode(&body).unwrap();
        Ok((reply.version, reply.changed, reply.envelope.to_vec()))
    }

    /// Versions and tags.
    fn tags(&mut self, request: HmacRequest<'_>) -> Result<Vec<(u32, Vec<u8>)>, OperationError> {
        let body = self.ask(OperationCode::Hmac, &request)?;
        let reply: HmacReply<'_> = codec::decode(&body).unwrap();
        Ok(reply.tags.iter().map(|VersionTag { version, tag }| (*version, tag.to_vec())).collect())
    }

    fn sign(&mut self, key: &str, claims: &str) -> Result<String, OperationError> {
        let body = self.ask(OperationCode::JwtSign, &JwtSignRequest { key, claims: claims.as_bytes() })?;
        Ok(String::from(codec::decode::<JwtSignReply<'_>>(&body).unwrap().token))
    }

    /// Version, whether it is current, and the claims.
    fn verify(&mut self, key: &str, token: &str) -> Result<(u32, bool, String), OperationError> {
        self.verify_leniently(key, token, 0)
    }

    fn verify_leniently(
        &mut self,
        key: &str,
        token: &str,
        leeway_seconds: u32,
    ) -> Result<(u32, bool, String), OperationError> {
        let body = self.ask(OperationCode::JwtVerify, &JwtVerifyRequest { key, token, leeway_seconds })?;
        let reply: JwtVerifyReply<'_> = codec::decode(&body).unwrap();
        Ok((reply.version, reply.current, String::from_utf8(reply.claims.to_vec()).unwrap()))
    }
}

#[derive(Debug, Clone, Copy)]
enum How {
    Promote,
    Retire,
    Reinstate,
    Disable,
    Compromise,
    Enable,
}

fn named(name: &str) -> KeyName<'_> {
    KeyName::parse(name).unwrap()
}

fn look_up<'a>(key: &'a str, context: &'a [u8], value: &'a [u8]) -> HmacRequest<'a> {
    HmacRequest { key, context, value, tag_bytes: 16, every_version: true }
}
