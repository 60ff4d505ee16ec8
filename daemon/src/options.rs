//! The command line of keyagentd.

use std::{os::fd::RawFd, path::PathBuf};

use clap::{Parser, ValueEnum};

/// Holds the keys and serves them over a Unix socket; runs in the foreground.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, independent of the others"
)]
#[derive(Debug, Parser)]
#[command(name = "keyagentd", version, about, disable_help_subcommand = true)]
pub(crate) struct Options {
    /// Master key file (or `KEYAGENT_KEY_FILE`); ends the search for other sources
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Read the master key from this open descriptor; ends the search for other sources
    #[arg(long, value_name = "N", conflicts_with = "key_file")]
    pub(crate) key_fd: Option<RawFd>,
    /// Folder with `keyagent.master-key` (default: `$CREDENTIALS_DIRECTORY`)
    #[arg(long, value_name = "DIR")]
    pub(crate) credentials_dir: Option<PathBuf>,
    /// Configuration file instead of the usual ones
    #[arg(long, value_name = "FILE", env = "KEYAGENT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Socket to listen on
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// One folder for keyring, audit log and lock file
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// System paths (/etc, /var/lib, /var/log, /run) instead of the user's
    #[arg(long)]
    pub(crate) system: bool,
    /// Make master key, keyring and audit log, if none of them exists; then serve
    #[arg(long, group = "making", conflicts_with_all = ["new_keyring", "accept_rollback", "key_fd"])]
    pub(crate) init: bool,
    /// With --init or --new-keyring: end after making them
    #[arg(long, requires = "making")]
    pub(crate) no_serve: bool,
    /// Make a new keyring for an existing master key, if there is none
    #[arg(long, group = "making")]
    pub(crate) new_keyring: bool,
    /// Go on although keyring and audit log are out of step or damaged; the fact is recorded
    #[arg(long)]
    pub(crate) accept_rollback: bool,
    /// Check the whole audit log, print what was found as JSON, and end; changes nothing
    #[arg(long, conflicts_with_all = ["making", "accept_rollback"])]
    pub(crate) verify_audit: bool,
    /// Go on although the kernel refuses to lock memory; `status` says DEGRADED
    #[arg(long)]
    pub(crate) allow_unlocked_memory: bool,
    /// How errors are written on stderr
    #[arg(long, value_name = "FORMAT", env = "KEYAGENT_LOG")]
    pub(crate) log: Option<LogFormat>,
}

/// How errors are written on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
