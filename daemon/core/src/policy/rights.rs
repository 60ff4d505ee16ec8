//! What one connection may do: a role, and the rules that are about its peer.

use alloc::{boxed::Box, sync::Arc};

use keyagent_common::{context::Context, op::OperationCode};

use super::{
    Policy, Rate, Role, Subject,
    operations::{Kind, Operations, kind},
    rule::Rule,
};
use crate::ops::OperationError;

/// Keeps the rates: of each rule and uid, in whatever time the daemon measures.
///
/// Rules are counted anew by a reload that changes the policy; what was kept is then to be dropped.
pub trait Meter {
    /// Pays for one request under a rule; false if its rate is exceeded.
    fn take(&mut self, rule: u16, rate: &Rate, uid: u32) -> bool;
}

/// A connection's rights. Owned by it, and as immutable as the policy they come from.
#[derive(Debug, Clone)]
pub struct Rights {
    policy: Arc<Policy>,
    role: Role,
    uid: u32,
    /// What the role gives on every key, and all that is allowed of the agent.
    standing: Operations,
    /// Indexes of the rules about this peer, ascending.
    rules: Box<[u16]>,
}

/// What allows a request, before its obligations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// The role: nothing is owed.
    Role,
    /// The rule at this place of [`Rights::rules`], or a later one.
    Rule(usize),
}

/// What a request was allowed by, obligations met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Name of the rule; `None` for a role.
    pub(crate) rule: Option<Arc<str>>,
    /// Whether a new data key may be given in the clear.
    pub(crate) reveal: bool,
}

/// Why a request that a rule would allow is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Rate or context.
    pub(crate) error: OperationError,
    /// Name of the rule that said so.
    pub(crate) rule: Option<Arc<str>>,
}

impl Rights {
    /// `None` for whoever has no role and no rule, and for an unmapped uid whatever the rules say.
    pub(super) fn resolve(policy: &Arc<Policy>, subject: &Subject<'_>) -> Option<Self> {
        if !subject.is_mapped() {
            return None;
        }
        let role = policy.role(subject);
        let standing = match role {
            Role::Owner | Role::Admin => Operations::ALL,
            Role::Operator => Operations::OPERATOR,
            Role::User => Operations::HELLO,
        };
        let mut rights =
            Self { policy: Arc::clone(policy), role, uid: subject.uid, standing, rules: Box::default() };
        if rights.is_admin() {
            return Some(rights);
        }
        let about_peer = (0_u16..).zip(&policy.rules).filter(|(_, rule)| rule.who.includes(subject));
        rights.rules = about_peer.map(|(index, _)| index).collect();
        for rule in rights.rules.iter().filter_map(|index| policy.rule(*index)) {
            rights.standing = rights.standing.with(rule.allow.shared_with(Operations::AGENT_BY_RULE));
        }
        (role != Role::User || !rights.rules.is_empty()).then_some(rights)
    }

    /// The peer.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The policy these rights come from.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The role beside the rules.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Names of the rules about this peer, in file order; none are looked at for whoever may do everything.
    pub fn rule_names(&self) -> impl Iterator<Item = &str> {
        self.rules().map(|rule| &*rule.name)
    }

    /// Whether everything is allowed: owner and admins.
    pub fn is_admin(&self) -> bool {
        matches!(self.role, Role::Owner | Role::Admin)
    }

    /// Whether every key may be known of: owner, admins, operators.
    pub fn sees_everything(&self) -> bool {
        self.role != Role::User
    }

    /// Whether the peer may ask for others by some rule, or because it may do everything.
    pub fn is_delegate(&self) -> bool {
        self.is_admin() || self.rules().any(|rule| rule.delegate.is_some())
    }

    /// Whether an operation on the agent is allowed; for one on keys or data: on some key at least.
    pub fn may(&self, operation: OperationCode) -> bool {
        let by_rule = |rule: &Rule| rule.allow.contains(operation) && !rule.keys.is_empty();
        self.standing.contains(operation) || (kind(operation) != Kind::Agent && self.rules().any(by_rule))
    }

    /// Whether an operation on keys or data is allowed on a key, its obligations aside.
    pub fn may_on(&self, operation: OperationCode, key: &str) -> bool {
        self.find(operation, key, None).is_some()
    }

    /// Whether an operation on keys or data is allowed on every key there is or will be.
    pub fn may_on_every_key(&self, operation: OperationCode) -> bool {
        let by_rule = |rule: &Rule| {
            rule.allow.contains(operation) && rule.keys.iter().any(super::pattern::Pattern::is_everything)
        };
        self.standing.contains(operation) || (kind(operation) != Kind::Agent && self.rules().any(by_rule))
    }

    /// Whether the peer has any right on a key, so that it may know whether there is one of this name.
    pub fn any_on(&self, key: &str) -> bool {
        self.sees_everything() || self.knows(key, None)
    }

    /// Whether the peer may know that something belongs to no key at all: a rule is about every key.
    pub fn covers_every_key(&self) -> bool {
        self.sees_everything() || self.knows_every_key(None)
    }

    /// Whether a rule is about a key, for the peer itself or where it asks for somebody else.
    pub(crate) fn knows(&self, key: &str, asked_for: Option<&Subject<'_>>) -> bool {
        self.rules().any(|rule| rule.keys_for(asked_for).iter().any(|pattern| pattern.matches(key)))
    }

    /// Whether a rule is about every key.
    pub(crate) fn knows_every_key(&self, asked_for: Option<&Subject<'_>>) -> bool {
        self.rules().any(|rule| rule.keys_for(asked_for).iter().any(super::pattern::Pattern::is_everything))
    }

    /// What allows an operation on a key: the role, or the first rule that does.
    pub(crate) fn find(
        &self,
        operation: OperationCode,
        key: &str,
        asked_for: Option<&Subject<'_>>,
    ) -> Option<Candidate> {
        if kind(operation) != Kind::Agent && self.standing.contains(operation) {
            return Some(Candidate::Role);
        }
        self.rules().position(|rule| rule.allows(operation, key, asked_for)).map(Candidate::Rule)
    }

    /// The first rule from the candidate on whose obligations are met, paid for with `meter`.
    ///
    /// Where none is: the excess of a rate before a missing context, since that passes by itself.
    pub(crate) fn settle(
        &self,
        (candidate, operation, key): (Candidate, OperationCode, &str),
        asked_for: Option<&Subject<'_>>,
        context: Context<'_>,
        meter: &mut dyn Meter,
    ) -> Result<Settled, Refusal> {
        let Candidate::Rule(first) = candidate else { return Ok(Settled { rule: None, reveal: true }) };
        let mut refusal = Refusal { error: OperationError::Denied, rule: None };
        for (place, index) in self.rules.iter().enumerate().skip(first) {
            let Some(rule) = self.policy.rule(*index) else { continue };
            if place != first && !rule.allows(operation, key, asked_for) {
                continue;
            }
            let error = if !rule.is_content_with(context) {
                OperationError::ContextRequired
            } else if rule.rate.as_ref().is_some_and(|rate| !meter.take(*index, rate, self.uid)) {
                OperationError::RateLimited
            } else {
                return Ok(Settled { rule: Some(Arc::clone(&rule.name)), reveal: !rule.no_reveal });
            };
            if refusal.rule.is_none()
                || (error == OperationError::RateLimited && refusal.error != OperationError::RateLimited)
            {
                refusal = Refusal { error, rule: Some(Arc::clone(&rule.name)) };
            }
        }
        Err(refusal)
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter_map(|index| self.policy.rule(*index))
    }
}
