//! Taking in a page: every key of it, or none.
//!
//! What is known here keeps its state; a primary that is not becomes staged, or grace where another version is staged,
//! so that nothing is sealed with it before somebody says so. Must never put a key in the place of another one, whatever has its name.

use alloc::{format, string::String, vec::Vec};

use keyagent_common::{
    backup::page::{self, KeyPart, Page, PageHeader, SealedSecret},
    key_text,
    name::KeyName,
};

use super::{
    BackupError,
    elsewhere::{Elsewhere, Holder},
    seal::BackupKeys,
    translate,
};
use crate::{
    arena::Arena,
    change::{self, ChangeError, LifeError, MAX_KEYS},
    entropy::Entropy,
    keyring::{Class, Draft, ImportedVersion, Key, Keyring, Label, MAX_VERSIONS, Reason, State, Version},
};

/// What is asked for.
#[derive(Clone, Copy)]
pub struct RestoreRequest<'r> {
    /// The backup key.
    pub backup_key: &'r [u8; 32],
    /// As [`super::create_page`] made it.
    pub page: &'r [u8],
    /// Nothing will come of it: then pages may be asked in any order.
    pub dry_run: bool,
    /// A version that is primary there becomes primary here, if it is newer.
    pub promote: bool,
    /// Nothing was ever sealed with the key `default`, so that it may give way to another one.
    pub default_is_unused: bool,
    /// Seconds since 1970.
    pub now_unix: u64,
}

/// What came of a page.
pub struct Restoration<A: Arena> {
    /// Which page it was.
    pub header: PageHeader,
    /// Its keys, as they stand there.
    pub keys: Vec<Restored>,
    /// What to commit; none if nothing changes or a key differs.
    pub draft: Option<Draft<A>>,
}

/// What came of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub taken: Taken,
    /// How many versions are taken in.
    pub added: u32,
    /// In words, where there is more to say.
    pub why: String,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// All of it is here already.
    Same,
    /// There was none of this name.
    Added,
    /// Versions come, or its primary is another one now.
    Extended,
    /// It comes in the place of a `default` that never sealed anything.
    Replaced,
    /// It is another one than here: the page is refused.
    Differs,
}

/// Opens a page and makes a draft that holds its keys as well.
///
/// Ids are computed again. A key is known again by its uid, or by its name and the id of a version. Refused as
/// [`Taken::Differs`], and with it the page: another secret under a number that is known here, an id that another
/// version has, a secret that a key of another class or environment holds, and another key of the same name.
pub fn restore<A: Arena>(
    keyring: &Keyring<A>,
    request: &RestoreRequest<'_>,
    entropy: &mut dyn Entropy,
) -> Result<Restoration<A>, BackupError> {
    let page = Page::parse(request.page)?;
    let keys = BackupKeys::derive(request.backup_key);
    let body = keys.open_page(&page)?;
    let parts = page::read_body(&body)?;
    check_distinct(&parts)?;
    let elsewhere = Elsewhere::of(keyring, &parts)?;
    let mut work = Work {
        keyring,
        request,
        header: page.header,
        keys,
        elsewhere,
        draft: keyring.draft(),
        incomplete: false,
    };
    let mut restored = Vec::new();
    for part in &parts {
        restored.push(work.take_in(part, entropy)?);
    }
    let count = |taken| restored.iter().filter(|key: &&Restored| key.taken == taken).count();
    let changes = restored.len() - count(Taken::Same);
    let draft = if changes > 0 && count(Taken::Differs) == 0 {
        if keyring.keys().len() + count(Taken::Added) > MAX_KEYS {
            return Err(ChangeError::TooManyKeys.into());
        }
        if work.incomplete {
            None
        } else {
            work.draft.check_room()?;
            Some(work.draft)
        }
    } else {
        None
    };
    Ok(Restoration { header: page.header, keys: restored, draft })
}

fn check_distinct(parts: &[KeyPart<'_>]) -> Result<(), BackupError> {
    let mut names: Vec<&str> = parts.iter().map(|part| part.name).collect();
    let mut uids: Vec<[u8; 16]> = parts.iter().map(|part| part.uid).collect();
    names.sort_unstable();
    uids.sort_unstable();
    if names.is_sorted_by(|one, next| one < next) && uids.is_sorted_by(|one, next| one < next) {
        Ok(())
    } else {
        Err(BackupError::Malformed("a key stands there twice"))
    }
}

/// Where a key goes.
enum Plan<'k> {
    Add,
    /// In the place of `default`.
    Replace,
    Into(&'k Key),
    Differs(String),
}

/// Why a key is refused, or that it is not.
type Refused = Option<String>;

struct Work<'w, A: Arena> {
    keyring: &'w Keyring<A>,
    request: &'w RestoreRequest<'w>,
    header: PageHeader,
    keys: BackupKeys,
    elsewhere: Elsewhere,
    draft: Draft<A>,
    /// A look at a page whose first key begins in a page before: nothing can be made of it alone.
    incomplete: bool,
}

impl<'w, A: Arena> Work<'w, A> {
    fn take_in(&mut self, part: &KeyPart<'_>, entropy: &mut dyn Entropy) -> Result<Restored, BackupError> {
        let (name, class) = (translate::name(part)?, translate::class(part)?);
        let done = match self.plan(part, class) {
            Plan::Differs(why) => Err(why),
            Plan::Into(key) if key.is_destroyed() => {
                Ok((Taken::Same, 0, "destroyed here, and stays so".into()))
            }
            Plan::Into(key) => self.extend(part, key, entropy)?,
            Plan::Replace => {
                self.draft.remove_key(name.as_str())?;
                let why = "in the place of one that never sealed anything".into();
                self.add(part, class, entropy)?.map(|added| (Taken::Replaced, added, why))
            }
            Plan::Add => self.add(part, class, entropy)?.map(|added| (Taken::Added, added, String::new())),
        };
        let (taken, added, why) = done.unwrap_or_else(|why| (Taken::Differs, 0, why));
        Ok(Restored { name: String::from(name.as_str()), taken, added, why })
    }

    fn plan(&self, part: &KeyPart<'_>, class: Class) -> Plan<'w> {
        let same_uid = self.keyring.keys().iter().find(|key| key.uid == part.uid);
        let found = match (same_uid, self.keyring.find(part.name)) {
            (Some(key), _) if key.name != part.name => {
                return Plan::Differs(format!("it has the name {} here", key.name));
            }
            (Some(key), _) => key,
            (None, Some(key)) if self.may_give_way(key, part) => return Plan::Replace,
            (None, Some(key)) if self.shares_a_version(key, part) => key,
            (None, Some(_)) => return Plan::Differs("another key has this name here".into()),
            (None, None) if part.before > 0 && !self.request.dry_run => {
                return Plan::Differs("the first of its versions were not restored".into());
            }
            (None, None) => return Plan::Add,
        };
        if found.class == class {
            Plan::Into(found)
        } else {
            Plan::Differs("it is of another class here".into())
        }
    }

    /// Whether it is the same key although it was made here: as `default` is on hosts with one master key.
    fn shares_a_version(&self, key: &Key, part: &KeyPart<'_>) -> bool {
        let id_of = |number| key.version(number).and_then(Version::key_id);
        let equal = |version: &page::VersionPart<'_>| {
            version.secret.is_some_and(|secret| id_of(version.number) == Some(secret.key_id))
        };
        let has_primary = key.versions.iter().any(|version| version.key_id() == Some(&part.primary));
        // What the first part will bring is not here while nothing is done in earnest.
        has_primary || part.versions.iter().any(equal) || self.request.dry_run && part.before > 0
    }

    /// Whether `default` is as it was made, in a keyring that has nothing else.
    fn may_give_way(&self, key: &Key, part: &KeyPart<'_>) -> bool {
        let untouched = key.versions.len() == 1 && key.brake().is_none() && self.keyring.keys().len() == 1;
        self.request.default_is_unused
            && part.name == KeyName::DEFAULT.as_str()
            && untouched
            && (part.before == 0 || self.request.dry_run)
    }

    /// A key that is not here, as it is there.
    fn add(
        &mut self,
        part: &KeyPart<'_>,
        class: Class,
        entropy: &mut dyn Entropy,
    ) -> Result<Result<u32, String>, BackupError> {
        self.incomplete |= part.before > 0;
        self.draft.import_key(translate::imported_key(part)?)?;
        let environment = part.attributes.iter().find(|(name, _)| *name == Label::Environment.as_str());
        let environment = environment.and_then(|(_, value)| str::from_utf8(value).ok()).unwrap_or_default();
        let holder = Holder { name: String::from(part.name), class, environment: String::from(environment) };
        let mut came = Vec::new();
        for version in &part.versions {
            let imported = translate::imported_version(version)?;
            if let Some(why) = self.import(part, imported, version.secret.as_ref(), &holder, entropy)? {
                return Ok(Err(why));
            }
            came.push(imported);
        }
        self.draft.import_since(&holder.name, &came)?;
        Ok(Ok(u32::try_from(part.versions.len()).unwrap_or(u32::MAX)))
    }

    /// A key that is here: what is known stays as it is.
    fn extend(
        &mut self,
        part: &KeyPart<'_>,
        key: &Key,
        entropy: &mut dyn Entropy,
    ) -> Result<Result<(Taken, u32, String), String>, BackupError> {
        let environment = String::from(key.label(Label::Environment));
        let holder = Holder { name: key.name.clone(), class: key.class, environment };
        let (mut came, mut notes) = (Vec::new(), Vec::new());
        for version in &part.versions {
            let mut imported = translate::imported_version(version)?;
            if let Some(known) = key.version(version.number) {
                match compare(known, version.secret.as_ref().map(|secret| secret.key_id), imported.state) {
                    Err(why) => return Ok(Err(why)),
                    Ok(note) => notes.extend(note),
                }
                continue;
            }
            if imported.state == State::Primary {
                (imported.state, imported.since) = (State::Staged, self.request.now_unix);
            }
            if let Some(why) = self.import(part, imported, version.secret.as_ref(), &holder, entropy)? {
                return Ok(Err(why));
            }
            came.push(imported);
        }
        let added = came.len();
        if key.versions.len() + added > MAX_VERSIONS {
            return Err(ChangeError::from(LifeError::TooManyVersions).into());
        }
        self.draft.import_since(&key.name, &came)?;
        let promoted = self.request.promote && self.promote(&key.name, &part.primary)?;
        notes.splice(0..0, self.settle_staged(&key.name, &came)?);
        if promoted {
            notes.insert(0, "its primary is the one of the backup now".into());
        }
        let brake = part.attributes.iter().find(|(name, _)| *name == "brake");
        if let (Some((_, word)), None) = (brake, key.brake()) {
            notes.push(format!("{} there, not here", str::from_utf8(word).unwrap_or("stopped")));
        }
        let taken = if added > 0 || promoted { Taken::Extended } else { Taken::Same };
        // Many versions can be stopped there: two of them tell enough.
        notes.truncate(2);
        Ok(Ok((taken, u32::try_from(added).unwrap_or(u32::MAX), notes.join("; "))))
    }

    /// One version, its secret sealed anew for this keyring.
    fn import(
        &mut self,
        part: &KeyPart<'_>,
        imported: ImportedVersion,
        sealed: Option<&SealedSecret<'_>>,
        holder: &Holder,
        entropy: &mut dyn Entropy,
    ) -> Result<Refused, BackupError> {
        let Self { keyring, request: RestoreRequest { dry_run, .. }, header, keys, elsewhere, draft, .. } =
            self;
        let number = imported.number;
        let Some(sealed) = sealed else {
            draft.import_version(&holder.name, imported, None, entropy)?;
            return Ok(None);
        };
        if let Some((other, version)) = keyring.version_by_id(sealed.key_id)
            && !(other.name == holder.name && version.number == number)
        {
            return Ok(Some(format!(
                "its version {number} is version {} of the key {} here",
                version.number, other.name
            )));
        }
        let ad = page::record_associated_data(&header.origin, &part.uid, number, part.class, sealed.key_id);
        keys.with_secret(sealed, &ad, |secret| {
            if secret.try_into().is_ok_and(|secret| key_text::check(secret).is_err()) {
                return Err(BackupError::Malformed("a secret is a published example"));
            }
            if let Some(keeper) = elsewhere.keeper(keyring, holder, secret) {
                // Only a page that is to be taken in learns whose: nobody is to try secrets in dry runs.
                let whose = if *dry_run { "another key here".into() } else { format!("the key {keeper}") };
                return Ok(Some(format!("its version {number} has a secret of {whose}")));
            }
            draft.import_version(&holder.name, imported, Some((sealed.key_id, secret)), entropy)?;
            Ok(None)
        })?
    }

    /// Of the versions that came staged, one stays so, and only where no other one is: else nobody could say which
    /// is meant when the next one is promoted. The others open all the same. What there is to say of them.
    fn settle_staged(&mut self, name: &str, came: &[ImportedVersion]) -> Result<Option<String>, BackupError> {
        let now_unix = self.request.now_unix;
        let Some(key) = self.draft.key_mut(name) else { return Ok(None) };
        let mut said = None;
        // Backwards: the first one that came is the primary of the backup, and stays if any does.
        for &ImportedVersion { number, .. } in came.iter().rev() {
            if key.version(number).is_none_or(|version| version.state != State::Staged) {
                continue;
            }
            if let Some(why) = unfit_for_staging(key, number) {
                key.set_state(number, State::Grace, None, now_unix)?;
                said = Some(format!("its version {number} opens, but is not staged: {why}"));
            }
        }
        Ok(said)
    }

    /// Makes the primary of the backup primary here, if it is staged and newer than the one in use.
    fn promote(&mut self, name: &str, primary: &[u8; 32]) -> Result<bool, BackupError> {
        let now_unix = self.request.now_unix;
        let Some(key) = self.draft.key_mut(name) else { return Ok(false) };
        let current = key.primary().map_or(0, |version| version.number);
        let wanted = key.versions.iter().find(|version| version.key_id() == Some(primary));
        let wanted = wanted.filter(|version| version.state == State::Staged && version.number > current);
        let Some(number) = wanted.map(|version| version.number) else { return Ok(false) };
        let compromise = |version: &Version| version.number > number && version.reason == Reason::Compromise;
        if key.versions.iter().any(compromise) {
            return Ok(false);
        }
        change::take_over(key, number, now_unix)?;
        Ok(true)
    }
}

/// Why a version of these cannot be staged in a key: another one is, or it is older than the primary.
fn unfit_for_staging(key: &Key, number: u32) -> Option<String> {
    let primary = key.primary().map_or(0, |version| version.number);
    if number < primary {
        return Some(format!("version {primary} is primary here"));
    }
    let other = |version: &&Version| version.number != number && version.state == State::Staged;
    key.versions.iter().find(other).map(|version| format!("version {} is staged here", version.number))
}

/// A version that both have: why it is another one, or what there is to say.
fn compare(known: &Version, id: Option<&[u8; 32]>, there: State) -> Result<Option<String>, String> {
    let number = known.number;
    if let (Some(here), Some(id)) = (known.key_id(), id)
        && here != id
    {
        return Err(format!("its version {number} is another one here"));
    }
    let worse = there.is_stopped() || there == State::Destroyed;
    let told = worse && there != known.state && known.state != State::Destroyed;
    Ok(told.then(|| format!("version {number}: {} there, {} here", there.as_str(), known.state.as_str())))
}
