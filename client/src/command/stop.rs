//! `keyagent stop`: ends the agent and returns when it is gone.

use std::{
    fs,
    time::{Duration, Instant},
};

use keyagent_client::Connection;
use keyagent_common::{
    error::ErrorCode,
    op::{Empty, Status, Stop},
    report::Report,
};
use serde::Serialize;

use crate::{agent_status::AgentStatus, command::OK, console, failure::Failure, session::Session};

const POLL: Duration = Duration::from_millis(5);

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    pid: Option<u64>,
}

pub(crate) fn run(session: &Session<'_>) -> Result<u8, Failure> {
    let pid = stop(session, session.connect()?)?;
    if session.console.json {
        console::print_json(&Document { schema: "keyagent.stop/1", pid })?;
    } else {
        session.console.say("the agent has stopped");
    }
    Ok(OK)
}

/// Stops the agent behind a connection and waits until it is gone; its process number.
pub(crate) fn stop(session: &Session<'_>, mut connection: Connection) -> Result<Option<u64>, Failure> {
    let pid = AgentStatus::from(connection.call::<Status>(&Empty {})?).number("pid");
    connection.call::<Stop>(&Empty {})?;
    connection.wait_for_end()?;
    // Behind systemd's socket or in another pid namespace the number would name some other process.
    if let Some(pid) = pid.filter(|pid| *pid == u64::from(connection.listener_pid())) {
        wait_until_gone(pid, session.options()?.timeout)?;
    }
    Ok(pid)
}

fn wait_until_gone(pid: u64, limit: Duration) -> Result<(), Report> {
    let end = Instant::now() + limit;
    while lives(pid) {
        if Instant::now() > end {
            return Err(Report::new(ErrorCode::Timeout, "the agent was told to stop but is still there")
                .fact("pid", pid.to_string())
                .fix(format!("kill {pid}")));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Whether a process exists that has not ended; one that only waits for its parent has. The first thread
/// may end before the others, which still hold socket and locks.
fn lives(pid: u64) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    threads > 1 || !matches!(state, Some('Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_only_waits_for_its_parent_is_gone() {
        assert!(lives(std::process::id().into()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().into();
        wait_until_gone(pid, Duration::from_secs(5)).unwrap();
        child.wait().unwrap();
        assert!(!lives(u64::from(u32::MAX)));
    }
}
