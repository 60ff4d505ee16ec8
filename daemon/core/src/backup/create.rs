//! Pages of a backup, one at a time, from an immutable snapshot of the keyring.

use alloc::{string::String, vec::Vec};

use keyagent_common::backup::{
    Origin,
    page::{self, BODY_BYTES, MAX_KEY_BYTES, PageHeader, SealedSecret, VersionPart},
};

use super::{
    BackupError,
    cursor::{Backup, Cursor},
    seal::BackupKeys,
    translate,
};
use crate::{
    arena::Arena,
    entropy::Entropy,
    keyring::{Class, Key, Keyring, State, Version},
};

/// What a client wants.
#[derive(Clone, Copy)]
pub struct Wanted<'w> {
    /// The backup key.
    pub backup_key: &'w [u8; 32],
    /// Names of keys, ascending bytewise, joined by line feeds; empty for all.
    pub names: &'w str,
    /// Where the page before ended; empty for the first one.
    pub after: &'w [u8],
}

/// A page.
pub struct CreatedPage {
    /// Sealed.
    pub bytes: Vec<u8>,
    /// What to ask the next page with; empty if this is the last one.
    pub next: Vec<u8>,
    /// Its number, from 0.
    pub index: u32,
    /// How many keys the whole backup holds.
    pub keys: usize,
}

/// Makes one page. The key `default` comes first: a keyring that was just made has it alone.
pub fn create_page<A: Arena>(
    keyring: &Keyring<A>,
    wanted: Wanted<'_>,
    entropy: &mut dyn Entropy,
) -> Result<CreatedPage, BackupError> {
    let selected = select(keyring, wanted.names)?;
    let backup = Backup { keyring, key: wanted.backup_key, names: wanted.names };
    let mut cursor = backup.read(wanted.after)?;
    let index = cursor.index;
    let origin = origin(keyring);
    let mut writer =
        Writer { keyring, keys: BackupKeys::derive(wanted.backup_key), origin, body: Vec::new() };
    while let Some(key) = selected.get(usize::try_from(cursor.key).unwrap_or(usize::MAX)) {
        if !writer.add(key, &mut cursor, entropy)? {
            break;
        }
    }
    let last = usize::try_from(cursor.key).unwrap_or(usize::MAX) >= selected.len();
    let Writer { keys, body, .. } = writer;
    let bytes = keys.seal_page(&PageHeader { origin, index, last }, body, entropy)?;
    cursor.index = index.checked_add(1).ok_or(BackupError::BadCursor)?;
    let next = if last { Vec::new() } else { Vec::from(backup.write(cursor)) };
    Ok(CreatedPage { bytes, next, index, keys: selected.len() })
}

fn origin<A: Arena>(keyring: &Keyring<A>) -> Origin {
    Origin { keyring_id: *keyring.keyring_id(), epoch: keyring.epoch(), generation: keyring.generation() }
}

fn select<'k, A: Arena>(keyring: &'k Keyring<A>, names: &str) -> Result<Vec<&'k Key>, BackupError> {
    let mut selected: Vec<&Key> = if names.is_empty() {
        keyring.keys().iter().collect()
    } else {
        let find = |name| keyring.find(name).ok_or_else(|| BackupError::NoSuchKey(String::from(name)));
        names.split('\n').map(find).collect::<Result<_, _>>()?
    };
    if !selected.is_sorted_by(|one, next| one.name < next.name) {
        return Err(BackupError::NamesNotAscending);
    }
    selected.sort_by_key(|key| key.name != "default");
    Ok(selected)
}

/// The primary first, for a key always has one; then the others by number.
fn in_order(key: &Key) -> impl Iterator<Item = &Version> {
    let others = key.versions.iter().filter(|version| version.state != State::Primary);
    key.primary().into_iter().chain(others)
}

/// A body in the making.
struct Writer<'w, A: Arena> {
    keyring: &'w Keyring<A>,
    keys: BackupKeys,
    origin: Origin,
    body: Vec<u8>,
}

impl<A: Arena> Writer<'_, A> {
    /// Adds the next versions of a key, as many as there is room for; false if the page is full.
    fn add(
        &mut self,
        key: &Key,
        cursor: &mut Cursor,
        entropy: &mut dyn Entropy,
    ) -> Result<bool, BackupError> {
        let given = usize::try_from(cursor.versions).unwrap_or(usize::MAX);
        let part = translate::part(key, cursor.versions);
        let mut head = Vec::new();
        part.write_head(0, &mut head)?;
        if head.len() > MAX_KEY_BYTES {
            return Err(BackupError::TooMuchSaid(key.name.clone()));
        }
        let rest: Vec<&Version> = in_order(key).skip(given).collect();
        let fits = |room: usize| {
            let mut left = room.saturating_sub(head.len());
            rest.iter().take_while(|version| take(&mut left, bytes_of(key, version))).count()
        };
        let mut count = fits(BODY_BYTES.saturating_sub(self.body.len()));
        // A key is not split for want of room behind others.
        if count < rest.len() && fits(BODY_BYTES) == rest.len() {
            count = 0;
        }
        if count == 0 {
            return Ok(false);
        }
        part.write_head(u16::try_from(count).unwrap_or(u16::MAX), &mut self.body)?;
        for version in rest.iter().take(count) {
            self.write_version(key, version, entropy)?;
        }
        if count == rest.len() {
            (cursor.key, cursor.versions) = (cursor.key + 1, 0);
            return Ok(true);
        }
        cursor.versions += u32::try_from(count).unwrap_or(u32::MAX);
        Ok(false)
    }

    fn write_version(
        &mut self,
        key: &Key,
        version: &Version,
        entropy: &mut dyn Entropy,
    ) -> Result<(), BackupError> {
        let part = translate::version(key, version);
        let Some(key_id) = version.key_id() else { return Ok(part.write(&mut self.body)?) };
        let Self { keyring, keys, origin, body } = self;
        keyring.with_secret(version, |class, secret| {
            let ad = page::record_associated_data(origin, &key.uid, version.number, class as u8, key_id);
            let write = |sealed: SealedSecret<'_>| VersionPart { secret: Some(sealed), ..part }.write(body);
            keys.seal_secret((key_id, &ad), secret, entropy, write)
        })???;
        Ok(())
    }
}

/// At most so many; a secret of a class with a fixed length has 32.
fn bytes_of(key: &Key, version: &Version) -> usize {
    let longest = match key.class {
        Class::Hs256 | Class::LegacyText => 1024,
        _ => 32,
    };
    page::version_bytes(version.key_id().map(|_| longest))
}

fn take(left: &mut usize, wanted: usize) -> bool {
    left.checked_sub(wanted).is_some_and(|rest| {
        *left = rest;
        true
    })
}
