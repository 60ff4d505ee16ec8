//! The unlocked engine: decode, resolve the key, authorise, do it.
//!
//! Decides without I/O and holds no lock. The locked engine has none of this: it is another type in
//! the daemon, so that no `Option` of a key exists anywhere.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use keyagent_common::{
    codec,
    context::Context,
    envelope::Envelope,
    name::KeyName,
    op::{
        DataKey, DataKeyOpen, Decrypt, Encrypt, ErrorReply, HmacTag, JwtSign, JwtVerify, OperationCode,
        Random, Rewrap,
    },
};

use crate::{
    arena::Arena,
    authorize::Permission,
    caller::Caller,
    cipher::NONCE_BYTES,
    entropy::Entropy,
    keyring::{Brake, Class, Key, Keyring, KeyringError, Version},
    ops::{self, DataOperation, OperationError, Target, Used, Work},
    reply::ReplyBuffer,
};

mod batch;
mod facts;
mod states;

pub use batch::{Batched, MAX_ITEMS, batch_needs};
pub use facts::{Facts, OnBehalf, Request};
pub use states::KEPT_STATES;
pub(crate) use states::Secrets;
use states::States;

const PROBE_LABEL: &[u8] = b"keyagent/v1 health\0";

/// A keyring with the expanded states of as many versions as may be kept.
pub struct Engine<A: Arena> {
    keyring: Keyring<A>,
    states: States<A>,
    /// Brakes that the keyring does not know of, by name of the key.
    held: BTreeMap<String, Brake>,
}

/// One request while it is answered.
struct Attempt<'r> {
    facts: Facts<'r>,
    /// The key and the context, as soon as they are known.
    subject: Option<(&'r Key, Context<'r>)>,
}

/// Runs one operation and fills in what the record has to say of it.
type Runner<'r, A> = fn(
    &'r Engine<A>,
    &Caller<'_>,
    Request<'r>,
    &mut Work<'_>,
    &mut ReplyBuffer<'_>,
    &mut Attempt<'r>,
) -> Result<(), OperationError>;

impl<A: Arena> Engine<A> {
    /// Takes a keyring into use. At most [`KEPT_STATES`] of its versions are expanded for good, in the arena; the
    /// others are expanded there for each request.
    ///
    /// Fails only where a record does not open.
    pub fn new(arena: &A, keyring: Keyring<A>) -> Result<Self, KeyringError> {
        Self::keeping(KEPT_STATES, arena, keyring)
    }

    fn keeping(most: usize, arena: &A, keyring: Keyring<A>) -> Result<Self, KeyringError> {
        let mut engine = Self { keyring, states: States::new(arena, most), held: BTreeMap::new() };
        engine.renew()?;
        Ok(engine)
    }

    /// Takes the next generation of its keyring into use, whatever room there is: it is on the disk already.
    pub fn adopt(&mut self, keyring: Keyring<A>) {
        self.keyring = keyring;
        // A version that does not open is asked for again when it is needed, and the request says that it failed.
        let _ = self.renew();
    }

    /// Brakes beside those of the keyring, by names of keys; for each key the stronger one holds. The states of
    /// the keys are wiped. These replace the ones held before.
    pub fn hold(&mut self, brakes: BTreeMap<String, Brake>) {
        self.held = brakes;
        // As in `adopt`.
        let _ = self.renew();
    }

    fn renew(&mut self) -> Result<(), KeyringError> {
        let Self { keyring, states, held } = self;
        states.renew(keyring, |key| brake(held, key).is_some())
    }

    /// Seals and opens a few random bytes under the primary version of one key, chosen at random among those that
    /// no brake is on; its name. `None` if there is no such key.
    pub fn round_trip(&self, entropy: &mut dyn Entropy) -> Result<Option<&str>, (&str, KeyringError)> {
        let keys = self.keyring.keys().iter();
        let served = keys.filter(|key| key.class == Class::Message && brake(&self.held, key).is_none());
        let served: Vec<_> = served.filter_map(|key| Some((key, key.primary()?))).collect();
        let mut random = [0; 8];
        let drawn = entropy.fill(&mut random);
        let place = u64::from_le_bytes(random).checked_rem(served.len() as u64).unwrap_or_default();
        let Some((key, version)) = usize::try_from(place).ok().and_then(|place| served.get(place)) else {
            return Ok(None);
        };
        let proved = drawn.map_err(KeyringError::from).and_then(|()| self.prove(version, entropy));
        proved.map(|()| Some(key.name.as_str())).map_err(|error| (key.name.as_str(), error))
    }

    /// What is sealed under a version opens again; a probe never leaves.
    fn prove(&self, version: &Version, entropy: &mut dyn Entropy) -> Result<(), KeyringError> {
        let (mut probe, mut nonce) = ([0; 32], [0; NONCE_BYTES]);
        entropy.fill(&mut probe)?;
        entropy.fill(&mut nonce)?;
        let mut made = None;
        let cipher = self.states.find(&self.keyring, version, &mut made)?;
        let mut bytes = probe;
        let tag = cipher.seal_in_place(&nonce, PROBE_LABEL, &mut bytes)?;
        let changed = bytes != probe;
        let opened = cipher.open_in_place(&nonce, PROBE_LABEL, &mut bytes, &tag).is_ok();
        if changed && opened && bytes == probe {
            Ok(())
        } else {
            Err(KeyringError::Damaged("what was just sealed does not open"))
        }
    }

    /// The keyring behind the engine.
    pub fn keyring(&self) -> &Keyring<A> {
        &self.keyring
    }

    /// Answers one request: exactly one reply frame is written, and exactly one record's facts returned.
    ///
    /// Operations that are not on data are not for this engine: `None`, and nothing is written.
    pub fn handle<'r>(
        &'r self,
        caller: &Caller<'_>,
        request: Request<'r>,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Option<Facts<'r>> {
        if request.operation == OperationCode::Batch {
            return Some(self.answer_batch(caller, request, work, replies));
        }
        let run = Self::runner(request.operation)?;
        let Attempt { mut facts, subject } = self.attempt(run, caller, request, work, replies);
        facts.context = self.context_hashes(subject);
        facts.on_behalf_of = OnBehalf::of(caller);
        Some(facts)
    }

    /// What the record says of a context.
    fn context_hashes<'r>(&self, subject: Option<(&Key, Context<'r>)>) -> Vec<(&'r str, [u8; 16])> {
        let Some((key, context)) = subject else { return Vec::new() };
        let hashed = |(name, value)| (name, self.keyring.context_value_hash(&key.uid, name, value));
        context.pairs().map(hashed).collect()
    }

    /// What runs an operation on data.
    fn runner<'r>(operation: OperationCode) -> Option<Runner<'r, A>> {
        match operation {
            OperationCode::Encrypt => Some(Self::run::<Encrypt>),
            OperationCode::Decrypt => Some(Self::run::<Decrypt>),
            OperationCode::Rewrap => Some(Self::run::<Rewrap>),
            OperationCode::DataKey => Some(Self::run::<DataKey>),
            OperationCode::DataKeyOpen => Some(Self::run::<DataKeyOpen>),
            OperationCode::Hmac => Some(Self::run::<HmacTag>),
            OperationCode::JwtSign => Some(Self::run::<JwtSign>),
            OperationCode::JwtVerify => Some(Self::run::<JwtVerify>),
            OperationCode::Random => Some(Self::run_random),
            OperationCode::Hello
            | OperationCode::Status
            | OperationCode::Health
            | OperationCode::Stop
            | OperationCode::Lock
            | OperationCode::Unlock
            | OperationCode::Reload
            | OperationCode::Maintenance
            | OperationCode::AuditQuery
            | OperationCode::Watch
            | OperationCode::KeyCreate
            | OperationCode::KeyList
            | OperationCode::KeyDisable
            | OperationCode::KeyEnable
            | OperationCode::KeyShow
            | OperationCode::KeyConfigure
            | OperationCode::KeyRotate
            | OperationCode::KeyPromote
            | OperationCode::KeyRetire
            | OperationCode::KeyReinstate
            | OperationCode::KeyDestroy
            | OperationCode::BackupCreate
            | OperationCode::BackupRestore
            | OperationCode::MasterRotate
            | OperationCode::Batch => None,
        }
    }

    /// Does it, and writes the reply, whatever becomes of it.
    fn attempt<'r>(
        &'r self,
        run: Runner<'r, A>,
        caller: &Caller<'_>,
        request: Request<'r>,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Attempt<'r> {
        let mut attempt = Attempt { facts: Facts::of(request, replies.len()), subject: None };
        if let Err(failure) = run(self, caller, request, work, replies, &mut attempt) {
            replies.truncate(attempt.facts.reply_start);
            attempt.facts.failure = Some(failure);
            // The buffer was chosen to have room for an error; if even that fails, the client sees the
            // connection end, and the record says why.
            let _ = replies.error(request.id, failure.code(), &error_reply(failure));
        }
        attempt
    }

    /// `random`: no key, but a right.
    fn run_random<'r>(
        _: &'r Self,
        caller: &Caller<'_>,
        request: Request<'r>,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
        Attempt { facts, .. }: &mut Attempt<'r>,
    ) -> Result<(), OperationError> {
        let decoded = codec::decode(request.body).map_err(|_| OperationError::Malformed)?;
        let authorized = caller.authorize_without_key::<Random>(work.meter).map_err(|refusal| {
            facts.rule = refusal.rule;
            refusal.error
        })?;
        facts.rule.clone_from(&authorized.rule);
        facts.bytes = ops::random(&authorized, decoded, request.id, work, replies)?;
        Ok(())
    }

    /// In the order of docs/FORMATS.md, section 1: length, kind, look-up, authorisation, open.
    fn run<'r, O: DataOperation>(
        &'r self,
        caller: &Caller<'_>,
        request: Request<'r>,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
        Attempt { facts, subject }: &mut Attempt<'r>,
    ) -> Result<(), OperationError> {
        let decoded: O::Request<'r> = codec::decode(request.body).map_err(|_| OperationError::Malformed)?;
        facts.bytes = O::payload_bytes(&decoded) as u64;
        let (key, version, permission) = self.resolve::<O>(caller, O::target(&decoded), facts)?;
        let context = Context::parse(O::context(&decoded)).map_err(|_| OperationError::InvalidContext)?;
        *subject = Some((key, context));
        let grant = permission.settle(context, work.meter).map_err(|refusal| {
            facts.rule = refusal.rule;
            refusal.error
        })?;
        facts.rule.clone_from(&grant.rule);
        let (held, secrets) = (self.held.get(&key.name).copied(), Secrets::new(&self.keyring, &self.states));
        let authorized = grant.authorize(version, held, work.maintenance, secrets)?;
        match O::run(&authorized, &decoded, context, request.id, work, replies)? {
            Used::Asked => {}
            Used::Version(id, number) => facts.version = Some((id, number)),
            Used::Every => facts.is_look_up = true,
        }
        Ok(())
    }

    /// The key and what allows the operation on it.
    ///
    /// Whoever has no right on a key's name is denied before anything tells whether there is one; an id that
    /// belongs to no key is told apart from a denied one only to those who may know of every key.
    fn resolve<'r, 'c, O: DataOperation>(
        &'r self,
        caller: &'c Caller<'_>,
        target: Target<'r>,
        facts: &mut Facts<'r>,
    ) -> Result<(&'r Key, &'r Version, Permission<'c, 'r, O>), OperationError> {
        let (key, version) = match target {
            Target::Primary(name) => {
                let name = KeyName::parse(name).map_err(|_| OperationError::InvalidName)?;
                facts.key = Some(name.as_str());
                let found = self.keyring.find(name.as_str());
                let Some((key, version)) = found.and_then(|key| Some((key, key.primary()?))) else {
                    return Err(if caller.knows(name.as_str()) {
                        OperationError::UnknownKey
                    } else {
                        OperationError::Denied
                    });
                };
                (key, version)
            }
            Target::Sealed(sealed) => {
                let envelope = Envelope::parse(sealed).map_err(|_| OperationError::DoesNotOpen)?;
                if !O::opens(envelope.kind, sealed.len()) {
                    return Err(OperationError::DoesNotOpen);
                }
                let Some(found) = self.keyring.version_by_id(envelope.key_id) else {
                    return Err(if caller.knows_every_key() {
                        OperationError::UnknownKeyId
                    } else {
                        OperationError::Denied
                    });
                };
                found
            }
        };
        facts.key = Some(&key.name);
        facts.version = version.key_id().map(|id| (id, version.number));
        let permission = caller.permission(key).ok_or(OperationError::Denied)?;
        Ok((key, version, permission))
    }
}

/// The stronger one of a key's own brake and of the one held beside it.
fn brake(held: &BTreeMap<String, Brake>, key: &Key) -> Option<Brake> {
    key.brake().max(held.get(&key.name).copied())
}

/// The body of an error reply.
pub fn error_reply(failure: OperationError) -> ErrorReply<'static> {
    ErrorReply { what: failure.what(), why: failure.why(), fix: failure.fix() }
}

/// What answers while no key is in memory: every operation on data is refused, and recorded.
#[derive(Debug, Clone, Copy, Default)]
pub struct LockedEngine;

impl LockedEngine {
    /// Refuses one request with "locked".
    pub fn handle<'r>(&self, request: Request<'r>, replies: &mut ReplyBuffer<'_>) -> Facts<'r> {
        let failure = OperationError::Locked;
        let reply_start = replies.len();
        // As in the unlocked engine: without room for the error the connection ends, recorded.
        let _ = replies.error(request.id, failure.code(), &error_reply(failure));
        Facts { failure: Some(failure), ..Facts::of(request, reply_start) }
    }
}

#[cfg(test)]
mod tests;
