//! Operations on keys: `key_create`, `key_list`, `key_disable`, `key_enable`.

use alloc::vec::Vec;

use super::{Operation, OperationCode};
use crate::codec::{BorrowDecode, Encode};

/// Longest reason that an operator gives, in bytes.
pub const MAX_REASON_BYTES: usize = 256;

/// `key_create`: makes a named key with one random version. Never happens by itself.
#[derive(Debug)]
pub enum KeyCreate {}

impl Operation for KeyCreate {
    const CODE: OperationCode = OperationCode::KeyCreate;
    type Request<'a> = KeyCreateRequest<'a>;
    type Reply<'a> = KeyCreateReply;
}

/// Which key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyCreateRequest<'a> {
    /// A name that is free.
    pub key: &'a str,
    /// Class of docs/FORMATS.md, section 6; 1 for messages.
    pub class: u8,
    /// For people; at most 1024 bytes.
    pub note: &'a str,
}

/// The new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyCreateReply {
    /// Number of its version.
    pub version: u32,
    /// Id of its version.
    pub key_id: [u8; 32],
    /// Generation of the keyring that holds it.
    pub generation: u64,
}

/// `key_list`: the keys on which the caller has any right, or all of them for whoever oversees the agent.
#[derive(Debug)]
pub enum KeyList {}

impl Operation for KeyList {
    const CODE: OperationCode = OperationCode::KeyList;
    type Request<'a> = KeyListRequest<'a>;
    type Reply<'a> = KeyListReply<'a>;
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyListRequest<'a> {
    /// Only names behind this one; empty for all.
    pub after: &'a str,
    /// Most keys in the reply; the daemon may give fewer.
    pub limit: u32,
}

/// Keys by name, ascending bytewise.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyListReply<'a> {
    /// The keys.
    pub keys: Vec<KeyEntry<'a>>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

/// What an operator may know of a key; nothing of its secret.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyEntry<'a> {
    /// Its name.
    pub name: &'a str,
    /// Class of docs/FORMATS.md, section 6.
    pub class: u8,
    /// Whether it is served.
    pub standing: KeyStanding,
    /// Why it is not served; empty when it is.
    pub standing_reason: &'a str,
    /// Seconds since 1970.
    pub created_at: u64,
    /// When the next rotation is due, planned or owed, in seconds since 1970; 0 for no such time.
    pub due_at: u64,
    /// Why it is due; empty without such a time.
    pub due_reason: &'a str,
    /// Whether it rotates by itself when that is due.
    pub rotates: bool,
    /// Where it is used, such as `production`; empty if nothing is said.
    pub environment: &'a str,
    /// For people.
    pub note: &'a str,
    /// Who has a right on it, by the policy in use; only for whoever oversees the agent, else empty.
    pub access: Vec<&'a str>,
    /// Its versions by number.
    pub versions: Vec<VersionEntry>,
}

/// Whether a key is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum KeyStanding {
    /// It is.
    Active,
    /// An operator disabled it.
    Disabled,
    /// Somebody else may know it.
    Compromised,
}

/// A version of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct VersionEntry {
    /// Its number.
    pub number: u32,
    /// State of docs/FORMATS.md, section 3.
    pub state: u8,
    /// Why it was made, as there.
    pub reason: u8,
    /// Seconds since 1970.
    pub created_at: u64,
    /// The id in its messages; zeros when destroyed.
    pub key_id: [u8; 32],
    /// When it was last used for anything, in seconds since 1970; 0 = never, or not for the caller to know.
    pub used_at: u64,
}

/// `key_disable`: the key is refused at once and after every restart, until `key_enable`.
#[derive(Debug)]
pub enum KeyDisable {}

impl Operation for KeyDisable {
    const CODE: OperationCode = OperationCode::KeyDisable;
    type Request<'a> = KeyDisableRequest<'a>;
    type Reply<'a> = KeysChangedReply;
}

/// Which keys to refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyDisableRequest<'a> {
    /// Name of the key; empty for every key there is.
    pub key: &'a str,
    /// Number of the version, which must not be primary; 0 for the whole key.
    pub version: u32,
    /// Mark it as known to somebody else; only lifted by an explicit word.
    pub compromised: bool,
    /// Why, for the record; at most [`MAX_REASON_BYTES`].
    pub reason: &'a str,
}

/// `key_enable`: serves a disabled key again.
#[derive(Debug)]
pub enum KeyEnable {}

impl Operation for KeyEnable {
    const CODE: OperationCode = OperationCode::KeyEnable;
    type Request<'a> = KeyEnableRequest<'a>;
    type Reply<'a> = KeysChangedReply;
}

/// Which keys to serve again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeyEnableRequest<'a> {
    /// Name of the key; empty for every key there is.
    pub key: &'a str,
    /// Number of the version; 0 for the whole key.
    pub version: u32,
    /// Lift the mark of a compromised key too.
    pub lift_compromised: bool,
    /// Why, for the record; at most [`MAX_REASON_BYTES`].
    pub reason: &'a str,
}

/// What a brake changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct KeysChangedReply {
    /// How many keys, or whether the version, are in another state than before.
    pub changed: u32,
    /// Generation of the keyring that says so.
    pub generation: u64,
}
