//! Backups and the master key: `backup_create`, `backup_restore`, `master_rotate`.
//!
//! No key leaves the daemon in the clear: a page of a backup is sealed under a key that the client made and keeps
//! (docs/FORMATS.md, "Backup"). `Debug` of a key shows its length only.

use alloc::vec::Vec;

use super::{Operation, OperationCode};
use crate::codec::{BorrowDecode, Encode};

/// `backup_create`: keys with all their versions, sealed under a backup key, page by page.
#[derive(Debug)]
pub enum BackupCreate {}

impl Operation for BackupCreate {
    const CODE: OperationCode = OperationCode::BackupCreate;
    type Request<'a> = BackupCreateRequest<'a>;
    type Reply<'a> = BackupCreateReply<'a>;
}

/// Which page of which keys.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BackupCreateRequest<'a> {
    /// The backup key: 32 random bytes of the client.
    pub backup_key: &'a [u8],
    /// Names of the keys, ascending bytewise, joined by line feeds; empty for the whole keyring.
    pub keys: &'a str,
    /// Where the page before ended; empty for the first one.
    pub after: &'a [u8],
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BackupCreateReply<'a> {
    /// Random id of the keyring.
    pub keyring_id: [u8; 16],
    /// Its epoch: how often its master key was rotated, from 1.
    pub epoch: u32,
    /// Its generation: the same in all pages of one backup.
    pub generation: u64,
    /// Fingerprint of the master key.
    pub master: [u8; 16],
    /// Sealed; docs/FORMATS.md, "Backup".
    pub page: &'a [u8],
    /// What to ask the next page with; empty if this is the last one.
    pub next: &'a [u8],
}

/// `backup_restore`: takes in the keys of a page; never in place of a key that differs.
#[derive(Debug)]
pub enum BackupRestore {}

impl Operation for BackupRestore {
    const CODE: OperationCode = OperationCode::BackupRestore;
    type Request<'a> = BackupRestoreRequest<'a>;
    type Reply<'a> = BackupRestoreReply<'a>;
}

/// A page, and whether it is for earnest.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BackupRestoreRequest<'a> {
    /// The backup key, 32 bytes.
    pub backup_key: &'a [u8],
    /// As `backup_create` gave it.
    pub page: &'a [u8],
    /// Says what would be done, and does nothing.
    pub dry_run: bool,
    /// A version that is primary there becomes primary here, if it is newer; else it is staged.
    pub promote: bool,
}

/// What became of the keys of a page; in earnest, a page with a key that differs is refused as `KEY_DIFFERS`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BackupRestoreReply<'a> {
    /// The keys of the page, by name.
    pub keys: Vec<RestoredKey<'a>>,
    /// Generation of the keyring in use.
    pub generation: u64,
}

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct RestoredKey<'a> {
    /// Its name.
    pub name: &'a str,
    /// What was done, or would be.
    pub outcome: RestoreOutcome,
    /// Versions that were taken in.
    pub added: u32,
    /// In words, where there is more to say.
    pub why: &'a str,
}

/// What a restore does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum RestoreOutcome {
    /// All of it is here already.
    Same,
    /// There was none of this name.
    Added,
    /// It has versions that were not here.
    Extended,
    /// Taken in the place of a key that never sealed anything.
    Replaced,
    /// Another key of this name is here: refused.
    Differs,
}

/// `master_rotate`: the keyring is sealed under another master key; no data is touched.
#[derive(Debug)]
pub enum MasterRotate {}

impl Operation for MasterRotate {
    const CODE: OperationCode = OperationCode::MasterRotate;
    type Request<'a> = MasterRotateRequest<'a>;
    type Reply<'a> = MasterRotateReply;
}

/// One step of a rotation of the master key (docs/FORMATS.md, section 3, "Master rotation").
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct MasterRotateRequest<'a> {
    /// Which one.
    pub step: MasterStep,
    /// The master key in use, 32 bytes; empty where the step does not need it.
    pub current: &'a [u8],
    /// The next one, 32 bytes; empty for the daemon's own source, which must hold it by now.
    pub next: &'a [u8],
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum MasterStep {
    /// A new root, which the current and the next master key open.
    Begin,
    /// Only the next one opens it.
    Finish,
    /// Only the current one opens it, as before: the rotation is given up.
    Abandon,
}

/// How the keyring is sealed now.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct MasterRotateReply {
    /// Fingerprints of the master keys that open it.
    pub masters: Vec<[u8; 16]>,
    /// How often it was sealed anew, from 1.
    pub epoch: u32,
    /// Generation of the keyring that says so.
    pub generation: u64,
}

super::redacted::redacted_debug!(
    BackupCreateRequest.backup_key,
    BackupRestoreRequest.page,
    MasterRotateRequest.next
);
