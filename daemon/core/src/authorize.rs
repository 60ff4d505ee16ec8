//! Permission as a type: an operation runs only with an [`Authorized`] of its own kind, and only
//! [`Grant::authorize`] makes one: from the rights of a caller, their obligations met, no brake on. Default deny.
//!
//! Who asks on behalf of another needs two rights at once: its own, by a rule with `delegate` that covers
//! caller, key and operation (or because it may do everything), and a rule of the caller it names, as far as the
//! first one lets it say who that is. A role is never lent: naming an admin gives nothing that a rule does not.

use alloc::sync::Arc;
use core::marker::PhantomData;

use keyagent_common::{context::Context, op::Operation};

use crate::{
    arena::Arena,
    caller::Caller,
    cipher::MessageCipher,
    engine::Secrets,
    keyring::{Brake, Key, KeyringError, State, Version},
    ops::{DataOperation, OperationError},
    policy::{Candidate, Meter, Question, Refusal, Settled, Subject},
};

/// What allows an operation on one key, before its obligations are met.
#[must_use]
pub(crate) struct Permission<'c, 'k, O: ?Sized> {
    caller: &'c Caller<'c>,
    key: &'k Key,
    candidate: Candidate,
    operation: PhantomData<fn() -> O>,
}

/// A permission whose obligations are met.
#[must_use]
pub(crate) struct Grant<'k, O: ?Sized> {
    key: &'k Key,
    /// Name of the rule that allows it, of the named caller's where there is one; `None` for a role.
    pub(crate) rule: Option<Arc<str>>,
    reveal: bool,
    operation: PhantomData<fn() -> O>,
}

impl Caller<'_> {
    /// What allows `O` on a key.
    pub(crate) fn permission<'k, O: Operation + ?Sized>(
        &self,
        key: &'k Key,
    ) -> Option<Permission<'_, 'k, O>> {
        let named = self.asked_for();
        let asked = Question { operation: O::CODE, key: &key.name, asked_for: named.as_ref() };
        let candidate = self.rights.find(&asked)?;
        Some(Permission { caller: self, key, candidate, operation: PhantomData })
    }

    /// Whether it may learn that there is no key of this name.
    pub(crate) fn knows(&self, key: &str) -> bool {
        match self.asked_for() {
            None => self.rights.any_on(key),
            Some(named) => self.rights.knows_for(&named, Some(key)),
        }
    }

    /// Whether it may learn that an id belongs to no key.
    pub(crate) fn knows_every_key(&self) -> bool {
        match self.asked_for() {
            None => self.rights.covers_every_key(),
            Some(named) => self.rights.knows_for(&named, None),
        }
    }

    fn asked_for(&self) -> Option<Subject<'_>> {
        self.on_behalf_of.as_ref().map(|asserted| asserted.subject(self.socket))
    }
}

impl<'k, O: Operation + ?Sized> Permission<'_, 'k, O> {
    /// Meets the obligations of the rules: of the asking caller first, then of the one it asks for.
    pub(crate) fn settle(self, context: Context<'_>, meter: &mut dyn Meter) -> Result<Grant<'k, O>, Refusal> {
        let (named, key) = (self.caller.asked_for(), self.key);
        let asked = Question { operation: O::CODE, key: &key.name, asked_for: named.as_ref() };
        let settled = self.caller.rights.settle(self.candidate, (&asked, context), meter)?;
        Ok(Grant { key, rule: settled.rule, reveal: settled.reveal, operation: PhantomData })
    }
}

impl<'k, O: DataOperation> Grant<'k, O> {
    /// Permission for one version of the key, with the means to use it.
    ///
    /// Refused where a brake is on the key, its own or the one that is `held` beside it; for a key of another class
    /// and for a version that is retired or stopped; in maintenance for whatever seals.
    pub(crate) fn authorize<A: Arena>(
        self,
        version: &'k Version,
        held: Option<Brake>,
        maintenance: bool,
        secrets: Secrets<'k, A>,
    ) -> Result<Authorized<'k, A, O>, OperationError> {
        let key = self.key;
        match key.brake().max(held) {
            Some(Brake::Disabled) => return Err(OperationError::KeyDisabled),
            Some(Brake::Compromised) => return Err(OperationError::KeyCompromised),
            None if key.class != O::CLASS => return Err(OperationError::WrongClass),
            None => {}
        }
        let key_id = version.key_id().ok_or(OperationError::UnknownKeyId)?;
        match version.state {
            State::Staged | State::Primary | State::Grace => {}
            State::Retired => return Err(OperationError::VersionRetired),
            State::Disabled => return Err(OperationError::VersionDisabled),
            State::Compromised => return Err(OperationError::VersionCompromised),
            State::Destroyed => return Err(OperationError::UnknownKeyId),
        }
        let authorized =
            Authorized { key, version, key_id, secrets, reveal: self.reveal, operation: PhantomData };
        if maintenance && O::seals(authorized.is_primary()) {
            return Err(OperationError::Maintenance);
        }
        Ok(authorized)
    }
}

/// Proof that a caller may do `O` with one version of a key, and the means to do it.
///
/// What allows it on one version allows it on every one in use: of those [`Self::every_version`] gives the proofs.
#[must_use]
pub struct Authorized<'k, A: Arena, O: ?Sized> {
    key: &'k Key,
    version: &'k Version,
    key_id: &'k [u8; 32],
    secrets: Secrets<'k, A>,
    reveal: bool,
    operation: PhantomData<fn() -> O>,
}

impl<'k, A: Arena, O: ?Sized> Authorized<'k, A, O> {
    /// The key.
    pub fn key(&self) -> &'k Key {
        self.key
    }

    /// The version's number.
    pub fn version(&self) -> u32 {
        self.version.number
    }

    /// The version's id, which commits to its secret where the class derives it.
    pub fn key_id(&self) -> &'k [u8; 32] {
        self.key_id
    }

    /// Whether new data is sealed under this version.
    pub fn is_primary(&self) -> bool {
        self.version.state == State::Primary
    }

    /// Whether a new data key may leave in the clear.
    pub fn may_reveal(&self) -> bool {
        self.reveal
    }

    /// The same for the key's primary version.
    pub(crate) fn primary(&self) -> Option<Self> {
        self.on(self.key.primary()?)
    }

    /// The same for every version that opens data: the primary one first, then from the newest to the oldest.
    pub(crate) fn every_version(&self) -> impl Iterator<Item = Self> {
        let opens = |version: &&Version| matches!(version.state, State::Staged | State::Grace);
        let others = self.key.versions.iter().rev().filter(opens);
        self.key.primary().into_iter().chain(others).filter_map(|version| self.on(version))
    }

    /// The expanded state of a class 01 version: one that is kept, or one made in `place` for this request.
    pub(crate) fn cipher<'s>(
        &self,
        place: &'s mut Option<MessageCipher<A>>,
    ) -> Result<&'s MessageCipher<A>, OperationError>
    where
        'k: 's,
    {
        self.secrets.cipher(self.version, place).map_err(|error| unavailable(&error))
    }

    /// Opens the version's secret on the stack and lets `then` see it; it is wiped afterwards.
    pub(crate) fn with_secret<R>(&self, then: impl FnOnce(&[u8]) -> R) -> Result<R, OperationError> {
        self.secrets.open(self.version, then).map_err(|error| unavailable(&error))
    }

    fn on(&self, version: &'k Version) -> Option<Self> {
        let Self { key, ref secrets, reveal, operation, .. } = *self;
        let key_id = version.key_id()?;
        Some(Self { key, version, key_id, secrets: secrets.again(), reveal, operation })
    }
}

/// Proof that a caller may do `O`, which needs no key.
#[must_use]
pub struct AuthorizedWithoutKey<O: ?Sized> {
    /// Name of the rule that allows it; `None` for a role.
    pub(crate) rule: Option<Arc<str>>,
    operation: PhantomData<fn() -> O>,
}

impl Caller<'_> {
    /// Permission for an operation that needs no key, obligations met: any rule with it will do, whatever keys
    /// that rule is about.
    pub(crate) fn authorize_without_key<O: Operation + ?Sized>(
        &self,
        meter: &mut dyn Meter,
    ) -> Result<AuthorizedWithoutKey<O>, Refusal> {
        let named = self.asked_for();
        let asked = Question { operation: O::CODE, key: "", asked_for: named.as_ref() };
        let denied = Refusal { error: OperationError::Denied, rule: None };
        let candidate = self.rights.find(&asked).ok_or(denied)?;
        let Settled { rule, .. } = self.rights.settle(candidate, (&asked, Context::empty()), meter)?;
        Ok(AuthorizedWithoutKey { rule, operation: PhantomData })
    }
}

/// What a caller is told if a secret cannot be used.
fn unavailable(error: &KeyringError) -> OperationError {
    match error {
        KeyringError::Arena(_) => OperationError::Busy,
        _ => OperationError::Internal,
    }
}
