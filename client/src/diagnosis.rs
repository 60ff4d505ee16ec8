//! The checks of `doctor`, each a finding with what mends it. They look and ask; they change nothing
//! and send nothing but `status` and a query.

mod backup;
mod oversight;

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use keyagent_client::{Address, Connection, Error, base_folders, effective_uid};
use keyagent_common::{
    layout::{BaseFolders, Layout},
    op::{CheckResult, Empty, Status},
};
use nix::sys::resource::{Resource, getrlimit};

use crate::{
    agent_status::AgentStatus, autostart, daemon_process, failure::Failure, key_file, session::Session,
};

/// What an agent locks at most, and what an ordinary user may lock on current kernels.
const LOCKED_BYTES_WANTED: u64 = 8 << 20;
/// This program did not exist before: 2025-01-01.
const EARLIEST: Duration = Duration::from_hours(24 * 365 * 55 + 24 * 14);

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) result: CheckResult,
    pub(crate) message: String,
    pub(crate) fix: Option<String>,
}

impl Finding {
    fn new(check: &'static str, result: CheckResult, message: impl Into<String>) -> Self {
        Self { check, result, message: message.into(), fix: None }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// Every finding, in the order in which things depend on each other.
pub(crate) fn diagnose(session: &Session<'_>, system: bool) -> Result<Vec<Finding>, Failure> {
    let base = if system { Some(BaseFolders::System) } else { base_folders() };
    let layout = base.map(|base| Layout::new(&base, None));
    let address = session.address()?;
    let agent = Connection::open(&address, session.options()?).and_then(ask);
    let running = agent.is_ok();
    let mut findings = Vec::new();
    if let Some(layout) = &layout {
        findings.push(key(layout, running));
        findings.push(keyring(layout, running));
        findings.extend(backup::beside_the_key(layout));
    } else {
        findings.push(
            Finding::new("home", CheckResult::Failed, "there is no home folder")
                .fix("set HOME, or use --system"),
        );
    }
    match &agent {
        Ok((status, socket, asked)) => {
            findings.push(socket_rights(socket));
            findings.extend([reached(status), version(status), agent_memory(status)]);
            findings.extend(hibernation(status));
            findings.extend(oversight::findings(status, asked));
            findings.extend(backup::last(status, SystemTime::now()));
        }
        Err(error) => findings.extend([not_reached(error), own_memory()]),
    }
    findings.extend([clock(SystemTime::now()), autostart_possible(session, &address)]);
    Ok(findings)
}

/// What the agent says of itself, where it listens, and what overseers are told.
fn ask(mut connection: Connection) -> Result<(AgentStatus, PathBuf, oversight::Asked), Error> {
    let status = AgentStatus::from(connection.call::<Status>(&Empty {})?);
    let asked = oversight::ask(&mut connection, &status);
    Ok((status, connection.socket().to_path_buf(), asked))
}

fn key(layout: &Layout, running: bool) -> Finding {
    let path = std::env::var_os("KEYAGENT_KEY_FILE").filter(|value| !value.is_empty()).map(Into::into);
    let path = path.unwrap_or_else(|| crate::offline::key_file_of(layout));
    let shown = path.display();
    if key_file::holds_protected(&path) {
        return match key_file::read_checked(&path) {
            Ok(_) => {
                Finding::new("key file", CheckResult::Ok, format!("{shown} (protected by a passphrase)"))
            }
            Err(report) => Finding::new("key file", CheckResult::Failed, format!("{shown}: {}", report.why))
                .fix(report.fix),
        };
    }
    if !daemon_process::exists(&path) {
        let result = if running { CheckResult::Warning } else { CheckResult::Failed };
        return Finding::new("key file", result, format!("{shown}: no such file")).fix(init(layout));
    }
    match key_file::examine(&path).and_then(|()| key_file::read(&path)) {
        Ok(_) => Finding::new("key file", CheckResult::Ok, format!("{shown} (only for its owner)")),
        Err(report) => {
            Finding::new("key file", CheckResult::Failed, format!("{shown}: {}", report.why)).fix(report.fix)
        }
    }
}

fn keyring(layout: &Layout, running: bool) -> Finding {
    let shown = layout.keyring.display();
    if daemon_process::exists(&layout.keyring) {
        return Finding::new("keyring", CheckResult::Ok, shown.to_string());
    }
    let result = if running { CheckResult::Warning } else { CheckResult::Failed };
    Finding::new("keyring", result, format!("{shown}: no such file")).fix(init(layout))
}

/// The command that makes what is missing in this layout.
fn init(layout: &Layout) -> &'static str {
    let system = Layout::new(&BaseFolders::System, None);
    if layout.key_file == system.key_file { "keyagent init --system" } else { "keyagent init" }
}

fn socket_rights(socket: &Path) -> Finding {
    let folder = socket.parent().unwrap_or(Path::new("/"));
    let (Ok(file), Ok(place)) = (fs::symlink_metadata(socket), fs::metadata(folder)) else {
        return Finding::new(
            "socket",
            CheckResult::Warning,
            format!("{} cannot be examined", socket.display()),
        );
    };
    let (mode, folder_mode) = (file.mode() & 0o777, place.mode() & 0o7777);
    let message = format!("{} ({mode:04o}, dir {folder_mode:04o})", socket.display());
    let open_to_others = place.mode() & 0o022 != 0;
    if !file.file_type().is_socket() || open_to_others {
        return Finding::new("socket", CheckResult::Failed, message)
            .fix(format!("chmod go-w {}", folder.display()));
    }
    Finding::new("socket", CheckResult::Ok, message)
}

fn reached(status: &AgentStatus) -> Finding {
    let message = format!("pid {}, {}", status.shown("pid"), status.shown("state"));
    if status.is_unlocked() {
        let id = status.short_fingerprint().unwrap_or_default();
        return Finding::new("agent", CheckResult::Ok, format!("{message}, master key {id}"));
    }
    Finding::new("agent", CheckResult::Warning, message).fix("keyagent unlock")
}

fn not_reached(error: &Error) -> Finding {
    let report = error.report();
    let facts: Vec<String> = report
        .facts
        .iter()
        .map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let why = if report.why.is_empty() { facts.join("; ") } else { report.why };
    let fix = report.fix.split("   ").next().unwrap_or_default().to_owned();
    Finding::new("agent", CheckResult::Failed, format!("{}: {why}", report.what)).fix(fix)
}

fn version(status: &AgentStatus) -> Finding {
    let (mine, its) = (env!("CARGO_PKG_VERSION"), status.shown("version"));
    if its == mine {
        return Finding::new("version", CheckResult::Ok, format!("client and agent are {mine}"));
    }
    Finding::new("version", CheckResult::Warning, format!("the client is {mine}, the agent {its}"))
        .fix("keyagent stop; keyagent start")
}

fn agent_memory(status: &AgentStatus) -> Finding {
    let message = format!("{}, {} bytes", status.shown("memory"), status.shown("memory_bytes"));
    match status.get("degraded") {
        Some(degraded) => Finding::new("memory", CheckResult::Warning, format!("{message}: {degraded}")),
        None if status.get("memory") == Some("unlocked") => {
            Finding::new("memory", CheckResult::Warning, "keys are in memory that may be swapped out")
        }
        None => Finding::new("memory", CheckResult::Ok, message),
    }
}

/// Whoever cannot hibernate any more should not have to search for the reason; whoever can should know what it writes.
fn hibernation(status: &AgentStatus) -> Option<Finding> {
    Some(match status.get("memory")? {
        "memfd_secret" => Finding::new(
            "hibernation",
            CheckResult::Ok,
            "off while the agent runs: the kernel refuses to write secret memory to a disk (suspend works)",
        )
        .fix("keyagent stop, before hibernating"),
        _ => Finding::new(
            "hibernation",
            CheckResult::Warning,
            "would write the agent's memory to a disk: no secret memory here",
        )
        .fix("keyagent lock, before hibernating"),
    })
}

fn own_memory() -> Finding {
    let Ok((soft, _)) = getrlimit(Resource::RLIMIT_MEMLOCK) else {
        return Finding::new("memory", CheckResult::Warning, "the limit of locked memory is not known");
    };
    if soft >= LOCKED_BYTES_WANTED || effective_uid() == 0 {
        return Finding::new("memory", CheckResult::Ok, "enough memory may be locked");
    }
    let message = format!("only {} KiB of memory may be locked", soft / 1024);
    Finding::new("memory", CheckResult::Warning, message).fix("ulimit -l 8192")
}

fn clock(now: SystemTime) -> Finding {
    match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(time) if time >= EARLIEST => Finding::new("clock", CheckResult::Ok, "plausible"),
        _ => {
            Finding::new("clock", CheckResult::Failed, "before 2025: audit lines and rotation would be wrong")
                .fix("timedatectl set-ntp true")
        }
    }
}

fn autostart_possible(session: &Session<'_>, address: &Address) -> Finding {
    match daemon_process::locate() {
        Err(report) => Finding::new("autostart", CheckResult::Failed, report.what).fix(report.fix),
        Ok(_) if autostart::forbidden(session.globals, address).is_some() => {
            let why = autostart::forbidden(session.globals, address).unwrap_or_default();
            Finding::new("autostart", CheckResult::Ok, format!("off: {why}"))
        }
        Ok(program) => Finding::new("autostart", CheckResult::Ok, program.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_this_program_is_wrong() {
        assert_eq!(clock(SystemTime::UNIX_EPOCH).result, CheckResult::Failed);
        assert_eq!(clock(SystemTime::UNIX_EPOCH + EARLIEST).result, CheckResult::Ok);
    }
}
