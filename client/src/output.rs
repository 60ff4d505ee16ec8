//! Where data goes: standard output, or a file that appears only when it is whole.
//!
//! It must never write over its own input, over an existing file without leave, or to a terminal what
//! would steer it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Metadata},
    io::{self, IsTerminal, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use keyagent_common::{error::ErrorCode, report::Report};

use crate::{
    failure::{Failure, cannot_create, cannot_write, usage},
    input::{Identity, Input, identity},
    stdio::Stdout,
    temporary::{Temporary, sync_folder},
    terminal::ControlGuard,
};

const STDOUT: &str = "standard output";

/// Where a person wants the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Standard output; `asked_for` when it was written out as `-o -`.
    Stdout { asked_for: bool },
    /// A file; `replace` with `--force`.
    File { path: PathBuf, replace: bool },
    /// The input itself, replaced when the output is whole.
    InPlace { path: PathBuf },
}

/// What the data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Sealed, as bytes.
    Sealed,
    /// Sealed, as text.
    Armored,
    /// Plain.
    Plain,
}

/// An output that takes data.
pub(crate) enum Output {
    /// Standard output, guarded if it is a terminal.
    Stdout(Option<ControlGuard>),
    /// A file in the making.
    File { path: PathBuf, replace: bool, temporary: Option<Temporary> },
    /// The same, over the input, of which this was known when it was opened.
    InPlace { path: PathBuf, old: Metadata, temporary: Option<Temporary> },
}

impl Output {
    /// Checks everything that can be checked before there is data; creates nothing.
    pub(crate) fn prepare(
        destination: &Destination,
        content: Content,
        input: &Input,
    ) -> Result<Self, Failure> {
        match destination {
            Destination::Stdout { asked_for } => {
                let terminal = io::stdout().is_terminal();
                if terminal && content == Content::Sealed && !asked_for {
                    return Err(sealed_to_terminal().into());
                }
                if let (Some(from), false) = (input.identity(), terminal)
                    && stdout_identity() == Some(from)
                {
                    return Err(same_file(Path::new(STDOUT)).into());
                }
                let guarded = terminal && content == Content::Plain && !asked_for;
                Ok(Self::Stdout(guarded.then(ControlGuard::default)))
            }
            Destination::File { path, replace } => {
                check_target(path, *replace, input.identity())?;
                Ok(Self::File { path: path.clone(), replace: *replace, temporary: None })
            }
            Destination::InPlace { path } => {
                check_replaceable(path)?;
                let old = input.metadata().cloned();
                let old = old.filter(Metadata::is_file).ok_or_else(|| not_replaceable(path, NO_FILE))?;
                Ok(Self::InPlace { path: path.clone(), old, temporary: None })
            }
        }
    }

    /// Whether it goes to a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self, Self::Stdout(_)) && io::stdout().is_terminal()
    }

    /// Takes the next bytes. Plain ones must have been authenticated.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(guard) => {
                if guard.as_mut().is_some_and(|guard| guard.finds_control(bytes)) {
                    return Err(control_to_terminal().into());
                }
                Stdout.write_all(bytes).map_err(|error| cannot_write(STDOUT, &error).into())
            }
            Self::File { path, temporary, .. } | Self::InPlace { path, temporary, .. } => {
                let file = make(temporary, path)?;
                file.write_all(bytes)
                    .map_err(|error| cannot_write(&path.display().to_string(), &error).into())
            }
        }
    }

    /// Everything was written: the file appears.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        finish_all(vec![self])
    }

    /// What has to be placed; nothing for standard output.
    fn made(self) -> Result<Option<Made>, Failure> {
        let (path, replace, old, mut temporary) = match self {
            Self::Stdout(_) => return Ok(None),
            Self::File { path, replace, temporary } => (path, replace, None, temporary),
            Self::InPlace { path, old, temporary } => (path, true, Some(old), temporary),
        };
        let made = make(&mut temporary, &path)?;
        if let Some(old) = &old {
            made.resemble(old).map_err(|error| cannot_write(&path.display().to_string(), &error))?;
        }
        Ok(temporary.map(|temporary| Made { path, replace, old, temporary }))
    }
}

/// A whole file without its name.
struct Made {
    path: PathBuf,
    replace: bool,
    old: Option<Metadata>,
    temporary: Temporary,
}

impl Made {
    /// Gives it its name; the folder, which is still to be synced.
    fn place(self) -> Result<PathBuf, Failure> {
        let Self { path, replace, old, temporary } = self;
        if let Some(old) = &old {
            check_unchanged(&path, old)?;
        }
        temporary.place(&path, replace).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&path).into(),
            _ => cannot_write(&path.display().to_string(), &error).into(),
        })
    }
}

/// Everything was written into all of them: the files appear, in this order, up to the first that cannot.
///
/// All are synced before the first gets its name, with one write of the file system's journal for all of them.
pub(crate) fn finish_all(outputs: Vec<Output>) -> Result<(), Failure> {
    let made = outputs.into_iter().filter_map(|output| output.made().transpose());
    let made = made.collect::<Result<Vec<_>, Failure>>()?;
    if made.len() > 1 {
        let devices = made.iter().filter_map(|made| Some((made.temporary.device().ok()?, &made.temporary)));
        devices.collect::<BTreeMap<_, _>>().values().for_each(|temporary| temporary.sync_file_system());
    }
    for Made { path, temporary, .. } in &made {
        temporary.sync().map_err(|error| cannot_write(&path.display().to_string(), &error))?;
    }
    let mut folders = BTreeSet::new();
    let placed = made.into_iter().try_for_each(|made| {
        folders.insert(made.place()?);
        Ok(())
    });
    for folder in folders {
        sync_folder(&folder).map_err(|error| cannot_write(&folder.display().to_string(), &error))?;
    }
    placed
}

const NO_FILE: &str = "it is no regular file";

/// Refuses a target that cannot be written, without an input to compare it with.
pub(crate) fn check_destination(destination: &Destination) -> Result<(), Failure> {
    match destination {
        Destination::Stdout { .. } => Ok(()),
        Destination::File { path, replace } => check_target(path, *replace, None),
        Destination::InPlace { path } => check_replaceable(path),
    }
}

/// The temporary file, made now if it was not needed before.
fn make<'t>(temporary: &'t mut Option<Temporary>, path: &Path) -> Result<&'t mut Temporary, Failure> {
    if temporary.is_none() {
        *temporary = Some(Temporary::beside(path).map_err(|error| cannot_create(path, error.to_string()))?);
    }
    temporary.as_mut().ok_or_else(|| cannot_create(path, "no temporary file").into())
}

fn check_target(path: &Path, replace: bool, input: Option<Identity>) -> Result<(), Failure> {
    let Ok(target) = fs::symlink_metadata(path) else { return Ok(()) };
    let behind = fs::metadata(path).ok();
    if input.is_some() && behind.as_ref().and_then(identity) == input {
        return Err(same_file(path).into());
    }
    if target.is_symlink() {
        return Err(cannot_create(path, "it is a symbolic link; name the file itself").into());
    }
    if !target.is_file() {
        return Err(cannot_create(path, "it exists and is no regular file").fix("keyagent … > PATH").into());
    }
    if replace { Ok(()) } else { Err(exists(path).into()) }
}

/// Refuses a file whose old content would stay under another name.
fn check_replaceable(path: &Path) -> Result<(), Failure> {
    // One that is missing is told as a missing input.
    let Ok(target) = fs::symlink_metadata(path) else { return Ok(()) };
    if target.is_symlink() {
        return Err(not_replaceable(path, "it is a symbolic link; name the file itself").into());
    }
    if !target.is_file() {
        return Err(not_replaceable(path, NO_FILE).into());
    }
    if target.nlink() > 1 {
        let why = format!("it has {} names; the others would keep the old content", target.nlink());
        return Err(not_replaceable(path, why).into());
    }
    Ok(())
}

/// Refuses to lose what somebody wrote meanwhile. A write between this look and the rename is not seen.
fn check_unchanged(path: &Path, old: &Metadata) -> Result<(), Failure> {
    let marks = |found: &Metadata| {
        (found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec(), found.nlink())
    };
    let now =
        fs::symlink_metadata(path).map_err(|error| cannot_write(&path.display().to_string(), &error))?;
    if marks(&now) == marks(old) {
        return Ok(());
    }
    Err(Report::new(ErrorCode::InputOutput, "the file was changed while it was read; it stays as it is")
        .fact("file", path.display().to_string())
        .fix("try again when nobody writes to it")
        .into())
}

fn not_replaceable(path: &Path, why: impl Into<String>) -> Report {
    Report::new(ErrorCode::CannotCreate, "cannot replace the file by its new form")
        .fact("file", path.display().to_string())
        .why(why)
        .fix("write to another file with -o")
}

fn stdout_identity() -> Option<Identity> {
    let file = File::from(nix::unistd::dup(io::stdout()).ok()?);
    identity(&file.metadata().ok()?)
}

fn exists(path: &Path) -> Report {
    cannot_create(path, "it exists already").fix("choose another name, or replace it with --force")
}

fn same_file(path: &Path) -> Report {
    usage("input and output are the same file")
        .fact("file", path.display().to_string())
        .fix("replace it with --in-place, or write to another file with -o")
}

fn sealed_to_terminal() -> Report {
    usage("refusing to write encrypted bytes to a terminal")
        .fix("-a (--armor) for text, or -o - to write the bytes all the same")
}

fn control_to_terminal() -> Report {
    usage("refusing to write decrypted bytes with control characters to a terminal")
        .fix("-o FILE to keep them, or -o - to write them all the same")
}
