//! A new key.

use alloc::string::String;

use keyagent_common::name::KeyName;

use super::ChangeError;
use crate::{
    arena::Arena,
    entropy::Entropy,
    keyring::{Class, Draft, Keyring, KeyringError},
};

/// Most keys of a keyring.
pub const MAX_KEYS: usize = 10_000;
/// Most bytes of a key's note.
pub const MAX_NOTE_BYTES: usize = 1024;

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// Number of its first version, which is primary.
    pub version: u32,
    /// Id of that version.
    pub key_id: [u8; 32],
}

/// Adds a key with a random secret, without a brake, a timer or a list of who has access
/// (see [`super::begin_access`]).
///
/// [`ChangeError::Exists`] for a name that is taken; also refused are a note longer than
/// [`MAX_NOTE_BYTES`], more keys than [`MAX_KEYS`], classes that no operation is for yet, and
/// what would leave no room for brakes ([`KeyringError::Full`]).
pub fn create_key<A: Arena>(
    keyring: &Keyring<A>,
    name: KeyName<'_>,
    class: Class,
    note: &str,
    now_unix: u64,
    entropy: &mut dyn Entropy,
) -> Result<(Draft<A>, Created), ChangeError> {
    if keyring.find(name.as_str()).is_some() {
        return Err(ChangeError::Exists);
    }
    if !matches!(class, Class::Message | Class::Index | Class::Hs256) {
        return Err(ChangeError::ClassNotOffered);
    }
    if note.len() > MAX_NOTE_BYTES {
        return Err(ChangeError::NoteTooLong);
    }
    if keyring.keys().len() >= MAX_KEYS {
        return Err(ChangeError::TooManyKeys);
    }
    let mut draft = keyring.draft();
    let key = draft.add_key(name, class, entropy, now_unix)?;
    key.note = String::from(note);
    let version = key.primary().ok_or(KeyringError::Rule("a new key without a version"))?;
    let key_id = *version.key_id().ok_or(KeyringError::Rule("a new version without an id"))?;
    let created = Created { version: version.number, key_id };
    draft.check_room()?;
    Ok((draft, created))
}
