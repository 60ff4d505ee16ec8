//! What became of the items of a batch: members of the line that tells of it.
//!
//! As many lines as it takes, in one group, each of them complete in itself: no line gets longer than a verifier
//! reads, however many keys a batch touched.

use alloc::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};

use super::{Members, TEXT_CAP};
use crate::ops::OperationError;

/// Room of a line for outcomes. One outcome alone is never longer.
const PAGE_BYTES: usize = 2048;
/// Most bytes of an outcome without the texts in it: names, quotes, id and the longest numbers.
const AROUND_TEXTS_BYTES: usize = 160;
/// Most bytes of an escaped byte.
const ESCAPED_BYTES: usize = 6;

/// Items that came to the same: on one version, allowed by one rule, with one result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// Name of the key, if one was found.
    pub key: Option<&'a str>,
    /// Id and number of the version, if one was found.
    pub version: Option<(&'a [u8; 32], u32)>,
    /// Why they failed, if they did.
    pub failure: Option<OperationError>,
    /// Name of the rule that allowed or refused them, where the items of the batch differ in that.
    pub rule: Option<Arc<str>>,
    /// How many items.
    pub count: u64,
    /// Bytes of payload of all of them.
    pub bytes: u64,
    /// How many of them used every version that opens data; for the counting of use, not written.
    pub look_ups: u64,
}

impl Outcome<'_> {
    /// What it takes at most in a line.
    fn bytes_at_most(&self) -> usize {
        let text = |length: usize| length.min(TEXT_CAP);
        let rule = self.rule.as_ref().map_or(0, |rule| text(rule.len()) * ESCAPED_BYTES);
        AROUND_TEXTS_BYTES + self.key.map_or(0, |key| text(key.len())) + rule
    }

    pub(super) fn push(&self, members: &mut Members<'_>) {
        members.optional_text("key", self.key);
        if let Some((id, number)) = self.version {
            push_key_id(members, id);
            members.number("version", number.into());
        }
        members.optional_number("code", self.failure.map(|failure| u64::from(failure.code() as u16)));
        members.optional_text("rule", self.rule.as_deref());
        members.number("count", self.count);
        members.number("bytes", self.bytes);
    }
}

/// The first 9 bytes of an id, in base64url.
pub(super) fn push_key_id(members: &mut Members<'_>, id: &[u8; 32]) {
    let mut text = [0; 12];
    let short = Base64UrlUnpadded::encode(id.split_at(9).0, &mut text);
    members.text("key_id", short.unwrap_or_default());
}

/// The outcomes of each line.
pub fn pages<'a>(outcomes: &'a [Outcome<'a>]) -> impl Iterator<Item = &'a [Outcome<'a>]> {
    let mut rest = outcomes;
    core::iter::from_fn(move || {
        let mut room = PAGE_BYTES;
        let fitting = rest.iter().take_while(|outcome| {
            let left = room.checked_sub(outcome.bytes_at_most());
            room = left.unwrap_or_default();
            left.is_some()
        });
        let (page, behind) = rest.split_at(fitting.count().max(1).min(rest.len()));
        rest = behind;
        (!page.is_empty()).then_some(page)
    })
}

#[cfg(test)]
mod tests {
    use alloc::{string::String, vec, vec::Vec};

    use super::*;

    fn outcome(key: &str, rule: Option<&str>) -> Outcome<'static> {
        Outcome {
            key: Some(String::from(key).leak()),
            version: Some((&[0xff; 32], u32::MAX)),
            failure: Some(OperationError::DoesNotOpen),
            rule: rule.map(Arc::from),
            count: u64::MAX,
            bytes: u64::MAX,
            look_ups: 0,
        }
    }

    #[test]
    fn every_outcome_stands_on_one_page_and_none_is_too_long() {
        let worst = outcome(&"k".repeat(128), Some(&"\u{1}".repeat(300)));
        assert!(worst.bytes_at_most() <= PAGE_BYTES);
        let all: Vec<_> = (0..100)
            .map(|number| if number % 7 == 0 { worst.clone() } else { outcome("some/key", None) })
            .collect();
        let pages: Vec<_> = pages(&all).collect();
        assert!(pages.len() > 10 && pages.iter().all(|page| !page.is_empty()));
        assert_eq!(pages.concat(), all);
        for page in pages {
            let mut line = vec![];
            let mut members = Members { out: &mut line, first: true };
            members.outcomes(page);
            assert!(line.len() <= PAGE_BYTES + 20, "{}", line.len());
            let read =
                serde_json::from_slice::<serde_json::Value>(&[b"{", &line[..], b"}"].concat()).unwrap();
            assert_eq!(read["outcomes"].as_object().unwrap().len(), page.len());
        }
        assert_eq!(super::pages(&[]).count(), 0);
    }
}
