//! One rule, compiled.

use alloc::{boxed::Box, sync::Arc};

use keyagent_common::{context::Context, op::OperationCode};

use super::{
    Meter, Payer, Rate, Subject,
    callers::Callers,
    operations::{Kind, Operations, is_without_key, kind},
    pattern::Pattern,
};
use crate::ops::OperationError;

/// A compiled rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) who: Callers,
    pub(super) keys: Box<[Pattern]>,
    pub(super) allow: Operations,
    pub(super) rate: Option<Rate>,
    pub(super) require_context: Box<[Box<str>]>,
    pub(super) no_reveal: bool,
    pub(super) delegate: Option<Delegate>,
}

/// For whom a rule's caller may ask, compiled.
#[derive(Debug)]
pub(super) struct Delegate {
    pub(super) callers: Callers,
    pub(super) keys: Box<[Pattern]>,
}

impl Rule {
    /// Whether it allows an operation on a key: to its own caller, or where it asks for somebody else.
    pub(super) fn allows(
        &self,
        operation: OperationCode,
        key: &str,
        asked_for: Option<&Subject<'_>>,
    ) -> bool {
        self.allow.contains(operation)
            && kind(operation) != Kind::Agent
            && self
                .keys_for(asked_for)
                .iter()
                .any(|pattern| is_without_key(operation) || pattern.matches(key))
    }

    /// The keys it is about: its own, or those on which it may ask for that caller.
    pub(super) fn keys_for(&self, asked_for: Option<&Subject<'_>>) -> &[Pattern] {
        match (asked_for, &self.delegate) {
            (None, _) => &self.keys,
            (Some(caller), Some(delegate)) if caller.is_mapped() && delegate.callers.includes(caller) => {
                &delegate.keys
            }
            (Some(_), _) => &[],
        }
    }

    /// Pays and checks what a request under this rule owes: the first thing that is missing.
    pub(super) fn demand(
        &self,
        index: u16,
        context: Context<'_>,
        payer: Payer,
        meter: &mut dyn Meter,
    ) -> Option<OperationError> {
        if !self.is_content_with(context) {
            return Some(OperationError::ContextRequired);
        }
        let exceeded = self.rate.as_ref().is_some_and(|rate| !meter.take(index, rate, payer));
        exceeded.then_some(OperationError::RateLimited)
    }

    /// Whether every name that must be in the context is there.
    fn is_content_with(&self, context: Context<'_>) -> bool {
        self.require_context.iter().all(|wanted| context.pairs().any(|(name, _)| *name == **wanted))
    }
}
