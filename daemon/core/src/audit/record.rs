//! One audit line: typed, allow-listed fields in a fixed order (docs/FORMATS.md, section 4).
//!
//! A field that is not a member here cannot be logged. Client text (user agent, error message, host)
//! is capped at [`TEXT_CAP`] bytes and escaped. Must never hold plaintext, ciphertext or a key; a
//! context value appears only as its keyed hash.
//!
//! ```text
//! {"seq":12,"id":"1-12","timestamp":"2026-11-21T23:10:00.123456Z","event_type":"encrypt",
//!  "provider":"default","user_id":"1000","ip_address":null,"user_agent":"keyagent/0.1.0",
//!  "success":true,"error_message":null,"metadata":{"uid":1000,...}}
//! ```

use alloc::vec::Vec;

use super::{
    json::{push_hex, push_number, push_text},
    timestamp,
};

mod event;
mod outcome;

pub use event::{Bridging, Details, Event};
pub use outcome::{Outcome, pages};

/// Room made for a line at once; longer ones are possible.
const USUAL_LINE_BYTES: usize = 512;
/// Most bytes of a text that came from outside.
pub const TEXT_CAP: usize = 256;
/// Most bytes of a list of ours, such as the subjects of an `access.change`.
pub const LIST_CAP: usize = 1024;

/// Who asked, as the kernel told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Process id at the time of connecting.
    pub pid: u32,
}

/// Through what a request came and by which right; absent members are left out of the line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Via<'a> {
    /// Systemd unit of the peer's control group.
    pub unit: Option<&'a str>,
    /// Name of the listening socket.
    pub socket: Option<&'a str>,
    /// Whom the peer, a delegate, named as the one who asks: the peer's word.
    pub on_behalf_of: Option<OnBehalfOf<'a>>,
    /// Name of the policy rule that allowed or refused it.
    pub rule: Option<&'a str>,
}

/// A caller named by a delegate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnBehalfOf<'a> {
    /// User id.
    pub uid: u32,
    /// Group id, where it decided anything.
    pub gid: Option<u32>,
    /// Systemd unit.
    pub unit: Option<&'a str>,
}

/// One line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Number of the segment.
    pub segment: u64,
    /// Number of the line, one more than the line before, across segments.
    pub seq: u64,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub unix_micros: u64,
    /// What happened.
    pub event: Event<'a>,
    /// Name of the key concerned.
    pub provider: Option<&'a str>,
    /// Who asked; `None` for the daemon's own lines.
    pub peer: Option<Peer>,
    /// Through what the request came; empty for the daemon's own lines.
    pub via: Via<'a>,
    /// What the client calls itself.
    pub user_agent: Option<&'a str>,
    /// What went wrong; `None` means success.
    pub error_message: Option<&'a str>,
}

impl Record<'_> {
    /// Appends this line to a group (empty at first), closing the line before it.
    ///
    /// The new line stays without its closing `}`: [`super::chain::Chain::seal_group`] completes it.
    pub fn push_to_group(&self, group: &mut Vec<u8>) {
        group.reserve(USUAL_LINE_BYTES);
        if !group.is_empty() {
            group.extend_from_slice(b"}\n");
        }
        group.extend_from_slice(b"{\"seq\":");
        push_number(group, self.seq);
        group.extend_from_slice(b",\"id\":\"");
        push_number(group, self.segment);
        group.push(b'-');
        push_number(group, self.seq);
        group.extend_from_slice(b"\",\"timestamp\":\"");
        timestamp::push(group, self.unix_micros);
        group.extend_from_slice(b"\",\"event_type\":\"");
        group.extend_from_slice(self.event.name().as_bytes());
        group.extend_from_slice(b"\",\"provider\":");
        push_optional(group, self.provider);
        group.extend_from_slice(b",\"user_id\":");
        match self.peer {
            Some(peer) => {
                group.push(b'"');
                push_number(group, peer.uid.into());
                group.push(b'"');
            }
            None => group.extend_from_slice(b"null"),
        }
        group.extend_from_slice(b",\"ip_address\":null,\"user_agent\":");
        push_optional(group, self.user_agent);
        group.extend_from_slice(b",\"success\":");
        group.extend_from_slice(if self.error_message.is_none() { b"true" } else { b"false" });
        group.extend_from_slice(b",\"error_message\":");
        push_optional(group, self.error_message);
        group.extend_from_slice(b",\"metadata\":{");
        self.push_metadata(Members { out: group, first: true });
        group.push(b'}');
    }

    fn push_metadata(&self, mut members: Members<'_>) {
        if let Some(peer) = self.peer {
            members.number("uid", peer.uid.into());
            members.number("gid", peer.gid.into());
            members.number("pid", peer.pid.into());
        }
        self.via.push(&mut members);
        self.event.push(&mut members, self.segment, self.peer.is_some());
    }
}

impl Via<'_> {
    fn push(&self, members: &mut Members<'_>) {
        members.optional_text("unit", self.unit);
        members.optional_text("socket", self.socket);
        if let Some(OnBehalfOf { uid, gid, unit }) = self.on_behalf_of {
            members.object("on_behalf_of", |inner| {
                inner.number("uid", uid.into());
                inner.optional_number("gid", gid.map(u64::from));
                inner.optional_text("unit", unit);
            });
        }
        members.optional_text("rule", self.rule);
    }
}

fn push_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => push_text(out, text, TEXT_CAP),
        None => out.extend_from_slice(b"null"),
    }
}

/// The members of one object while it is written.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Members<'_> {
    fn separate(&mut self) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
    }

    /// A name of ours needs no escape.
    fn name(&mut self, name: &'static str) {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        push_number(self.out, value);
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        push_text(self.out, value, TEXT_CAP);
    }

    /// Like [`Self::text`], with room for a list.
    fn list(&mut self, name: &'static str, value: &str) {
        self.name(name);
        push_text(self.out, value, LIST_CAP);
    }

    fn word(&mut self, name: &'static str, value: bool) {
        self.name(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn optional_number(&mut self, name: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    fn optional_text(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn object(&mut self, name: &'static str, write: impl FnOnce(&mut Members<'_>)) {
        self.name(name);
        self.out.push(b'{');
        write(&mut Members { out: &mut *self.out, first: true });
        self.out.push(b'}');
    }

    /// Objects by their place, counted from 0.
    fn outcomes(&mut self, outcomes: &[Outcome<'_>]) {
        self.object("outcomes", |inner| {
            for (place, outcome) in (0..).zip(outcomes) {
                inner.separate();
                inner.out.push(b'"');
                push_number(inner.out, place);
                inner.out.extend_from_slice(b"\":{");
                outcome.push(&mut Members { out: &mut *inner.out, first: true });
                inner.out.push(b'}');
            }
        });
    }

    fn hex(&mut self, name: &'static str, value: &[u8]) {
        self.name(name);
        self.hex_value(value);
    }

    fn hex_value(&mut self, value: &[u8]) {
        self.out.push(b'"');
        push_hex(self.out, value);
        self.out.push(b'"');
    }
}

#[cfg(test)]
mod tests;
