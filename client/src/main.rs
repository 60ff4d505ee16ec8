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
mod open;
mod output;
mod passphrase;
mod progress;
mod recognise;
mod seal;
mod session;
mod signals;
mod stdio;
mod stream;
mod temporary;
mod terminal;
mod usage;
mod utc;

use std::{ffi::OsString, process::ExitCode};

use arguments::CommandLine;
use clap::Parser;
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
    let line = match CommandLine::try_parse_from(&words) {
        Ok(line) => line,
        Err(error) => return ExitCode::from(usage::answer(&error, &words)),
    };
    let console = Console::new(&line.globals);
    ExitCode::from(match command::run(line, &console) {
        Ok(code) => code,
        Err(failure) => end(&console, failure),
    })
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
