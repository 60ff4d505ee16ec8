//! The file of a backup: read whole, and what it says without its key.

use std::{fs::File, io::Read, path::Path};

use keyagent_common::{
    backup::{Backup, MAX_FILE_BYTES},
    envelope,
    error::ErrorCode,
    fingerprint,
    report::Report,
};
use serde::Serialize;

use crate::{
    failure::{Failure, cannot_read},
    utc,
};

/// Reads a file whole.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| cannot_read(&name, &error))?;
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(|error| cannot_read(&name, &error))?;
    Ok(bytes)
}

/// Splits what was read, once its checksum was found right.
pub(super) fn parse<'b>(bytes: &'b [u8], path: &Path) -> Result<Backup<'b>, Report> {
    Backup::parse(bytes).map_err(|error| damaged(&error.to_string()).fact("file", path.display().to_string()))
}

/// What a backup says of itself. Without its key nothing of it is authentic.
#[derive(Debug, Serialize)]
pub(crate) struct HeaderDocument {
    pub(super) backup_id: String,
    pub(super) created_at: String,
    pub(super) keyring_id: String,
    pub(super) epoch: u32,
    pub(super) generation: u64,
    pub(super) master_id: String,
    pub(super) master_fingerprint: String,
    pub(super) holds_master: bool,
    pub(super) protection: &'static str,
    pub(super) whole: bool,
    pub(super) keys: u32,
    pub(super) key_ids: Vec<String>,
}

impl From<&Backup<'_>> for HeaderDocument {
    fn from(backup: &Backup<'_>) -> Self {
        let keyring_id = fingerprint::full(&backup.origin.keyring_id);
        Self {
            backup_id: fingerprint::full(&keyagent_common::backup::fingerprint(&backup.id)),
            created_at: utc::rfc3339(backup.created_at.saturating_mul(1_000_000)),
            keyring_id,
            epoch: backup.origin.epoch,
            generation: backup.origin.generation,
            master_id: fingerprint::short(&backup.master),
            master_fingerprint: fingerprint::full(&backup.master),
            holds_master: backup.sealed_master.is_some(),
            protection: backup.protection.name(),
            whole: backup.whole,
            keys: backup.keys,
            key_ids: backup.key_ids.iter().map(|id| envelope::encode_base64(id)).collect(),
        }
    }
}

impl HeaderDocument {
    /// For a person.
    pub(super) fn text(&self) -> String {
        let scope = if self.whole { "the whole keyring" } else { "some keys of the keyring" };
        let master = if self.holds_master { "with the master key" } else { "WITHOUT the master key" };
        format!(
            "backup      {}\nmade        {}\nof          {scope}: {} keys, {} versions; {master}\n\
             keyring     {}, epoch {}, generation {}\nmaster      {}   {}\nopened by   {}\n",
            self.backup_id,
            self.created_at,
            self.keys,
            self.key_ids.len(),
            self.keyring_id,
            self.epoch,
            self.generation,
            self.master_id,
            self.master_fingerprint,
            match self.protection {
                "passphrase" => "a passphrase",
                "recipients" => "an age or SSH identity",
                _ => "shares",
            },
        )
    }
}

/// What bytes that begin like a backup are, for `inspect`.
pub(crate) fn describe(bytes: &[u8], name: &str) -> Result<(HeaderDocument, String), Report> {
    let backup = Backup::parse(bytes).map_err(|error| damaged(&error.to_string()).fact("file", name))?;
    let document = HeaderDocument::from(&backup);
    let text = document.text();
    Ok((document, text))
}

/// The file is not what was written.
pub(super) fn damaged(why: &str) -> Report {
    Report::new(ErrorCode::BackupDamaged, "the file is no usable backup")
        .why(why)
        .fix("take another copy of it; nothing was done")
}

/// Nothing that was given opens it.
pub(super) fn not_opened(what: &str) -> Report {
    Report::new(ErrorCode::BackupNotOpened, what)
}
