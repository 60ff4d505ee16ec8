//! Why a key file was refused, in the words a person needs.
//!
//! Must never carry content of the file: only its path and what the kernel says about it.

use std::path::{Path, PathBuf};

use keyagent_common::error::ErrorCode;
use keyagent_common::report::escape;
use nix::errno::Errno;
use nix::unistd::{Uid, User};

/// A key file that was not read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", self.what(), shown(&self.path))]
pub(crate) struct KeyFileError {
    /// The file, or the folder on the way to it, that is at fault.
    pub(crate) path: PathBuf,
    /// What is wrong with it.
    pub(crate) kind: Kind,
}

/// What is wrong with a key file or a folder above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The file, or a folder on the way to it, does not exist.
    Missing,
    /// The path is not absolute, contains `..`, or names no file.
    NotPlain,
    /// The path, or a link on it, leads out of the credential folder.
    OutsideFolder {
        /// The credential folder.
        folder: PathBuf,
    },
    /// A system call failed; `EACCES` when the file may not be read.
    Failed {
        /// The call.
        call: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// A component is a symbolic link.
    Link,
    /// A component before the last is no folder.
    NotAFolder,
    /// A folder belongs to another user.
    ForeignFolder {
        /// Its uid.
        owner: u32,
    },
    /// Group or others may write into a folder.
    WritableFolder {
        /// Permission bits.
        mode: u32,
        /// Its uid.
        owner: u32,
    },
    /// No regular file.
    NotAFile {
        /// What it is.
        what: &'static str,
    },
    /// The file has further names.
    HardLinks {
        /// How many names in all.
        count: nix::libc::nlink_t,
    },
    /// The file belongs to another user.
    ForeignFile {
        /// Permission bits.
        mode: u32,
        /// Its uid.
        owner: u32,
    },
    /// Others than the owner have rights to the file, or it has bits a key file has no use for.
    Mode {
        /// Permission bits.
        mode: u32,
        /// Its uid.
        owner: u32,
        /// Whether somebody else (systemd, Kubernetes) manages the file.
        managed: bool,
    },
    /// Longer than any form of a key.
    TooLong {
        /// Bytes it has.
        size: u64,
        /// Bytes allowed.
        room: usize,
    },
    /// Somebody wrote to the file, or changed its rights, while it was read.
    Changed,
}

impl KeyFileError {
    pub(super) fn new(path: &Path, kind: Kind) -> Self {
        Self { path: path.to_owned(), kind }
    }

    /// Whether the file does not exist; every other error means that something is there and must not be passed over.
    pub(crate) fn missing(&self) -> bool {
        self.kind == Kind::Missing
    }

    /// The row of the error table: ownership, rights and links are one, the file itself is another.
    pub(crate) fn code(&self) -> ErrorCode {
        match &self.kind {
            Kind::Missing => ErrorCode::KeyMissing,
            Kind::NotPlain | Kind::NotAFolder => ErrorCode::Configuration,
            Kind::NotAFile { .. } | Kind::TooLong { .. } | Kind::Changed => ErrorCode::KeyMalformed,
            _ => ErrorCode::KeyPermissions,
        }
    }

    /// What happened, in a few words without the path: `key file is readable by others`.
    pub(crate) fn what(&self) -> String {
        match &self.kind {
            Kind::Missing => "key file does not exist".into(),
            Kind::NotPlain => "key file path is not an absolute path to a file".into(),
            Kind::OutsideFolder { .. } => "key file lies outside the credential folder".into(),
            Kind::Failed { call: "read", .. } => "key file cannot be read".into(),
            Kind::Failed { .. } => "key file cannot be opened".into(),
            Kind::Link => "path of the key file contains a symbolic link".into(),
            Kind::NotAFolder => "path of the key file leads through something that is no folder".into(),
            Kind::ForeignFolder { .. } => "folder above the key file belongs to another user".into(),
            Kind::WritableFolder { .. } => "folder above the key file is writable by others".into(),
            Kind::NotAFile { what } => format!("key file is {what}, not a regular file"),
            Kind::HardLinks { .. } => "key file has more than one name".into(),
            Kind::ForeignFile { .. } => "key file belongs to another user".into(),
            Kind::Mode { mode, .. } if mode & 0o044 != 0 => "key file is readable by others".into(),
            Kind::Mode { mode, .. } if mode & 0o022 != 0 => "key file is writable by others".into(),
            Kind::Mode { .. } => "key file has more permission bits than a key file needs".into(),
            Kind::TooLong { .. } => "key file is too long to be a key".into(),
            Kind::Changed => "key file changed while it was read".into(),
        }
    }

    /// The path at fault and what the kernel says about it: `file`, `/home/ana/key   mode 0644, owner ana`.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let said = match &self.kind {
            Kind::Failed { call, errno } => format!("{call}: {}", errno.desc()),
            Kind::OutsideFolder { folder } => format!("folder {}", shown(folder)),
            Kind::ForeignFolder { owner } => format!("owner {}", user_name(*owner)),
            Kind::WritableFolder { mode, owner }
            | Kind::ForeignFile { mode, owner }
            | Kind::Mode { mode, owner, .. } => format!("mode {mode:04o}, owner {}", user_name(*owner)),
            Kind::HardLinks { count } => format!("{count} hard links"),
            Kind::TooLong { size, room } => format!("{size} bytes, at most {room} allowed"),
            _ => String::new(),
        };
        let label = match &self.kind {
            Kind::ForeignFolder { .. } | Kind::WritableFolder { .. } => "folder",
            Kind::Link | Kind::NotAFolder => "path",
            _ => "file",
        };
        vec![(label, format!("{}   {said}", shown(&self.path)).trim_end().to_owned())]
    }

    /// Why that is refused.
    pub(crate) fn why(&self) -> String {
        match &self.kind {
            Kind::Missing => "there is no such file, or no such folder on the way to it",
            Kind::NotPlain => "a relative path or `..` can mean another file tomorrow",
            Kind::OutsideFolder { .. } => {
                "whoever fills the folder vouches for what lies beneath it, and for nothing else"
            }
            Kind::Failed { .. } => {
                "a key file that is present but cannot be read is an error, never an absent one"
            }
            Kind::Link => "whoever can change the link chooses the key",
            Kind::NotAFolder => "every component before the last must be a folder",
            Kind::ForeignFolder { .. } => {
                "its owner could put another key in place; root or the daemon's own user must own it"
            }
            Kind::WritableFolder { .. } => {
                "others could put another key in place; a sticky bit does not prevent that"
            }
            Kind::NotAFile { .. } => "a key is read from a regular file only",
            Kind::HardLinks { .. } => "the same key lies under another name, with other folders around it",
            Kind::ForeignFile { .. } => {
                "its owner knows and can change the key; root or the daemon's own user must own it"
            }
            Kind::Mode { mode, .. } if mode & 0o044 != 0 => {
                "any local user could copy the master key; treat it as exposed if this machine is shared"
            }
            Kind::Mode { mode, .. } if mode & 0o022 != 0 => "others could put another key in place",
            Kind::Mode { .. } => "only the owner's read and write bits mean anything on a key file",
            Kind::TooLong { .. } => "a key file holds 64 hex characters or the base64 of 32 bytes",
            Kind::Changed => "what was read may be half of one key and half of another",
        }
        .into()
    }

    /// The command to type, where one command is the answer.
    pub(crate) fn fix(&self) -> Option<String> {
        let path = word(&self.path)?;
        let me = Uid::effective();
        let sudo = |owner: u32| if me.is_root() || me.as_raw() == owner { "" } else { "sudo " };
        match &self.kind {
            Kind::Missing => Some("keyagent init".into()),
            Kind::Mode { owner, managed: false, .. } => Some(format!("{}chmod 600 {path}", sudo(*owner))),
            Kind::WritableFolder { owner, mode } => {
                // What is meant for everybody is hopeless: the key must move.
                let shared = mode & 0o1000 != 0;
                (!shared).then(|| format!("{}chmod go-w {path}", sudo(*owner)))
            }
            Kind::ForeignFolder { owner } | Kind::ForeignFile { owner, .. } => {
                Some(format!("{}chown {me} {path}", sudo(*owner)))
            }
            Kind::Changed => Some("start again when nothing writes to the file any more".into()),
            _ => None,
        }
    }
}

/// A path for people: characters with which a name could forge lines are escaped.
fn shown(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

/// A path as one word of a shell command, the home folder as `~`; `None` when it cannot be typed.
fn word(path: &Path) -> Option<String> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control))?;
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c));
    if !plain(text) {
        return Some(format!("'{}'", text.replace('\'', r"'\''")));
    }
    let home = std::env::var("HOME").ok().filter(|home| home.len() > 1 && home.starts_with('/'));
    let below = home.and_then(|home| path.strip_prefix(home).ok());
    Some(match below.and_then(Path::to_str) {
        Some(rest) if !rest.is_empty() => format!("~/{rest}"),
        _ => text.to_owned(),
    })
}

/// The user's name, or `uid 1234` when the system knows none.
fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}
