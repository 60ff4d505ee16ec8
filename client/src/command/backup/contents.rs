//! What an opened backup holds: keys and versions, without their secrets.

use std::collections::BTreeSet;

use keyagent_common::{
    backup::{
        Backup,
        page::{KeyPart, VersionPart},
    },
    envelope,
    report::Report,
};
use serde::Serialize;

use super::{file::damaged, key::BackupKey};

/// A key of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct KeyDocument {
    pub(super) name: String,
    pub(super) class: u8,
    pub(super) brake: Option<String>,
    pub(super) versions: Vec<VersionDocument>,
    #[serde(skip)]
    uid: [u8; 16],
    #[serde(skip)]
    total: u32,
}

/// A version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct VersionDocument {
    pub(super) number: u32,
    pub(super) state: &'static str,
    /// None when destroyed.
    pub(super) key_id: Option<String>,
}

/// Everything in the pages; refused unless it is what the header says.
pub(super) fn read(backup: &Backup<'_>, key: &BackupKey) -> Result<Vec<KeyDocument>, Report> {
    let (keys, ids) = gather(backup.pages.iter().copied(), key)?;
    if !ids.iter().eq(backup.key_ids) || u32::try_from(keys.len()).ok() != Some(backup.keys) {
        return Err(damaged("it does not hold what it says it holds"));
    }
    Ok(keys)
}

/// Keys in the order of the pages, each once, and the ids of all their versions.
pub(super) fn gather<'p>(
    pages: impl Iterator<Item = &'p [u8]>,
    key: &BackupKey,
) -> Result<(Vec<KeyDocument>, BTreeSet<[u8; 32]>), Report> {
    let (mut keys, mut ids) = (Vec::<KeyDocument>::new(), BTreeSet::new());
    for page in pages {
        key.with_page(page, |parts| {
            for part in parts {
                add(&mut keys, part)?;
                ids.extend(part.versions.iter().filter_map(|version| Some(*version.secret?.key_id)));
            }
            Ok::<(), Report>(())
        })??;
    }
    if keys.iter().any(|key| u32::try_from(key.versions.len()).ok() != Some(key.total)) {
        return Err(damaged("versions of a key are missing"));
    }
    for key in &mut keys {
        key.versions.sort_unstable_by_key(|version| version.number);
    }
    Ok((keys, ids))
}

fn add(keys: &mut Vec<KeyDocument>, part: &KeyPart<'_>) -> Result<(), Report> {
    let versions = part.versions.iter().map(version);
    if part.before > 0 {
        let last = keys.last_mut().filter(|last| last.uid == part.uid && last.total == part.total);
        let last = last.filter(|last| u32::try_from(last.versions.len()).ok() == Some(part.before));
        last.ok_or_else(|| damaged("versions of a key are missing"))?.versions.extend(versions);
        return Ok(());
    }
    let brake = part.attributes.iter().find(|(name, _)| *name == "brake");
    keys.push(KeyDocument {
        name: part.name.to_owned(),
        class: part.class,
        brake: brake.map(|(_, word)| String::from_utf8_lossy(word).into_owned()),
        versions: versions.collect(),
        uid: part.uid,
        total: part.total,
    });
    Ok(())
}

fn version(part: &VersionPart<'_>) -> VersionDocument {
    VersionDocument {
        number: part.number,
        state: match part.state {
            1 => "staged",
            2 => "primary",
            3 => "grace",
            4 => "retired",
            5 => "disabled",
            6 => "compromised",
            7 => "destroyed",
            _ => "unknown",
        },
        key_id: part.secret.map(|secret| envelope::encode_base64(secret.key_id)),
    }
}
