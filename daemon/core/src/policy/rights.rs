//! What one connection may do: a role, and the rules that are about its peer.

use alloc::{boxed::Box, sync::Arc};

use keyagent_common::{context::Context, op::OperationCode};

use super::{
    Policy, Rate, Role, Subject,
    operations::{Kind, Operations, kind},
    pattern::Pattern,
    rule::Rule,
};
use crate::ops::OperationError;

/// Keeps the rates: of each rule and payer, in whatever time the daemon measures.
///
/// Rules are counted anew by a reload that changes the policy; what was kept is then to be dropped.
pub trait Meter {
    /// Pays for one request under a rule; false if its rate is exceeded.
    fn take(&mut self, rule: u16, rate: &Rate, payer: Payer) -> bool;
}

/// Whose requests a rate counts together. As many as the policy names, never as many as there are uids: a group
/// or a unit can hold thousands of them (docs/POLICY.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Payer {
    /// Every caller of a rule that names no users.
    Everybody,
    /// One user: a rule names it, or its role lets it ask for others.
    User(u32),
    /// Everybody who asks for others by the rule with this number, which names no users.
    Delegates(u16),
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// On keys or data.
    pub(crate) operation: OperationCode,
    /// Name of the key.
    pub(crate) key: &'a str,
    /// For whom, if not for the peer itself.
    pub(crate) asked_for: Option<&'a Subject<'a>>,
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

impl Refusal {
    /// Another rule refuses as well: the excess of a rate is told before all else, then what came first.
    pub(super) fn or(&mut self, other: Self) {
        if self.rule.is_none()
            || (other.error == OperationError::RateLimited && self.error != OperationError::RateLimited)
        {
            *self = other;
        }
    }
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
        self.find(&Question { operation, key, asked_for: None }).is_some()
    }

    /// Whether an operation on keys or data is allowed on every key there is or will be.
    pub fn may_on_every_key(&self, operation: OperationCode) -> bool {
        let by_rule =
            |rule: &Rule| rule.allow.contains(operation) && rule.keys.iter().any(Pattern::is_everything);
        self.standing.contains(operation) || (kind(operation) != Kind::Agent && self.rules().any(by_rule))
    }

    /// Whether the peer has any right on a key, so that it may know whether there is one of this name.
    pub fn any_on(&self, key: &str) -> bool {
        self.sees_everything()
            || self.rules().any(|rule| rule.keys.iter().any(|pattern| pattern.matches(key)))
    }

    /// Whether the peer may know that something belongs to no key at all: a rule is about every key.
    pub fn covers_every_key(&self) -> bool {
        self.sees_everything() || self.rules().any(|rule| rule.keys.iter().any(Pattern::is_everything))
    }

    /// What allows an operation on a key: the role, or the first rule that does.
    ///
    /// Asked for somebody else, only with a rule of theirs beside it.
    pub(crate) fn find(&self, asked: &Question<'_>) -> Option<Candidate> {
        if kind(asked.operation) != Kind::Agent && self.standing.contains(asked.operation) {
            let allowed = asked.asked_for.is_none_or(|named| self.lends(None, named, asked));
            return allowed.then_some(Candidate::Role);
        }
        self.rules().position(|rule| self.allows(rule, asked)).map(Candidate::Rule)
    }

    /// The first rule from the candidate on whose obligations are met, paid for with `meter`; asked for somebody
    /// else, those of a rule of theirs as well, which then is the one that is named.
    ///
    /// Where none is: the excess of a rate before a missing context, since that passes by itself.
    pub(crate) fn settle(
        &self,
        candidate: Candidate,
        (asked, context): (&Question<'_>, Context<'_>),
        meter: &mut dyn Meter,
    ) -> Result<Settled, Refusal> {
        let Candidate::Rule(first) = candidate else {
            return match asked.asked_for {
                None => Ok(Settled { rule: None, reveal: true }),
                Some(named) => self.settle_lent(None, named, (asked, context), meter),
            };
        };
        let mut refusal = Refusal { error: OperationError::Denied, rule: None };
        for (place, index) in self.rules.iter().enumerate().skip(first) {
            let Some(rule) = self.policy.rule(*index) else { continue };
            if place != first && !self.allows(rule, asked) {
                continue;
            }
            let payer = if rule.who.uids.is_empty() { Payer::Everybody } else { Payer::User(self.uid) };
            if let Some(error) = rule.demand(*index, context, payer, meter) {
                refusal.or(Refusal { error, rule: Some(Arc::clone(&rule.name)) });
                continue;
            }
            let reveal = !rule.no_reveal;
            let Some(named) = asked.asked_for else {
                return Ok(Settled { rule: Some(Arc::clone(&rule.name)), reveal });
            };
            match self.settle_lent(Some((*index, rule)), named, (asked, context), meter) {
                Ok(lent) => return Ok(Settled { reveal: reveal && lent.reveal, ..lent }),
                Err(refused) => refusal.or(refused),
            }
        }
        Err(refusal)
    }

    /// Whether a rule of the peer allows what is asked; for somebody else, together with a rule of theirs.
    fn allows(&self, rule: &Rule, asked: &Question<'_>) -> bool {
        rule.allows(asked.operation, asked.key, asked.asked_for)
            && asked.asked_for.is_none_or(|named| self.lends(Some(rule), named, asked))
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter_map(|index| self.policy.rule(*index))
    }
}
