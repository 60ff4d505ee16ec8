//! Backups, as methods of a connection: pages that only a backup key opens.
//!
//! The page goes from the daemon to a file and back; nothing here opens it.

use std::time::Duration;

use keyagent_common::op::{
    BackupCreate, BackupCreateReply, BackupCreateRequest, BackupRestore, BackupRestoreReply,
    BackupRestoreRequest,
};

use crate::{Connection, Error};

/// How long the daemon may take for a page beyond the time of an operation: it writes the whole keyring.
const FOR_A_PAGE: Duration = Duration::from_mins(1);

impl Connection {
    /// A page of a backup. `keys` are names, ascending bytewise and joined by line feeds, or empty for all of them;
    /// `after` is `next` of the page before, or empty.
    ///
    /// [`keyagent_common::error::ErrorCode::Busy`] if the keyring was changed since the first page: begin again.
    pub fn backup_create(
        &mut self,
        backup_key: &[u8; 32],
        keys: &str,
        after: &[u8],
    ) -> Result<BackupCreateReply<'_>, Error> {
        let request = BackupCreateRequest { backup_key, keys, after };
        self.call_that_waits::<BackupCreate>(&request, FOR_A_PAGE)
    }

    /// Takes in a page, whole or not at all; with `dry_run` says what that would do.
    pub fn backup_restore(
        &mut self,
        backup_key: &[u8; 32],
        page: &[u8],
        dry_run: bool,
        promote: bool,
    ) -> Result<BackupRestoreReply<'_>, Error> {
        let request = BackupRestoreRequest { backup_key, page, dry_run, promote };
        self.call_that_waits::<BackupRestore>(&request, FOR_A_PAGE)
    }
}
