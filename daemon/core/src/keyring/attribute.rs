//! What the attributes of a key say: a brake, a rotation that is due, who has access, what it is for
//! (docs/FORMATS.md, section 3 "Keyring file").
//!
//! Must never read a value that is not one of ours as "nothing is set".

use alloc::{string::String, vec::Vec};

use keyagent_common::name::KeyName;

use super::{
    head::BadHead,
    key::{Key, Reason},
    since,
};
use crate::audit::archive;

/// Most bytes of a brake's reason.
pub const MAX_REASON_BYTES: usize = 256;
/// Most bytes of a list of subjects, line ends included.
pub const MAX_ACCESS_BYTES: usize = 60_000;
/// Most bytes that a brake adds to the head: four attributes with their lengths and the longest values. What stood
/// before is no longer than what it took away.
pub(super) const BRAKE_BYTES: usize = 4 * 3
    + BRAKE.len()
    + BRAKE_BEFORE.len()
    + Brake::Compromised.as_str().len()
    + BRAKE_AT.len()
    + 8
    + BRAKE_REASON.len()
    + MAX_REASON_BYTES;
/// Why a rotation is due when somebody lost access.
pub(crate) const PERSONNEL: &str = Reason::Personnel.as_str();
/// Most bytes of each text that says what a key is for.
pub const MAX_LABEL_BYTES: usize = 256;

const BRAKE: &str = "brake";
const BRAKE_REASON: &str = "brake.reason";
const BRAKE_AT: &str = "brake.at";
/// Only in a brake that all keys got at once: the one before, or nothing.
const BRAKE_BEFORE: &str = "brake.before";
const DUE_AT: &str = "rotation.due_at";
const DUE_REASON: &str = "rotation.due_reason";
const ACCESS: &str = "access";
/// Keys of earlier epochs, sealed; `default` alone has it.
pub(super) const ARCHIVE: &str = "audit.archive";

/// Why every operation with a key is refused; the greater one stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Brake {
    /// Switched off by hand.
    Disabled,
    /// Somebody else may know it.
    Compromised,
}

impl Brake {
    /// The word that stands in the keyring.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Compromised => "compromised",
        }
    }

    fn from_word(word: &[u8]) -> Option<Self> {
        [Self::Disabled, Self::Compromised].into_iter().find(|brake| brake.as_str().as_bytes() == word)
    }
}

/// What an administrator says about a key, beside its note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Where it is used, such as `production`: one word of `[a-z0-9._-]{1,64}`.
    Environment,
    /// What for.
    Purpose,
    /// Whose it is.
    Owner,
    /// Where more is written about it.
    Url,
}

impl Label {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 4] = [Self::Environment, Self::Owner, Self::Purpose, Self::Url];

    /// Its name in the keyring, on the wire and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Purpose => "purpose",
            Self::Owner => "owner",
            Self::Url => "url",
        }
    }

    /// Whether a text can stand there. An empty one cannot: there is then no label.
    pub fn admits(self, text: &str) -> bool {
        let word = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        match self {
            Self::Environment => (1..=64).contains(&text.len()) && text.bytes().all(word),
            _ => (1..=MAX_LABEL_BYTES).contains(&text.len()) && is_printable(text),
        }
    }
}

/// A rotation that is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due<'k> {
    /// Until when, in seconds since 1970; never 0.
    pub at_unix: u64,
    /// `scheduled`, `compromise`, `personnel`, `audit` or `manual`.
    pub reason: &'k str,
}

/// What the brakes, the timer and the list of a key are.
impl Key {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&[u8]> {
        let place = self.attributes.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        self.attributes.get(place).map(|(_, value)| value.as_slice())
    }

    /// The brake that is on. A word that is not ours (no keyring on disk has one) counts as the worst.
    pub fn brake(&self) -> Option<Brake> {
        let word = self.attribute(BRAKE)?;
        Some(Brake::from_word(word).unwrap_or(Brake::Compromised))
    }

    /// Why the brake is on, as somebody wrote it, at most 256 bytes; empty if nothing was said.
    pub fn brake_reason(&self) -> &str {
        self.text(BRAKE_REASON).unwrap_or_default()
    }

    /// Since when the brake is on, in seconds since 1970.
    pub fn brake_at(&self) -> Option<u64> {
        self.number(BRAKE_AT)
    }

    /// Whether all keys got the brake at once: then it can be lifted from all at once.
    pub fn brake_is_of_all(&self) -> bool {
        self.attribute(BRAKE_BEFORE).is_some()
    }

    /// Since when the key was disabled, and why, before all keys got a brake at once.
    pub fn disabled_before(&self) -> Option<(u64, &str)> {
        before(self.attribute(BRAKE_BEFORE)?)
    }

    /// The rotation that is due, or will be.
    pub fn due(&self) -> Option<Due<'_>> {
        Some(Due { at_unix: self.number(DUE_AT)?, reason: self.text(DUE_REASON)? })
    }

    /// Who has a right on the key, strictly ascending; nobody as well if that was never recorded.
    pub fn access(&self) -> impl Iterator<Item = &str> {
        self.text(ACCESS).unwrap_or_default().split('\n').filter(|subject| !subject.is_empty())
    }

    /// Whether it was ever recorded who has a right on the key.
    pub fn access_is_recorded(&self) -> bool {
        self.attribute(ACCESS).is_some()
    }

    /// What it says about itself under a label; empty if nothing.
    pub fn label(&self, label: Label) -> &str {
        self.text(label.as_str()).unwrap_or_default()
    }

    /// Puts a brake on in place of any other.
    pub(crate) fn set_brake(&mut self, brake: Brake, reason: &str, now_unix: u64) {
        self.release();
        self.set_attribute(BRAKE, brake.as_str().as_bytes());
        self.set_attribute(BRAKE_AT, &now_unix.to_le_bytes());
        if !reason.is_empty() {
            self.set_attribute(BRAKE_REASON, reason.as_bytes());
        }
    }

    /// Puts a brake on together with all other keys; what stood before is kept.
    pub(crate) fn set_brake_of_all(&mut self, brake: Brake, reason: &str, now_unix: u64) {
        let before = match (self.attribute(BRAKE_BEFORE), self.brake()) {
            (Some(kept), _) => Vec::from(kept),
            (None, None) => Vec::new(),
            (None, Some(_)) => written_before(self.brake_at().unwrap_or_default(), self.brake_reason()),
        };
        self.set_brake(brake, reason, now_unix);
        self.set_attribute(BRAKE_BEFORE, &before);
    }

    /// Disables a key for itself that all keys' brake refuses: it stays disabled when that is lifted.
    pub(crate) fn disable_beneath(&mut self, reason: &str, now_unix: u64) {
        self.set_attribute(BRAKE_BEFORE, &written_before(now_unix, reason));
    }

    /// Takes off the brake that all keys got: what stood before stands again.
    pub(crate) fn release_of_all(&mut self) {
        let before = self.disabled_before().map(|(at, reason)| (at, String::from(reason)));
        self.release();
        if let Some((at, reason)) = before {
            self.set_brake(Brake::Disabled, &reason, at);
        }
    }

    /// Takes the brake off, and with it what stood before.
    pub(crate) fn release(&mut self) {
        let words = [BRAKE, BRAKE_AT, BRAKE_REASON, BRAKE_BEFORE];
        self.attributes.retain(|(name, _)| !words.contains(&name.as_str()));
    }

    /// Sets the timer, which must not be 0, in place of any other.
    pub(crate) fn set_due(&mut self, at_unix: u64, reason: &str) {
        self.set_attribute(DUE_AT, &at_unix.to_le_bytes());
        self.set_attribute(DUE_REASON, reason.as_bytes());
    }

    /// Takes the timer away: the rotation was made.
    pub(crate) fn clear_due(&mut self) {
        self.attributes.retain(|(name, _)| ![DUE_AT, DUE_REASON].contains(&name.as_str()));
    }

    /// Sets a label that admits the text; an empty one takes it away.
    pub(crate) fn set_label(&mut self, label: Label, text: &str) {
        if text.is_empty() {
            self.attributes.retain(|(name, _)| name != label.as_str());
        } else {
            self.set_attribute(label.as_str(), text.as_bytes());
        }
    }

    /// Records who has access: subjects strictly ascending, joined by line feeds.
    pub(crate) fn set_access(&mut self, subjects: &str) {
        self.set_attribute(ACCESS, subjects.as_bytes());
    }

    pub(super) fn set_attribute(&mut self, name: &str, value: &[u8]) {
        match self.attributes.binary_search_by(|(known, _)| known.as_str().cmp(name)) {
            Ok(place) => {
                if let Some((_, old)) = self.attributes.get_mut(place) {
                    *old = Vec::from(value);
                }
            }
            Err(place) => self.attributes.insert(place, (String::from(name), Vec::from(value))),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        core::str::from_utf8(self.attribute(name)?).ok()
    }

    fn number(&self, name: &str) -> Option<u64> {
        Some(u64::from_le_bytes(self.attribute(name)?.try_into().ok()?))
    }
}

/// Whether every attribute that this program knows has a value that it could have written.
/// The names are strictly ascending.
pub(super) fn check(key: &Key) -> Result<(), BadHead> {
    let has = |name| key.attribute(name).is_some();
    if key.attribute(BRAKE).is_some_and(|word| Brake::from_word(word).is_none()) {
        return Err(BadHead("an unknown brake"));
    }
    if has(BRAKE) != has(BRAKE_AT) || has(BRAKE_AT) != key.brake_at().is_some() {
        return Err(BadHead("a brake and its time do not fit"));
    }
    if has(BRAKE_REASON) && !(has(BRAKE) && key.text(BRAKE_REASON).is_some_and(is_stored_reason)) {
        return Err(BadHead("a brake and its reason do not fit"));
    }
    if let Some(value) = key.attribute(BRAKE_BEFORE) {
        let disabled = key.brake() == Some(Brake::Compromised) && before(value).is_some();
        if !has(BRAKE) || !(value.is_empty() || disabled) {
            return Err(BadHead("a brake of all keys and the one before do not fit"));
        }
    }
    let owed = |due: Due<'_>| due.at_unix > 0 && Reason::from_word(due.reason).is_some();
    if (has(DUE_AT) || has(DUE_REASON)) && !key.due().is_some_and(owed) {
        return Err(BadHead("a rotation that is due has no such time or reason"));
    }
    if has(ACCESS) && !key.text(ACCESS).is_some_and(is_access) {
        return Err(BadHead("not a list of who has access"));
    }
    let is_default = key.name == KeyName::DEFAULT.as_str();
    if key.attribute(ARCHIVE).is_some_and(|value| !is_default || !archive::is_archive(value)) {
        return Err(BadHead("not an archive of earlier epochs"));
    }
    let fits = |label: &Label| {
        !has(label.as_str()) || key.text(label.as_str()).is_some_and(|text| label.admits(text))
    };
    if !Label::ALL.iter().all(fits) {
        return Err(BadHead("not a label of a key"));
    }
    since::check(key)
}

/// A key that was disabled: time u64, reason.
fn before(value: &[u8]) -> Option<(u64, &str)> {
    let (at, reason) = value.split_first_chunk::<8>()?;
    let reason = core::str::from_utf8(reason).ok().filter(|reason| is_reason(reason))?;
    Some((u64::from_le_bytes(*at), reason))
}

fn written_before(at_unix: u64, reason: &str) -> Vec<u8> {
    [&at_unix.to_le_bytes(), reason.as_bytes()].concat()
}

/// Whether a text can be the reason of a brake: printable, at most 256 bytes, possibly empty.
pub(crate) fn is_reason(text: &str) -> bool {
    text.len() <= MAX_REASON_BYTES && is_printable(text)
}

/// Whether a text can stand in the list of who has access: printable, not empty.
pub(crate) fn is_subject(text: &str) -> bool {
    !text.is_empty() && is_printable(text)
}

/// An empty reason is not stored.
fn is_stored_reason(text: &str) -> bool {
    !text.is_empty() && is_reason(text)
}

fn is_access(text: &str) -> bool {
    let subjects = || text.split('\n');
    text.is_empty()
        || text.len() <= MAX_ACCESS_BYTES
            && subjects().all(is_subject)
            && subjects().is_sorted_by(|one, next| one < next)
}

/// Whether a text holds none of the characters that the audit log escapes by number (section 4).
fn is_printable(text: &str) -> bool {
    // Nearly every text: lists are long, and read again with every commit.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return true;
    }
    !text.chars().any(|character| {
        character.is_control()
            || matches!(
                character,
                '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            )
    })
}

#[cfg(test)]
mod tests;
