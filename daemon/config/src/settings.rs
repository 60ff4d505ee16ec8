//! The settings, typed: what the daemon acts on.

use std::{path::PathBuf, time::Duration};

/// Every setting but the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `[daemon] key_file`: the master key's file; ends the search for other sources. Absolute path in a file.
    /// Also `$KEYAGENT_KEY_FILE` and `--key-file`.
    pub key_file: Option<PathBuf>,
    /// `[daemon] state_dir`: one folder for keyring, audit log and lock file. Also `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `[daemon] log`: how errors are written. Also `$KEYAGENT_LOG` and `--log`.
    pub log: LogFormat,
    /// `[[listen]]`: at least one.
    pub listeners: Vec<Listener>,
    /// `[lock]`
    pub lock: LockSettings,
    /// `[audit]`
    pub audit: AuditSettings,
    /// `[alerts]`
    pub alerts: AlertSettings,
    /// `[policy] rotation_due`: when a key is to be rotated after somebody lost a right on it.
    pub rotation_due: Duration,
}

/// How errors are written on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// One socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name that rules call it by: 1 to 64 of `a-z 0-9 . _ -`.
    pub name: String,
    /// Absolute path of at most 107 bytes; absent: the layout's socket.
    pub path: Option<PathBuf>,
    /// Rights of the socket's file.
    pub mode: SocketMode,
    /// Group of the socket's file; absent: the daemon's own. Only with [`SocketMode::Group`].
    pub group: Option<u32>,
}

/// Rights of a socket's file. Who may do what is decided by the policy; this only keeps others away earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketMode {
    /// `0600`: the daemon's user (and root).
    Owner,
    /// `0660`: also members of the group.
    Group,
    /// `0666`: whoever reaches the folder.
    Everybody,
}

impl SocketMode {
    /// The permission bits.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o660,
            Self::Everybody => 0o666,
        }
    }

    /// As it is written in the file.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Owner => "0600",
            Self::Group => "0660",
            Self::Everybody => "0666",
        }
    }
}

/// When the agent locks itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockSettings {
    /// `idle`: after so long without an operation on data; absent: never. At least 1 s.
    pub idle: Option<Duration>,
    /// `absolute`: so long after it was unlocked; absent: never. At least 1 s.
    pub absolute: Option<Duration>,
}

/// How the audit log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// `durability`: when a reply may go out.
    pub durability: Durability,
    /// `rotate_size`: a new file after so many bytes. At least 64 KiB.
    pub rotate_size: u64,
    /// `rotate_age`: a new file after so long; absent: by size only. At least 1 min.
    pub rotate_age: Option<Duration>,
    /// `keep`: files whose last line is older may be deleted. At least 1 h.
    pub keep: Duration,
    /// `budget`: most bytes of all files together. At least twice `rotate_size`.
    pub budget: u64,
    /// `warn_percent`: of the budget, 1 to 99; from there on a warning.
    pub warn_percent: u8,
    /// `when_full`: what happens when the budget is used up.
    pub when_full: WhenFull,
    /// `journald`: what also goes to the journal.
    pub journald: Journald,
}

/// When a reply may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The line was handed to the kernel: it survives the daemon, not a power loss.
    Write,
    /// The line is on the disk.
    Fsync,
}

/// What happens when the audit log's budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest file goes, and a line says so.
    DeleteOldest,
    /// Requests are refused until somebody made room.
    Refuse,
}

/// What also goes to the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journald {
    /// Nothing.
    Off,
    /// Alerts.
    Alerts,
    /// Every line.
    All,
}

/// When somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertSettings {
    /// `decryption_failures`: more than so many within the window are told. 1 to 1 000 000.
    pub decryption_failures: u32,
    /// `window`: 1 s to 7 days.
    pub window: Duration,
}
