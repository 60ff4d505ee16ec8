//! The life of keys and their versions: `key_show`, `key_configure`, `key_rotate`, `key_promote`, `key_retire`,
//! `key_reinstate`, `key_destroy`.
//!
//! In every request a reason is for the record, at most [`super::MAX_REASON_BYTES`] and possibly empty.

use alloc::vec::Vec;

use super::{KeyEntry, Operation, OperationCode};
use crate::codec::{BorrowDecode, Encode};

/// `key_show`: everything that may be known of one key; nothing of its secret.
#[derive(Debug)]
pub enum KeyShow {}

impl Operation for KeyShow {
    const CODE: OperationCode = OperationCode::KeyShow;
    type Request<'a> = KeyShowRequest<'a>;
    type Reply<'a> = KeyShowReply<'a>;
}

/// Which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyShowRequest<'a> {
    /// Its name.
    pub key: &'a str,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyShowReply<'a> {
    /// As in `key_list`.
    pub key: KeyEntry<'a>,
    /// When it is rotated.
    pub policy: RotationPolicy,
    /// What for; empty if nothing is said.
    pub purpose: &'a str,
    /// Whose it is; empty if nothing is said.
    pub owner: &'a str,
    /// Where more is written about it; empty if nothing is said.
    pub url: &'a str,
    /// How much each version was used, by number; empty for whoever does not oversee the agent.
    pub usage: Vec<VersionUsage>,
    /// Generation of the keyring.
    pub generation: u64,
}

/// When a key is rotated. Times are seconds since 1970, 0 = never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct RotationPolicy {
    /// Whether the key rotates by itself.
    pub enabled: bool,
    /// Days from one rotation to the next.
    pub interval_days: u32,
    /// Days that an old version stays in grace; 0 = no end.
    pub grace_period_days: u32,
    /// When the next rotation is due.
    pub next_rotation_at: u64,
    /// When the last rotation was.
    pub last_rotation_at: u64,
    /// Whether versions retire by themselves when grace is over.
    pub auto_retire: bool,
}

/// How much a version was used. Never too little: after a crash a count may be higher than the truth, and where the
/// counters were lost it is [`u64::MAX`], "not known".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct VersionUsage {
    /// Number of the version.
    pub number: u32,
    /// How often it sealed, signed or made a tag.
    pub encryptions: u64,
    /// How often it opened or verified.
    pub decryptions: u64,
    /// When it last sealed, in seconds since 1970; 0 = never.
    pub encrypted_at: u64,
    /// When it last opened, in seconds since 1970; 0 = never.
    pub decrypted_at: u64,
    /// Whether the counts are exact; else they are upper bounds.
    pub exact: bool,
    /// When its grace is over, in seconds since 1970; 0 = never, or not in grace.
    pub grace_ends_at: u64,
}

/// `key_configure`: changes what is said about a key.
#[derive(Debug)]
pub enum KeyConfigure {}

impl Operation for KeyConfigure {
    const CODE: OperationCode = OperationCode::KeyConfigure;
    type Request<'a> = KeyConfigureRequest<'a>;
    type Reply<'a> = KeyConfigureReply<'a>;
}

/// What is to be changed; `None` leaves it as it is, an empty text takes it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyConfigureRequest<'a> {
    /// Name of the key.
    pub key: &'a str,
    /// As in [`RotationPolicy`].
    pub enabled: Option<bool>,
    /// As in [`RotationPolicy`].
    pub interval_days: Option<u32>,
    /// As in [`RotationPolicy`].
    pub grace_period_days: Option<u32>,
    /// As in [`RotationPolicy`].
    pub auto_retire: Option<bool>,
    /// Where it is used: one word of `[a-z0-9._-]{1,64}`.
    pub environment: Option<&'a str>,
    /// What for; at most 256 bytes.
    pub purpose: Option<&'a str>,
    /// Whose it is; at most 256 bytes.
    pub owner: Option<&'a str>,
    /// Where more is written about it; at most 256 bytes.
    pub url: Option<&'a str>,
    /// For people; at most 1024 bytes.
    pub note: Option<&'a str>,
}

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyConfigureReply<'a> {
    /// Names of what has another value now; none if it was all so before.
    pub changed: Vec<&'a str>,
    /// When the key rotates by itself next, in seconds since 1970; 0 = never.
    pub next_rotation_at: u64,
    /// Generation of the keyring that says so.
    pub generation: u64,
}

/// `key_rotate`: a new version of a key.
#[derive(Debug)]
pub enum KeyRotate {}

impl Operation for KeyRotate {
    const CODE: OperationCode = OperationCode::KeyRotate;
    type Request<'a> = KeyRotateRequest<'a>;
    type Reply<'a> = KeyRotateReply;
}

/// How a key is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyRotateRequest<'a> {
    /// Name of the key.
    pub key: &'a str,
    /// Why, as in docs/FORMATS.md, section 3: scheduled 1, compromise 2, personnel 3, audit 4, manual 5.
    pub reason: u8,
    /// What becomes of the version before.
    pub takeover: Takeover,
    /// The strongest brake that may be lifted by this; `Active` lifts none.
    pub lift: super::KeyStanding,
    /// In words.
    pub note: &'a str,
}

/// What a new version does to the primary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Takeover {
    /// Nothing until `key_promote`: the new version only opens, so that it can reach other hosts first.
    Staged,
    /// New data is sealed with the new version; what the old one sealed still opens.
    Grace,
    /// As `Grace`, but what the old one sealed is refused at once.
    RefuseOld,
}

/// What a rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyRotateReply {
    /// Number of the new version.
    pub version: u32,
    /// Its id.
    pub key_id: [u8; 32],
    /// Number of the version that was primary; 0 while the new one is staged.
    pub replaced: u32,
    /// State of that version now; 0 while the new one is staged.
    pub replaced_state: u8,
    /// The brake that was lifted; `Active` if none was.
    pub lifted: super::KeyStanding,
    /// When the key rotates by itself next, in seconds since 1970; 0 = never.
    pub next_rotation_at: u64,
    /// Generation of the keyring that says so.
    pub generation: u64,
}

/// `key_promote`: a staged version becomes primary.
#[derive(Debug)]
pub enum KeyPromote {}

impl Operation for KeyPromote {
    const CODE: OperationCode = OperationCode::KeyPromote;
    type Request<'a> = VersionRequest<'a>;
    type Reply<'a> = VersionReply;
}

/// `key_retire`: what a version in grace sealed is refused.
#[derive(Debug)]
pub enum KeyRetire {}

impl Operation for KeyRetire {
    const CODE: OperationCode = OperationCode::KeyRetire;
    type Request<'a> = VersionRequest<'a>;
    type Reply<'a> = VersionReply;
}

/// `key_reinstate`: what a retired version sealed opens again.
#[derive(Debug)]
pub enum KeyReinstate {}

impl Operation for KeyReinstate {
    const CODE: OperationCode = OperationCode::KeyReinstate;
    type Request<'a> = VersionRequest<'a>;
    type Reply<'a> = VersionReply;
}

/// Which version of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct VersionRequest<'a> {
    /// Name of the key.
    pub key: &'a str,
    /// Number of the version; 0 for the staged one, where one is promoted.
    pub version: u32,
    /// Why.
    pub reason: &'a str,
}

/// What became of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct VersionReply {
    /// Its number.
    pub version: u32,
    /// Its id; zeros when destroyed.
    pub key_id: [u8; 32],
    /// Its state before.
    pub from: u8,
    /// Its state now; if it is the same, nothing was changed.
    pub to: u8,
    /// The version that it replaced as the primary one; 0 for none.
    pub replaced: u32,
    /// Generation of the keyring that says so.
    pub generation: u64,
}

/// `key_destroy`: removes secrets for ever.
#[derive(Debug)]
pub enum KeyDestroy {}

impl Operation for KeyDestroy {
    const CODE: OperationCode = OperationCode::KeyDestroy;
    type Request<'a> = KeyDestroyRequest<'a>;
    type Reply<'a> = KeyDestroyReply<'a>;
}

/// What to destroy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyDestroyRequest<'a> {
    /// Name of the key.
    pub key: &'a str,
    /// Number of the version; 0 for the whole key, which must be disabled or compromised.
    pub version: u32,
    /// Also what is still needed.
    pub force: bool,
    /// Why.
    pub reason: &'a str,
}

/// What is gone.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyDestroyReply<'a> {
    /// Numbers of the versions; none if they were gone before.
    pub destroyed: Vec<u32>,
    /// Which of them were still needed.
    pub needed: Vec<NeededVersion<'a>>,
    /// Whether the secret can be made again from the master key: version 1 of `default`.
    pub from_master: bool,
    /// Generation of the keyring that says so.
    pub generation: u64,
}

/// A version that was still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct NeededVersion<'a> {
    /// Its number.
    pub version: u32,
    /// What for, for people.
    pub why: &'a str,
}
