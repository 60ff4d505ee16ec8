//! What the audit log says of a page that was taken in, or looked at.

use keyagent_core::{
    audit::record::{Details, Event},
    backup::{Restored, Taken},
};

use super::super::{Asked, change::Recorded};
use crate::{audit_log::Line, commit::line_of};

/// A page that was taken in, or looked at.
pub(super) struct TakenIn<'a> {
    pub(super) asked: &'a Asked<'a>,
    /// Names the backup.
    pub(super) reason: &'a str,
    pub(super) dry_run: bool,
    pub(super) keys: Vec<Restored>,
}

impl TakenIn<'_> {
    /// Those of which something came.
    pub(super) fn changed(&self) -> impl Iterator<Item = &Restored> {
        self.keys.iter().filter(|key| !matches!(key.taken, Taken::Same | Taken::Differs))
    }
}

impl Recorded for TakenIn<'_> {
    /// Every look at a page is told: what comes of it says something of the keys here, and who looks made the page.
    /// Of a page that was taken in, how many keys changed, then each of them.
    fn lines(&self) -> Vec<Line<'_>> {
        let details = Details { reason: Some(self.reason), ..Details::default() };
        if self.dry_run {
            return vec![line(self.asked, None, Details { reason: Some("dry run"), ..details })];
        }
        let count = Some(self.changed().count() as u64);
        let all = line(self.asked, None, Details { count, ..details });
        let each = self.changed().map(|key| {
            let details = Details { count: Some(key.added.into()), ..details };
            line(self.asked, Some(&key.name), details)
        });
        std::iter::once(all).chain(each).collect()
    }
}

fn line<'a>(asked: &'a Asked<'_>, key: Option<&'a str>, details: Details<'a>) -> Line<'a> {
    let event = Event::Operation { name: asked.operation.name(), details };
    Line { key, ..line_of(asked.caller, event) }
}
