//! What happens, for whoever watches: the last few hundred events in memory, numbered since the start.
//!
//! Costs nothing while nobody watches but the room of the ring. Never holds payload or a context value. Who may watch
//! by a rule alone must never learn of a key that no rule of theirs is about, nor who did something or why.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use keyagent_common::op::WatchSeverity;
use keyagent_core::policy::Rights;
use tokio::sync::Notify;

use crate::clock;

/// Events that are kept for a watcher who was away.
const KEPT: usize = 256;
/// Most events in one reply.
pub(crate) const MOST_AT_ONCE: usize = 64;

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) number: u64,
    pub(crate) unix_micros: u64,
    pub(crate) kind: &'static str,
    pub(crate) severity: WatchSeverity,
    pub(crate) key: String,
    pub(crate) message: String,
}

impl Event {
    /// As a caller may see it; `None` if it may not.
    fn told_to(&self, rights: &Rights) -> Option<Self> {
        if rights.sees_everything() {
            return Some(self.clone());
        }
        let is_shown =
            if self.key.is_empty() { FOR_EVERYBODY.contains(&self.kind) } else { rights.any_on(&self.key) };
        is_shown.then(|| Self { message: self.message_for_others().to_owned(), ..self.clone() })
    }

    /// What stands before the first colon, of kinds that name callers and reasons behind it or not at all.
    fn message_for_others(&self) -> &str {
        if FOR_EVERYBODY.contains(&self.kind) || WITHOUT_CALLERS.contains(&self.kind) {
            self.message.split(':').next().unwrap_or_default()
        } else {
            ""
        }
    }
}

/// Events without a key that concern everybody.
const FOR_EVERYBODY: [&str; 5] = ["lock", "unlock", "maintenance", "stop", "policy_change"];
/// Events of a key whose texts say no more of others than that.
const WITHOUT_CALLERS: [&str; 14] = [
    "key_create",
    "key_disable",
    "key_enable",
    "key_configure",
    "key_rotate",
    "key_promote",
    "key_retire",
    "key_reinstate",
    "key_destroy",
    "decryption_failures",
    "rotation_overdue",
    "rotation_failed",
    "grace_over",
    "clock_went_back",
];

/// What a watcher gets.
pub(crate) struct Seen {
    /// Oldest first.
    pub(crate) events: Vec<Event>,
    /// Where to go on.
    pub(crate) next: u64,
    /// Some behind the watcher's place are gone.
    pub(crate) lost: bool,
}

/// The ring.
#[derive(Default)]
pub(crate) struct Events {
    ring: Mutex<Ring>,
    /// Told at every new event.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct Ring {
    last: u64,
    kept: VecDeque<Event>,
}

impl Events {
    /// Adds an event and wakes the watchers.
    pub(crate) fn push(&self, kind: &'static str, severity: WatchSeverity, key: &str, message: String) {
        {
            let mut ring = self.lock();
            ring.last += 1;
            let number = ring.last;
            if ring.kept.len() == KEPT {
                ring.kept.pop_front();
            }
            let unix_micros = clock::unix_micros();
            ring.kept.push_back(Event { number, unix_micros, kind, severity, key: key.to_owned(), message });
        }
        self.changed.notify_waiters();
    }

    /// The events behind a number that a caller may see; none for the number of the last one or a later one.
    pub(crate) fn after(&self, number: u64, rights: &Rights) -> Seen {
        let ring = self.lock();
        let number = number.min(ring.last);
        let first = ring.kept.front().map_or(ring.last + 1, |event| event.number);
        let new = ring.kept.iter().filter(|event| event.number > number);
        let events: Vec<Event> = new.filter_map(|event| event.told_to(rights)).take(MOST_AT_ONCE).collect();
        // Where that was all, what is not shown need not be looked at again.
        let last = events.last().filter(|_| events.len() == MOST_AT_ONCE);
        let next = last.map_or(ring.last, |event| event.number);
        Seen { events, next, lost: number + 1 < first }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyagent_core::policy::{Mode, Policy, PolicySpec, RuleSpec, Subject, Who};

    use super::*;

    /// Rights of an operator, and of a user (1001) with rules about the keys `shop/*`.
    fn rights() -> (Rights, Rights) {
        let uids = |uid| Who { uids: vec![uid], ..Who::default() };
        let rule = |name: &str, keys: &[&str], allow: &str| RuleSpec {
            name: name.to_owned(),
            who: uids(1001),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            allow: vec![allow.to_owned()],
            ..RuleSpec::default()
        };
        let rules = vec![rule("shop", &["shop/*"], "data"), rule("watch", &[], "watch")];
        let spec = PolicySpec { mode: Mode::System, admins: Who::default(), operators: uids(20), rules };
        let policy = Arc::new(Policy::build(spec).unwrap());
        let of = |uid| policy.rights(&Subject { uid, gid: uid, groups: &[], unit: None, socket: "main" });
        (of(20).unwrap(), of(1001).unwrap())
    }

    #[test]
    fn a_watcher_sees_each_event_once_and_hears_of_those_that_are_gone() {
        let (events, (operator, _)) = (Events::default(), rights());
        let after = |number| events.after(number, &operator);
        assert_eq!(after(u64::MAX).next, 0);
        for _ in 0..KEPT + 10 {
            events.push("lock", WatchSeverity::Info, "", String::new());
        }
        let (mut next, mut numbers) = (20, Vec::new());
        loop {
            let seen = after(next);
            assert!(!seen.lost);
            if seen.events.is_empty() {
                break;
            }
            numbers.extend(seen.events.iter().map(|event| event.number));
            next = seen.next;
        }
        assert_eq!(numbers, (21..=KEPT as u64 + 10).collect::<Vec<_>>());
        assert!(after(0).lost && after(9).lost && !after(10).lost);
        assert!(after(u64::MAX).events.is_empty() && !after(u64::MAX).lost);
    }

    #[test]
    fn a_watcher_by_a_rule_sees_its_keys_without_callers_and_reasons() {
        let (events, (operator, user)) = (Events::default(), rights());
        let push = |kind, key, message: &str| {
            events.push(kind, WatchSeverity::Info, key, message.to_owned());
        };
        push("key_disable", "shop/cards", "compromised: bob sold it");
        push("key_disable", "mail", "disabled: bob left");
        push("key_disable", "", "disabled: everything, says ana");
        push("rotation_due", "shop/cards", "uid:1002 lost access: rotate the key");
        push("decryption_failures", "", "6 decryptions of uid 1002 in x.service failed within 60 minutes");
        push("decryption_failures", "shop/cards", "6 decryptions failed within 60 minutes");
        push("maintenance", "", "maintenance on: ana moves the disk");
        push("lock", "", "locked: request");
        push("audit_budget", "", "the log takes 81 %");
        push("new_kind", "shop/cards", "bob: anything");
        push("new_kind", "", "bob: anything");
        let seen = events.after(0, &user);
        let told: Vec<(&str, &str, &str)> =
            seen.events.iter().map(|event| (event.kind, &*event.key, &*event.message)).collect();
        let wanted = [
            ("key_disable", "shop/cards", "compromised"),
            ("rotation_due", "shop/cards", ""),
            ("decryption_failures", "shop/cards", "6 decryptions failed within 60 minutes"),
            ("maintenance", "", "maintenance on"),
            ("lock", "", "locked"),
            ("new_kind", "shop/cards", ""),
        ];
        assert_eq!(told, wanted);
        assert_eq!((seen.next, seen.lost), (11, false), "behind what was not shown as well");
        assert!(events.after(10, &user).events.is_empty(), "no news");
        let everything = events.after(0, &operator).events;
        assert_eq!(everything.len(), 11);
        assert_eq!(everything[1].message, "disabled: bob left");
    }

    #[test]
    fn hidden_events_neither_fill_a_reply_nor_hold_up_the_next() {
        let (events, (_, user)) = (Events::default(), rights());
        for number in 0..KEPT {
            let key = if number % 2 == 0 { "mail" } else { "shop/cards" };
            events.push("key_create", WatchSeverity::Info, key, String::new());
        }
        let first = events.after(0, &user);
        assert_eq!((first.events.len(), first.next), (MOST_AT_ONCE, 2 * MOST_AT_ONCE as u64));
        let second = events.after(first.next, &user);
        assert_eq!((second.events.len(), second.next), (MOST_AT_ONCE, KEPT as u64));
        assert!(events.after(second.next, &user).events.is_empty());
    }
}
