//! Brakes that the disk did not take: they hold in memory, whatever else changes, until they are stored or lifted or
//! the daemon ends. Locking does not lift them. Beside them, keys that are refused for a moment, because something is
//! about to take their place: that never lifts a brake, and no brake is lifted by its end.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use keyagent_core::keyring::Brake;

/// Brakes by names of keys.
#[derive(Default)]
pub(crate) struct Held {
    brakes: Mutex<BTreeMap<String, Brake>>,
    /// Keys that are refused for a moment, and how many want that.
    quiet: Mutex<BTreeMap<&'static str, usize>>,
}

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

    /// All of them, and those that are refused for a moment as if they were disabled.
    pub(crate) fn all(&self) -> BTreeMap<String, Brake> {
        let mut all = self.brakes().clone();
        for name in self.quiet().keys() {
            all.entry((*name).to_owned()).or_insert(Brake::Disabled);
        }
        all
    }

    /// This key is refused, whatever brakes come and go, until as many have ended that.
    pub(crate) fn begin_quiet(&self, name: &'static str) {
        *self.quiet().entry(name).or_insert(0) += 1;
    }

    /// Ends it.
    pub(crate) fn end_quiet(&self, name: &'static str) {
        let mut quiet = self.quiet();
        let left = quiet.get(name).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            quiet.remove(name);
        } else {
            quiet.insert(name, left);
        }
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
        self.brakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn quiet(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_moment_of_quiet_lifts_nobodys_brake_and_no_brake_lifts_it() {
        let held = Held::default();
        held.begin_quiet("a");
        held.begin_quiet("a");
        assert_eq!((held.brake("a"), held.all().get("a")), (None, Some(&Brake::Disabled)));
        // Somebody stops the key meanwhile, and the disk does not take it.
        held.hold(names(&["a"]), Brake::Disabled);
        held.end_quiet("a");
        held.end_quiet("a");
        assert_eq!(held.all().get("a"), Some(&Brake::Disabled), "the brake stays");
        held.begin_quiet("a");
        held.release(&held.to_lift("", true));
        held.settle(|_| Some(Brake::Compromised));
        assert_eq!((held.brake("a"), held.all().get("a")), (None, Some(&Brake::Disabled)), "still quiet");
        held.end_quiet("a");
        held.end_quiet("a");
        assert!(held.all().is_empty());
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
