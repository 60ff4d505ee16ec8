//! Where the master key comes from: one source, or several that agree (docs/ARCHITECTURE.md, "Master key").
//!
//! The text is read straight into locked memory and decoded into a slot. Nothing here ever makes a key,
//! and a source that is there but unreadable or malformed is an error, never an absent one.

mod file;

use std::{
    fmt,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use keyagent_common::{
    error::ErrorCode,
    fingerprint, kdf, key_text,
    layout::{BaseFolders, Layout},
    protected_key::{self, ProtectedKey},
    report::Report,
};
use keyagent_core::arena::Arena;
use keyagent_sys::memory::{ArenaSlot, LockPolicy, LockedArena, LockedBuffer};
use nix::{errno::Errno, unistd};

use file::{FileRules, KeyFileError};

/// Name of the credential in a credential folder.
const CREDENTIAL: &str = "keyagent.master-key";
/// Room for the longest text of a key, plain or protected, and one byte more, which shows that it is too long.
const TEXT_BYTES: usize = protected_key::MAX_TEXT_BYTES + 1;
const _: () = assert!(protected_key::MAX_TEXT_BYTES > key_text::MAX_TEXT_BYTES);

/// A master key in locked memory.
pub(crate) type Master = ArenaSlot<[u8; key_text::KEY_BYTES]>;

/// Where the master key in use came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `--key-file`, `KEYAGENT_KEY_FILE` or the default place.
    File(PathBuf),
    /// A file in a credential folder.
    Credential(PathBuf),
    /// `KEYAGENT_KEY`; cannot be read again.
    Environment,
    /// `--key-fd`; cannot be read again.
    Descriptor,
    /// A file sealed under a passphrase; a client opens it and brings the key.
    Protected(PathBuf),
}

/// What a search for the master key came to.
pub(crate) enum Found {
    /// A key that can be used at once.
    Plain(Master, Origin),
    /// Only a key under a passphrase: whose fingerprint the file states.
    Protected {
        /// The file.
        path: PathBuf,
        /// Fingerprint of the key in it, by the file's own word.
        fingerprint: [u8; 16],
    },
}

impl Origin {
    /// Whether `unlock` without a key can work.
    pub(crate) fn can_be_read_again(&self) -> bool {
        matches!(self, Self::File(_) | Self::Credential(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Credential(path) | Self::Protected(path) => {
                write!(f, "{}", path.display())
            }
            Self::Environment => f.write_str("the environment"),
            Self::Descriptor => f.write_str("a descriptor"),
        }
    }
}

/// What the command line and the environment named.
pub(crate) struct Sources {
    /// `--key-file` or `KEYAGENT_KEY_FILE`: ends the search.
    pub(crate) key_file: Option<PathBuf>,
    /// `--key-fd`: ends the search.
    pub(crate) key_fd: Option<OwnedFd>,
    /// Credential folder.
    pub(crate) credentials: Option<PathBuf>,
    /// Text of `KEYAGENT_KEY` in locked memory, and its length.
    pub(crate) variable: Option<(LockedBuffer, usize)>,
    /// The default key file.
    pub(crate) default_file: PathBuf,
    /// Whether the text's buffer must be locked.
    pub(crate) lock_policy: LockPolicy,
}

impl Sources {
    /// The file that `--init` would make.
    pub(crate) fn file_to_make(&self) -> &Path {
        self.key_file.as_deref().unwrap_or(&self.default_file)
    }

    /// Whether another source than the default file is named.
    pub(crate) fn names_a_source(&self) -> bool {
        self.key_fd.is_some() || self.credentials.is_some() || self.variable.is_some()
    }

    /// Finds the master key: one source, or several that agree.
    pub(crate) fn find(self, arena: &LockedArena) -> Result<Found, Report> {
        let mut text = locked_text(self.lock_policy)?;
        if let Some(descriptor) = &self.key_fd {
            let length = read_descriptor(descriptor, &mut text)?;
            return Ok(Found::Plain(decode(&text, length, arena, "--key-fd")?, Origin::Descriptor));
        }
        if let Some(path) = &self.key_file {
            return match read_file(path, FileRules::Private, &mut text, arena)? {
                Some(Read::Plain(master)) => Ok(Found::Plain(master, Origin::File(path.clone()))),
                Some(Read::Protected(fingerprint)) => {
                    Ok(Found::Protected { path: path.clone(), fingerprint })
                }
                None => Err(key_file_missing(path)),
            };
        }
        let mut found: Vec<(Master, Origin)> = Vec::new();
        if let Some(folder) = &self.credentials {
            let path = folder.join(CREDENTIAL);
            let rules = FileRules::CredentialFolder { folder: folder.clone() };
            let credential = read_plain(&path, rules, &mut text, arena)?;
            found.extend(credential.map(|master| (master, Origin::Credential(path))));
        }
        if let Some((variable, length)) = &self.variable {
            found.push((decode(variable, *length, arena, "KEYAGENT_KEY")?, Origin::Environment));
        }
        let default = read_plain(&self.default_file, FileRules::Private, &mut text, arena)?;
        found.extend(default.map(|master| (master, Origin::File(self.default_file.clone()))));
        let path = protected_key::beside(&self.default_file);
        let protected = match read_file(&path, FileRules::Private, &mut text, arena)? {
            None => None,
            Some(Read::Protected(fingerprint)) => Some(fingerprint),
            Some(Read::Plain(_)) => return Err(not_protected(&path)),
        };
        let plain = agree(found).transpose()?;
        match (plain, protected) {
            (Some((master, origin)), Some(fingerprint)) => {
                let print = kdf::master_fingerprint(&master);
                if print == fingerprint {
                    return Ok(Found::Plain(master, origin));
                }
                let sources = [(print, origin), (fingerprint, Origin::Protected(path))];
                Err(disagree(&sources))
            }
            (Some((master, origin)), None) => Ok(Found::Plain(master, origin)),
            (None, Some(fingerprint)) => Ok(Found::Protected { path, fingerprint }),
            (None, None) => Err(no_key(&self.default_file)),
        }
    }
}

/// Reads a source for a second time, at `unlock`.
pub(crate) fn read_again(origin: &Origin, policy: LockPolicy, arena: &LockedArena) -> Result<Master, Report> {
    let mut text = locked_text(policy)?;
    match origin {
        Origin::File(path) => {
            let found = read_plain(path, FileRules::Private, &mut text, arena)?;
            found.ok_or_else(|| key_file_missing(path))
        }
        Origin::Credential(path) => {
            let folder = path.parent().unwrap_or(path).to_path_buf();
            let found = read_plain(path, FileRules::CredentialFolder { folder }, &mut text, arena)?;
            found.ok_or_else(|| key_file_missing(path))
        }
        Origin::Protected(path) => Err(Report::new(ErrorCode::NotUnlockable, "not unlockable here")
            .fact("file", path.display().to_string())
            .why("the master key is under a passphrase, which the agent never sees")
            .fix("keyagent unlock          (on a terminal, or with --passphrase-fd N)")),
        Origin::Environment | Origin::Descriptor => {
            Err(Report::new(ErrorCode::NotUnlockable, "not unlockable here")
                .why(format!("the master key came from {origin}, which cannot be read a second time"))
                .fix("keyagent unlock --key-file FILE, or restart the daemon"))
        }
    }
}

/// Which key the source holds now; `None` where it cannot be asked again.
pub(crate) fn fingerprint_now(
    origin: &Origin,
    policy: LockPolicy,
    arena: &LockedArena,
) -> Option<Result<[u8; 16], Report>> {
    let path = match origin {
        Origin::Environment | Origin::Descriptor => return None,
        Origin::File(_) | Origin::Credential(_) => {
            return Some(read_again(origin, policy, arena).map(|master| kdf::master_fingerprint(&master)));
        }
        Origin::Protected(path) => path,
    };
    let read = locked_text(policy).and_then(|mut text| read_file(path, FileRules::Private, &mut text, arena));
    Some(match read {
        Ok(Some(Read::Protected(fingerprint))) => Ok(fingerprint),
        Ok(Some(Read::Plain(master))) => Ok(kdf::master_fingerprint(&master)),
        Ok(None) => Err(key_file_missing(path)),
        Err(report) => Err(report),
    })
}

fn locked_text(policy: LockPolicy) -> Result<LockedBuffer, Report> {
    LockedBuffer::secret(TEXT_BYTES, policy).map_err(|error| crate::memory_not_locked(&error))
}

/// One source, or several with the same key; `None` without any.
fn agree(mut found: Vec<(Master, Origin)>) -> Option<Result<(Master, Origin), Report>> {
    let first = found.first()?;
    let differs =
        found.iter().any(|(master, _)| !keyagent_sys::bytes::equal_constant_time(&master[..], &first.0[..]));
    if differs {
        let sources: Vec<_> =
            found.into_iter().map(|(master, origin)| (kdf::master_fingerprint(&master), origin)).collect();
        return Some(Err(disagree(&sources)));
    }
    Some(Ok(found.swap_remove(0)))
}

fn disagree(sources: &[([u8; 16], Origin)]) -> Report {
    let report = Report::new(
        ErrorCode::KeySourcesDisagree,
        "refusing to start: two sources hold different master keys",
    );
    let report = sources.iter().fold(report, |report, (print, origin)| {
        report.fact("source", format!("{}   from {origin}", fingerprint::short(print)))
    });
    report
        .why("which of them is right cannot be guessed")
        .fix("remove one of them, or choose with --key-file FILE")
}

/// What a key file holds.
enum Read {
    Plain(Master),
    /// Fingerprint of the key that is in it.
    Protected([u8; 16]),
}

fn read_file(
    path: &Path,
    rules: FileRules,
    text: &mut LockedBuffer,
    arena: &LockedArena,
) -> Result<Option<Read>, Report> {
    let place = text.get_mut(..TEXT_BYTES).unwrap_or_default();
    let length = match file::read_key_text(path, rules, place) {
        Ok(length) => length,
        Err(error) if error.missing() => return Ok(None),
        Err(error) => return Err(refused(&error)),
    };
    let content = text.get(..length).unwrap_or_default();
    if !protected_key::is_protected(content) {
        return decode(text, length, arena, &path.display().to_string())
            .map(|master| Some(Read::Plain(master)));
    }
    let protected = ProtectedKey::parse(content).map_err(|why| {
        Report::new(ErrorCode::KeyMalformed, "refusing to start: the protected master key is damaged")
            .fact("file", path.display().to_string())
            .why(why.to_string())
            .fix("restore the file from its backup; a new key could not open what the old one sealed")
    })?;
    Ok(Some(Read::Protected(protected.fingerprint)))
}

/// A file that must hold a key which can be used at once.
fn read_plain(
    path: &Path,
    rules: FileRules,
    text: &mut LockedBuffer,
    arena: &LockedArena,
) -> Result<Option<Master>, Report> {
    match read_file(path, rules, text, arena)? {
        None => Ok(None),
        Some(Read::Plain(master)) => Ok(Some(master)),
        Some(Read::Protected(_)) => Err(Report::new(
            ErrorCode::KeyMalformed,
            "refusing to start: a protected master key lies where a plain one belongs",
        )
        .fact("file", path.display().to_string())
        .fix("name it with --key-file, or rename it to key.protected")),
    }
}

fn not_protected(path: &Path) -> Report {
    Report::new(ErrorCode::KeyMalformed, "refusing to start: key.protected holds a key without protection")
        .fact("file", path.display().to_string())
        .why("whoever put it there believes that a passphrase protects it")
        .fix("rename it to key, or protect it: keyagent init --protect passphrase")
}

/// Refuses a place for a new key file in which the key could not be read afterwards.
pub(crate) fn check_place(path: &Path) -> Result<(), Report> {
    file::check_folders(path).map_err(|error| refused(&error))
}

fn refused(error: &KeyFileError) -> Report {
    let mut report = Report::new(error.code(), format!("refusing to start: {}", error.what()));
    report.facts = error.facts();
    report.why = error.why();
    report.fix = error.fix().unwrap_or_default();
    report
}

fn read_descriptor(descriptor: &OwnedFd, text: &mut LockedBuffer) -> Result<usize, Report> {
    let mut length = 0;
    while let Some(place) = text.get_mut(length..TEXT_BYTES).filter(|place| !place.is_empty()) {
        match unistd::read(descriptor.as_fd(), place) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(Report::new(
                    ErrorCode::KeyMissing,
                    "refusing to start: the key descriptor cannot be read",
                )
                .why(errno.desc()));
            }
        }
    }
    Ok(length)
}

fn decode(text: &LockedBuffer, length: usize, arena: &LockedArena, source: &str) -> Result<Master, Report> {
    let mut master = arena.place(|| [0; key_text::KEY_BYTES]).map_err(crate::arena_full)?;
    let text = text.get(..length).unwrap_or_default();
    key_text::parse(text, &mut master).map_err(|why| {
        Report::new(ErrorCode::KeyMalformed, "refusing to start: the master key is malformed")
            .fact("source", source)
            .why(why.to_string())
            .fix("restore the key file from its backup; a new key could not open what the old one sealed")
    })?;
    Ok(master)
}

fn key_file_missing(path: &Path) -> Report {
    Report::new(ErrorCode::KeyMissing, "refusing to start: the key file does not exist")
        .fact("file", path.display().to_string())
        .why("it was named explicitly, so no other source is looked at")
        .fix("restore it from its backup, or name the right file")
}

fn no_key(default: &Path) -> Report {
    let system = Layout::new(&BaseFolders::System, None).key_file;
    let init = if default == system { "keyagent init --system" } else { "keyagent init" };
    Report::new(ErrorCode::KeyMissing, "refusing to start: there is no master key")
        .fact("file", format!("{}   does not exist", default.display()))
        .why("a key is made once, on purpose, and never because one was not found")
        .fix(format!("{init}          (or from a backup: keyagent backup restore FILE)"))
}
