//! A policy as it is written: texts and numbers, nothing checked yet.

use alloc::{string::String, vec::Vec};

/// Whom something is about. Every list that is not empty must match; inside a list, any entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// User ids.
    pub uids: Vec<u32>,
    /// Group ids, primary or supplementary.
    pub gids: Vec<u32>,
    /// Patterns of systemd system units, such as `billing@*.service`.
    pub units: Vec<String>,
    /// Names of listening sockets.
    pub sockets: Vec<String>,
}

impl Who {
    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty() && self.units.is_empty() && self.sockets.is_empty()
    }
}

/// How often a rule may be used: by each uid that it names, or, where it names none, by all its callers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many requests ...
    pub count: u32,
    /// ... in so many seconds; at most a day.
    pub per_seconds: u32,
    /// Most requests at once after a pause; at least 1.
    pub burst: u32,
}

/// For whom a rule's caller may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DelegateSpec {
    /// The callers it may name; these need rules of their own. No sockets. What is not limited here (users, groups
    /// or units) counts as absent when the rules of a named caller are looked for.
    pub callers: Who,
    /// Patterns of the keys on which it may do so.
    pub keys: Vec<String>,
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSpec {
    /// Unique; appears in the audit log.
    pub name: String,
    /// Whom it allows something.
    pub who: Who,
    /// Patterns of key names: `*` within one part, `**` anything.
    pub keys: Vec<String>,
    /// Names of operations, or `data` for every operation on data.
    pub allow: Vec<String>,
    /// How often, if there is a limit.
    pub rate: Option<Rate>,
    /// Names that must be in the context of every request.
    pub require_context: Vec<String>,
    /// `data_key` answers with the sealed key only.
    pub no_reveal: bool,
    /// Whether the caller may ask for others.
    pub delegate: Option<DelegateSpec>,
}

/// Who owns the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One user's own: that user may do everything.
    User {
        /// The daemon's uid.
        owner: u32,
    },
    /// The host's: root and the configured admins may do everything.
    System,
}

/// A whole policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySpec {
    /// Who owns the daemon.
    pub mode: Mode,
    /// Who may do everything beside the owner or root.
    pub admins: Who,
    /// Who may operate the agent without touching data.
    pub operators: Who,
    /// In the order of the file: the first one that allows a request is the one that counts.
    pub rules: Vec<RuleSpec>,
}
