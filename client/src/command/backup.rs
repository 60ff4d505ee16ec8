//! `keyagent backup`: keys in a file that only a passphrase or other people's keys open.
//!
//! The agent seals the keys, under a backup key that is made here for one file; this program sees names and states,
//! and of all secrets the master key alone, which it reads from its own source.

mod check;
mod contents;
mod create;
mod file;
mod key;
mod master;
mod offline;
mod opening;
mod recipients;
mod restore;
mod sharing;
mod sheet;
mod shown;

use clap::{Args, Subcommand};

use crate::{failure::Failure, session::Session};

pub(crate) use file::{HeaderDocument, describe};
pub(crate) use offline::OfflineArguments;

/// `keyagent backup`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Put keys into a file, with the master key if it can be read
    Create(create::Arguments),
    /// Say whether a backup is whole, and with its passphrase or an identity what it holds
    Check(check::Arguments),
    /// Take the keys of a backup in; on a new machine begin with them
    Restore(restore::Arguments),
    /// Split the key of a backup into shares for several people, any M of whom open it
    Shares(sharing::Arguments),
    /// Print what somebody needs to know who restores from it, to be put into a safe
    Sheet(sheet::Arguments),
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.verb {
        Verb::Create(arguments) => create::run(session, arguments),
        Verb::Check(arguments) => check::run(session, arguments),
        Verb::Restore(arguments) => restore::run(session, arguments),
        Verb::Shares(arguments) => sharing::run(session, arguments),
        Verb::Sheet(arguments) => sheet::run(session, arguments),
    }
}
