//! Decoded messages as `common/vectors/messages.json` writes them. New fields and choices stop the compiler.

use keyagent_common::op::*;
use serde_json::{Value, json};

/// A decoded value as the vectors write it.
pub(crate) trait Shown {
    fn shown(&self) -> Value;
}

macro_rules! shown_as_they_are {
    ($($type:ty),*) => {$(impl Shown for $type { fn shown(&self) -> Value { json!(self) } })*};
}
shown_as_they_are!(u8, u16, u32, u64, bool, &str);

impl Shown for &[u8] {
    fn shown(&self) -> Value {
        hex::encode(self).into()
    }
}

impl<const N: usize> Shown for [u8; N] {
    fn shown(&self) -> Value {
        hex::encode(self).into()
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> Value {
        self.as_ref().map_or(Value::Null, Shown::shown)
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn shown(&self) -> Value {
        self.iter().map(Shown::shown).collect()
    }
}

/// A choice by the word of the vectors.
macro_rules! shown_by_word {
    ($($type:ident { $($variant:ident = $word:literal),* })*) => {$(
        impl Shown for $type {
            fn shown(&self) -> Value {
                match self { $(Self::$variant => $word),* }.into()
            }
        }
    )*};
}
shown_by_word! {
    CheckResult { Ok = "ok", Warning = "warning", Failed = "failed" }
    KeyStanding { Active = "active", Disabled = "disabled", Compromised = "compromised" }
    WatchSeverity { Info = "info", Warning = "warning", Critical = "critical" }
    Takeover { Staged = "staged", Grace = "grace", RefuseOld = "refuse_old" }
    RestoreOutcome {
        Same = "same", Added = "added", Extended = "extended", Replaced = "replaced", Differs = "differs"
    }
    MasterStep { Begin = "begin", Finish = "finish", Abandon = "abandon" }
}

/// Every field by name; the pattern without `..` makes the compiler ask for new ones.
macro_rules! shown_by_field {
    ($($type:ident { $($field:ident),* })*) => {$(
        impl Shown for shown_by_field!(@type $type) {
            fn shown(&self) -> Value {
                let $type { $($field),* } = self;
                json!({ $(stringify!($field): $field.shown()),* })
            }
        }
    )*};
    (@type Limits) => { Limits };
    (@type LockReply) => { LockReply };
    (@type UnlockReply) => { UnlockReply };
    (@type ReloadReply) => { ReloadReply };
    (@type Empty) => { Empty };
    (@type MaintenanceReply) => { MaintenanceReply };
    (@type AuditQueryRequest) => { AuditQueryRequest };
    (@type WatchRequest) => { WatchRequest };
    (@type KeyCreateReply) => { KeyCreateReply };
    (@type KeysChangedReply) => { KeysChangedReply };
    (@type VersionEntry) => { VersionEntry };
    (@type RotationPolicy) => { RotationPolicy };
    (@type VersionUsage) => { VersionUsage };
    (@type KeyRotateReply) => { KeyRotateReply };
    (@type VersionReply) => { VersionReply };
    (@type RandomRequest) => { RandomRequest };
    (@type MasterRotateReply) => { MasterRotateReply };
    (@type $type:ident) => { $type<'_> };
}
shown_by_field! {
    Empty {}
    HelloRequest { protocol_min, protocol_max, client }
    HelloReply { protocol, protocol_min, protocol_max, server, instance, features, limits }
    Limits { frame_length, message, context, in_flight }
    StatusReply { fields }
    Field { name, value }
    HealthReply { status, error, checks }
    Check { name, result, message }
    LockReply { changed, unlockable_here }
    UnlockRequest { master }
    UnlockReply { changed, fingerprint }
    ReloadReply { generation, policy, policy_changed }
    EncryptRequest { key, context, plaintext }
    EncryptReply { version, envelope }
    DecryptRequest { context, envelope }
    DecryptReply { version, current, plaintext }
    DataKeyRequest { key, context, kind }
    DataKeyReply { version, plain, envelope }
    DataKeyOpenRequest { context, envelope }
    DataKeyOpenReply { version, current, plain }
    ErrorReply { what, why, fix }
    OnBehalfOf { uid, gid, unit }
    MaintenanceRequest { on, reason }
    MaintenanceReply { changed }
    AuditQueryRequest { from_seq, to_seq, from_micros, to_micros, max_bytes }
    AuditQueryReply { first_seq, last_seq, next_seq, lines }
    WatchRequest { after, wait_milliseconds }
    WatchReply { next, lost, events }
    WatchEvent { number, unix_micros, kind, severity, key, message }
    KeyCreateRequest { key, class, note }
    KeyCreateReply { version, key_id, generation }
    KeyListRequest { after, limit }
    KeyListReply { keys, more }
    KeyEntry {
        name,
        class,
        standing,
        standing_reason,
        created_at,
        due_at,
        due_reason,
        rotates,
        environment,
        note,
        access,
        versions
    }
    VersionEntry { number, state, reason, created_at, key_id, used_at }
    KeyDisableRequest { key, version, compromised, reason }
    KeyEnableRequest { key, version, lift_compromised, reason }
    KeysChangedReply { changed, generation }
    RewrapRequest { context, envelope }
    RewrapReply { version, changed, envelope }
    HmacRequest { key, context, value, tag_bytes, every_version }
    HmacReply { tags }
    VersionTag { version, tag }
    JwtSignRequest { key, claims }
    JwtSignReply { version, token }
    JwtVerifyRequest { key, token, leeway_seconds }
    JwtVerifyReply { version, current, claims }
    RandomRequest { bytes }
    RandomReply { random }
    BatchRequest { operation, items }
    BatchReply { results }
    KeyShowRequest { key }
    KeyShowReply { key, policy, purpose, owner, url, usage, generation }
    RotationPolicy {
        enabled, interval_days, grace_period_days, next_rotation_at, last_rotation_at, auto_retire
    }
    VersionUsage {
        number, encryptions, decryptions, encrypted_at, decrypted_at, exact, grace_ends_at
    }
    KeyConfigureRequest {
        key,
        enabled,
        interval_days,
        grace_period_days,
        auto_retire,
        environment,
        purpose,
        owner,
        url,
        note
    }
    KeyConfigureReply { changed, next_rotation_at, generation }
    KeyRotateRequest { key, reason, takeover, lift, note }
    KeyRotateReply { version, key_id, replaced, replaced_state, lifted, next_rotation_at, generation }
    VersionRequest { key, version, reason }
    VersionReply { version, key_id, from, to, replaced, generation }
    KeyDestroyRequest { key, version, force, reason }
    KeyDestroyReply { destroyed, needed, from_master, generation }
    NeededVersion { version, why }
    BackupCreateRequest { backup_key, keys, after }
    BackupCreateReply { keyring_id, epoch, generation, master, page, next }
    BackupRestoreRequest { backup_key, page, dry_run, promote }
    BackupRestoreReply { keys, generation }
    RestoredKey { name, outcome, added, why }
    MasterRotateRequest { step, current, next }
    MasterRotateReply { masters, epoch, generation }
}
