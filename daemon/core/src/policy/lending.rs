//! Asking for somebody else: what of the named caller's rules counts, and who pays for it.
//!
//! A delegate speaks for a caller through one of its own rules, and only as far as that rule reaches: what its
//! `delegate` does not limit (user, group or unit) is the delegate's word alone, and counts as absent when the
//! rules of the named caller are looked for. So whoever may name a user cannot pick a group or a unit beside it.
//! Must never lend a role, and never combine what two rules of the delegate let it name.

use alloc::sync::Arc;

use keyagent_common::context::Context;

use super::{
    OVERFLOW_ID, Rights, Role, Subject,
    pattern::Pattern,
    rights::{Meter, Payer, Question, Refusal, Settled},
    rule::Rule,
};
use crate::ops::OperationError;

/// Uid and gid of a subject of which nothing is known; no rule can name it.
pub(super) const ABSENT_ID: u32 = u32::MAX;
const _: () = assert!(!super::build::is_usable_id(ABSENT_ID) && ABSENT_ID != OVERFLOW_ID);

impl Rule {
    /// What counts of a named caller where it is asked for through this rule.
    fn narrow<'s>(&self, named: &Subject<'s>) -> Subject<'s> {
        let limits = self.delegate.as_ref().map(|delegate| &delegate.callers);
        let kept = |is_limited: bool, id| if is_limited { id } else { ABSENT_ID };
        Subject {
            uid: kept(limits.is_some_and(|callers| !callers.uids.is_empty()), named.uid),
            gid: kept(limits.is_some_and(|callers| !callers.gids.is_empty()), named.gid),
            groups: &[],
            unit: named.unit.filter(|_| limits.is_some_and(|callers| !callers.units.is_empty())),
            socket: named.socket,
        }
    }
}

impl Rights {
    /// Whether somebody who is asked for through a rule (or by a role: `None`) has a rule for what is asked.
    pub(super) fn lends(&self, through: Option<&Rule>, named: &Subject<'_>, asked: &Question<'_>) -> bool {
        self.lent(through, *named).any(|(_, rule)| rule.allows(asked.operation, asked.key, None))
    }

    /// Whether both sides have a rule about a key (`None`: about every key): the delegate where it asks for this
    /// caller, and the caller.
    pub(crate) fn knows_for(&self, named: &Subject<'_>, key: Option<&str>) -> bool {
        let is_about = |patterns: &[Pattern]| {
            patterns.iter().any(|pattern| key.map_or(pattern.is_everything(), |key| pattern.matches(key)))
        };
        let lends = |through| self.lent(through, *named).any(|(_, rule)| is_about(&rule.keys));
        (self.sees_everything() && lends(None))
            || self.rules().any(|rule| is_about(rule.keys_for(Some(named))) && lends(Some(rule)))
    }

    /// Whether the named group decides anything, so that the record must say it.
    pub(crate) fn weighs_group(&self, named: &Subject<'_>) -> bool {
        if self.is_admin() {
            return self.lent(None, *named).any(|(_, rule)| !rule.who.gids.is_empty());
        }
        let limits = |rule: &Rule| {
            !rule.keys_for(Some(named)).is_empty()
                && rule.delegate.as_ref().is_some_and(|delegate| !delegate.callers.gids.is_empty())
        };
        self.rules().any(limits)
    }

    /// The first rule of the named caller whose obligations are met, paid for by the delegate.
    pub(super) fn settle_lent(
        &self,
        through: Option<(u16, &Rule)>,
        named: &Subject<'_>,
        (asked, context): (&Question<'_>, Context<'_>),
        meter: &mut dyn Meter,
    ) -> Result<Settled, Refusal> {
        // Never the named caller's own purse: a delegate could empty it. Nor one for each uid that a delegate
        // can take on: only uids that a rule names are told apart.
        let payer = match through {
            Some((index, rule)) if rule.who.uids.is_empty() => Payer::Delegates(index),
            _ => Payer::User(self.uid()),
        };
        let mut refusal = Refusal { error: OperationError::Denied, rule: None };
        for (index, rule) in self.lent(through.map(|(_, rule)| rule), *named) {
            if !rule.allows(asked.operation, asked.key, None) {
                continue;
            }
            match rule.demand(index, context, payer, meter) {
                None => {
                    return Ok(Settled { rule: Some(Arc::clone(&rule.name)), reveal: !rule.no_reveal });
                }
                Some(error) => refusal.or(Refusal { error, rule: Some(Arc::clone(&rule.name)) }),
            }
        }
        Err(refusal)
    }

    /// The rules of a named caller. Whoever has everything by a role lends nothing.
    fn lent(&self, through: Option<&Rule>, named: Subject<'_>) -> impl Iterator<Item = (u16, &Rule)> {
        let counts = through.map_or(named, |rule| rule.narrow(&named));
        let policy = self.policy();
        let lends = named.is_mapped() && !matches!(policy.role(&counts), Role::Owner | Role::Admin);
        (0_u16..).zip(&policy.rules).filter(move |(_, rule)| lends && rule.who.includes(&counts))
    }
}
