//! What a key waits for: a rotation with a time, a staged version, an old version that nobody uses.
//!
//! Words and counts for `keys list`, `status` and `doctor`. "Can be retired" is a hint and never more: the counts
//! are those of one agent, and what is unused may still be needed.

use serde::Serialize;

use super::KeyDocument;

/// From so many days without use on an old version is named as one that can be retired.
const UNUSED_DAYS: u64 = 30;
/// A rotation farther away is nobody's business yet.
const SOON_DAYS: u64 = 30;
/// Most keys that are named in a line.
const NAMED: usize = 3;
const DAY_SECONDS: u64 = 86_400;

/// What of all keys wants somebody's attention.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Hints {
    /// Those whose time has passed first, then by time.
    pub(crate) rotations: Vec<Upcoming>,
    pub(crate) staged: Vec<Waiting>,
    pub(crate) retirable: Vec<Retirable>,
}

/// A rotation with a time.
#[derive(Debug, Serialize)]
pub(crate) struct Upcoming {
    pub(crate) key: String,
    pub(crate) due_at: Option<String>,
    pub(crate) overdue: bool,
    /// Whether the agent does it by itself.
    pub(crate) automatic: bool,
    #[serde(skip)]
    at: u64,
    #[serde(skip)]
    pub(crate) words: String,
}

/// A version that only opens until it is promoted.
#[derive(Debug, Serialize)]
pub(crate) struct Waiting {
    pub(crate) key: String,
    pub(crate) version: u32,
}

/// A version in grace that nobody used for long.
#[derive(Debug, Serialize)]
pub(crate) struct Retirable {
    pub(crate) key: String,
    pub(crate) version: u32,
    pub(crate) unused_days: u64,
}

impl Hints {
    pub(crate) fn of(keys: &[KeyDocument], now: u64) -> Self {
        let mut hints = Self::default();
        for key in keys {
            if key.due > 0 {
                hints.rotations.push(Upcoming::of(key, now));
            }
            for version in &key.versions {
                let (key, version, number) = (key.name.clone(), version, version.number);
                if version.state == "staged" {
                    hints.staged.push(Waiting { key, version: number });
                } else if let Some(unused_days) = version.unused_days.filter(|_| version.can_be_retired) {
                    hints.retirable.push(Retirable { key, version: number, unused_days });
                }
            }
        }
        hints.rotations.sort_by_key(|rotation| rotation.at);
        hints
    }

    /// What is overdue or soon to come, by name: `openai rotates in 12 d`; and whether it is overdue.
    pub(crate) fn rotations_named(&self, now: u64) -> Vec<(bool, String)> {
        let soon: Vec<_> = self
            .rotations
            .iter()
            .filter(|rotation| rotation.at <= now.saturating_add(SOON_DAYS * DAY_SECONDS))
            .collect();
        let mut named: Vec<_> =
            soon.iter().take(NAMED).map(|rotation| (rotation.overdue, rotation.words.clone())).collect();
        let left = soon.get(NAMED..).unwrap_or_default();
        if !left.is_empty() {
            let overdue = left.iter().filter(|rotation| rotation.overdue).count();
            let words = if overdue > 0 { format!(", {overdue} of them OVERDUE") } else { String::new() };
            named.push((overdue > 0, format!("{} more{words}", left.len())));
        }
        named
    }
}

impl Upcoming {
    #[cfg(test)]
    pub(crate) fn at(key: &str, at: u64, overdue: bool, words: &str) -> Self {
        let (key, words) = (key.to_owned(), words.to_owned());
        Self { key, due_at: None, overdue, automatic: true, at, words }
    }

    fn of(key: &KeyDocument, now: u64) -> Self {
        let at = key.due;
        let overdue = at <= now;
        let words = match (overdue, key.rotates) {
            (false, true) => format!("{} rotates {}", key.name, words(at, now)),
            (false, false) => format!("{} to be rotated {}", key.name, words(at, now)),
            (true, _) => format!("{} {}", key.name, words(at, now)),
        };
        let due_at = key.due_at.clone();
        Self { key: key.name.clone(), due_at, overdue, automatic: key.rotates, at, words }
    }
}

/// `in 12 d`, or `OVERDUE 3 d`.
pub(crate) fn words(at: u64, now: u64) -> String {
    if at > now { format!("in {}", coarse(at - now)) } else { format!("OVERDUE {}", coarse(now - at)) }
}

/// Days without use of a version; `None` where no use is known.
pub(super) fn unused_days(used_at: u64, now: u64) -> Option<u64> {
    (used_at > 0).then(|| now.saturating_sub(used_at) / DAY_SECONDS)
}

/// Whether a version in this state, unused for so many days, is worth a hint.
pub(super) fn can_be_retired(state: &str, unused_days: Option<u64>) -> bool {
    state == "grace" && unused_days.is_some_and(|days| days >= UNUSED_DAYS)
}

/// The largest unit of which there are two at least.
fn coarse(seconds: u64) -> String {
    match (seconds / DAY_SECONDS, seconds / 3600) {
        (_, 0 | 1) => format!("{} m", seconds / 60),
        (0 | 1, hours) => format!("{hours} h"),
        (days, _) => format!("{days} d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::keys::shown::tests::key;
    use keyagent_common::op::KeyEntry;

    const NOW: u64 = 1_800_000_000;

    fn due(name: &'static str, due_at: u64, rotates: bool) -> KeyDocument {
        KeyDocument::new(&KeyEntry { name, due_at, rotates, ..key() }, NOW)
    }

    #[test]
    fn what_is_late_comes_first_and_what_is_far_away_not_at_all() {
        let day = DAY_SECONDS;
        let keys = [
            due("openai", NOW + 12 * day + 5, true),
            due("billing", NOW - 3 * day, true),
            due("left", NOW + 5 * 3600, false),
            due("far", NOW + 31 * day, true),
            due("calm", 0, false),
        ];
        let hints = Hints::of(&keys, NOW);
        assert_eq!(hints.rotations.len(), 4);
        let named = hints.rotations_named(NOW);
        let expected = [
            (true, "billing OVERDUE 3 d"),
            (false, "left to be rotated in 5 h"),
            (false, "openai rotates in 12 d"),
        ];
        assert_eq!(named, expected.map(|(late, words)| (late, words.to_owned())));
        let many: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| due(name, NOW - 60, true)).into();
        let named = Hints::of(&many, NOW).rotations_named(NOW);
        assert_eq!(named.last().unwrap(), &(true, "2 more, 2 of them OVERDUE".to_owned()));
    }

    #[test]
    fn only_an_old_version_that_was_used_long_ago_can_be_retired() {
        assert_eq!(unused_days(0, NOW), None);
        assert_eq!(unused_days(NOW + 5, NOW), Some(0), "a clock that went back");
        for (state, used_at, expected) in [
            ("grace", NOW - 30 * DAY_SECONDS, true),
            ("grace", NOW - 30 * DAY_SECONDS + 1, false),
            ("grace", 0, false),
            ("primary", NOW - 99 * DAY_SECONDS, false),
            ("retired", NOW - 99 * DAY_SECONDS, false),
        ] {
            assert_eq!(can_be_retired(state, unused_days(used_at, NOW)), expected, "{state} {used_at}");
        }
    }
}
