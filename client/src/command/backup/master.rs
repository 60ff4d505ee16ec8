//! The master key for a backup: read from its own source, if this is the one that the agent uses.

use std::path::{Path, PathBuf};

use keyagent_client::base_folders;
use keyagent_common::{
    error::ErrorCode,
    fingerprint, kdf,
    layout::{BaseFolders, Layout},
    protected_key,
    report::Report,
};
use secrecy::ExposeSecret;

use crate::{
    agent_status::AgentStatus,
    daemon_process::exists,
    failure::Failure,
    key_file::{self, Content, MasterKey},
    passphrase::{self, Passphrase},
    session::Session,
};

/// Where to look, and how to open what is found there.
pub(super) struct Search<'s> {
    /// Named on the command line: then nowhere else.
    pub(super) named: Option<&'s Path>,
    /// Descriptor with the passphrase of a protected one.
    pub(super) passphrase_fd: Option<u32>,
    /// Fingerprint of the key that the agent uses.
    pub(super) wanted: [u8; 16],
}

/// Every place where it could be.
pub(super) fn places(named: Option<&Path>, status: &AgentStatus) -> Vec<PathBuf> {
    if let Some(path) = named {
        return vec![path.to_path_buf()];
    }
    let variable = std::env::var_os("KEYAGENT_KEY_FILE").filter(|value| !value.is_empty()).map(PathBuf::from);
    let said = status.get("master_source").map(PathBuf::from).filter(|path| path.is_absolute());
    let layouts = base_folders().into_iter().chain([BaseFolders::System]);
    let files = layouts.map(|base| Layout::new(&base, None).key_file);
    let usual = files.flat_map(|file| [protected_key::beside(&file), file]);
    let mut places: Vec<PathBuf> = variable.into_iter().chain(said).chain(usual).collect();
    places.dedup();
    places.retain(|path| exists(path));
    places
}

impl Search<'_> {
    /// The key, or why there is none; what was named on the command line must be it.
    pub(super) fn find(
        &self,
        session: &Session<'_>,
        places: &[PathBuf],
    ) -> Result<Result<MasterKey, String>, Failure> {
        let mut why = "no key file was found here".to_owned();
        for path in places {
            match self.read(session, path) {
                Ok(Some(key)) => return Ok(Ok(key)),
                Ok(None) if self.named.is_some() => return Err(self.another(path).into()),
                Ok(None) => why = format!("{} holds another key", path.display()),
                // What was asked for by name is not left out without a word.
                Err(failure) if self.named.is_some() || self.passphrase_fd.is_some() => return Err(failure),
                Err(Failure::Report(report)) => why = format!("{}: {}", path.display(), report.what),
                Err(failure) => return Err(failure),
            }
        }
        Ok(Err(why))
    }

    /// The key of a file; `None` if it is another one.
    fn read(&self, session: &Session<'_>, path: &Path) -> Result<Option<MasterKey>, Failure> {
        let key = match key_file::read_checked(path)? {
            Content::Plain(key) => key,
            Content::Protected(protected) if protected.fingerprint != self.wanted => return Ok(None),
            Content::Protected(protected) => {
                let name = path.display().to_string();
                let passphrase = match self.passphrase_fd {
                    Some(number) => Passphrase::read_descriptor(number)?,
                    None => {
                        Passphrase::ask(session.console, &format!("Passphrase of the master key, {name}: "))?
                    }
                };
                passphrase::open(&protected, &passphrase)?.ok_or_else(|| passphrase::wrong(&name))?
            }
        };
        Ok(Some(key).filter(|key| kdf::master_fingerprint(key.expose_secret()) == self.wanted))
    }

    fn another(&self, path: &Path) -> Report {
        Report::new(ErrorCode::WrongMasterKey, "this is not the master key that the agent uses")
            .fact("file", path.display().to_string())
            .fact("needed", fingerprint::short(&self.wanted))
            .fix("name the right file with --key-file, or leave the master key out: --without-master")
    }
}
