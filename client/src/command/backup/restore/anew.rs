//! A machine without key and keyring: the master key of the backup, then a new keyring for its keys.
//!
//! As `init` does, nothing that exists is touched.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Component, Path, PathBuf},
};

use keyagent_client::{Address, Connection, Error};
use keyagent_common::{
    backup::Backup, error::ErrorCode, fingerprint, layout::Layout, protected_key, report::Report,
};

use super::{Arguments, Opened};
use crate::{
    daemon_process::{self, Daemon, DaemonArguments, exists},
    failure::{Failure, cannot_create},
    key_file, key_pipe,
    session::Session,
    temporary::Temporary,
};

/// Refuses unless nothing is here and the backup has what it takes; before anybody types a passphrase.
pub(super) fn check(arguments: &Arguments, backup: &Backup<'_>, unreachable: &Error) -> Result<(), Failure> {
    let layout = daemon_arguments(arguments).layout()?;
    let key = key_place(arguments, &layout);
    let beside = protected_key::beside(&layout.key_file);
    let places = [&key, &beside, &layout.keyring, &layout.audit_log, &layout.marker];
    if let Some(found) = places.into_iter().find(|place| exists(place)) {
        let report = unreachable.report();
        let why =
            format!("{} exists, so this is no new machine: the agent takes the keys in", found.display());
        return Err(report.why(why).into());
    }
    if backup.sealed_master.is_none() {
        return Err(Report::new(ErrorCode::KeyMissing, "there is no master key here, and none in the backup")
            .fact("needed", fingerprint::short(&backup.master))
            .why("the backup was made without it")
            .fix("install the key file (or make another one: keyagent init), start the agent with --new-keyring, then restore")
            .into());
    }
    Ok(())
}

/// The key file, then an agent with a new keyring.
pub(super) fn begin(
    session: &Session<'_>,
    arguments: &Arguments,
    opened: &Opened<'_>,
) -> Result<Connection, Failure> {
    let sealed = opened.backup.sealed_master.ok_or_else(|| {
        Report::new(ErrorCode::KeyMissing, "there is no master key here, and none in the backup")
    })?;
    let master = opened.key.open_master(sealed, &opened.backup.master)?;
    let daemon_arguments = daemon_arguments(arguments);
    let layout = daemon_arguments.layout()?;
    let (path, keyring) = (key_place(arguments, &layout), layout.keyring.clone());
    let address = session.address()?;
    let daemon = Daemon::prepare(&daemon_arguments, address.named_path(), layout)?;
    write(&path, &key_pipe::hexadecimal(&master)[..])?;
    drop(master);
    let started = daemon_process::start(&daemon, session.options()?);
    started.inspect_err(|_| {
        // Without a keyring nothing was ever sealed under it, and it would be in the way.
        if !exists(&keyring) {
            let _ = std::fs::remove_file(&path);
        }
    })?;
    session.console.say(&format!("put the master key into {} and started the agent", path.display()));
    Ok(Connection::open(&Address::exactly(daemon.socket())?, session.options()?)?)
}

fn daemon_arguments(arguments: &Arguments) -> DaemonArguments {
    DaemonArguments {
        key_file: arguments.key_file.clone(),
        state_dir: arguments.state_dir.clone(),
        system: arguments.system,
        new_keyring: true,
        allow_unlocked_memory: arguments.allow_unlocked_memory,
        ..DaemonArguments::default()
    }
}

fn key_place(arguments: &Arguments, layout: &Layout) -> PathBuf {
    arguments.key_file.clone().unwrap_or_else(|| layout.key_file.clone())
}

fn write(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let refuse = |error: io::Error| cannot_create(path, error.to_string());
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(cannot_create(path, "a path with `..` can mean another file tomorrow")
            .fix("name the place without `..`")
            .into());
    }
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refuse)?;
        key_file::examine_folders(path)?;
    }
    let mut file = Temporary::beside(path).map_err(refuse)?;
    file.write_all(text).map_err(refuse)?;
    Ok(file.persist(path, false).map_err(refuse)?)
}
