//! Starting an agent because a command needs one and none runs.
//!
//! Never in a unit or a container, never where a socket was named, and never with a key that does not
//! exist yet: only `keyagent init` makes one.

use std::{ffi::OsStr, path::Path};

use keyagent_client::{Address, Connection, Error, base_folders};
use keyagent_common::{error::ErrorCode, layout::Layout};

use crate::{
    arguments::Globals,
    daemon_process::{self, Daemon, DaemonArguments},
    failure::Failure,
    session::Session,
};

/// Starts an agent and connects to it, or says why there is none.
pub(crate) fn start(session: &Session<'_>, address: &Address, error: &Error) -> Result<Connection, Failure> {
    let report = error.report();
    if let Some(why) = forbidden(session.globals, address) {
        return Err(report.fact("start", format!("not automatic: {why}")).into());
    }
    let Some(base) = base_folders() else { return Err(report.into()) };
    let layout = Layout::new(&base, None);
    if !has_key_source(&layout) {
        let mut report = report;
        report.code = ErrorCode::KeyMissing;
        "no agent runs, and there is no master key to start one with".clone_into(&mut report.what);
        let report = report.fact("key", format!("{}   no such file", layout.key_file.display()));
        return Err(report.fix("keyagent init").into());
    }
    let daemon = Daemon::prepare(&DaemonArguments::default(), None, layout)?;
    session.console.detail(&format!("starting {}", daemon.program().display()));
    daemon_process::start(&daemon, session.options()?)?;
    Ok(Connection::open(&Address::exactly(daemon.socket())?, session.options()?)?)
}

/// Why no agent may be started here by itself.
pub(crate) fn forbidden(globals: &Globals, address: &Address) -> Option<&'static str> {
    if globals.no_autostart {
        return Some("--no-autostart");
    }
    if std::env::var_os("KEYAGENT_AUTOSTART").is_some_and(|value| value == OsStr::new("0")) {
        return Some("KEYAGENT_AUTOSTART=0");
    }
    if address.is_named() {
        return Some("a socket is named");
    }
    if std::env::var_os("INVOCATION_ID").is_some_and(|value| !value.is_empty()) {
        return Some("this is a systemd unit");
    }
    let container = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists());
    container.then_some("this is a container")
}

fn has_key_source(layout: &Layout) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    set("KEYAGENT_KEY_FILE")
        || set("KEYAGENT_KEY")
        || set("CREDENTIALS_DIRECTORY")
        || std::fs::symlink_metadata(&layout.key_file).is_ok()
}
