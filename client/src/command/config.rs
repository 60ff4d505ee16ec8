//! `keyagent config list`: the settings in force and where each was said. Asks no agent and changes nothing.
//!
//! Reads the files that a daemon started here would read. It must not judge whether they can be trusted: the
//! daemon does, before it uses them.

use std::{
    ffi::OsString,
    fmt::Write,
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use keyagent_client::{base_folders, effective_uid};
use keyagent_common::{
    error::ErrorCode,
    layout::BaseFolders,
    report::{Report, escape},
};
use keyagent_config::{Configuration, Flags, MAX_FILE_BYTES, Mode, Names, Origin, Source, SourceKind};
use nix::unistd::{Group, User};
use serde::Serialize;

use crate::{
    command::OK,
    console::{self, Console},
    failure::Failure,
};

/// Variables that say the same as a field of the file.
const VARIABLES: [&str; 2] = ["KEYAGENT_KEY_FILE", "KEYAGENT_LOG"];

/// `keyagent config`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show every setting in force
    List(ListArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// Also show where each was said
    #[arg(long)]
    show_origin: bool,
}

/// Whose configuration.
#[derive(Debug, Args)]
pub(crate) struct PlaceArguments {
    /// Read this file alone (or `KEYAGENT_CONFIG`)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As the system's agent reads it, instead of the user's
    #[arg(long)]
    system: bool,
}

/// A configuration and the files it was read from.
pub(crate) struct Loaded {
    pub(crate) configuration: Configuration,
    /// Each place in order, and whether a file is there.
    pub(crate) files: Vec<(PathBuf, bool)>,
    pub(crate) mode: &'static str,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    mode: &'static str,
    files: Vec<FileDocument>,
    settings: Vec<SettingDocument<'a>>,
    policy_digest: String,
}

#[derive(Serialize)]
struct FileDocument {
    path: String,
    read: bool,
}

#[derive(Serialize)]
struct SettingDocument<'a> {
    name: &'a str,
    value: &'a str,
    origin: String,
}

pub(crate) fn run(console: &Console, arguments: &Arguments) -> Result<u8, Failure> {
    let Verb::List(list) = &arguments.verb;
    let loaded = load(console, &list.place)?;
    if console.json {
        console::print_json(&document(&loaded))?;
    } else {
        console::print(&table(&loaded.configuration, list.show_origin))?;
    }
    Ok(OK)
}

fn document(loaded: &Loaded) -> Document<'_> {
    let settings = loaded.configuration.origins.iter().map(|setting| SettingDocument {
        name: &setting.name,
        value: &setting.value,
        origin: setting.origin.to_string(),
    });
    let files = loaded.files.iter();
    Document {
        schema: "keyagent.config/1",
        mode: loaded.mode,
        files: files
            .map(|(path, read)| FileDocument { path: path.display().to_string(), read: *read })
            .collect(),
        settings: settings.collect(),
        policy_digest: hexadecimal(&loaded.configuration.digest),
    }
}

fn table(configuration: &Configuration, with_origin: bool) -> String {
    let settings = &configuration.origins;
    let width = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or_default();
    let names = width(&mut settings.iter().map(|setting| setting.name.chars().count()));
    let values = width(
        &mut settings.iter().map(|setting| escape(&setting.value).chars().count()).filter(|n| *n <= 40),
    );
    let mut text = String::new();
    for setting in settings {
        let (name, value) = (&setting.name, escape(&setting.value));
        let line = match (with_origin, &setting.origin) {
            (true, origin) => format!("{name:<names$}  {value:<values$}  {origin}"),
            (false, _) => format!("{name:<names$}  {value}"),
        };
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// 32 bytes as 64 digits.
pub(crate) fn hexadecimal(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads and merges what a daemon would read that was started here.
pub(crate) fn load(console: &Console, place: &PlaceArguments) -> Result<Loaded, Failure> {
    let base = if place.system { Some(BaseFolders::System) } else { base_folders() };
    let base = base.ok_or_else(|| {
        Report::new(ErrorCode::Configuration, "there is no home folder")
            .why("neither HOME nor the user database names one")
            .fix("set HOME, or use --system")
    })?;
    let named = place.config.clone().or_else(|| variable("KEYAGENT_CONFIG").map(PathBuf::from));
    let (mut sources, mut files) = (Vec::new(), Vec::new());
    for (kind, path) in keyagent_config::files(&base, named.as_deref()) {
        let source = read(console, kind, &path, place.system)?;
        files.push((path, source.is_some()));
        sources.extend(source);
    }
    let variables: Vec<(&str, OsString)> =
        VARIABLES.iter().filter_map(|name| Some((*name, variable(name)?))).collect();
    let environment: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
    let mode = if place.system { Mode::System } else { Mode::User { owner: effective_uid() } };
    let configuration = Configuration::parse(&sources, &environment, &Flags::default(), mode, &Accounts);
    let configuration = configuration.map_err(|error| error.report())?;
    Ok(Loaded { configuration, files, mode: if place.system { "system" } else { "user" } })
}

/// One file; `None` where there is none. A named one must be there.
fn read(console: &Console, kind: SourceKind, path: &Path, system: bool) -> Result<Option<Source>, Failure> {
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES as u64 + 1;
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && kind != SourceKind::Named => return Ok(None),
        // The system's rules may be nobody else's business; a user's agent goes on without its defaults.
        Err(error)
            if error.kind() == ErrorKind::PermissionDenied && kind == SourceKind::System && !system =>
        {
            console.say(&format!("warning: {} cannot be read and is left out", path.display()));
            return Ok(None);
        }
        Err(error) => return Err(unreadable(path, &error.to_string()).into()),
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(Source { path: path.to_path_buf(), text, kind })),
        Err(error) => {
            let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let line = good.split(|byte| *byte == b'\n').count();
            let place = Origin::File { path: path.to_path_buf(), line };
            Err(unreadable(path, &format!("{place} is no UTF-8 text")).into())
        }
    }
}

fn unreadable(path: &Path, why: &str) -> Report {
    Report::new(ErrorCode::Configuration, "cannot read the configuration")
        .fact("file", path.display().to_string())
        .why(why)
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The user database of this machine.
struct Accounts;

impl Names for Accounts {
    fn user(&self, name: &str) -> Result<Option<u32>, String> {
        User::from_name(name)
            .map(|user| user.map(|user| user.uid.as_raw()))
            .map_err(|errno| errno.desc().to_owned())
    }

    fn group(&self, name: &str) -> Result<Option<u32>, String> {
        Group::from_name(name)
            .map(|group| group.map(|group| group.gid.as_raw()))
            .map_err(|errno| errno.desc().to_owned())
    }
}
