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
    report::Report,
};
use keyagent_core::arena::Arena;
use keyagent_sys::memory::{ArenaSlot, LockPolicy, LockedArena, LockedBuffer};
use nix::{errno::Errno, unistd};

use file::{FileRules, KeyFileError};

/// Name of the credential in a credential folder.
const CREDENTIAL: &str = "keyagent.master-key";
/// Room for the longest key text and one byte more, which shows that it is too long.
const TEXT_BYTES: usize = key_text::MAX_TEXT_BYTES + 1;

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
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Credential(path) => write!(f, "{}", path.display()),
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

    /// Reads the master key.
    pub(crate) fn load(self, arena: &LockedArena) -> Result<(Master, Origin), Report> {
        let mut text = locked_text(self.lock_policy)?;
        if let Some(descriptor) = &self.key_fd {
            let length = read_descriptor(descriptor, &mut text)?;
            return Ok((decode(&text, length, arena, "--key-fd")?, Origin::Descriptor));
        }
        if let Some(path) = &self.key_file {
            let found = read_file(path, FileRules::Private, &mut text, arena)?;
            let master = found.ok_or_else(|| key_file_missing(path))?;
            return Ok((master, Origin::File(path.clone())));
        }
        let mut found: Vec<(Master, Origin)> = Vec::new();
        if let Some(folder) = &self.credentials {
            let path = folder.join(CREDENTIAL);
            let rules = FileRules::CredentialFolder { folder: folder.clone() };
            let credential = read_file(&path, rules, &mut text, arena)?;
            found.extend(credential.map(|master| (master, Origin::Credential(path))));
        }
        if let Some((variable, length)) = &self.variable {
            found.push((decode(variable, *length, arena, "KEYAGENT_KEY")?, Origin::Environment));
        }
        let default = read_file(&self.default_file, FileRules::Private, &mut text, arena)?;
        found.extend(default.map(|master| (master, Origin::File(self.default_file.clone()))));
        agree(found).ok_or_else(|| no_key(&self.default_file))?
    }
}

/// Reads a source for a second time, at `unlock`.
pub(crate) fn read_again(origin: &Origin, policy: LockPolicy, arena: &LockedArena) -> Result<Master, Report> {
    let mut text = locked_text(policy)?;
    match origin {
        Origin::File(path) => {
            let found = read_file(path, FileRules::Private, &mut text, arena)?;
            found.ok_or_else(|| key_file_missing(path))
        }
        Origin::Credential(path) => {
            let folder = path.parent().unwrap_or(path).to_path_buf();
            let found = read_file(path, FileRules::CredentialFolder { folder }, &mut text, arena)?;
            found.ok_or_else(|| key_file_missing(path))
        }
        Origin::Environment | Origin::Descriptor => {
            Err(Report::new(ErrorCode::NotUnlockable, "not unlockable here")
                .why(format!("the master key came from {origin}, which cannot be read a second time"))
                .fix("keyagent unlock --key-file FILE, or restart the daemon"))
        }
    }
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
        let report = found.iter().fold(
            Report::new(
                ErrorCode::KeySourcesDisagree,
                "refusing to start: two sources hold different master keys",
            ),
            |report, (master, origin)| {
                let print = fingerprint::short(&kdf::master_fingerprint(master));
                report.fact("source", format!("{print}   from {origin}"))
            },
        );
        let report = report.why("which of them is right cannot be guessed");
        return Some(Err(report.fix("remove one of them, or choose with --key-file FILE")));
    }
    Some(Ok(found.swap_remove(0)))
}

fn read_file(
    path: &Path,
    rules: FileRules,
    text: &mut LockedBuffer,
    arena: &LockedArena,
) -> Result<Option<Master>, Report> {
    let place = text.get_mut(..TEXT_BYTES).unwrap_or_default();
    match file::read_key_text(path, rules, place) {
        Ok(length) => decode(text, length, arena, &path.display().to_string()).map(Some),
        Err(error) if error.missing() => Ok(None),
        Err(error) => Err(refused(&error)),
    }
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
        .fix(format!("{init}          (or restore the key file from its backup)"))
}
