//! P8: what a daemon costs while nobody asks it anything.

use std::{fs, path::Path, thread::sleep, time::Duration};

use crate::{Outcome, connection::Connection, server::Daemon};

/// Connections that are held.
pub(crate) const CONNECTIONS: u32 = 10_000;
/// The pin follows the last record after a second; then nothing is left to do.
const SETTLE: Duration = Duration::from_secs(4);
/// How long wake-ups are counted.
pub(crate) const WATCHED: Duration = Duration::from_secs(10);

/// What was found.
pub(crate) struct Idle {
    /// Context switches of all threads while nothing was asked, without and with connections held.
    pub(crate) wake_ups: (u64, u64),
    /// Resident memory without connections, in KiB.
    pub(crate) resident_kib: u64,
    /// Resident memory that each held connection adds, in bytes.
    pub(crate) bytes_per_connection: f64,
}

/// Measures a daemon that has served before.
pub(crate) fn measure(daemon: &Daemon) -> Outcome<Idle> {
    let folder = daemon.proc_folder();
    sleep(SETTLE);
    let without = wake_ups(&folder)?;
    let before = resident_kib(&folder)?;
    let held = (0..CONNECTIONS).map(|_| held(daemon)).collect::<Outcome<Vec<_>>>()?;
    let with = wake_ups(&folder)?;
    let after = resident_kib(&folder)?;
    drop(held);
    let bytes_per_connection =
        f64::from(u32::try_from(after.saturating_sub(before))?) * 1024.0 / f64::from(CONNECTIONS);
    Ok(Idle { wake_ups: (without, with), resident_kib: before, bytes_per_connection })
}

/// A connection that was greeted and then says nothing; its client keeps no buffer.
fn held(daemon: &Daemon) -> Outcome<std::os::unix::net::UnixStream> {
    Ok(Connection::greeted(&daemon.socket)?.into_stream())
}

/// Voluntary context switches of all threads in [`WATCHED`]: a thread that sleeps through has none.
fn wake_ups(folder: &Path) -> Outcome<u64> {
    let before = switches(folder)?;
    sleep(WATCHED);
    Ok(switches(folder)? - before)
}

fn switches(folder: &Path) -> Outcome<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(folder.join("task"))? {
        sum += status_number(&thread?.path(), "voluntary_ctxt_switches:")?;
    }
    Ok(sum)
}

fn resident_kib(folder: &Path) -> Outcome<u64> {
    status_number(folder, "VmRSS:")
}

fn status_number(folder: &Path, name: &str) -> Outcome<u64> {
    let text = fs::read_to_string(folder.join("status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line in /proc")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}
