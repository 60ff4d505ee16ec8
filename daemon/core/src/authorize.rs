//! Permission as a type: an operation runs only with an [`Authorized`] of its own kind, and only
//! [`Permission::authorize`] makes one, from the [`Rights`](crate::policy::Rights) of a caller. Default deny.
//!
//! Who asks on behalf of another needs two rights at once: its own, by a rule with `delegate` that covers
//! caller, key and operation (or because it may do everything), and a rule of the caller it names. A role is
//! never lent: naming an admin gives nothing that a rule does not.

use alloc::sync::Arc;
use core::marker::PhantomData;

use keyagent_common::{
    context::Context,
    op::{Operation, OperationCode},
};

use crate::{
    arena::Arena,
    caller::{Asserted, Caller},
    cipher::MessageCipher,
    keyring::{Key, State, Version},
    policy::{Candidate, Meter, Refusal, Rights, Subject},
};

/// What allows an operation on one key's name, before its obligations are met.
#[must_use]
pub(crate) struct Permission<'c, O: ?Sized> {
    caller: &'c Caller<'c>,
    own: Candidate,
    /// Rights of the caller that was named, and what of them allows it.
    lent: Option<(&'c Rights, Candidate)>,
    operation: PhantomData<fn() -> O>,
}

/// A permission whose obligations are met.
#[must_use]
pub(crate) struct Grant<O: ?Sized> {
    /// Name of the rule that allows it, of the named caller's where there is one; `None` for a role.
    pub(crate) rule: Option<Arc<str>>,
    reveal: bool,
    operation: PhantomData<fn() -> O>,
}

impl Caller<'_> {
    /// What allows `O` on a key of this name, whether there is one or not.
    pub(crate) fn permission<O: Operation + ?Sized>(&self, key: &str) -> Option<Permission<'_, O>> {
        let subject = self.asked_for();
        let own = self.rights.find(O::CODE, key, subject.as_ref())?;
        let lent = match &self.on_behalf_of {
            None => None,
            Some(asserted) => {
                let rights = asserted.lent()?;
                Some((rights, rights.find(O::CODE, key, None)?))
            }
        };
        Some(Permission { caller: self, own, lent, operation: PhantomData })
    }

    /// Whether it may learn that there is no key of this name.
    pub(crate) fn knows(&self, key: &str) -> bool {
        let subject = self.asked_for();
        match &self.on_behalf_of {
            None => self.rights.any_on(key),
            Some(asserted) => {
                (self.rights.sees_everything() || self.rights.knows(key, subject.as_ref()))
                    && asserted.lent().is_some_and(|rights| rights.knows(key, None))
            }
        }
    }

    /// Whether it may learn that an id belongs to no key.
    pub(crate) fn knows_every_key(&self) -> bool {
        let subject = self.asked_for();
        match &self.on_behalf_of {
            None => self.rights.covers_every_key(),
            Some(asserted) => {
                (self.rights.sees_everything() || self.rights.knows_every_key(subject.as_ref()))
                    && asserted.lent().is_some_and(|rights| rights.knows_every_key(None))
            }
        }
    }

    fn asked_for(&self) -> Option<Subject<'_>> {
        self.on_behalf_of.as_ref().map(|asserted| asserted.subject(self.socket))
    }
}

impl<'a> Asserted<'a> {
    /// The rules of the named caller; whoever has everything by a role lends nothing.
    fn lent(&self) -> Option<&'a Rights> {
        self.rights.filter(|rights| rights.uid() == self.uid && !rights.is_admin())
    }
}

impl<O: Operation + ?Sized> Permission<'_, O> {
    /// Meets the obligations of the rules: of the asking caller first, then of the one it asks for.
    pub(crate) fn settle(
        self,
        key: &str,
        context: Context<'_>,
        meter: &mut dyn Meter,
    ) -> Result<Grant<O>, Refusal> {
        let (subject, code): (_, OperationCode) = (self.caller.asked_for(), O::CODE);
        let own = self.caller.rights.settle((self.own, code, key), subject.as_ref(), context, meter)?;
        let (rule, reveal) = match self.lent {
            None => (own.rule, own.reveal),
            Some((rights, candidate)) => {
                let lent = rights.settle((candidate, code, key), None, context, meter)?;
                (lent.rule, own.reveal && lent.reveal)
            }
        };
        Ok(Grant { rule, reveal, operation: PhantomData })
    }
}

impl<O: Operation> Grant<O> {
    /// Permission for one version of the key; refused where a brake is on.
    pub(crate) fn authorize<'k, A: Arena>(
        self,
        key: &'k Key,
        version: &'k Version,
        key_id: &'k [u8; 32],
        cipher: &'k MessageCipher<A>,
    ) -> Authorized<'k, A, O> {
        Authorized { key, version, key_id, cipher, reveal: self.reveal, operation: PhantomData }
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
