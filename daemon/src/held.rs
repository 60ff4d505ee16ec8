//! Brakes that the disk did not take: they hold in memory, whatever else changes, until they are stored or lifted or
//! the daemon ends.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Names of the keys.
#[derive(Default)]
pub(crate) struct Held(Mutex<BTreeSet<String>>);

impl Held {
    /// These keys are refused from now on.
    pub(crate) fn hold(&self, names: impl IntoIterator<Item = String>) {
        self.names().extend(names);
    }

    /// Whether a key is refused.
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.names().contains(name)
    }

    /// This key, or every key for an empty name, is held no longer; those that were, ascending.
    pub(crate) fn release(&self, key: &str) -> Vec<String> {
        let mut names = self.names();
        if key.is_empty() {
            std::mem::take(&mut *names).into_iter().collect()
        } else {
            names.take(key).into_iter().collect()
        }
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_all_are_released() {
        let held = Held::default();
        held.hold(["a", "b", "c"].map(str::to_owned));
        assert!(held.covers("a") && !held.covers("d"));
        assert_eq!((held.release("a"), held.release("a")), (vec!["a".to_owned()], vec![]));
        assert!(!held.covers("a") && held.covers("b"));
        assert_eq!(held.release(""), ["b", "c"]);
        assert!(!held.covers("b"));
    }
}
