//! Keys of a backup, and what became of them, as tables.

use std::fmt::Write;

use keyagent_common::{
    op::{RestoreOutcome, RestoredKey},
    report::escape,
};
use serde::Serialize;

use super::contents::KeyDocument;

/// What became of a key, all of its pages together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct OutcomeDocument {
    pub(super) name: String,
    pub(super) outcome: &'static str,
    pub(super) added: u32,
    pub(super) why: String,
    #[serde(skip)]
    pub(super) differs: bool,
}

impl OutcomeDocument {
    /// Whether anything comes of it.
    pub(super) fn brings_something(&self) -> bool {
        self.outcome != word(RestoreOutcome::Same)
    }
}

/// The word for an outcome.
const fn word(outcome: RestoreOutcome) -> &'static str {
    match outcome {
        RestoreOutcome::Same => "same",
        RestoreOutcome::Added => "added",
        RestoreOutcome::Extended => "extended",
        RestoreOutcome::Replaced => "replaced",
        RestoreOutcome::Differs => "differs",
    }
}

/// Adds what a page came to; a key that goes over several pages stands there once.
pub(super) fn collect(all: &mut Vec<OutcomeDocument>, keys: &[RestoredKey<'_>]) {
    for key in keys {
        let differs = key.outcome == RestoreOutcome::Differs;
        match all.last_mut().filter(|last| last.name == key.name) {
            Some(last) => {
                last.added += key.added;
                if differs || !last.brings_something() {
                    (last.outcome, last.differs) = (word(key.outcome), differs);
                    key.why.clone_into(&mut last.why);
                }
            }
            None => all.push(OutcomeDocument {
                name: key.name.to_owned(),
                outcome: word(key.outcome),
                added: key.added,
                why: key.why.to_owned(),
                differs,
            }),
        }
    }
}

/// One line a key; those of which nothing comes in a last line together.
pub(super) fn outcomes(all: &[OutcomeDocument]) -> String {
    let mut text = String::from("OUTCOME    VERSIONS  KEY\n");
    let told = |key: &&OutcomeDocument| key.brings_something() || !key.why.is_empty();
    for OutcomeDocument { name, outcome, added, why, .. } in all.iter().filter(told) {
        let why = if why.is_empty() { String::new() } else { format!("   ({})", escape(why)) };
        let _ = writeln!(text, "{outcome:<10} {:<9} {}{why}", format!("+{added}"), escape(name));
    }
    let same = all.iter().filter(|key| !key.brings_something()).count();
    let _ = writeln!(text, "{same} of {} keys are the same here", all.len());
    text
}

/// Keys with their versions.
pub(super) fn contents(keys: &[KeyDocument]) -> String {
    let mut text = String::from("KEY                  VERSION  STATE        KEY ID\n");
    for key in keys {
        let brake = key.brake.as_ref().map(|brake| format!("   {}", escape(brake))).unwrap_or_default();
        for version in &key.versions {
            let id = version.key_id.as_deref().unwrap_or("-");
            let _ = writeln!(
                text,
                "{:<20} {:<8} {:<12} {id}{brake}",
                escape(&key.name),
                version.number,
                version.state
            );
        }
    }
    text
}
