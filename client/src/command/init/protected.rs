//! A master key that a passphrase protects, and its keyring.
//!
//! The only place of this program where a key is made. The plain key never touches the disk: the
//! daemon's program gets it through a pipe, to make the keyring with.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Component, Path},
};

use keyagent_common::protected_key::Parameters;

use super::{Plan, run_daemon};
use crate::{
    daemon_process::{DaemonArguments, exists},
    failure::{Failure, cannot_create},
    key_file::{self, MasterKey},
    key_pipe,
    passphrase::{self, Passphrase},
    session::Session,
    temporary::Temporary,
};

/// Makes a protected key and its keyring; what the daemon's program said.
pub(super) fn make(session: &Session<'_>, plan: &Plan) -> Result<String, Failure> {
    if plan.key_file.components().any(|part| part == Component::ParentDir) {
        // The agent would refuse to read it.
        let why = "a path with `..` can mean another file tomorrow";
        return Err(cannot_create(&plan.key_file, why).fix("name the place without `..`").into());
    }
    let passphrase = match plan.passphrase_fd {
        Some(number) => {
            let passphrase = Passphrase::read_descriptor(number)?;
            passphrase.check_new(session.console)?;
            passphrase
        }
        None => Passphrase::ask_new(session.console)?,
    };
    let master = passphrase::new_master()?;
    let protected = passphrase::protect(&master, &passphrase, Parameters::DEFAULT)?;
    drop(passphrase);
    // First the key, for nothing may depend on one that is not yet on disk.
    write(&plan.key_file, &protected.to_text())?;
    make_keyring(plan, &master).inspect_err(|_| {
        // Without a keyring nothing was ever sealed under it, and it would be in the way.
        if !exists(&plan.layout.keyring) {
            let _ = std::fs::remove_file(&plan.key_file);
        }
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let refuse = |error: io::Error| cannot_create(path, error.to_string());
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refuse)?;
        key_file::examine_folders(path)?;
    }
    let mut file = Temporary::beside(path).map_err(refuse)?;
    file.write_all(text.as_bytes()).map_err(refuse)?;
    Ok(file.persist(path, false).map_err(refuse)?)
}

fn make_keyring(plan: &Plan, master: &MasterKey) -> Result<String, Failure> {
    let pipe = key_pipe::holding(master)?;
    let number = pipe.number().to_string();
    let arguments = DaemonArguments {
        state_dir: plan.daemon.state_dir.clone(),
        system: plan.daemon.system,
        allow_unlocked_memory: plan.daemon.allow_unlocked_memory,
        ..DaemonArguments::default()
    };
    run_daemon(&arguments, &["--new-keyring", "--key-fd", &number])
}
