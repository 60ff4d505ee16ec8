//! Who has a right on a key, as texts to be kept and compared: what a change of rules takes away.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

use super::{
    Policy,
    callers::Callers,
    operations::{Kind, Operations},
    pattern::Pattern,
};

/// Most bytes of all subjects of a policy, joined: they have to fit into one attribute of a key.
pub(super) const MAX_BYTES: usize = 65_535;

impl Policy {
    /// Who may use data under a key, by configuration: sorted, without repetition.
    ///
    /// `uid:1001`, `gid:50`, `unit:billing.service`, or what must come together joined by `+`. Sockets are
    /// doors and not in it; neither are the owner or root, whom no configuration can remove. At most 65535
    /// bytes, newlines between them included.
    pub fn subjects_of_key(&self, key: &str) -> Vec<String> {
        self.subjects(|patterns| patterns.iter().any(|pattern| pattern.matches(key)))
    }

    /// Bytes of every subject that any key may have, each with a byte between.
    pub(super) fn subject_bytes(&self) -> usize {
        self.subjects(|_| true).iter().map(|subject| subject.len() + 1).sum()
    }

    fn subjects(&self, is_about: impl Fn(&[Pattern]) -> bool) -> Vec<String> {
        let data = Operations::of_kind(Kind::Data);
        let mut subjects = BTreeSet::new();
        add(&mut subjects, &self.admins);
        for rule in self.rules.iter().filter(|rule| !rule.allow.shared_with(data).is_empty()) {
            let asks_for_others = rule.delegate.as_ref().is_some_and(|delegate| is_about(&delegate.keys));
            if is_about(&rule.keys) || asks_for_others {
                add(&mut subjects, &rule.who);
            }
        }
        subjects.into_iter().collect()
    }
}

/// Every combination of uid, gid and unit; their number is bounded when a policy is built.
fn add(subjects: &mut BTreeSet<String>, who: &Callers) {
    let uids = who.uids.iter().map(|uid| format!("uid:{uid}")).collect();
    let gids = who.gids.iter().map(|gid| format!("gid:{gid}")).collect();
    let units = who.units.iter().map(|unit| format!("unit:{}", unit.text())).collect();
    let mut combined: Vec<String> = Vec::new();
    for part in [uids, gids, units] {
        combined = join(combined, part);
    }
    subjects.extend(combined);
}

fn join(before: Vec<String>, part: Vec<String>) -> Vec<String> {
    if part.is_empty() || before.is_empty() {
        return if part.is_empty() { before } else { part };
    }
    before
        .iter()
        .flat_map(|left| part.iter().map(move |right| (left, right)))
        .map(|(left, right)| [left.as_str(), right].join("+"))
        .collect()
}
