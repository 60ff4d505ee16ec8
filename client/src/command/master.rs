//! `keyagent master`: the key that opens the keyring.
//!
//! A master key is made here, and goes from its file to the agent; neither it nor a passphrase is ever an argument or
//! shown. Nothing is taken away before the agent said that it can do without.

mod files;
mod keys;
mod lock;
mod needed;
mod place;
mod plan;
mod rotate;
mod said;

use clap::{Args, Subcommand};

use crate::{failure::Failure, session::Session};

/// `keyagent master`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Seal the keyring under a new master key, or go on where that was interrupted; no data is touched
    Rotate(Box<rotate::Arguments>),
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.verb {
        Verb::Rotate(arguments) => rotate::run(session, arguments),
    }
}
