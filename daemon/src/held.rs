//! Brakes that the disk did not take: they hold in memory, whatever else changes, until they are stored or lifted or
//! the daemon ends. Locking does not lift them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use keyagent_core::keyring::Brake;

/// Brakes by names of keys.
#[derive(Default)]
pub(crate) struct Held(Mutex<BTreeMap<String, Brake>>);

impl Held {
    /// These keys are refused from now on; a stronger brake that is held already stays.
    pub(crate) fn hold(&self, names: impl IntoIterator<Item = String>, brake: Brake) {
        let mut brakes = self.brakes();
        for name in names {
            let held = brakes.entry(name).or_insert(brake);
            *held = brake.max(*held);
        }
    }

    /// The brake that is held for a key.
    pub(crate) fn brake(&self, name: &str) -> Option<Brake> {
        self.brakes().get(name).copied()
    }

    /// All of them.
    pub(crate) fn all(&self) -> BTreeMap<String, Brake> {
        self.brakes().clone()
    }

    /// Those that lifting the brake of one key, or of all for an empty name, would lift: the rules are those of
    /// [`keyagent_core::change::enable`].
    pub(crate) fn to_lift(&self, key: &str, lift_compromised: bool) -> Vec<String> {
        let brakes = self.brakes();
        let meant = brakes.iter().filter(|(name, _)| key.is_empty() || *name == key);
        let lifted = meant.filter(|(_, brake)| lift_compromised || **brake < Brake::Compromised);
        lifted.map(|(name, _)| name.clone()).collect()
    }

    /// These are held no longer.
    pub(crate) fn release(&self, names: &[String]) {
        let mut brakes = self.brakes();
        for name in names {
            brakes.remove(name);
        }
    }

    /// What is stored need not be held.
    pub(crate) fn settle(&self, stored: impl Fn(&str) -> Option<Brake>) {
        self.brakes().retain(|name, brake| stored(name) < Some(*brake));
    }

    fn brakes(&self) -> MutexGuard<'_, BTreeMap<String, Brake>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_stronger_brake_is_held_and_lifted_by_its_name_alone() {
        let held = Held::default();
        held.hold(names(&["a", "b"]), Brake::Disabled);
        held.hold(names(&["b", "c"]), Brake::Compromised);
        held.hold(names(&["c"]), Brake::Disabled);
        let brakes = ["a", "b", "c", "d"].map(|name| held.brake(name));
        assert_eq!(brakes, [Some(Brake::Disabled), Some(Brake::Compromised), Some(Brake::Compromised), None]);
        assert_eq!(held.to_lift("", false), ["a"]);
        assert_eq!(held.to_lift("b", false), names(&[]));
        assert_eq!((held.to_lift("b", true), held.to_lift("", true).len()), (names(&["b"]), 3));
        held.release(&names(&["a", "none"]));
        assert_eq!((held.brake("a"), held.all().len()), (None, 2));
    }

    #[test]
    fn only_what_is_stored_at_least_as_strongly_is_let_go() {
        let held = Held::default();
        held.hold(names(&["a", "b", "c"]), Brake::Compromised);
        held.settle(|name| match name {
            "a" => Some(Brake::Compromised),
            "b" => Some(Brake::Disabled),
            _ => None,
        });
        assert_eq!(held.all().into_keys().collect::<Vec<_>>(), ["b", "c"]);
    }
}
