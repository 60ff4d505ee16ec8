//! What can be enforced but is hardly meant: rules that never apply, sockets that nobody reaches, rules
//! behind others that say more.
//!
//! Only what is certain from the text is told; whether a user is in a group is not asked.

use keyagent_core::policy::{Mode, RuleSpec, Who};

use crate::{
    configuration::Configuration,
    origin::Origin,
    settings::{Listener, SocketMode},
};

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: String,
    /// Where it begins.
    pub origin: Origin,
    /// What is odd, in one sentence.
    pub message: String,
}

impl Configuration {
    /// What the rules say but hardly mean, in the order of the rules.
    pub fn warnings(&self) -> Vec<Warning> {
        let rules = &self.policy.rules;
        let mut warnings = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let earlier = rules.get(..index).unwrap_or_default();
            let messages = [self.of_sockets(rule), self.of_powerful(rule), shadowed(rule, earlier)];
            for message in messages.into_iter().flatten() {
                let origin = self.setting(&format!("rule.{}", rule.name));
                let origin = origin.map_or(Origin::Default, |setting| setting.origin.clone());
                warnings.push(Warning { rule: rule.name.clone(), origin, message });
            }
        }
        warnings
    }

    /// Nobody of whom it speaks comes through one of its sockets.
    fn of_sockets(&self, rule: &RuleSpec) -> Option<String> {
        let listeners = &self.settings.listeners;
        let unknown = rule.who.sockets.iter().find(|name| !listeners.iter().any(|each| each.name == **name));
        if let Some(name) = unknown {
            return Some(format!("no listener is called {name:?}: there the rule never applies"));
        }
        let through =
            |listener: &&Listener| rule.who.sockets.is_empty() || rule.who.sockets.contains(&listener.name);
        let closed = listeners.iter().filter(through).all(|listener| listener.mode == SocketMode::Owner);
        let others = rule.who.uids.is_empty() || rule.who.uids.iter().any(|uid| !self.is_powerful(*uid));
        (closed && others).then(|| {
            "its sockets have mode 0600: only the daemon's own user and root reach them; mode = \"0660\" or \"0666\" \
             lets others connect"
                .to_owned()
        })
    }

    /// Whoever may do everything needs no rule.
    fn of_powerful(&self, rule: &RuleSpec) -> Option<String> {
        let uids = &rule.who.uids;
        (!uids.is_empty() && uids.iter().all(|uid| self.is_powerful(*uid)))
            .then(|| "everybody it names may do everything anyway: the rule changes nothing".to_owned())
    }

    fn is_powerful(&self, uid: u32) -> bool {
        let admins = &self.policy.admins;
        let by_uid = admins.gids.is_empty() && admins.units.is_empty() && admins.uids.contains(&uid);
        by_uid
            || match self.policy.mode {
                Mode::User { owner } => owner == uid,
                Mode::System => uid == 0,
            }
    }
}

/// A rule before it allows at least as much to at least the same callers, and demands no more.
fn shadowed(rule: &RuleSpec, earlier: &[RuleSpec]) -> Option<String> {
    let covers = |other: &&RuleSpec| {
        covers_who(&other.who, &rule.who)
            && covers_list(&other.keys, &rule.keys, "**")
            && covers_list(&other.allow, &rule.allow, "")
            && other.rate.is_none()
            && other.require_context.iter().all(|name| rule.require_context.contains(name))
            && (rule.no_reveal || !other.no_reveal)
            && (rule.delegate.is_none() || rule.delegate == other.delegate)
    };
    let other = earlier.iter().find(covers)?;
    Some(format!(
        "rule {:?} stands before it and allows the same without asking more: this one is never used",
        other.name
    ))
}

fn covers_who(wide: &Who, narrow: &Who) -> bool {
    covers_part(&wide.uids, &narrow.uids)
        && covers_part(&wide.gids, &narrow.gids)
        && covers_part(&wide.units, &narrow.units)
        && covers_part(&wide.sockets, &narrow.sockets)
}

/// An empty list says nothing, which is everybody.
fn covers_part<T: PartialEq>(wide: &[T], narrow: &[T]) -> bool {
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|each| wide.contains(each)))
}

fn covers_list(wide: &[String], narrow: &[String], everything: &str) -> bool {
    wide.iter().any(|each| each == everything) || narrow.iter().all(|each| wide.contains(each))
}
