//! Whom something is about, compiled: an unmentioned property does not matter, a mentioned one must match.

use alloc::{boxed::Box, vec::Vec};

use super::{Subject, pattern::Pattern};

/// A compiled `Who`.
#[derive(Debug, Default)]
pub(super) struct Callers {
    /// Ascending.
    pub(super) uids: Box<[u32]>,
    /// Ascending.
    pub(super) gids: Box<[u32]>,
    pub(super) units: Box<[Pattern]>,
    pub(super) sockets: Vec<Box<str>>,
}

impl Callers {
    /// Whether it says who at all; a socket alone is a door, not a person.
    pub(super) fn names_somebody(&self) -> bool {
        !(self.uids.is_empty() && self.gids.is_empty() && self.units.is_empty())
    }

    /// Whether it names this subject.
    pub(super) fn includes(&self, subject: &Subject<'_>) -> bool {
        self.mismatch(subject).is_none()
    }

    /// The first property that keeps a subject out, by the name of its field.
    pub(super) fn mismatch(&self, subject: &Subject<'_>) -> Option<&'static str> {
        if !self.names_somebody() {
            return Some("who");
        }
        let in_groups = |gid: &u32| self.gids.binary_search(gid).is_ok();
        if !self.uids.is_empty() && self.uids.binary_search(&subject.uid).is_err() {
            return Some("uids");
        }
        if !self.gids.is_empty() && !in_groups(&subject.gid) && !subject.groups.iter().any(in_groups) {
            return Some("gids");
        }
        let in_unit = |unit| self.units.iter().any(|pattern| pattern.matches(unit));
        if !self.units.is_empty() && !subject.unit.is_some_and(in_unit) {
            return Some("units");
        }
        if !self.sockets.is_empty() && !self.sockets.iter().any(|socket| **socket == *subject.socket) {
            return Some("sockets");
        }
        None
    }
}
