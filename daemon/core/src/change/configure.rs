//! What an administrator says about a key: its policy of rotation, its labels, its note.
//!
//! Must never put a rotation off by saying the same again, or let one secret serve two environments.

use alloc::{collections::BTreeSet, string::String, vec::Vec};

use keyagent_common::name::KeyName;

use super::{ChangeError, LifeError, MAX_NOTE_BYTES, schedule, version};
use crate::{
    arena::Arena,
    keyring::{Draft, Key, Keyring, KeyringError, Label, MAX_LABEL_BYTES, Policy},
};

/// Most days of an interval or a grace period: a hundred years.
pub const MAX_DAYS: u32 = 36_500;

const DAY_SECONDS: u64 = 86_400;

/// What is to be changed; `None` leaves it as it is, an empty text takes it away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings<'s> {
    /// Whether the key rotates by itself.
    pub enabled: Option<bool>,
    /// Days from one rotation to the next; at least 1 where it is enabled.
    pub interval_days: Option<u32>,
    /// Days that an old version stays in grace; 0 = no end.
    pub grace_period_days: Option<u32>,
    /// Whether versions retire by themselves at the end of grace, which then must have one.
    pub auto_retire: Option<bool>,
    /// See [`Label::Environment`].
    pub environment: Option<&'s str>,
    /// See [`Label::Purpose`].
    pub purpose: Option<&'s str>,
    /// See [`Label::Owner`].
    pub owner: Option<&'s str>,
    /// See [`Label::Url`].
    pub url: Option<&'s str>,
    /// Free text, at most [`MAX_NOTE_BYTES`].
    pub note: Option<&'s str>,
}

/// What was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configured {
    /// Names of the settings that have another value now; if there are none there is nothing to commit.
    pub changed: Vec<&'static str>,
    /// When the key rotates by itself next, in seconds since 1970; 0 = never.
    pub next_rotation_at: u64,
}

/// Changes what is said about a key.
///
/// The next rotation is counted from the last one (or from the making of the primary), so that a key may be
/// due at once; so is a date further away than an interval, which a wrong clock left. [`LifeError::UnfitSetting`] for what cannot be, [`LifeError::SameSecret`] for an environment
/// in which the secret of one of the key's versions would serve a second one.
pub fn configure<A: Arena>(
    keyring: &Keyring<A>,
    name: KeyName<'_>,
    settings: &Settings<'_>,
    now_unix: u64,
) -> Result<(Draft<A>, Configured), ChangeError> {
    let before = version::living(keyring, name)?;
    settings.check()?;
    let policy = settings.policy(before, now_unix)?;
    if let Some(environment) = settings.environment {
        check_secrets(keyring, before, environment)?;
    }
    let mut draft = keyring.draft();
    let key = draft.key_mut(name.as_str()).ok_or(ChangeError::NoSuchKey)?;
    key.policy = policy;
    for (label, text) in settings.labels() {
        key.set_label(label, text);
    }
    if let Some(note) = settings.note {
        key.note = String::from(note);
    }
    let changed = differences(before, key);
    let grew = text_bytes(key) > text_bytes(before);
    if grew {
        draft.check_room()?;
    }
    Ok((draft, Configured { changed, next_rotation_at: policy.next_rotation_at }))
}

impl<'s> Settings<'s> {
    /// The labels that are to be changed.
    fn labels(&self) -> impl Iterator<Item = (Label, &'s str)> {
        let text = |label| match label {
            Label::Environment => self.environment,
            Label::Purpose => self.purpose,
            Label::Owner => self.owner,
            Label::Url => self.url,
        };
        Label::ALL.into_iter().filter_map(move |label| Some((label, text(label)?)))
    }

    fn check(&self) -> Result<(), ChangeError> {
        if self.note.is_some_and(|note| note.len() > MAX_NOTE_BYTES) {
            return Err(ChangeError::NoteTooLong);
        }
        match self.labels().find(|(label, text)| !text.is_empty() && !label.admits(text)) {
            None => Ok(()),
            Some((label @ Label::Environment, _)) => {
                Err(unfit(label.as_str(), "is a word of a-z, 0-9, '.', '_' and '-', at most 64 characters"))
            }
            Some((label, _)) => {
                const { assert!(MAX_LABEL_BYTES == 256) };
                Err(unfit(
                    label.as_str(),
                    "has at most 256 bytes and neither control characters nor line ends",
                ))
            }
        }
    }

    /// The whole policy as it will be.
    fn policy(&self, key: &Key, now_unix: u64) -> Result<Policy, ChangeError> {
        let old = key.policy;
        let mut policy = Policy {
            enabled: self.enabled.unwrap_or(old.enabled),
            interval_days: self.interval_days.unwrap_or(old.interval_days),
            grace_period_days: self.grace_period_days.unwrap_or(old.grace_period_days),
            auto_retire: self.auto_retire.unwrap_or(old.auto_retire),
            ..old
        };
        if policy.interval_days > MAX_DAYS || policy.enabled && policy.interval_days == 0 {
            return Err(unfit("interval_days", "is 1 to 36500 where rotation is enabled"));
        }
        if policy.grace_period_days > MAX_DAYS || policy.auto_retire && policy.grace_period_days == 0 {
            return Err(unfit("grace_period_days", "is 1 to 36500 where versions retire by themselves"));
        }
        // A date that no interval explains was written while the clock was wrong.
        let too_far = schedule::next_rotation_by(&policy, &key.uid, now_unix).saturating_add(DAY_SECONDS);
        let differs = (policy.enabled, policy.interval_days) != (old.enabled, old.interval_days);
        if differs || policy.next_rotation_at > too_far {
            let from = schedule::last_rotation(key).min(now_unix);
            policy.next_rotation_at = schedule::next_rotation_by(&policy, &key.uid, from);
        }
        Ok(policy)
    }
}

fn unfit(setting: &'static str, rule: &'static str) -> ChangeError {
    LifeError::UnfitSetting { setting, rule }.into()
}

/// Refuses an environment if a key of another one holds the secret of any version of this key.
///
/// Secrets are compared by the tag that equal ones have in common, whatever their class. A key without an
/// environment is in none.
fn check_secrets<A: Arena>(keyring: &Keyring<A>, key: &Key, environment: &str) -> Result<(), ChangeError> {
    let elsewhere = |other: &&Key| {
        let label = other.label(Label::Environment);
        !label.is_empty() && label != environment && other.name != key.name
    };
    let others: Vec<&Key> = keyring.keys().iter().filter(elsewhere).collect();
    if environment.is_empty() || others.is_empty() {
        return Ok(());
    }
    let own: BTreeSet<[u8; 32]> = tags(keyring, key).collect::<Result<_, _>>()?;
    for other in others {
        for tag in tags(keyring, other) {
            if own.contains(&tag?) {
                return Err(LifeError::SameSecret { other: other.name.clone() }.into());
            }
        }
    }
    Ok(())
}

fn tags<A: Arena>(keyring: &Keyring<A>, key: &Key) -> impl Iterator<Item = Result<[u8; 32], KeyringError>> {
    let alive = key.versions.iter().filter(|version| version.key_id().is_some());
    alive.map(|version| keyring.with_secret(version, |_, secret| keyring.reuse_tag(secret)))
}

fn differences(before: &Key, after: &Key) -> Vec<&'static str> {
    let (old, new) = (before.policy, after.policy);
    let mut changed = Vec::new();
    let mut look = |name, differs: bool| changed.extend(differs.then_some(name));
    look("enabled", old.enabled != new.enabled);
    look("interval_days", old.interval_days != new.interval_days);
    look("grace_period_days", old.grace_period_days != new.grace_period_days);
    look("auto_retire", old.auto_retire != new.auto_retire);
    for label in Label::ALL {
        look(label.as_str(), before.label(label) != after.label(label));
    }
    look("note", before.note != after.note);
    changed
}

fn text_bytes(key: &Key) -> usize {
    let attributes = key.attributes.iter().map(|(name, value)| 3 + name.len() + value.len());
    key.note.len() + attributes.sum::<usize>()
}
