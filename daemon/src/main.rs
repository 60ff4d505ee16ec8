//! keyagentd: holds the keys and serves them over a Unix socket.
//!
//! Executes no program, opens no network socket, parses no JSON. This file only closes the doors
//! (dumps, descriptors, environment) before anything else happens, and starts the control thread on a
//! locked stack; ordinary threads never touch a key.

mod access;
mod alarm;
mod alerts;
mod audit_log;
mod back_off;
mod buffers;
mod burst;
mod clock;
mod commit;
mod configuration;
mod control;
mod daemon;
mod endpoint;
mod events;
mod failures;
mod files;
mod held;
mod history;
mod listen;
mod maintenance;
#[cfg(test)]
mod manual;
mod metering;
mod metrics;
mod options;
mod pinning;
mod prepare;
mod principal;
mod report;
mod seats;
mod session;
mod signals;
mod source;
mod start;
mod state;
mod store;
mod timers;
mod usage;
mod verify;
mod worker;

use std::{
    io::Write,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use clap::Parser;
use keyagent_common::{error::ErrorCode, report::Report};
use keyagent_core::arena::ArenaFull;
use keyagent_sys::{
    harden,
    memory::{Backing, LockError, LockedArena},
    thread,
};
use options::Options;

/// What to do when memory cannot be locked.
pub(crate) const MEMLOCK_FIX: &str =
    "ulimit -l 8192 (or LimitMEMLOCK=8M in the unit); at your own risk: --allow-unlocked-memory";

fn main() -> ExitCode {
    // The first act: from here on nobody of the same user can read this process.
    if let Err(error) = harden::forbid_dumps() {
        let failed = Report::new(ErrorCode::Internal, "refusing to start: the process cannot be protected");
        return end(Err(failed.why(error.to_string())));
    }
    std::panic::set_hook(Box::new(|panic| {
        // The message of a panic could hold anything; its place cannot.
        let place =
            panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
        report::warn(&format!("internal failure at {place}; this is a bug, please report it"));
    }));
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) if !error.use_stderr() => {
            let printed = say_on_stdout(&error.to_string());
            return end(printed);
        }
        Err(error) => {
            report::warn(&error);
            return ExitCode::from(ErrorCode::Usage.exit_code());
        }
    };
    if let Some(format) = options.log {
        report::choose(format);
    }
    if options.verify_audit {
        let verified = prepare::setup(options).and_then(|setup| on_a_locked_stack(setup, verify::run));
        // Printed on standard output; 1 says that something was found.
        return verified
            .map_or_else(|report| end(Err(report)), |in_order| ExitCode::from(u8::from(!in_order)));
    }
    end(prepare::setup(options).and_then(|setup| on_a_locked_stack(setup, daemon::run)))
}

/// Runs the daemon, or what else needs keys, on a thread whose stack is locked, undumped and wiped at the end.
fn on_a_locked_stack<T: Send + 'static>(
    setup: daemon::Setup,
    run: fn(daemon::Setup) -> Result<T, Report>,
) -> Result<T, Report> {
    let policy = setup.lock_policy;
    let outcome = Arc::new(Mutex::new(None));
    let place = Arc::clone(&outcome);
    let control = thread::spawn_on_locked_stack("control", worker::STACK_BYTES, policy, move || {
        let result = run(setup);
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    });
    let control = control.map_err(|error| {
        Report::new(ErrorCode::MemoryNotLocked, "refusing to start: no locked stack for the daemon's threads")
            .why(error.to_string())
            .fix(MEMLOCK_FIX)
    })?;
    control.join().map_err(|error| Report::new(ErrorCode::Internal, error.to_string()))?;
    let result = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
    result.unwrap_or_else(|| Err(Report::new(ErrorCode::Internal, "the control thread left no result")))
}

fn end(result: Result<(), Report>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            report::failure(&report);
            ExitCode::from(report.code.exit_code())
        }
    }
}

/// Locked memory was refused.
pub(crate) fn memory_not_locked(error: &LockError) -> Report {
    Report::new(ErrorCode::MemoryNotLocked, "refusing to start: the kernel does not let memory be locked")
        .why(error.to_string())
        .fix(MEMLOCK_FIX)
}

/// The key arena has no slot left.
pub(crate) fn arena_full(full: ArenaFull) -> Report {
    Report::new(ErrorCode::Busy, "no locked memory is left for another key").why(full.to_string())
}

/// The weakest backing in a daemon that was allowed to go on without locked memory.
pub(crate) fn weakest(arena: &LockedArena) -> Backing {
    use keyagent_sys::memory::{LockPolicy, LockedBuffer};
    let probe = LockedBuffer::locked(1, LockPolicy::Required);
    if probe.is_ok() { arena.backing() } else { Backing::Unlocked }
}

/// A line of data for whoever called.
pub(crate) fn say_on_stdout(line: &str) -> Result<(), Report> {
    let mut stdout = std::io::stdout();
    let written = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| {
        Report::new(ErrorCode::InputOutput, "cannot write to standard output").why(error.to_string())
    })
}
