//! `decrypt --offline`: which keys to open with, where no agent can run.

use std::path::PathBuf;

use clap::Args;
use keyagent_client::base_folders;
use keyagent_common::{
    layout::{BaseFolders, Layout},
    report::Report,
};

use super::{file, opening::OpeningArguments};
use crate::{
    failure::{Failure, usage},
    offline::{self, Offline},
    session::Session,
};

/// The flags of `decrypt` that ask no agent.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Without an agent")]
pub(crate) struct OfflineArguments {
    /// Open in this process, with the master key and keyring or with a backup; nothing is recorded
    #[arg(long)]
    offline: bool,
    /// The master key [default: where the agent would read it]
    #[arg(long, value_name = "FILE", requires = "offline", conflicts_with = "backup")]
    key_file: Option<PathBuf>,
    /// The keyring [default: where the agent would read it]
    #[arg(long, value_name = "FILE", requires = "offline", conflicts_with = "backup")]
    keyring: Option<PathBuf>,
    /// Look in the folders of the system instead of the user's
    #[arg(long, requires = "offline", conflicts_with = "backup")]
    system: bool,
    /// Take the keys out of this backup
    #[arg(long, value_name = "FILE", requires = "offline")]
    backup: Option<PathBuf>,
    #[command(flatten)]
    opening: OpeningArguments,
}

impl OfflineArguments {
    /// Takes the keys into this process, if that was asked for.
    pub(crate) fn begin(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        if !self.offline {
            if self.opening.is_given() {
                return Err(usage("what opens a backup was given, and no backup")
                    .fix("keyagent decrypt --offline --backup FILE")
                    .into());
            }
            return Ok(());
        }
        let offline = match &self.backup {
            Some(path) => {
                let bytes = file::read(path)?;
                let backup = file::parse(&bytes, path)?;
                let key = self.opening.open(&backup, session.console)?;
                Offline::of_pages(&path.display().to_string(), key.bytes(), backup.pages.iter().copied())?
            }
            None => self.of_keyring(session)?,
        };
        session.go_offline(offline);
        Ok(())
    }

    fn of_keyring(&self, session: &Session<'_>) -> Result<Offline, Failure> {
        let base = if self.system { Some(BaseFolders::System) } else { base_folders() };
        let layout = base.map(|base| Layout::new(&base, None));
        let place = |named: &Option<PathBuf>, usual: &dyn Fn(&Layout) -> PathBuf, flag: &str| {
            named.clone().or_else(|| layout.as_ref().map(usual)).ok_or_else(|| nowhere(flag))
        };
        let key_file = place(&self.key_file, &|layout| offline::key_file_of(layout), "--key-file")?;
        let keyring = place(&self.keyring, &|layout| layout.keyring.clone(), "--keyring")?;
        let master = offline::master(session, &key_file, self.opening.passphrase_fd)?;
        Offline::of_keyring(&keyring, &master)
    }
}

fn nowhere(flag: &str) -> Report {
    usage("there is no home folder to look in").fix(format!("name the file: {flag} FILE"))
}
