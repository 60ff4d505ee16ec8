//! Who may do what: rules over callers, keys and operations; default deny (docs/POLICY.md).
//!
//! Pure: a [`PolicySpec`] goes in, a [`Policy`] comes out or a [`PolicyError`] that names rule, field and
//! remedy. A connection's [`Rights`] are resolved once from what the kernel said about the peer; a request
//! only looks at the rules among them. Must never use what a client says about itself, enforce half of a
//! rule, or match a pattern in more than one step per byte.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::fmt;

mod build;
mod callers;
mod explain;
mod lending;
mod operations;
mod pattern;
mod rate;
mod rights;
mod rule;
mod spec;
mod subjects;

pub use explain::{Explanation, Obligations, RuleVerdict, Verdict};
pub use rate::Bucket;
pub(crate) use rights::{Candidate, Question, Refusal, Settled};
pub use rights::{Meter, Payer, Rights};
pub use spec::{DelegateSpec, Mode, PolicySpec, Rate, RuleSpec, Who};

use callers::Callers;
use rule::Rule;

/// Uid and gid that stand for "not mapped" (the default of /proc/sys/kernel/overflowuid); never a person.
pub const OVERFLOW_ID: u32 = 65_534;

/// Rules, checked and compiled. Never changes; a reload makes another one.
#[derive(Debug)]
pub struct Policy {
    mode: Mode,
    admins: Callers,
    operators: Callers,
    rules: Box<[Rule]>,
    digest: [u8; 32],
}

impl Policy {
    /// Checks and compiles a policy.
    ///
    /// # Errors
    /// The first thing that cannot be enforced exactly as written.
    pub fn build(spec: PolicySpec) -> Result<Self, PolicyError> {
        build::build(spec)
    }

    /// Only this user, who may do everything.
    pub fn owner_only(uid: u32) -> Self {
        let mode = Mode::User { owner: uid };
        let spec = PolicySpec { mode, admins: Who::default(), operators: Who::default(), rules: Vec::new() };
        let digest = build::digest(&spec);
        let (admins, operators) = (Callers::default(), Callers::default());
        Self { mode, admins, operators, rules: Box::default(), digest }
    }

    /// SHA-256 of everything the policy says: equal digests, equal decisions.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Names of the rules, in file order.
    pub fn rule_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.rules.iter().map(|rule| &*rule.name)
    }

    /// What a peer may do on its connection; `None`: it may not connect at all.
    ///
    /// Asked at accept, before a byte is read, and again after the policy was exchanged.
    pub fn rights(self: &Arc<Self>, subject: &Subject<'_>) -> Option<Rights> {
        Rights::resolve(self, subject)
    }

    /// Whether a user may do everything by its uid alone: then nothing else about it needs to be known. No reload
    /// changes that.
    pub fn is_settled_by(&self, uid: u32) -> bool {
        match self.mode {
            Mode::User { owner } => owner == uid,
            Mode::System => uid == 0,
        }
    }

    /// The role that the policy gives a subject beside its rules.
    fn role(&self, subject: &Subject<'_>) -> Role {
        match self.mode {
            Mode::User { owner } if owner == subject.uid => return Role::Owner,
            Mode::System if subject.uid == 0 => return Role::Admin,
            Mode::User { .. } | Mode::System => {}
        }
        if self.admins.includes(subject) {
            Role::Admin
        } else if self.operators.includes(subject) {
            Role::Operator
        } else {
            Role::User
        }
    }

    fn rule(&self, index: u16) -> Option<&Rule> {
        self.rules.get(usize::from(index))
    }
}

/// What the kernel said about a peer at accept. Nothing the client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: &'a [u32],
    /// Systemd system unit of the peer's control group, if it runs in one.
    pub unit: Option<&'a str>,
    /// Name of the socket it came through.
    pub socket: &'a str,
}

impl Subject<'_> {
    /// Whether the uid is a user's at all.
    fn is_mapped(&self) -> bool {
        build::is_usable_id(self.uid)
    }
}

/// What a caller is beside its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The daemon's own user in user mode: everything.
    Owner,
    /// Root in system mode, and who is configured: everything.
    Admin,
    /// Operations on the agent and the brakes; no data.
    Operator,
    /// What rules give.
    User,
}

impl Role {
    /// The word for people and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::User => "user",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a policy does not load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    /// The rule, if it is one rule's fault.
    pub rule: Option<String>,
    /// The field, as it is called in the configuration.
    pub field: &'static str,
    /// What is wrong, in words.
    pub why: String,
    /// What to write instead.
    pub fix: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(rule) => write!(f, "rule {rule:?}, {}: {}", self.field, self.why),
            None => write!(f, "{}: {}", self.field, self.why),
        }
    }
}

#[cfg(test)]
mod tests;
