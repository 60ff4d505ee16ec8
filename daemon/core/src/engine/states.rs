//! The expanded states of key versions: a bounded number is kept, others are made for one request each.
//!
//! So the locked memory that is needed does not grow with the number of keys. Must never keep the state of a key
//! that is refused, and never make a change of the keyring fail for want of room.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use keyagent_common::name::KeyName;

use crate::{
    arena::Arena,
    cipher::MessageCipher,
    keyring::{Class, Key, Keyring, KeyringError, State, Version},
};

/// Most states that are kept: 384 KiB of the daemon's arena of 512 KiB. The rest is for subkeys and for states that
/// serve one request, of which each worker has one at a time.
pub const KEPT_STATES: usize = 768;

/// States of some versions of one keyring.
pub(crate) struct States<A: Arena> {
    arena: A,
    most: usize,
    kept: BTreeMap<[u8; 32], MessageCipher<A>>,
}

impl<A: Arena> States<A> {
    /// None yet; at most `most` will be kept.
    pub(super) fn new(arena: &A, most: usize) -> Self {
        Self { arena: arena.clone(), most, kept: BTreeMap::new() }
    }

    /// Keeps what is worth it for a keyring: the primary versions of all keys first, `default` before any, then
    /// what only opens, grace before staged. States that are still wanted stay as they are, others are wiped.
    ///
    /// An arena without room only means that fewer are kept. A record that does not open is the error, once all
    /// others are done with.
    pub(super) fn renew(
        &mut self,
        keyring: &Keyring<A>,
        is_refused: impl Fn(&Key) -> bool,
    ) -> Result<(), KeyringError> {
        let mut wanted: Vec<_> = usable_versions(keyring).filter(|(key, ..)| !is_refused(key)).collect();
        wanted.sort_by_key(|(key, _, version)| {
            let rank = match version.state {
                State::Primary => 0,
                State::Grace => 1,
                _ => 2,
            };
            (rank, key.name != KeyName::DEFAULT.as_str())
        });
        wanted.truncate(self.most);
        let ids: BTreeSet<_> = wanted.iter().map(|(_, id, _)| *id).collect();
        self.kept.retain(|id, _| ids.contains(id));
        let mut damaged = Ok(());
        for (_, id, version) in wanted {
            if self.kept.contains_key(id) {
                continue;
            }
            match keyring.load_cipher(&self.arena, version) {
                Ok(cipher) => {
                    self.kept.insert(*id, cipher);
                }
                Err(KeyringError::Arena(_)) => break,
                Err(error) => damaged = Err(error),
            }
        }
        damaged
    }

    /// The state of a version that may be used: a kept one, or one made for this request in `place`.
    pub(super) fn find<'s>(
        &'s self,
        keyring: &Keyring<A>,
        version: &Version,
        place: &'s mut Option<MessageCipher<A>>,
    ) -> Result<&'s MessageCipher<A>, KeyringError> {
        match version.key_id().and_then(|id| self.kept.get(id)) {
            Some(cipher) => Ok(cipher),
            None => Ok(place.insert(keyring.load_cipher(&self.arena, version)?)),
        }
    }

    /// Whether the state of the version with this id is kept.
    #[cfg(test)]
    pub(super) fn keeps(&self, key_id: &[u8; 32]) -> bool {
        self.kept.contains_key(key_id)
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.kept.len()
    }
}

/// A keyring's secrets with the states that are kept of them: the means of an [`crate::authorize::Authorized`].
pub(crate) struct Secrets<'e, A: Arena> {
    keyring: &'e Keyring<A>,
    states: &'e States<A>,
}

impl<'e, A: Arena> Secrets<'e, A> {
    /// Of one engine.
    pub(super) fn new(keyring: &'e Keyring<A>, states: &'e States<A>) -> Self {
        Self { keyring, states }
    }

    /// The same, for another proof.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.keyring, self.states)
    }

    /// The state of a class 01 version: a kept one, or one made for this request in `place`.
    pub(crate) fn cipher<'s>(
        &self,
        version: &Version,
        place: &'s mut Option<MessageCipher<A>>,
    ) -> Result<&'s MessageCipher<A>, KeyringError>
    where
        'e: 's,
    {
        self.states.find(self.keyring, version, place)
    }

    /// Opens a version's secret on the stack and lets `then` see it; it is wiped afterwards.
    pub(crate) fn open<R>(
        &self,
        version: &Version,
        then: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, KeyringError> {
        self.keyring.with_secret(version, |_, secret| then(secret))
    }
}

/// Versions that seal or open messages, with their keys and ids.
fn usable_versions<A: Arena>(keyring: &Keyring<A>) -> impl Iterator<Item = (&Key, &[u8; 32], &Version)> {
    let messages = keyring.keys().iter().filter(|key| key.class == Class::Message);
    let versions = messages.flat_map(|key| key.versions.iter().map(move |version| (key, version)));
    let usable = |version: &Version| matches!(version.state, State::Staged | State::Primary | State::Grace);
    versions
        .filter(move |(_, version)| usable(version))
        .filter_map(|(key, version)| Some((key, version.key_id()?, version)))
}
