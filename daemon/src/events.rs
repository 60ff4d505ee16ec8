//! What happens, for whoever watches: the last few hundred events in memory, numbered since the start.
//!
//! Costs nothing while nobody watches but the room of the ring. Never holds payload or a context value.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use keyagent_common::op::WatchSeverity;
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

    /// The events behind a number; none for the number of the last one or a later one.
    pub(crate) fn after(&self, number: u64) -> Seen {
        let ring = self.lock();
        let number = number.min(ring.last);
        let first = ring.kept.front().map_or(ring.last + 1, |event| event.number);
        let events: Vec<Event> =
            ring.kept.iter().filter(|event| event.number > number).take(MOST_AT_ONCE).cloned().collect();
        let next = events.last().map_or(number, |event| event.number);
        Seen { events, next, lost: number + 1 < first }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_sees_each_event_once_and_hears_of_those_that_are_gone() {
        let events = Events::default();
        assert_eq!(events.after(u64::MAX).next, 0);
        for _ in 0..KEPT + 10 {
            events.push("lock", WatchSeverity::Info, "", String::new());
        }
        let (mut next, mut numbers) = (20, Vec::new());
        loop {
            let seen = events.after(next);
            assert!(!seen.lost);
            if seen.events.is_empty() {
                break;
            }
            numbers.extend(seen.events.iter().map(|event| event.number));
            next = seen.next;
        }
        assert_eq!(numbers, (21..=KEPT as u64 + 10).collect::<Vec<_>>());
        assert!(events.after(0).lost && events.after(9).lost && !events.after(10).lost);
        assert!(events.after(u64::MAX).events.is_empty() && !events.after(u64::MAX).lost);
    }
}
