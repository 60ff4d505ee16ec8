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
    keyring::{Brake, Key, State, Version},
    ops::{DataOperation, OperationError},
    policy::{Candidate, Meter, Question, Refusal, Subject},
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
    /// Permission for one version of the key, whose expanded state `cipher` gives; it is asked for last.
    ///
    /// Refused where a brake is on the key, its own or the one that is `held` beside it; in maintenance for whatever
    /// seals; for a version not in use.
    pub(crate) fn authorize<A: Arena>(
        self,
        version: &'k Version,
        held: Option<Brake>,
        maintenance: bool,
        cipher: impl FnOnce() -> Result<&'k MessageCipher<A>, OperationError>,
    ) -> Result<Authorized<'k, A, O>, OperationError> {
        let key = self.key;
        match key.brake().max(held) {
            Some(Brake::Disabled) => return Err(OperationError::KeyDisabled),
            Some(Brake::Compromised) => return Err(OperationError::KeyCompromised),
            None if O::SEALS && maintenance => return Err(OperationError::Maintenance),
            None => {}
        }
        let key_id = version.key_id().ok_or(OperationError::UnknownKeyId)?;
        if !matches!(version.state, State::Primary | State::Grace) {
            return Err(OperationError::UnknownKeyId);
        }
        let cipher = cipher()?;
        Ok(Authorized { key, version, key_id, cipher, reveal: self.reveal, operation: PhantomData })
    }
}

/// Proof that a caller may do `O` with one version of a key, and the means to do it.
#[must_use]
pub struct Authorized<'k, A: Arena, O: ?Sized> {
    key: &'k Key,
    version: &'k Version,
    key_id: &'k [u8; 32],
    cipher: &'k MessageCipher<A>,
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

    /// The version's id, which commits to its secret.
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

    /// The expanded key.
    pub(crate) fn cipher(&self) -> &'k MessageCipher<A> {
        self.cipher
    }
}
