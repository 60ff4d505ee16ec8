//! The journal as a second sink: one datagram a record in the native protocol of journald
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! Sent after the record is in the log. Must never block, and never fail or delay a request for want of a
//! reader: what cannot be sent at once is dropped and counted.

use std::{
    os::unix::net::UnixDatagram,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use keyagent_common::error::ErrorCode;
use keyagent_core::audit::record::{Details, Event};

use super::{line::Line, settings::Journald};

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Priorities of syslog(3): action must be taken at once, a warning, informational.
const ALERT: &str = "1";
const WARNING: &str = "4";
const INFORMATIONAL: &str = "6";

/// Whether a line is sent.
pub(super) fn is_wanted(journald: Journald, line: &Line<'_>) -> bool {
    match journald {
        Journald::Off => false,
        Journald::Alerts => matches!(line.event, Event::Alert { .. }) || is_refusal(line),
        Journald::All => true,
    }
}

/// Somebody asked for what is not theirs, or for what a brake or limit holds back.
fn is_refusal(line: &Line<'_>) -> bool {
    const CODES: [ErrorCode; 4] =
        [ErrorCode::Denied, ErrorCode::RateLimited, ErrorCode::KeyDisabled, ErrorCode::KeyCompromised];
    match line.event {
        Event::PeerRefused { .. } | Event::PeersRefused { .. } => true,
        Event::Operation { details: Details { code: Some(code), .. }, .. }
        | Event::RequestRefused { code: Some(code), .. } => CODES.iter().any(|known| *known as u16 == code),
        _ => false,
    }
}

/// Datagrams of one group, built under the log's lock and sent outside it.
#[derive(Default)]
pub(super) struct Copies {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Copies {
    /// Adds a record.
    pub(super) fn push(&mut self, seq: u64, line: &Line<'_>) {
        let name = line.event.name();
        let priority = match (line.event, line.error) {
            (Event::Alert { .. }, _) => ALERT,
            (_, Some(_)) => WARNING,
            (_, None) => INFORMATIONAL,
        };
        self.field("MESSAGE", &message(name, line));
        self.field("PRIORITY", priority);
        self.field("SYSLOG_IDENTIFIER", "keyagentd");
        self.field("KEYAGENT_EVENT", name);
        if let Some(key) = line.key {
            self.field("KEYAGENT_KEY", key);
        }
        self.field("KEYAGENT_SEQ", &seq.to_string());
        if let Some(peer) = line.peer {
            self.field("KEYAGENT_UID", &peer.uid.to_string());
        }
        if let Some(unit) = line.via.unit {
            self.field("KEYAGENT_UNIT", unit);
        }
        self.field("KEYAGENT_SUCCESS", if line.error.is_none() { "true" } else { "false" });
        self.ends.push(self.bytes.len());
    }

    /// Nothing of this is in the log after all.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// `NAME=value`, or the form with a length where the value holds a newline.
    fn field(&mut self, name: &'static str, value: &str) {
        self.bytes.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.bytes.push(b'\n');
            self.bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(b'\n');
    }

    /// The datagrams, each with all its fields.
    fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.bytes.get(start..*end))
    }
}

/// What a person reads in the journal.
fn message(name: &str, line: &Line<'_>) -> String {
    let mut text = String::from(name);
    if let Some(key) = line.key {
        text.push_str(" of ");
        text.push_str(key);
    }
    if let Some(peer) = line.peer {
        text.push_str(" by user ");
        text.push_str(&peer.uid.to_string());
    }
    if let Event::Alert { message, .. } = line.event {
        text.push_str(": ");
        text.push_str(message);
    }
    if let Some(error) = line.error {
        text.push_str(": ");
        text.push_str(error);
    }
    text
}

/// The socket, and how much did not get through.
pub(super) struct Sink {
    path: PathBuf,
    socket: OnceLock<Option<UnixDatagram>>,
    dropped: AtomicU64,
}

impl Default for Sink {
    fn default() -> Self {
        Self::to(SOCKET.into())
    }
}

impl Sink {
    /// A sink that sends to `path`; opened when something is sent for the first time.
    pub(super) fn to(path: PathBuf) -> Self {
        Self { path, socket: OnceLock::new(), dropped: AtomicU64::new(0) }
    }

    /// Sends what was built. By path each time, so that a journal that was restarted is found again.
    pub(super) fn send(&self, copies: &Copies) {
        if copies.is_empty() {
            return;
        }
        let socket = self.socket.get_or_init(|| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some(socket)
        });
        for datagram in copies.datagrams() {
            let sent = socket.as_ref().is_some_and(|socket| socket.send_to(datagram, &self.path).is_ok());
            if !sent {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Records that could not be sent since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
