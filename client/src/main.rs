//! The command line `keyagent`.
//!
//! It takes a command line apart, runs one command, and ends with the exit code of the table. It must
//! never end the process from inside a command: what holds secrets has to be dropped first.

mod agent_status;
mod arguments;
mod armor;
mod audit_line;
mod autostart;
mod command;
mod console;
mod core_dumps;
mod daemon_process;
mod detached;
mod diagnosis;
mod failure;
mod files;
mod input;
mod key_command;
mod key_file;
mod key_pipe;
#[cfg(test)]
mod manual;
mod offline;
mod open;
mod output;
mod passphrase;
mod pending;
mod progress;
mod recognise;
mod rewrap;
mod seal;
mod session;
mod shares;
mod signals;
mod stdio;
mod stream;
mod temporary;
mod terminal;
mod usage;
mod utc;

use std::{ffi::OsString, mem::ManuallyDrop, process::ExitCode};

use arguments::CommandLine;
use clap::{CommandFactory, FromArgMatches};
use console::Console;
use failure::Failure;

fn main() -> ExitCode {
    if let Err(report) = core_dumps::forbid() {
        return ExitCode::from(console::last_words(&report));
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = detached::run_if_asked(&words) {
        return code;
    }
    let line = match parse(&words) {
        Ok(line) => line,
        Err(error) => return ExitCode::from(usage::answer(&error, &words)),
    };
    let console = Console::new(&line.globals);
    ExitCode::from(match command::run(line, &console) {
        Ok(code) => code,
        Err(failure) => end(&console, failure),
    })
}

/// Takes the words apart. The definition, some hundred arguments, is never given back: the process ends soon,
/// and freeing it would take a good part of a short run.
fn parse(words: &[OsString]) -> Result<CommandLine, clap::Error> {
    let mut definition = ManuallyDrop::new(CommandLine::command());
    let matches = definition.try_get_matches_from_mut(words)?;
    let mut matches = ManuallyDrop::new(matches);
    CommandLine::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut definition))
}

fn end(console: &Console, failure: Failure) -> u8 {
    match failure {
        Failure::Report(report) => {
            console.report(&report);
            report.code.exit_code()
        }
        Failure::Passed(passed) => {
            console.passed(&passed);
            passed.exit_code
        }
    }
}
