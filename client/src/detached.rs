//! The step between `keyagent` and a program that it starts: a new session, a clean signal mask, and
//! the limit of core dumps as the user had set it.
//!
//! The standard library offers neither without `unsafe`, so keyagent runs itself for it and is then
//! replaced by the program. Not for people; it holds no secret.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

use crate::core_dumps;

/// The hidden first argument.
const MARK: &str = "__exec";
const NEW_SESSION: &str = "--new-session";
const SAME_SESSION: &str = "--same-session";
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// A program away from the terminal: in a session of its own.
pub(crate) fn in_new_session(program: &OsStr) -> Command {
    through_myself(NEW_SESSION, program)
}

/// A program in the foreground, with no signal blocked.
pub(crate) fn in_same_session(program: &OsStr) -> Command {
    through_myself(SAME_SESSION, program)
}

fn through_myself(session: &str, program: &OsStr) -> Command {
    let mut command = Command::new("/proc/self/exe");
    let core_limit = core_dumps::found().to_string();
    command.arg0("keyagent").args([OsStr::new(MARK), OsStr::new(session), core_limit.as_ref(), program]);
    command
}

/// Does the step if this process was started for it.
pub(crate) fn run_if_asked(words: &[OsString]) -> Option<ExitCode> {
    let [_, mark, session, core_limit, program, arguments @ ..] = words else { return None };
    if mark != MARK {
        return None;
    }
    if session == NEW_SESSION {
        // Refused only for a leader of a process group, which a fresh child is not.
        let _ = nix::unistd::setsid();
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    if let Some(limit) = core_limit.to_str().and_then(|text| text.parse().ok()) {
        core_dumps::restore(limit);
    }
    let error = Command::new(program).args(arguments).exec();
    let text = format!("keyagent: cannot run {}: {error}\n", program.display());
    let _ = io::stderr().write_all(text.as_bytes());
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    Some(ExitCode::from(code))
}
