//! The life of versions in the model: rules in words of their own, without the table.

use super::*;
use crate::keyring::Label;

#[derive(Debug, Clone)]
pub(super) enum LifeStep {
    Rotate { reason: u8, takeover: u8, lift: u8 },
    Promote(u32),
    Retire(u32),
    Reinstate(u32),
    Stop(u32, bool),
    Start(u32, bool),
    Destroy { version: u32, needed: bool, force: bool },
    DestroyKey { needed: bool, force: bool },
    Configure { enabled: bool, interval: u32, grace: u32, auto_retire: bool, owner: String },
}

/// A version as the model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelledVersion {
    pub(super) state: State,
    reason: Reason,
    before: Option<State>,
    /// Unknown for a version that is as it was made.
    since: Option<u64>,
}

/// What a key has besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ModelledPolicy {
    enabled: bool,
    interval: u32,
    grace: u32,
    auto_retire: bool,
    last: u64,
    owner: String,
}

pub(super) fn life_steps() -> impl Strategy<Value = LifeStep> {
    let version = || 1..6u32;
    prop_oneof![
        6 => (1..6u8, 0..3u8, 0..3u8).prop_map(|(reason, takeover, lift)| LifeStep::Rotate { reason, takeover, lift }),
        3 => version().prop_map(LifeStep::Promote),
        3 => version().prop_map(LifeStep::Retire),
        2 => version().prop_map(LifeStep::Reinstate),
        3 => (version(), any::<bool>()).prop_map(|(version, worse)| LifeStep::Stop(version, worse)),
        3 => (version(), any::<bool>()).prop_map(|(version, lift)| LifeStep::Start(version, lift)),
        3 => (version(), any::<bool>(), any::<bool>())
            .prop_map(|(version, needed, force)| LifeStep::Destroy { version, needed, force }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(needed, force)| LifeStep::DestroyKey { needed, force }),
        2 => (any::<bool>(), 0..4u32, 0..3u32, any::<bool>(), "[a-z ü]{0,3}").prop_map(
            |(enabled, interval, grace, auto_retire, owner)| LifeStep::Configure {
                enabled, interval, grace, auto_retire, owner
            }
        ),
    ]
}

pub(super) fn first_version() -> Vec<ModelledVersion> {
    vec![ModelledVersion { state: State::Primary, reason: Reason::None, before: None, since: None }]
}

pub(super) fn seen_versions(key: &Key) -> Vec<ModelledVersion> {
    let one = |(number, version): (u32, &crate::keyring::Version)| {
        assert_eq!(version.number, number);
        let (before, since) = (key.state_before(number), key.since(number));
        ModelledVersion { state: version.state, reason: version.reason, before, since }
    };
    (1..).zip(&key.versions).map(one).collect()
}

pub(super) fn seen_policy(key: &Key) -> ModelledPolicy {
    let policy = key.policy;
    // The date itself is checked against its bounds, for the model knows no uid.
    let base = if policy.last_rotation_at > 0 { policy.last_rotation_at } else { key.created_at };
    let planned = policy.enabled.then_some(base + u64::from(policy.interval_days) * DAY);
    match planned {
        None => assert_eq!(policy.next_rotation_at, 0),
        Some(latest) => {
            assert!(policy.next_rotation_at <= latest && policy.next_rotation_at > base, "{key:?}");
        }
    }
    ModelledPolicy {
        enabled: policy.enabled,
        interval: policy.interval_days,
        grace: policy.grace_period_days,
        auto_retire: policy.auto_retire,
        last: policy.last_rotation_at,
        owner: key.label(Label::Owner).to_owned(),
    }
}

/// Does the step to keyring and model; where the model refuses, the keyring must.
pub(super) fn live(
    keyring: &mut Keyring<HeapArena>,
    model: &mut Model,
    text: &'static str,
    step: LifeStep,
    now: u64,
) {
    let done = attempt(keyring, text, &step, now);
    let Some(key) = model.get_mut(text) else {
        assert_eq!(done.err(), Some(ChangeError::NoSuchKey));
        return;
    };
    let mut after = key.clone();
    if expected(&mut after, text, step, now).is_some() {
        commit(keyring, done.unwrap());
        *key = after;
    } else {
        let error = done.err().expect("the model refuses");
        assert!(matches!(error, ChangeError::Life(_) | ChangeError::IsCompromised), "{error:?}");
    }
}

fn attempt(
    keyring: &Keyring<HeapArena>,
    text: &'static str,
    step: &LifeStep,
    now: u64,
) -> Result<Draft<HeapArena>, ChangeError> {
    let on = |version| VersionChange { name: name(text), version, reason: "", now_unix: now };
    let needs = |needed: bool| move |_: &Key, _: &crate::keyring::Version| needed.then(|| "x".to_owned());
    match step {
        LifeStep::Rotate { reason, takeover, lift } => {
            let rotation = Rotation {
                reason: Reason::from_byte(*reason).unwrap(),
                takeover: [Takeover::Staged, Takeover::Grace, Takeover::RefuseOld][usize::from(*takeover)],
                lift: [None, Some(Brake::Disabled), Some(Brake::Compromised)][usize::from(*lift)],
            };
            let mut entropy = Counting(keyring.generation() + 7777);
            rotate(keyring, name(text), rotation, now, &mut entropy).map(|done| done.0)
        }
        LifeStep::Promote(version) => promote(keyring, on(*version)).map(|done| done.0),
        LifeStep::Retire(version) => retire(keyring, on(*version)).map(|done| done.0),
        LifeStep::Reinstate(version) => reinstate(keyring, on(*version)).map(|done| done.0),
        LifeStep::Stop(version, worse) => disable_version(keyring, on(*version), *worse).map(|done| done.0),
        LifeStep::Start(version, lift) => enable_version(keyring, on(*version), *lift).map(|done| done.0),
        LifeStep::Destroy { version, needed, force } => {
            destroy(keyring, on(*version), &needs(*needed), *force).map(|done| done.0)
        }
        LifeStep::DestroyKey { needed, force } => {
            destroy_key(keyring, name(text), "", &needs(*needed), *force, now).map(|done| done.0)
        }
        LifeStep::Configure { enabled, interval, grace, auto_retire, owner } => {
            let settings = Settings {
                enabled: Some(*enabled),
                interval_days: Some(*interval),
                grace_period_days: Some(*grace),
                auto_retire: Some(*auto_retire),
                owner: Some(owner),
                ..Settings::default()
            };
            configure(keyring, name(text), &settings, now).map(|done| done.0)
        }
    }
}

/// What should happen; `None` if the step is to be refused.
fn expected(key: &mut Modelled, text: &str, step: LifeStep, now: u64) -> Option<()> {
    if key.versions.iter().all(|version| version.state == State::Destroyed) {
        return None;
    }
    match step {
        LifeStep::Rotate { reason, takeover, lift } => {
            let staged = key.versions.iter().any(|version| version.state == State::Staged);
            let strength = match key.brake {
                None => 0,
                Some((Brake::Disabled, ..)) => 1,
                Some((Brake::Compromised, ..)) => 2,
            };
            if takeover == 0 && (staged || lift > 0) || lift > 0 && strength > lift {
                return None;
            }
            let reason = Reason::from_byte(reason).unwrap();
            let new = ModelledVersion { state: State::Staged, reason, before: None, since: Some(now) };
            key.versions.push(new);
            if takeover > 0 {
                let last = key.versions.len() - 1;
                let old = make_primary(key, last, now);
                if takeover == 2 && reason == Reason::Compromise {
                    (old.state, old.before) = (State::Compromised, Some(State::Grace));
                } else if takeover == 2 {
                    old.state = State::Retired;
                }
            }
            if lift > 0 {
                (key.brake, key.of_all) = (None, None);
            }
        }
        LifeStep::Promote(version) => {
            let place = place(key, version)?;
            match key.versions[place].state {
                State::Primary => {}
                State::Staged => {
                    if key.versions[place + 1..].iter().any(|newer| newer.reason == Reason::Compromise) {
                        return None;
                    }
                    make_primary(key, place, now);
                }
                _ => return None,
            }
        }
        LifeStep::DestroyKey { needed, force } => {
            if text == "default" || key.brake.is_none() || needed && !force {
                return None;
            }
            for version in key.versions.iter_mut().filter(|version| version.state != State::Destroyed) {
                *version = ModelledVersion {
                    state: State::Destroyed,
                    before: None,
                    since: Some(now),
                    ..version.clone()
                };
            }
            (key.due, key.policy.enabled) = (None, false);
        }
        LifeStep::Configure { enabled, interval, grace, auto_retire, owner } => {
            if enabled && interval == 0 || auto_retire && grace == 0 {
                return None;
            }
            let last = key.policy.last;
            key.policy = ModelledPolicy { enabled, interval, grace, auto_retire, last, owner };
        }
        other => return expected_of_version(key, &other, now),
    }
    Some(())
}

fn expected_of_version(key: &mut Modelled, step: &LifeStep, now: u64) -> Option<()> {
    use State::{Compromised, Destroyed, Disabled, Grace, Primary, Retired};
    let (LifeStep::Retire(number)
    | LifeStep::Reinstate(number)
    | LifeStep::Stop(number, _)
    | LifeStep::Start(number, _)
    | LifeStep::Destroy { version: number, .. }) = step
    else {
        unreachable!()
    };
    let place = place(key, *number)?;
    let version = &mut key.versions[place];
    let (state, before) = (version.state, version.before);
    let origin = before.or(Some(state));
    let (state, before) = match step {
        LifeStep::Retire(_) if [Grace, Retired].contains(&state) => (Retired, None),
        LifeStep::Reinstate(_) if [Grace, Retired].contains(&state) => (Grace, None),
        LifeStep::Stop(..) if [Primary, Destroyed].contains(&state) => return None,
        LifeStep::Stop(_, false) if state == Compromised => (state, before),
        LifeStep::Stop(_, worse) => (if *worse { Compromised } else { Disabled }, origin),
        LifeStep::Start(_, lift) if state == Destroyed || state == Compromised && !lift => return None,
        LifeStep::Start(..) => (origin?, None),
        LifeStep::Destroy { .. } if state == Destroyed => (state, None),
        LifeStep::Destroy { needed, force, .. }
            if [Retired, Disabled, Compromised].contains(&state) && (!needed || *force) =>
        {
            (Destroyed, None)
        }
        _ => return None,
    };
    if state != version.state {
        *version = ModelledVersion { state, before, since: Some(now), ..version.clone() };
    }
    Some(())
}

fn place(key: &Modelled, version: u32) -> Option<usize> {
    (version as usize).checked_sub(1).filter(|place| *place < key.versions.len())
}

/// The old primary.
fn make_primary(key: &mut Modelled, place: usize, now: u64) -> &mut ModelledVersion {
    let old = key.versions.iter().position(|version| version.state == State::Primary).unwrap();
    for (place, state) in [(old, State::Grace), (place, State::Primary)] {
        (key.versions[place].state, key.versions[place].since) = (state, Some(now));
    }
    (key.due, key.policy.last) = (None, now);
    &mut key.versions[old]
}
