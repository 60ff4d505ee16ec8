//! `keyagent backup create`: all keys, or some, into one file.
//!
//! The file appears when it is whole, never over another one, and counts only after it was read back.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use keyagent_client::{Connection, Error};
use keyagent_common::{
    backup::{self, Backup, Contents, Origin, Protection, SEALED_MASTER_BYTES, share::Sharing},
    error::ErrorCode,
    name::KeyName,
    op::{Empty, Status},
    report::Report,
};
use serde::Serialize;

use super::{
    contents,
    file::{self, HeaderDocument},
    key::BackupKey,
    master::{self, Search},
    recipients::{self, AnyRecipient},
    sharing,
};
use crate::{
    agent_status::AgentStatus,
    command::OK,
    console,
    failure::{Failure, cannot_create, usage},
    passphrase::Passphrase,
    session::Session,
    temporary::Temporary,
    utc,
};

/// How often it is begun again because somebody changed a key meanwhile.
const ATTEMPTS: usize = 5;

/// `keyagent backup create`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Keys to put in; none for all of them
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Write the backup here
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Somebody who can open it: an age recipient or a public SSH key (repeatable)
    #[arg(long, value_name = "RECIPIENT")]
    to: Vec<String>,
    /// Those who can open it, one a line (repeatable)
    #[arg(short = 'R', long, value_name = "FILE")]
    recipients_file: Vec<PathBuf>,
    /// Split its key into N shares, any M of which open it; they are written beside it
    #[arg(long, value_name = "M/N", value_parser = sharing::parse, conflicts_with_all = ["to", "recipients_file", "passphrase_fd"])]
    shares: Option<Sharing>,
    /// Take the passphrase that opens it from this open descriptor instead of asking
    #[arg(long, value_name = "N", conflicts_with_all = ["to", "recipients_file"])]
    passphrase_fd: Option<u32>,
    /// Read the master key from this file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Take the passphrase of a protected master key from this open descriptor instead of asking
    #[arg(long, value_name = "N")]
    key_passphrase_fd: Option<u32>,
    /// Leave the master key out
    #[arg(long, conflicts_with_all = ["key_file", "key_passphrase_fd"])]
    without_master: bool,
    /// Write it into the folder of the key file all the same
    #[arg(long)]
    allow_same_folder: bool,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    file: String,
    bytes: usize,
    /// Files with the shares of its key; none without `--shares`.
    shares: Vec<String>,
    #[serde(flatten)]
    header: HeaderDocument,
}

/// Everything that the agent gave.
struct Fetched {
    origin: Origin,
    master: [u8; 16],
    pages: Vec<Vec<u8>>,
}

pub(super) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    let names = names(&arguments.names)?;
    let recipients = recipients::all(&arguments.to, &arguments.recipients_file)?;
    if arguments.output.as_os_str() == "-" {
        return Err(usage("a backup is read back before it counts, so it goes to a file")
            .fix("keyagent backup create -o FILE")
            .into());
    }
    if crate::daemon_process::exists(&arguments.output) {
        return Err(cannot_create(&arguments.output, "it exists already").fix("choose another name").into());
    }
    let mut connection = session.connect()?;
    session.check_receiver(&connection)?;
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    let places = master::places(arguments.key_file.as_deref(), &status);
    if !arguments.allow_same_folder {
        apart(&arguments.output, &places)?;
    }
    // Whether it can be written is known before the agent notes that there is a backup.
    let place = place(&arguments.output)?;
    let key = BackupKey::make()?;
    let (wrapped, numbers);
    let protection = match (arguments.shares, protector(session, arguments, &recipients)?) {
        (Some(sharing), _) => {
            numbers = sharing.bytes();
            Protection::Shares(&numbers)
        }
        (None, Some(passphrase)) => Protection::Passphrase(key.protect(&passphrase)?),
        (None, None) => {
            wrapped = recipients::wrap(&recipients, &key)?;
            Protection::Recipients(&wrapped)
        }
    };
    let fetched = fetch(&mut connection, &key, &names)?;
    let sealed_master = sealed_master(session, arguments, (&key, &fetched.master), &places)?;
    let bytes = assemble(&fetched, &key, (&protection, sealed_master.as_ref()), names.is_empty())?;
    // The shares first: a backup that nobody can open must never be taken for one.
    let shares = match arguments.shares {
        Some(sharing) => write_shares(&key, sharing, &arguments.output)?,
        None => Vec::new(),
    };
    let written = write(place, &arguments.output, &bytes).map_err(Failure::from);
    let header = written.and_then(|()| read_back(&arguments.output, &bytes, &key)).inspect_err(|_| {
        sharing::remove(&shares);
    })?;
    tell(session, arguments, (bytes.len(), shares), header)
}

/// Writes the shares beside the place of the backup.
fn write_shares(key: &BackupKey, sharing: Sharing, output: &Path) -> Result<Vec<String>, Failure> {
    sharing::write(key, sharing, output, output.parent().unwrap_or(Path::new("")))
}

/// Names as the agent wants them.
fn names(typed: &[String]) -> Result<String, Failure> {
    let mut names = Vec::new();
    for name in typed {
        let parsed = KeyName::parse(name);
        names.push(
            parsed
                .map_err(|error| usage("not a key name").fact("key", name).why(error.to_string()))?
                .as_str(),
        );
    }
    names.sort_unstable();
    names.dedup();
    Ok(names.join("\n"))
}

/// The passphrase that protects it; none where there are recipients.
fn protector(
    session: &Session<'_>,
    arguments: &Arguments,
    recipients: &[AnyRecipient],
) -> Result<Option<Passphrase>, Failure> {
    if !recipients.is_empty() || arguments.shares.is_some() {
        return Ok(None);
    }
    let Some(number) = arguments.passphrase_fd else {
        return Passphrase::ask_new_for(session.console, "Passphrase for the backup: ").map(Some);
    };
    let passphrase = Passphrase::read_descriptor(number)?;
    passphrase.check_new(session.console)?;
    Ok(Some(passphrase))
}

/// Refuses to put the backup where the key is: whoever loses or gets the one has lost or got the other.
fn apart(output: &Path, places: &[PathBuf]) -> Result<(), Report> {
    let folder = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::canonicalize(folder).ok()
    };
    let own = folder(output);
    match places.iter().find(|place| own.is_some() && folder(place) == own) {
        None => Ok(()),
        Some(place) => {
            Err(cannot_create(output, "the master key lies in the same folder, and would be lost with it")
                .fact("key", place.display().to_string())
                .fix("write it to another disk or machine, or insist with --allow-same-folder"))
        }
    }
}

fn fetch(connection: &mut Connection, key: &BackupKey, names: &str) -> Result<Fetched, Failure> {
    for _ in 1..ATTEMPTS {
        match fetch_once(connection, key, names) {
            // Somebody changed a key: every page must be of one state.
            Err(Error::Agent(error)) if error.number == ErrorCode::Busy as u16 => {}
            result => return Ok(result?),
        }
    }
    Ok(fetch_once(connection, key, names)?)
}

fn fetch_once(connection: &mut Connection, key: &BackupKey, names: &str) -> Result<Fetched, Error> {
    let mut fetched: Option<Fetched> = None;
    let mut after = Vec::new();
    loop {
        let reply = connection.backup_create(key.bytes(), names, &after)?;
        let origin =
            Origin { keyring_id: reply.keyring_id, epoch: reply.epoch, generation: reply.generation };
        let all = fetched.get_or_insert_with(|| Fetched { origin, master: reply.master, pages: Vec::new() });
        all.pages.push(reply.page.to_vec());
        after = reply.next.to_vec();
        if after.is_empty() {
            break;
        }
    }
    // The loop ends behind a page; what does not fit together is found when the file is put together.
    Ok(fetched.unwrap_or_else(|| unreachable!("a page was asked for")))
}

fn sealed_master(
    session: &Session<'_>,
    arguments: &Arguments,
    (key, wanted): (&BackupKey, &[u8; 16]),
    places: &[PathBuf],
) -> Result<Option<[u8; SEALED_MASTER_BYTES]>, Failure> {
    if arguments.without_master {
        return Ok(None);
    }
    let search = Search {
        named: arguments.key_file.as_deref(),
        passphrase_fd: arguments.key_passphrase_fd,
        wanted: *wanted,
    };
    match search.find(session, places)? {
        Ok(master) => Ok(Some(key.seal_master(&master)?)),
        Err(why) => {
            session.console.say(&format!(
                "warning: WITHOUT THE MASTER KEY: {why}. Its keys can be restored into another keyring, but this \
                 keyring opens with its own master key alone: keep a copy of that apart (--key-file FILE puts it \
                 in; --without-master says that this is meant)"
            ));
            Ok(None)
        }
    }
}

fn assemble(
    fetched: &Fetched,
    key: &BackupKey,
    (protection, sealed_master): (&Protection<'_>, Option<&[u8; SEALED_MASTER_BYTES]>),
    whole: bool,
) -> Result<Vec<u8>, Failure> {
    let (keys, ids) = contents::gather(fetched.pages.iter().map(Vec::as_slice), key)?;
    let ids: Vec<[u8; 32]> = ids.into_iter().collect();
    let contents = Contents {
        origin: fetched.origin,
        created_at: utc::now() / 1_000_000,
        master: fetched.master,
        whole,
        keys: u32::try_from(keys.len()).unwrap_or(u32::MAX),
        key_ids: &ids,
        protection,
        sealed_master,
        pages: &fetched.pages,
    };
    let assembled = backup::assemble(&contents, key.bytes());
    Ok(assembled.map_err(|error| {
        Report::new(ErrorCode::Malformed, "what the agent gave is no backup").why(error.to_string())
    })?)
}

/// An unfinished file in the folder of the backup.
fn place(path: &Path) -> Result<Temporary, Report> {
    Temporary::beside(path).map_err(|error| cannot_create(path, error.to_string()))
}

fn write(mut file: Temporary, path: &Path, bytes: &[u8]) -> Result<(), Report> {
    let refuse = |error: io::Error| cannot_create(path, error.to_string());
    file.write_all(bytes).map_err(refuse)?;
    file.persist(path, false).map_err(refuse)
}

/// What the disk holds is what was made, and it opens.
fn read_back(path: &Path, written: &[u8], key: &BackupKey) -> Result<HeaderDocument, Failure> {
    let bytes = file::read(path)?;
    let opened = || -> Result<HeaderDocument, Report> {
        if bytes != written {
            return Err(file::damaged("the disk gave back other bytes than were written"));
        }
        let backup: Backup<'_> = file::parse(&bytes, path)?;
        backup.verify(key.bytes()).map_err(|error| file::damaged(&error.to_string()))?;
        contents::read(&backup, key)?;
        if let Some(sealed) = backup.sealed_master {
            key.open_master(sealed, &backup.master)?;
        }
        Ok(HeaderDocument::from(&backup))
    };
    opened().map_err(|report| {
        // It must not be taken for a backup.
        let _ = std::fs::remove_file(path);
        report.fact("file", path.display().to_string()).into()
    })
}

fn tell(
    session: &Session<'_>,
    arguments: &Arguments,
    (bytes, shares): (usize, Vec<String>),
    header: HeaderDocument,
) -> Result<u8, Failure> {
    let file = arguments.output.display().to_string();
    if session.console.json {
        console::print_json(&Document { schema: "keyagent.backup_create/1", file, bytes, shares, header })?;
    } else {
        console::print(&header.text())?;
        session
            .console
            .say(&format!("wrote {file} ({bytes} bytes) and read it back; keep it on another machine"));
        if let Some(sharing) = arguments.shares {
            sharing::tell(session.console, sharing, &shares);
        }
    }
    Ok(OK)
}
