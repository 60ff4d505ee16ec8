//! Permission as a type: an operation runs only with an [`Authorized`] of its own kind, and only
//! [`Policy::authorize`] makes one. Default deny.

use core::marker::PhantomData;

use keyagent_common::op::Operation;

use crate::{
    arena::Arena,
    caller::Caller,
    cipher::MessageCipher,
    keyring::{Key, State, Version},
    ops::OperationError,
};

/// Who may do what. Until rules exist, the one rule is: the daemon's own user may do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    owner: u32,
}

impl Policy {
    /// Only this user.
    pub const fn owner_only(uid: u32) -> Self {
        Self { owner: uid }
    }

    /// Whether a peer may talk to the daemon at all; asked at accept, before a byte is read.
    pub const fn admits(self, uid: u32) -> bool {
        uid == self.owner
    }

    /// Permission for operation `O` on one version of a key.
    pub(crate) fn authorize<'k, A: Arena, O: Operation>(
        self,
        caller: &Caller<'_>,
        key: &'k Key,
        version: &'k Version,
        key_id: &'k [u8; 32],
        cipher: &'k MessageCipher<A>,
    ) -> Result<Authorized<'k, A, O>, OperationError> {
        if self.admits(caller.uid) {
            Ok(Authorized { key, version, key_id, cipher, operation: PhantomData })
        } else {
            Err(OperationError::Denied)
        }
    }
}

/// Proof that a caller may do `O` with one version of a key, and the means to do it.
#[must_use]
pub struct Authorized<'k, A: Arena, O: ?Sized> {
    key: &'k Key,
    version: &'k Version,
    key_id: &'k [u8; 32],
    cipher: &'k MessageCipher<A>,
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

    /// The expanded key.
    pub(crate) fn cipher(&self) -> &'k MessageCipher<A> {
        self.cipher
    }
}
