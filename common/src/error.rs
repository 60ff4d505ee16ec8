//! The one table of public errors: number on the wire, name, exit code of a command, HTTP and gRPC
//! status for bridges (docs/PROTOCOL.md, "Errors").
//!
//! Numbers below 100 exist for replies; those from 100 on are about a process's own surroundings (start of
//! the daemon, client), and travel only where an operation meets the same failure, as `unlock` may. Numbers
//! are never reused; a peer treats an unknown one as an error all the same.

use core::fmt;

macro_rules! error_table {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, exit $exit:literal, http $http:literal, grpc $grpc:literal;)*) => {
        /// A public error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ErrorCode { $($(#[$doc])* $variant = $number,)* }

        impl ErrorCode {
            /// Every row of the table, in order of number.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The error of a number; `None` when this version does not know it.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
            /// Stable name, upper case.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// Exit code of a command that ends with this error (sysexits where one fits).
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$variant => $exit,)* }
            }
            /// HTTP status for a bridge.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)* }
            }
            /// gRPC status for a bridge.
            pub const fn grpc_status(self) -> u8 {
                match self { $(Self::$variant => $grpc,)* }
            }
        }
    };
}

error_table! {
    /// Frame or body do not follow the protocol.
    Malformed = 1, "MALFORMED", exit 76, http 400, grpc 3;
    /// The operation's number is not known to this daemon.
    UnknownOperation = 2, "UNKNOWN_OPERATION", exit 76, http 501, grpc 12;
    /// No protocol version is spoken by both sides.
    ProtocolMismatch = 3, "PROTOCOL_MISMATCH", exit 76, http 400, grpc 9;
    /// The first request of a connection is none of `hello`, `status` and `stop`.
    HelloRequired = 4, "HELLO_REQUIRED", exit 76, http 400, grpc 9;
    /// A message or context exceeds the announced limits.
    TooLarge = 5, "TOO_LARGE", exit 64, http 413, grpc 11;
    /// A key name, context or kind is not valid.
    InvalidRequest = 6, "INVALID_REQUEST", exit 64, http 400, grpc 3;
    /// The ciphertext is malformed, changed, or bound to another context.
    DoesNotOpen = 7, "DOES_NOT_OPEN", exit 65, http 422, grpc 3;
    /// No key version with this id is in the keyring.
    UnknownKeyId = 8, "UNKNOWN_KEY_ID", exit 79, http 404, grpc 5;
    /// No key with this name is in the keyring.
    UnknownKey = 9, "UNKNOWN_KEY", exit 79, http 404, grpc 5;
    /// Not allowed for this caller.
    Denied = 10, "DENIED", exit 77, http 403, grpc 7;
    /// The agent is locked.
    Locked = 11, "LOCKED", exit 75, http 503, grpc 14;
    /// A limit on connections, buffers or requests is reached; try again.
    Busy = 12, "BUSY", exit 75, http 429, grpc 8;
    /// The master key is not the one of this keyring.
    WrongMasterKey = 13, "WRONG_MASTER_KEY", exit 79, http 409, grpc 9;
    /// The master key's source cannot be read a second time.
    NotUnlockable = 14, "NOT_UNLOCKABLE", exit 78, http 409, grpc 9;
    /// The keyring could not be read or written.
    StoreFailed = 15, "STORE_FAILED", exit 74, http 500, grpc 13;
    /// The audit log could not be written, so the request was refused.
    AuditUnwritable = 16, "AUDIT_UNWRITABLE", exit 74, http 500, grpc 13;
    /// The daemon is ending.
    ShuttingDown = 17, "SHUTTING_DOWN", exit 75, http 503, grpc 14;
    /// A bug: please report it.
    Internal = 18, "INTERNAL", exit 70, http 500, grpc 13;
    /// The keyring or audit log is damaged or was changed from outside.
    Damaged = 19, "DAMAGED", exit 65, http 500, grpc 15;

    /// A rule's limit on the rate of requests is reached; try again.
    RateLimited = 20, "RATE_LIMITED", exit 75, http 429, grpc 8;
    /// The agent is in maintenance: nothing new is sealed, everything old opens.
    Maintenance = 21, "MAINTENANCE", exit 75, http 503, grpc 14;
    /// The key was disabled by an operator.
    KeyDisabled = 22, "KEY_DISABLED", exit 79, http 409, grpc 9;
    /// The key is marked as compromised.
    KeyCompromised = 23, "KEY_COMPROMISED", exit 79, http 409, grpc 9;
    /// A key of this name exists already.
    KeyExists = 24, "KEY_EXISTS", exit 73, http 409, grpc 6;
    /// The version is retired: what it sealed is refused until it is reinstated.
    VersionRetired = 25, "VERSION_RETIRED", exit 79, http 409, grpc 9;
    /// The version was stopped: it is disabled, compromised or destroyed.
    VersionStopped = 26, "VERSION_STOPPED", exit 79, http 409, grpc 9;
    /// The key or version is in a state that does not allow this.
    WrongState = 27, "WRONG_STATE", exit 78, http 409, grpc 9;
    /// Somebody still needs what would be destroyed.
    StillNeeded = 28, "STILL_NEEDED", exit 78, http 409, grpc 9;
    /// The class of the key is not one for this operation.
    WrongClass = 29, "WRONG_CLASS", exit 64, http 400, grpc 9;
    /// Another key of this name, with other secrets, is in the keyring.
    KeyDiffers = 30, "KEY_DIFFERS", exit 73, http 409, grpc 6;
    /// The token is not one that this key signed, or its time is over.
    TokenRefused = 31, "TOKEN_REFUSED", exit 65, http 401, grpc 16;

    /// The command line is wrong.
    Usage = 100, "USAGE", exit 64, http 400, grpc 3;
    /// The input cannot be read.
    InputMissing = 101, "INPUT_MISSING", exit 66, http 404, grpc 5;
    /// Nobody listens on the agent's socket.
    AgentUnreachable = 102, "AGENT_UNREACHABLE", exit 69, http 503, grpc 14;
    /// The output cannot be created, or exists.
    CannotCreate = 103, "CANNOT_CREATE", exit 73, http 500, grpc 6;
    /// Reading or writing failed on the way.
    InputOutput = 104, "INPUT_OUTPUT", exit 74, http 500, grpc 13;
    /// The agent did not answer in time.
    Timeout = 105, "TIMEOUT", exit 75, http 504, grpc 4;
    /// Rights, owner, kind or place of the key file are unsafe.
    KeyPermissions = 106, "KEY_PERMISSIONS", exit 77, http 500, grpc 7;
    /// The key's text is not a key.
    KeyMalformed = 107, "KEY_MALFORMED", exit 78, http 500, grpc 9;
    /// No source holds a master key.
    KeyMissing = 108, "KEY_MISSING", exit 78, http 500, grpc 9;
    /// Two sources hold different master keys.
    KeySourcesDisagree = 109, "KEY_SOURCES_DISAGREE", exit 78, http 500, grpc 9;
    /// There is a master key but no keyring.
    KeyringMissing = 110, "KEYRING_MISSING", exit 78, http 500, grpc 9;
    /// An option, variable or folder is not usable as configured.
    Configuration = 111, "CONFIGURATION", exit 78, http 500, grpc 9;
    /// The kernel does not let this process lock memory.
    MemoryNotLocked = 112, "MEMORY_NOT_LOCKED", exit 78, http 500, grpc 9;
    /// Another daemon serves this store or socket.
    AlreadyRunning = 113, "ALREADY_RUNNING", exit 75, http 409, grpc 6;
    /// Keyring and audit log are out of step: one of them is older than the other.
    Rollback = 114, "ROLLBACK", exit 65, http 500, grpc 15;
    /// The audit log was changed.
    AuditTampered = 115, "AUDIT_TAMPERED", exit 65, http 500, grpc 15;
    /// The listener on the socket is not an agent this user trusts.
    UntrustedAgent = 116, "UNTRUSTED_AGENT", exit 77, http 500, grpc 7;
    /// Something stands already where `init` would create it.
    AlreadyInitialized = 117, "ALREADY_INITIALIZED", exit 73, http 409, grpc 6;
    /// The input is no ciphertext of keyagent.
    NotCiphertext = 118, "NOT_CIPHERTEXT", exit 65, http 400, grpc 3;
    /// The passphrase does not open the protected master key.
    WrongPassphrase = 119, "WRONG_PASSPHRASE", exit 79, http 403, grpc 7;
    /// The file is no backup, or damaged.
    BackupDamaged = 120, "BACKUP_DAMAGED", exit 65, http 400, grpc 15;
    /// Nothing that was given opens the backup.
    BackupNotOpened = 121, "BACKUP_NOT_OPENED", exit 79, http 403, grpc 7;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn numbers_and_names_are_unique_and_exit_codes_are_documented_ones() {
        let documented = [64, 65, 66, 69, 70, 73, 74, 75, 76, 77, 78, 79];
        let numbers: BTreeSet<u16> = ErrorCode::ALL.iter().map(|code| *code as u16).collect();
        let names: BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!((numbers.len(), names.len()), (ErrorCode::ALL.len(), ErrorCode::ALL.len()));
        for code in ErrorCode::ALL {
            assert!(documented.contains(&code.exit_code()), "{code}");
            assert_eq!(ErrorCode::from_number(*code as u16), Some(*code));
        }
        assert_eq!(ErrorCode::from_number(0), None);
    }
}
