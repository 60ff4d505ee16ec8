//! The operations: one vocabulary for wire, command line, rights, audit and documentation.
//!
//! A new operation is a file here, a line in the list below, and a file in the daemon's `ops` folder.

mod agent;
mod data;
mod derived;
mod keys;
mod life;
mod oversight;
mod recovery;
mod redacted;

pub use agent::{
    Check, CheckResult, FEATURE_BATCH, FEATURE_ON_BEHALF_OF, Field, Health, HealthReply, Hello, HelloReply,
    HelloRequest, Limits, Lock, LockReply, MAX_CLIENT_NAME_BYTES, OnBehalfOf, PROTOCOL_VERSION, Reload,
    ReloadReply, Status, StatusReply, Stop, Unlock, UnlockReply, UnlockRequest,
};
pub use data::{
    DataKey, DataKeyOpen, DataKeyOpenReply, DataKeyOpenRequest, DataKeyReply, DataKeyRequest, Decrypt,
    DecryptReply, DecryptReplyHead, DecryptRequest, Encrypt, EncryptReply, EncryptReplyHead, EncryptRequest,
};
pub use derived::{
    Batch, BatchReply, BatchRequest, HMAC_ID_BYTES, HMAC_TAG_BYTES, HmacReply, HmacRequest, HmacTag, JwtSign,
    JwtSignReply, JwtSignRequest, JwtVerify, JwtVerifyReply, JwtVerifyRequest, MAX_LEEWAY_SECONDS,
    MAX_RANDOM_BYTES, MAX_TOKEN_BYTES, Random, RandomReply, RandomRequest, Rewrap, RewrapReply,
    RewrapReplyHead, RewrapRequest, VersionTag,
};
pub use keys::{
    KeyCreate, KeyCreateReply, KeyCreateRequest, KeyDisable, KeyDisableRequest, KeyEnable, KeyEnableRequest,
    KeyEntry, KeyList, KeyListReply, KeyListRequest, KeyStanding, KeysChangedReply, MAX_REASON_BYTES,
    VersionEntry,
};
pub use life::{
    KeyConfigure, KeyConfigureReply, KeyConfigureRequest, KeyDestroy, KeyDestroyReply, KeyDestroyRequest,
    KeyPromote, KeyReinstate, KeyRetire, KeyRotate, KeyRotateReply, KeyRotateRequest, KeyShow, KeyShowReply,
    KeyShowRequest, NeededVersion, RotationPolicy, Takeover, VersionReply, VersionRequest, VersionUsage,
};
pub use oversight::{
    AuditQuery, AuditQueryReply, AuditQueryRequest, MAX_AUDIT_QUERY_BYTES, MAX_WATCH_MILLISECONDS,
    Maintenance, MaintenanceReply, MaintenanceRequest, Watch, WatchEvent, WatchReply, WatchRequest,
    WatchSeverity,
};

pub use recovery::{
    BackupCreate, BackupCreateReply, BackupCreateRequest, BackupRestore, BackupRestoreReply,
    BackupRestoreRequest, MasterRotate, MasterRotateReply, MasterRotateRequest, MasterStep, RestoreOutcome,
    RestoredKey,
};

use crate::codec::{BorrowDecode, Encode};

/// An operation: its number and the shapes of request and reply.
pub trait Operation {
    /// Which line of the list this is.
    const CODE: OperationCode;
    /// What the client sends.
    type Request<'a>: Encode + BorrowDecode<'a, ()>;
    /// What the daemon answers on success.
    type Reply<'a>: Encode + BorrowDecode<'a, ()>;
}

macro_rules! operation_list {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// The number of an operation in a request frame.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum OperationCode { $($(#[$doc])* $variant = $number,)* }

        impl OperationCode {
            /// Every operation of this version, in order of number.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The operation of a number; `None` when this version does not know it.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
            /// The word: on the command line, in rights, in the audit log.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

operation_list! {
    /// Opens a connection: versions, limits, client name. Decodable for ever.
    Hello = 1, "hello";
    /// What the daemon is doing. Decodable for ever.
    Status = 2, "status";
    /// A round trip through a stored canary and every check.
    Health = 3, "health";
    /// Ends the daemon. Decodable for ever.
    Stop = 4, "stop";
    /// Wipes every key from memory.
    Lock = 5, "lock";
    /// Opens the keyring again.
    Unlock = 6, "unlock";
    /// Reads configuration and keyring again.
    Reload = 7, "reload";
    /// Begins or ends maintenance: nothing new is sealed, everything old opens.
    Maintenance = 8, "maintenance";
    /// Lines of the audit log by sequence and time.
    AuditQuery = 9, "audit_query";
    /// What happens from now on: alerts and changes of state.
    Watch = 10, "watch";
    /// Seals a message under the primary version of a key.
    Encrypt = 16, "encrypt";
    /// Opens a message under the version that sealed it.
    Decrypt = 17, "decrypt";
    /// Seals anew, under the primary version, what an older one sealed.
    Rewrap = 18, "rewrap";
    /// Makes a data key, plain and sealed.
    DataKey = 19, "data_key";
    /// Opens a sealed data key.
    DataKeyOpen = 20, "data_key_open";
    /// The tag of a value: a blind index.
    Hmac = 21, "hmac";
    /// Signs a JSON Web Token.
    JwtSign = 22, "jwt_sign";
    /// Checks a JSON Web Token.
    JwtVerify = 23, "jwt_verify";
    /// Random bytes.
    Random = 24, "random";
    /// Many requests of one operation on data at once.
    Batch = 25, "batch";
    /// Makes a named key.
    KeyCreate = 32, "key_create";
    /// Names and states of the keys that the caller may know of.
    KeyList = 33, "key_list";
    /// Everything that may be known of one key.
    KeyShow = 34, "key_show";
    /// Changes what is said about a key.
    KeyConfigure = 35, "key_configure";
    /// Makes a new version of a key.
    KeyRotate = 36, "key_rotate";
    /// Makes a staged version primary.
    KeyPromote = 37, "key_promote";
    /// Refuses what a version sealed, until it is reinstated.
    KeyRetire = 38, "key_retire";
    /// Opens again what a retired version sealed.
    KeyReinstate = 39, "key_reinstate";
    /// Refuses a key, or all of them, until it is enabled again.
    KeyDisable = 40, "key_disable";
    /// Serves a disabled key again.
    KeyEnable = 41, "key_enable";
    /// Removes the secret of a version or of a whole key for ever.
    KeyDestroy = 42, "key_destroy";
    /// Keys, sealed under a backup key.
    BackupCreate = 45, "backup_create";
    /// Takes keys of a backup in.
    BackupRestore = 46, "backup_restore";
    /// Seals the keyring under another master key.
    MasterRotate = 47, "master_rotate";
}

impl OperationCode {
    /// Allowed as the first request of a connection, without `hello`.
    pub const fn before_hello(self) -> bool {
        matches!(self, Self::Hello | Self::Status | Self::Stop)
    }
}

/// The body of every reply whose code is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct ErrorReply<'a> {
    /// What happened.
    pub what: &'a str,
    /// Why; may be empty.
    pub why: &'a str,
    /// The command that mends it; may be empty.
    pub fix: &'a str,
}

/// A request or reply without fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, BorrowDecode)]
pub struct Empty {}
