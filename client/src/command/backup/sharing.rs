//! The backup key in shares for several people: `create --shares 3/5`, `backup shares`, and `--share FILE` to open.
//!
//! Each share is a file of its own; all of them in one place are as good as the key.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use keyagent_common::{
    backup::{
        Backup,
        share::{MAX_TEXT_BYTES, Share, ShareError, Sharing},
    },
    error::ErrorCode,
    report::Report,
};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    file::{self, not_opened},
    key::BackupKey,
    opening::OpeningArguments,
};
use crate::{
    command::OK,
    console::{self, Console},
    failure::{Failure, cannot_create, cannot_read, usage},
    session::Session,
    shares::{self, SharesError},
    temporary::Temporary,
};

/// `keyagent backup shares`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The backup
    file: PathBuf,
    /// M of N shares shall open it
    #[arg(long, value_name = "M/N", value_parser = parse)]
    shares: Sharing,
    /// Write the shares into this folder
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    #[command(flatten)]
    opening: OpeningArguments,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    threshold: u8,
    files: Vec<String>,
}

/// `3/5`
pub(super) fn parse(text: &str) -> Result<Sharing, ShareError> {
    let (threshold, count) = text.split_once('/').ok_or(ShareError::Numbers)?;
    let number = |text: &str| text.parse().map_err(|_| ShareError::Numbers);
    Sharing::new(number(threshold)?, number(count)?)
}

/// Splits the key of a backup that there is; it goes on being opened as before, too.
pub(super) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let bytes = file::read(&arguments.file)?;
    let backup = file::parse(&bytes, &arguments.file)?;
    let key = arguments.opening.open(&backup, session.console)?;
    let files = write(&key, arguments.shares, &arguments.file, &arguments.output)?;
    let threshold = arguments.shares.threshold();
    if session.console.json {
        console::print_json(&Document { schema: "keyagent.backup_shares/1", threshold, files })?;
    } else {
        tell(session.console, arguments.shares, &files);
    }
    Ok(OK)
}

/// Says what to do with them.
pub(super) fn tell(console: &Console, sharing: Sharing, files: &[String]) {
    console.say(&format!(
        "wrote {} shares, of which any {} open the backup: give each to another person, and keep none of these \
         files here:\n  {}",
        sharing.count(),
        sharing.threshold(),
        files.join("\n  ")
    ));
}

/// Splits the key and writes each share beside the others in a folder, over nothing that exists; their names.
pub(super) fn write(
    key: &BackupKey,
    sharing: Sharing,
    backup: &Path,
    folder: &Path,
) -> Result<Vec<String>, Failure> {
    let split = shares::split(key.bytes(), sharing).map_err(failed)?;
    let stem = backup.file_name().unwrap_or(backup.as_os_str()).to_string_lossy().into_owned();
    let places: Vec<PathBuf> =
        split.iter().map(|share| folder.join(format!("{stem}.share{}", share.number))).collect();
    if let Some(taken) = places.iter().find(|place| crate::daemon_process::exists(place)) {
        return Err(cannot_create(taken, "it exists already").fix("choose another folder: -o FOLDER").into());
    }
    let mut written = Vec::new();
    for (share, place) in split.iter().zip(&places) {
        write_one(share, place).inspect_err(|_| remove(&written))?;
        written.push(place.display().to_string());
    }
    Ok(written)
}

fn write_one(share: &Share, place: &Path) -> Result<(), Report> {
    let refuse = |error: io::Error| {
        cannot_create(place, error.to_string())
            .fix("make room there, or choose another folder; no share was kept")
    };
    let text = Zeroizing::new(format!("{}\n", *share.to_text()));
    let mut file = Temporary::beside(place).map_err(refuse)?;
    file.write_all(text.as_bytes()).map_err(refuse)?;
    file.persist(place, false).map_err(refuse)
}

/// Removes shares that were written just now: they are of no use.
pub(super) fn remove(files: &[String]) {
    for file in files {
        let _ = std::fs::remove_file(file);
    }
}

/// The key of a backup, out of the shares in these files.
pub(super) fn open(files: &[PathBuf], backup: &Backup<'_>) -> Result<BackupKey, Failure> {
    let mut given = Vec::new();
    for path in files {
        given.push(read(path)?);
    }
    let key = shares::join(&given, &backup.id).map_err(failed)?;
    Ok(BackupKey::from_bytes(&key))
}

/// The share in a file.
pub(super) fn read(path: &Path) -> Result<Share, Failure> {
    let name = path.display().to_string();
    let wrong = |why: String| {
        usage("not a share of a backup key")
            .fact("file", name.clone())
            .why(why)
            .fix("give files that `keyagent backup shares` or `create --shares` wrote")
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TEXT_BYTES + 1));
    let file = std::fs::File::open(path).map_err(|error| cannot_read(&name, &error))?;
    io::Read::read_to_end(&mut io::Read::take(file, MAX_TEXT_BYTES as u64 + 1), &mut bytes)
        .map_err(|error| cannot_read(&name, &error))?;
    let text = str::from_utf8(&bytes).map_err(|_| wrong(ShareError::Characters.to_string()))?;
    Ok(Share::from_text(text).map_err(|error| wrong(error.to_string()))?)
}

fn failed(error: SharesError) -> Report {
    match error {
        SharesError::Entropy | SharesError::Scheme => {
            Report::new(ErrorCode::Internal, "the shares cannot be computed").why(error.to_string())
        }
        _ => not_opened("the shares do not open the backup")
            .why(error.to_string())
            .fix("give each share with --share FILE; `keyagent backup check FILE` says which backup it is"),
    }
}
