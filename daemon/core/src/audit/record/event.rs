//! What can happen, and what each event puts into a line's `metadata`.

use super::{Members, Outcome, TEXT_CAP, outcome::push_key_id};
use crate::audit::{bridge::SealedBridge, json::push_text};

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
    /// In words of the administrator, where the reason is a word of ours.
    pub note: Option<&'a str>,
    /// State of the version before.
    pub from: Option<&'static str>,
    /// State of the version afterwards.
    pub to: Option<&'static str>,
    /// The version that was primary before, and its state now.
    pub replaced: Option<(u32, &'static str)>,
    /// What has another value now, separated by blanks.
    pub changed: Option<&'a str>,
    /// What is still needed was meant too.
    pub force: bool,
    /// The brake that is put on: `disabled`, `compromised`; of a rotation, the one that it lifted.
    pub brake: Option<&'static str>,
    /// The brake of compromised keys is to be lifted too.
    pub lift_compromised: bool,
    /// Context names with `HMAC-SHA-256(context hash, key uid || name || 00 || value)[..16]`.
    pub context: &'a [(&'a str, [u8; 16])],
    /// Of a batch: what became of its items; one of [`super::pages`].
    pub outcomes: &'a [Outcome<'a>],
}

/// What a segment's first line says of segments whose keys were random, since the daemon was locked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bridging<'a> {
    /// The segment that begins is such a bridge itself.
    pub bridge: bool,
    /// The first key of the segment just before, which was a bridge.
    pub key: Option<&'a SealedBridge>,
    /// Number of the first line behind the last authenticated group, if bridges whose keys are lost stand
    /// between that group and this segment. Without this member nothing unauthenticated may stand there.
    pub unauthenticated_from: Option<u64>,
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
        /// For a segment begun while locked, and for the one behind it.
        bridging: Bridging<'a>,
    },
    /// First line of a file that continues a segment; see [`crate::audit::chain::FileLine`].
    File {
        /// Salt of the segment's first key.
        salt: &'a [u8; 16],
        /// Groups of the segment before this one: how often the first key was stepped.
        group: u64,
        /// Last mac of the file before.
        previous_mac: &'a [u8; 32],
        /// Id of the keyring.
        keyring_id: &'a [u8; 16],
        /// The segment is a bridge.
        bridge: bool,
    },
    /// Old files are about to be deleted.
    Retention {
        /// Number of the oldest line that is kept.
        first_seq: u64,
        /// How many files go.
        files: u64,
        /// Age, budget, request.
        reason: &'a str,
    },
    /// Something that needs a person.
    Alert {
        /// Stable word, such as `decryption_failures`; its severity follows from it.
        kind: &'a str,
        /// How often it happened.
        count: u64,
        /// In words.
        message: &'a str,
    },
    /// Another policy holds.
    PolicyChange {
        /// SHA-256 of its text.
        digest: &'a [u8; 32],
        /// Start, reload, unlock.
        reason: Option<&'a str>,
    },
    /// Subjects gained or lost rights on a key, which is the line's provider.
    AccessChange {
        /// Who gained, separated by blanks; at most [`super::LIST_CAP`] bytes are written.
        gained: &'a str,
        /// Who lost, likewise.
        lost: &'a str,
        /// When the key must be rotated because of it, in seconds since 1970.
        due_at: Option<u64>,
    },
    /// Sealing was stopped or goes on.
    Maintenance {
        /// Stopped.
        on: bool,
        /// Request, or found at start.
        reason: Option<&'a str>,
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
    /// Connections refused to further users within the same time, in one line.
    PeersRefused {
        /// How many users these are, as far as they were told apart.
        users: u64,
        /// How often since the last such line.
        count: u64,
    },
    /// Requests of one user that were refused or failed in vain, beyond those that got a line each.
    RequestRefused {
        /// The word of the lines they did not get: name of the operation.
        operation: &'static str,
        /// Public code of the error table, if they had one.
        code: Option<u16>,
        /// How many.
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
            Self::File { .. } => "audit.file",
            Self::Retention { .. } => "audit.retention",
            Self::Alert { .. } => "alert",
            Self::PolicyChange { .. } => "policy.change",
            Self::AccessChange { .. } => "access.change",
            Self::Maintenance { .. } => "maintenance",
            Self::KeyringIntent { .. } => "keyring.intent",
            Self::KeyringCommit { .. } => "keyring.commit",
            Self::PeerRefused { .. } | Self::PeersRefused { .. } => "peer.refused",
            Self::RequestRefused { .. } => "request.refused",
            Self::DaemonStart { .. } => "daemon.start",
            Self::DaemonStop { .. } => "daemon.stop",
            Self::Lock { .. } => "lock",
            Self::Unlock { .. } => "unlock",
            Self::Reload { .. } => "reload",
        }
    }

    /// Writes its own members; `segment` is the line's, `has_peer` tells that `uid` stands there already.
    pub(super) fn push(&self, members: &mut Members<'_>, segment: u64, has_peer: bool) {
        match *self {
            Self::Operation { details, .. } => details.push(members),
            Self::Segment { .. } | Self::File { .. } => self.push_chain(members, segment),
            Self::Retention { first_seq, files, reason } => {
                members.number("first_seq", first_seq);
                members.number("files", files);
                members.text("reason", reason);
            }
            Self::Alert { kind, count, message } => {
                members.text("kind", kind);
                members.number("count", count);
                members.text("message", message);
            }
            Self::PolicyChange { digest, reason } => {
                members.hex("digest", digest);
                members.optional_text("reason", reason);
            }
            Self::AccessChange { gained, lost, due_at } => {
                members.list("gained", gained);
                members.list("lost", lost);
                members.optional_number("due_at", due_at);
            }
            Self::Maintenance { on, reason } => {
                members.word("on", on);
                members.optional_text("reason", reason);
            }
            Self::KeyringIntent { generation, digest } | Self::KeyringCommit { generation, digest } => {
                members.number("generation", generation);
                members.hex("digest", digest);
            }
            Self::PeerRefused { uid, count } => {
                if !has_peer {
                    members.number("uid", uid.into());
                }
                members.number("count", count);
            }
            Self::PeersRefused { users, count } => {
                members.number("users", users);
                members.number("count", count);
            }
            Self::RequestRefused { operation, code, count } => {
                members.text("operation", operation);
                members.optional_number("code", code.map(u64::from));
                members.number("count", count);
            }
            Self::DaemonStart { reason }
            | Self::DaemonStop { reason }
            | Self::Lock { reason }
            | Self::Unlock { reason }
            | Self::Reload { reason } => members.optional_text("reason", reason),
        }
    }

    /// The lines a verifier computes with.
    fn push_chain(&self, members: &mut Members<'_>, segment: u64) {
        match *self {
            Self::Segment { salt, host, epoch, previous_mac, keyring_id, bridging } => {
                members.number("segment", segment);
                members.hex("salt", salt);
                members.text("host", host);
                members.number("epoch", epoch.into());
                members.hex("previous_mac", previous_mac);
                members.hex("keyring_id", keyring_id);
                if bridging.bridge {
                    members.word("bridge", true);
                }
                if let Some(key) = bridging.key {
                    members.number("bridge_segment", key.segment);
                    members.hex("bridge_key", &key.bytes);
                }
                members.optional_number("unauthenticated_from", bridging.unauthenticated_from);
            }
            Self::File { salt, group, previous_mac, keyring_id, bridge } => {
                members.number("segment", segment);
                members.hex("salt", salt);
                members.number("group", group);
                members.hex("previous_mac", previous_mac);
                members.hex("keyring_id", keyring_id);
                if bridge {
                    members.word("bridge", true);
                }
            }
            _ => {}
        }
    }
}

impl Details<'_> {
    fn push(&self, members: &mut Members<'_>) {
        if let Some(id) = self.key_id {
            push_key_id(members, id);
        }
        members.optional_number("version", self.version.map(u64::from));
        members.optional_number("bytes", self.bytes);
        members.optional_number("count", self.count);
        members.optional_number("code", self.code.map(u64::from));
        members.optional_text("reason", self.reason);
        members.optional_text("note", self.note);
        members.optional_text("from", self.from);
        members.optional_text("to", self.to);
        if let Some((version, state)) = self.replaced {
            members.number("replaced", version.into());
            members.text("replaced_to", state);
        }
        members.optional_text("changed", self.changed);
        if self.force {
            members.word("force", true);
        }
        members.optional_text("brake", self.brake);
        if self.lift_compromised {
            members.word("lift_compromised", true);
        }
        if !self.context.is_empty() {
            members.object("context", |inner| {
                for (name, hash) in self.context {
                    inner.separate();
                    push_text(inner.out, name, TEXT_CAP);
                    inner.out.push(b':');
                    inner.hex_value(hash);
                }
            });
        }
        if !self.outcomes.is_empty() {
            members.outcomes(self.outcomes);
        }
    }
}
