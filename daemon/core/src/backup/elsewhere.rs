//! Secrets that other keys of the keyring hold already.
//!
//! Equal ids tell equal secrets within a class that derives them. For all others the tags are compared that equal
//! secrets have in common whatever their class; they are made only where such a class is involved, since that opens
//! every record.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use keyagent_common::backup::page::KeyPart;

use crate::{
    arena::Arena,
    keyring::{Class, Keyring, KeyringError, Label},
};

/// Whose secret it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) class: Class,
    /// Empty if there is none.
    pub(super) environment: String,
}

/// Every secret here, by its tag; nothing where ids tell as much.
pub(super) struct Elsewhere {
    tags: Option<BTreeMap<[u8; 32], Vec<Holder>>>,
}

impl Elsewhere {
    /// Looks at a keyring into which these are to come.
    pub(super) fn of<A: Arena>(keyring: &Keyring<A>, parts: &[KeyPart<'_>]) -> Result<Self, KeyringError> {
        let mut classes: BTreeSet<u8> = parts.iter().map(|part| part.class).collect();
        classes.extend(keyring.keys().iter().map(|key| key.class as u8));
        let random = |byte: &u8| Class::from_byte(*byte).is_some_and(Class::has_random_id);
        if classes.len() < 2 && !classes.iter().any(random) {
            return Ok(Self { tags: None });
        }
        let mut tags: BTreeMap<[u8; 32], Vec<Holder>> = BTreeMap::new();
        for key in keyring.keys() {
            let holder = || Holder {
                name: key.name.clone(),
                class: key.class,
                environment: String::from(key.label(Label::Environment)),
            };
            for version in key.versions.iter().filter(|version| version.key_id().is_some()) {
                let tag = keyring.with_secret(version, |_, secret| keyring.reuse_tag(secret))?;
                tags.entry(tag).or_default().push(holder());
            }
        }
        Ok(Self { tags: Some(tags) })
    }

    /// The key that keeps `wanted` from having this secret: one of another class, or of another environment.
    /// Without such a key the secret counts as that of `wanted` from now on.
    pub(super) fn keeper<A: Arena>(
        &mut self,
        keyring: &Keyring<A>,
        wanted: &Holder,
        secret: &[u8],
    ) -> Option<String> {
        let holders = self.tags.as_mut()?.entry(keyring.reuse_tag(secret)).or_default();
        let apart = |one: &str, other: &str| !one.is_empty() && !other.is_empty() && one != other;
        let keeps = |holder: &&Holder| {
            holder.name != wanted.name
                && (holder.class != wanted.class || apart(&holder.environment, &wanted.environment))
        };
        let keeper = holders.iter().find(keeps).map(|holder| holder.name.clone());
        if keeper.is_none() {
            holders.push(wanted.clone());
        }
        keeper
    }
}
