//! From a file and what a person gives to an opened backup.

use std::path::PathBuf;

use clap::Args;
use keyagent_common::backup::{Backup, BackupError, Protection, share::Sharing};

use super::{
    file::{damaged, not_opened},
    key::BackupKey,
    recipients, sharing,
};
use crate::{
    console::Console,
    failure::{Failure, usage},
    passphrase::Passphrase,
};

/// What opens a backup.
#[derive(Debug, Default, Args)]
pub(super) struct OpeningArguments {
    /// File with an age identity or a private SSH key that opens the backup
    #[arg(short, long, value_name = "FILE")]
    pub(super) identity: Option<PathBuf>,
    /// Take the passphrase, of the backup or of the SSH key, from this open descriptor instead of asking
    #[arg(long, value_name = "N")]
    pub(super) passphrase_fd: Option<u32>,
    /// File with a share of the backup's key (repeatable); as many as are needed open it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["identity", "passphrase_fd"])]
    pub(super) share: Vec<PathBuf>,
}

impl OpeningArguments {
    /// Whether anything was given.
    pub(super) fn is_given(&self) -> bool {
        self.identity.is_some() || self.passphrase_fd.is_some() || !self.share.is_empty()
    }

    /// The key of a backup, every byte of which is authentic from here on.
    pub(super) fn open(&self, backup: &Backup<'_>, console: &Console) -> Result<BackupKey, Failure> {
        let key = match &backup.protection {
            _ if !self.share.is_empty() => sharing::open(&self.share, backup)?,
            Protection::Passphrase(protection) => {
                if self.identity.is_some() {
                    return Err(usage("this backup is opened by a passphrase, not by an identity").into());
                }
                let passphrase = match self.passphrase_fd {
                    Some(number) => Passphrase::read_descriptor(number)?,
                    None => Passphrase::ask(console, "Passphrase of the backup: ")?,
                };
                BackupKey::unprotect(protection, &backup.id, &passphrase)?
            }
            Protection::Recipients(wrapped) => {
                let path = self.identity.as_ref().ok_or_else(|| {
                    usage("this backup is opened by an age or SSH identity").fix("--identity FILE")
                })?;
                recipients::unwrap(wrapped, path, self.passphrase_fd, console)?
            }
            Protection::Shares(numbers) => {
                let sharing = Sharing::parse(numbers).map_err(|error| damaged(&error.to_string()))?;
                let (threshold, count) = (sharing.threshold(), sharing.count());
                return Err(usage("this backup is opened by shares")
                    .why(format!("any {threshold} of its {count} shares open it"))
                    .fix("--share FILE, for each of them")
                    .into());
            }
        };
        backup.verify(key.bytes()).map_err(|error| match error {
            BackupError::AnotherKey => not_opened("what was opened is the key of another backup"),
            error => damaged(&error.to_string()),
        })?;
        Ok(key)
    }
}
