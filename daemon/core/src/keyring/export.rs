//! Keys and versions that come from somewhere else: a backup.
//!
//! Every secret is sealed anew for this keyring, its id computed again where the class derives it. Must never
//! replace a version that is there; the rules of the head are checked when the draft is made ready.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use keyagent_common::name::KeyName;

use super::{
    Draft, KeyringError, Working,
    key::{Class, Key, Policy, Reason, State, Version},
    secrets::{self, Owner},
    since,
};
use crate::{arena::Arena, entropy::Entropy, layout};

/// What is said about a key that comes without versions.
pub(crate) struct ImportedKey<'k> {
    /// Random, never zero.
    pub(crate) uid: [u8; 16],
    /// What it is for.
    pub(crate) class: Class,
    /// Its name, free here.
    pub(crate) name: KeyName<'k>,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
    /// When it is rotated.
    pub(crate) policy: Policy,
    /// Free text.
    pub(crate) note: &'k str,
    /// Strictly ascending by name.
    pub(crate) attributes: Vec<(String, Vec<u8>)>,
}

/// A version that comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImportedVersion {
    /// A number that the key does not have.
    pub(crate) number: u32,
    /// Where it stands in its life.
    pub(crate) state: State,
    /// Exactly for a stopped one: where it goes back to.
    pub(crate) before: Option<State>,
    /// Since when it is in its state; 0 if that is not known.
    pub(crate) since: u64,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
    /// Why it was made.
    pub(crate) reason: Reason,
}

impl<A: Arena> Draft<A> {
    /// Adds a key; it needs versions before the draft can be made ready.
    pub(crate) fn import_key(&mut self, imported: ImportedKey<'_>) -> Result<(), KeyringError> {
        let ImportedKey { uid, class, name, created_at, policy, note, attributes } = imported;
        let place = self.head.keys.binary_search_by(|key| key.name.as_str().cmp(name.as_str()));
        let Err(place) = place else { return Err(KeyringError::Name) };
        let note = String::from(note);
        let key = Key { policy, note, attributes, ..Key::new(uid, class, name, created_at) };
        self.head.keys.insert(place, key);
        Ok(())
    }

    /// Adds a version with this id and secret; one without is destroyed.
    pub(crate) fn import_version(
        &mut self,
        name: &str,
        imported: ImportedVersion,
        secret: Option<(&[u8; 32], &[u8])>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), KeyringError> {
        let ImportedVersion { number, state, created_at, reason, .. } = imported;
        let key = self.key_mut(name).ok_or(KeyringError::NoSuchKey)?;
        let owner = Owner { uid: key.uid, version: number, class: key.class };
        let known = key.versions.binary_search_by_key(&number, |version| version.number);
        let Err(place) = known else { return Err(KeyringError::Rule("the key has this version")) };
        let version = match secret {
            None => Version { number, state, created_at, reason, digest: [0; 32], stored: None },
            Some((key_id, secret)) => {
                let Working { identity, subkeys, .. } = &*self.working;
                secrets::check_id(key_id, secret, owner.class)?;
                let mut nonce = [0; 24];
                entropy.fill(&mut nonce)?;
                let stored =
                    secrets::seal_record_with(&subkeys.record, identity, &owner, key_id, &nonce, secret)?;
                Version::new(number, state, reason, created_at, stored)
            }
        };
        let key = self.key_mut(name).ok_or(KeyringError::NoSuchKey)?;
        key.versions.insert(place, version);
        Ok(())
    }

    /// Writes down since when versions that came are in their states: for all of a key at once, for the list is long.
    pub(crate) fn import_since(
        &mut self,
        name: &str,
        imported: &[ImportedVersion],
    ) -> Result<(), KeyringError> {
        let key = self.key_mut(name).ok_or(KeyringError::NoSuchKey)?;
        let known = key.attribute(since::SINCE).unwrap_or_default().as_chunks::<{ since::ENTRY_BYTES }>().0;
        let mut entries: BTreeMap<[u8; 4], [u8; since::ENTRY_BYTES]> = BTreeMap::new();
        let mut add = |entry: [u8; since::ENTRY_BYTES]| {
            // By number: the key of the map has its bytes the other way round.
            let mut number = *entry.first_chunk::<4>().unwrap_or(&[0; 4]);
            number.reverse();
            entries.insert(number, entry);
        };
        known.iter().copied().for_each(&mut add);
        for version in imported.iter().filter(|version| version.since > 0 || version.before.is_some()) {
            let before = version.before.map_or(0, |state| state as u8);
            let fields: [&[u8]; 3] = [&version.number.to_le_bytes(), &[before], &version.since.to_le_bytes()];
            add(layout::join(&fields));
        }
        if !entries.is_empty() {
            let value: Vec<u8> = entries.into_values().flatten().collect();
            key.set_attribute(since::SINCE, &value);
        }
        Ok(())
    }
}
