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

use base64ct::{Base64UrlUnpadded, Encoding};

use super::{
    json::{push_hex, push_number, push_text},
    timestamp,
};

/// Room made for a line at once; longer ones are possible.
const USUAL_LINE_BYTES: usize = 512;
/// Most bytes of a text that came from outside.
pub const TEXT_CAP: usize = 256;

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

/// What an operation touched; absent members are left out of the line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Details<'a> {
    /// Key id: its first 9 bytes appear, in base64url.
    pub key_id: Option<&'a [u8; 32]>,
    /// Version of the key.
    pub version: Option<u32>,
    /// Bytes of payload.
    pub bytes: Option<u64>,
    /// How many items a list or batch had.
    pub count: Option<u64>,
    /// Public code of the error table, where it failed.
    pub code: Option<u16>,
    /// Why, in a word of ours or of the administrator.
    pub reason: Option<&'a str>,
    /// Context names with `HMAC-SHA-256(context hash, key uid || name || 00 || value)[..16]`.
    pub context: &'a [(&'a str, [u8; 16])],
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// An operation of the protocol by its one name, such as `encrypt` or `key_create`.
    Operation {
        /// Its name in the operations list.
        name: &'static str,
        /// What it touched.
        details: Details<'a>,
    },
    /// First line of a segment.
    Segment {
        /// Salt of the segment's first key.
        salt: &'a [u8; 16],
        /// Name of the host.
        host: &'a str,
        /// Epoch of the keyring.
        epoch: u32,
        /// Last mac of the segment before, zeros in a new log.
        previous_mac: &'a [u8; 32],
        /// Id of the keyring.
        keyring_id: &'a [u8; 16],
    },
    /// Synced before a keyring is renamed into place.
    KeyringIntent {
        /// Generation of the new keyring.
        generation: u64,
        /// SHA-256 of its header, slots and head.
        digest: &'a [u8; 32],
    },
    /// Written once a keyring is in place.
    KeyringCommit {
        /// Generation of the keyring on disk.
        generation: u64,
        /// SHA-256 of its header, slots and head.
        digest: &'a [u8; 32],
    },
    /// Connections refused to a user, summed up.
    PeerRefused {
        /// Who was refused.
        uid: u32,
        /// How often since the last such line.
        count: u64,
    },
    /// The daemon started.
    DaemonStart {
        /// Why, or what it found.
        reason: Option<&'a str>,
    },
    /// The daemon stops.
    DaemonStop {
        /// Signal, request or failure.
        reason: Option<&'a str>,
    },
    /// The keyring was closed.
    Lock {
        /// Request, timeout, suspend.
        reason: Option<&'a str>,
    },
    /// The keyring was opened.
    Unlock {
        /// The source of the master key, by name.
        reason: Option<&'a str>,
    },
    /// The configuration was read again.
    Reload {
        /// Signal or request.
        reason: Option<&'a str>,
    },
}

impl Event<'_> {
    /// The word of the line's `event_type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Operation { name, .. } => name,
            Self::Segment { .. } => "audit.segment",
            Self::KeyringIntent { .. } => "keyring.intent",
            Self::KeyringCommit { .. } => "keyring.commit",
            Self::PeerRefused { .. } => "peer.refused",
            Self::DaemonStart { .. } => "daemon.start",
            Self::DaemonStop { .. } => "daemon.stop",
            Self::Lock { .. } => "lock",
            Self::Unlock { .. } => "unlock",
            Self::Reload { .. } => "reload",
        }
    }
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
        match self.event {
            Event::Operation { details, .. } => push_details(&mut members, &details),
            Event::Segment { salt, host, epoch, previous_mac, keyring_id } => {
                members.number("segment", self.segment);
                members.hex("salt", salt);
                members.text("host", host);
                members.number("epoch", epoch.into());
                members.hex("previous_mac", previous_mac);
                members.hex("keyring_id", keyring_id);
            }
            Event::KeyringIntent { generation, digest } | Event::KeyringCommit { generation, digest } => {
                members.number("generation", generation);
                members.hex("digest", digest);
            }
            Event::PeerRefused { uid, count } => {
                if self.peer.is_none() {
                    members.number("uid", uid.into());
                }
                members.number("count", count);
            }
            Event::DaemonStart { reason }
            | Event::DaemonStop { reason }
            | Event::Lock { reason }
            | Event::Unlock { reason }
            | Event::Reload { reason } => {
                if let Some(reason) = reason {
                    members.text("reason", reason);
                }
            }
        }
    }
}

fn push_details(members: &mut Members<'_>, details: &Details<'_>) {
    if let Some([a, b, c, d, e, f, g, h, i, ..]) = details.key_id {
        let mut text = [0; 12];
        let short = Base64UrlUnpadded::encode(&[*a, *b, *c, *d, *e, *f, *g, *h, *i], &mut text);
        members.text("key_id", short.unwrap_or_default());
    }
    if let Some(version) = details.version {
        members.number("version", version.into());
    }
    if let Some(bytes) = details.bytes {
        members.number("bytes", bytes);
    }
    if let Some(count) = details.count {
        members.number("count", count);
    }
    if let Some(code) = details.code {
        members.number("code", code.into());
    }
    if let Some(reason) = details.reason {
        members.text("reason", reason);
    }
    if !details.context.is_empty() {
        members.name("context");
        members.out.push(b'{');
        let mut inner = Members { out: &mut *members.out, first: true };
        for (name, hash) in details.context {
            inner.separate();
            push_text(inner.out, name, TEXT_CAP);
            inner.out.push(b':');
            inner.hex_value(hash);
        }
        members.out.push(b'}');
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
