//! Waiting for a foreground program while passing on what asks it to end.
//!
//! keyagent itself must not end before the program: the agent that runs for it has to be stopped.

use std::{
    io,
    process::{Child, Command, ExitStatus},
};

use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::Pid,
};

/// Runs a command to its end. A terminal sends its own signals to both; `TERM` and `HUP` are passed on.
pub(crate) fn run(mut command: Command) -> io::Result<ExitStatus> {
    let set: SigSet = [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect();
    set.thread_block()?;
    let result = command.spawn().and_then(|child| wait(child, &set));
    set.thread_unblock()?;
    result
}

fn wait(mut child: Child, set: &SigSet) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let signal = set.wait()?;
        if matches!(signal, Signal::SIGTERM | Signal::SIGHUP) {
            // A child that has ended meanwhile is seen above.
            let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
        }
    }
}
