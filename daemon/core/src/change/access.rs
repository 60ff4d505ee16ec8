//! Who had a right on a key, and that the key is to be rotated when somebody has it no more.

use alloc::{string::String, vec::Vec};

use super::ChangeError;
use crate::{
    arena::Arena,
    keyring::{Draft, Key, Keyring, KeyringError, MAX_ACCESS_BYTES, PERSONNEL, is_subject},
};

/// How the list of a key changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessChange {
    /// Name of the key.
    pub key: String,
    /// Whether there was no list before: then nobody can have been lost.
    pub first: bool,
    /// Who came, ascending.
    pub gained: Vec<String>,
    /// Who went, ascending.
    pub lost: Vec<String>,
    /// Exactly if somebody went: until when to rotate the key, in seconds since 1970.
    pub due_at: Option<u64>,
}

/// The keyring with new lists, and each list that changed, by name of its key.
pub type RecordedAccess<A> = (Draft<A>, Vec<AccessChange>);

/// Compares the list of every key with who has a right on it now; `None` when nothing differs.
///
/// When somebody went, the key is due `due_seconds` from now, or at the earlier moment it was due at
/// already, because of `personnel`. A key without a list just gets one, without a timer. Subjects may
/// come in any order and more than once. [`ChangeError::UnfitSubject`] and
/// [`ChangeError::AccessTooLong`] for what cannot be written down, [`KeyringError::Full`] for too many of
/// them in all.
pub fn record_access<A: Arena>(
    keyring: &Keyring<A>,
    subjects_of_key: impl Fn(&str) -> Vec<String>,
    now_unix: u64,
    due_seconds: u64,
) -> Result<Option<RecordedAccess<A>>, ChangeError> {
    let due_at = now_unix.saturating_add(due_seconds).max(1);
    let mut draft = keyring.draft();
    let mut changes = Vec::new();
    for key in draft.keys_mut().filter(|key| !key.is_destroyed()) {
        let current = ordered(subjects_of_key(&key.name));
        if key.access_is_recorded() && key.access().eq(current.iter().map(String::as_str)) {
            continue;
        }
        let value = written(key, &current)?;
        changes.push(apply(key, &current, &value, due_at));
    }
    if changes.is_empty() {
        return Ok(None);
    }
    draft.check_room()?;
    Ok(Some((draft, changes)))
}

/// Gives a key that was just made its first list, in the same commit: otherwise whoever loses a right
/// before the next [`record_access`] would go unnoticed. After an error the draft is to be dropped.
pub fn begin_access<A: Arena>(
    draft: &mut Draft<A>,
    name: &str,
    subjects: Vec<String>,
) -> Result<(), ChangeError> {
    let key = draft.key_mut(name).ok_or(ChangeError::NoSuchKey)?;
    if key.access_is_recorded() {
        return Err(KeyringError::Rule("a key has one first list of who has access").into());
    }
    let value = written(key, &ordered(subjects))?;
    key.set_access(&value);
    Ok(draft.check_room()?)
}

fn ordered(mut subjects: Vec<String>) -> Vec<String> {
    subjects.sort_unstable();
    subjects.dedup();
    subjects
}

/// The value of the attribute.
fn written(key: &Key, subjects: &[String]) -> Result<String, ChangeError> {
    if !subjects.iter().all(|subject| is_subject(subject)) {
        return Err(ChangeError::UnfitSubject { key: key.name.clone() });
    }
    let value = subjects.join("\n");
    if value.len() > MAX_ACCESS_BYTES {
        return Err(ChangeError::AccessTooLong { key: key.name.clone() });
    }
    Ok(value)
}

fn apply(key: &mut Key, current: &[String], value: &str, due_at: u64) -> AccessChange {
    let first = !key.access_is_recorded();
    let before: Vec<String> = key.access().map(String::from).collect();
    let gained = missing_from(&before, current);
    let lost = missing_from(current, &before);
    let due_at = if lost.is_empty() {
        None
    } else {
        let due_at = key.due().map_or(due_at, |earlier| earlier.at_unix.min(due_at));
        key.set_due(due_at, PERSONNEL);
        Some(due_at)
    };
    key.set_access(value);
    AccessChange { key: key.name.clone(), first, gained, lost, due_at }
}

/// Who is in `some` but not in `others`, both strictly ascending.
fn missing_from(others: &[String], some: &[String]) -> Vec<String> {
    some.iter().filter(|subject| others.binary_search(subject).is_err()).cloned().collect()
}
