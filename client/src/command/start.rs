//! `keyagent start`: the agent in the background, or for as long as a command runs.
//!
//! It must never make a key; what the daemon says when it does not start is passed on as it is.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ExitStatus},
};

use clap::Args;
use keyagent_client::{Address, Connection, effective_uid};
use keyagent_common::{
    error::ErrorCode,
    op::{Empty, Status},
    report::Report,
};
use serde::Serialize;

use crate::{
    agent_status::AgentStatus,
    command::{OK, stop, unlock},
    console,
    daemon_process::{self, Daemon, DaemonArguments},
    detached,
    failure::Failure,
    session::Session,
    signals,
};

/// `keyagent start`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print commands for a Bourne shell, as ssh-agent does
    #[arg(short = 's', long, group = "shell")]
    sh: bool,
    /// Print commands for a C shell
    #[arg(short = 'c', long, group = "shell")]
    csh: bool,
    /// Stop the agent and print commands that forget it
    #[arg(short = 'k', long)]
    kill: bool,
    #[command(flatten)]
    daemon: DaemonArguments,
    /// Run this command; the agent ends with it
    #[arg(last = true, value_name = "CMD", conflicts_with_all = ["shell", "kill"])]
    command: Vec<OsString>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    started: bool,
    pid: Option<u64>,
    socket: String,
}

pub(crate) fn run(session: &Session<'_>, arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.kill {
        return kill(session, arguments.csh);
    }
    if effective_uid() == 0 && !arguments.daemon.system {
        session
            .console
            .say("warning: this is root's own agent, in user mode; the system's is: keyagent start --system");
    }
    let (daemon, child) = ensure(session, &arguments.daemon)?;
    if let [program, rest @ ..] = arguments.command.as_slice() {
        return run_for(session, &daemon, child, program, rest);
    }
    let code = tell(session, arguments, &daemon, child.is_some())?;
    unlock::offer(session, daemon.socket())?;
    Ok(code)
}

/// A daemon that answers, and its process if it was started here.
fn ensure(session: &Session<'_>, arguments: &DaemonArguments) -> Result<(Daemon, Option<Child>), Failure> {
    let options = session.options()?;
    let address = session.address()?;
    let daemon = Daemon::prepare(arguments, address.named_path(), arguments.layout()?)?;
    if daemon_process::answers(daemon.socket(), options)? {
        return Ok((daemon, None));
    }
    let child = daemon_process::start(&daemon, options)?;
    Ok((daemon, Some(child)))
}

fn tell(session: &Session<'_>, arguments: &Arguments, daemon: &Daemon, started: bool) -> Result<u8, Failure> {
    let mut connection = Connection::open(&Address::exactly(daemon.socket())?, session.options()?)?;
    let pid = AgentStatus::from(connection.call::<Status>(&Empty {})?).number("pid");
    let socket = daemon.socket().display().to_string();
    let console = session.console;
    if console.json {
        console::print_json(&Document { schema: "keyagent.start/1", started, pid, socket })?;
    } else if arguments.sh || arguments.csh {
        console::print(&shell_lines(daemon.socket(), pid, arguments.csh)?)?;
    } else {
        let what = if started { "agent started" } else { "the agent runs already" };
        let pid = pid.map_or("-".to_owned(), |pid| pid.to_string());
        console.say(&format!("{what} (pid {pid}), socket {socket}"));
    }
    Ok(OK)
}

fn kill(session: &Session<'_>, csh: bool) -> Result<u8, Failure> {
    let pid = stop::stop(session, session.connect()?)?;
    let pid = pid.map_or("-".to_owned(), |pid| pid.to_string());
    let unset = if csh { "unsetenv" } else { "unset" };
    console::print(&format!(
        "{unset} KEYAGENT_SOCK;\n{unset} KEYAGENT_PID;\necho Agent pid {pid} killed;\n"
    ))?;
    Ok(OK)
}

fn shell_lines(socket: &Path, pid: Option<u64>, csh: bool) -> Result<String, Report> {
    let socket = socket.to_str().and_then(quote).ok_or_else(|| {
        Report::new(ErrorCode::Configuration, "the path of the socket cannot be written for a shell")
    })?;
    let pid = pid.map_or("0".to_owned(), |pid| pid.to_string());
    Ok(if csh {
        format!("setenv KEYAGENT_SOCK {socket};\nsetenv KEYAGENT_PID {pid};\necho Agent pid {pid};\n")
    } else {
        format!(
            "KEYAGENT_SOCK={socket}; export KEYAGENT_SOCK;\nKEYAGENT_PID={pid}; export KEYAGENT_PID;\necho Agent pid {pid};\n"
        )
    })
}

/// A path as one word of every shell; `None` for what no quoting makes safe in all of them.
fn quote(path: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%".contains(c);
    if path.chars().all(plain) {
        return Some(path.to_owned());
    }
    let hopeless = |c: char| c.is_control() || c == '\'' || c == '!';
    if path.contains(hopeless) { None } else { Some(format!("'{path}'")) }
}

fn run_for(
    session: &Session<'_>,
    daemon: &Daemon,
    child: Option<Child>,
    program: &OsStr,
    arguments: &[OsString],
) -> Result<u8, Failure> {
    if let Err(failure) = unlock::offer(session, daemon.socket()) {
        if let Some(child) = child {
            end(session, daemon, child);
        }
        return Err(failure);
    }
    let mut command = detached::in_same_session(program);
    command.args(arguments).env("KEYAGENT_SOCK", daemon.socket()).env_remove("KEYAGENT_KEY");
    let outcome = signals::run(command);
    match child {
        Some(child) => end(session, daemon, child),
        None => session.console.say("the agent was running before and goes on running"),
    }
    let status = outcome
        .map_err(|error| Report::new(ErrorCode::Internal, "cannot run the command").why(error.to_string()))?;
    Ok(exit_code(status))
}

/// Ends an agent that was started here; the command's exit code matters more than how this goes.
fn end(session: &Session<'_>, daemon: &Daemon, mut child: Child) {
    let stopped = Address::exactly(daemon.socket())
        .and_then(|address| Connection::open(&address, session.options().unwrap_or_default()))
        .map_err(Failure::from)
        .and_then(|connection| stop::stop(session, connection));
    if stopped.is_err() {
        session.console.say("the agent did not stop when asked and is ended");
        let _ = child.kill();
    }
    let _ = child.wait();
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_get_one_word_or_nothing() {
        let lines = shell_lines(Path::new("/run/user/7/keyagent/agent.sock"), Some(9), false).unwrap();
        assert!(lines.starts_with("KEYAGENT_SOCK=/run/user/7/keyagent/agent.sock; export KEYAGENT_SOCK;\n"));
        assert!(
            shell_lines(Path::new("/a b"), None, true).unwrap().starts_with("setenv KEYAGENT_SOCK '/a b';\n")
        );
        assert!(shell_lines(Path::new("/a'; rm -rf ~; '"), None, false).is_err());
    }
}
