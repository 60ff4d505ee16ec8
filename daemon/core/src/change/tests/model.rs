//! Random sequences of changes against a model that knows no attribute; each is stored and opened again.

use alloc::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

mod life;

use life::{LifeStep, ModelledPolicy, ModelledVersion};

const NAMES: [&str; 5] = ["default", "a", "a/b", "billing/cards", "z"];

#[derive(Debug, Clone)]
enum Step {
    Create(usize, String),
    Disable(Option<usize>, bool, String),
    Enable(Option<usize>, bool),
    Access(u8, u64),
    Live(usize, LifeStep),
}

/// What lifting the brake of all keys brings back.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Before {
    Nothing,
    Disabled(u64, String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Modelled {
    note: String,
    brake: Option<(Brake, String, u64)>,
    /// What stood before, if all keys got the brake at once.
    of_all: Option<Before>,
    access: Option<BTreeSet<String>>,
    due: Option<u64>,
    versions: Vec<ModelledVersion>,
    policy: ModelledPolicy,
}

type Model = BTreeMap<String, Modelled>;

fn steps() -> impl Strategy<Value = Vec<(Step, u64)>> {
    let name = || 0..NAMES.len();
    let selection = || prop::option::weighted(0.7, name());
    let step = prop_oneof![
        3 => (name(), ".{0,8}").prop_map(|(name, note)| Step::Create(name, note)),
        3 => (selection(), any::<bool>(), "[a-z ü]{0,6}").prop_map(|(s, c, why)| Step::Disable(s, c, why)),
        2 => (selection(), any::<bool>()).prop_map(|(s, lift)| Step::Enable(s, lift)),
        4 => (any::<u8>(), 0..3 * DAY).prop_map(|(mask, due)| Step::Access(mask, due)),
        12 => (0..2usize, life::life_steps()).prop_map(|(name, step)| Step::Live(name, step)),
        2 => (name(), life::life_steps()).prop_map(|(name, step)| Step::Live(name, step)),
    ];
    prop::collection::vec((step, 0..2 * DAY), 1..40)
}

fn selected(selection: Option<usize>) -> Selection<'static> {
    selection.map_or(Selection::All, |place| one(NAMES[place]))
}

/// Whom a policy of 8 bits gives a right on a key.
fn subjects(mask: u8, key: &str) -> BTreeSet<String> {
    let mask = mask.rotate_left(u32::try_from(key.len()).unwrap());
    (0..4).filter(|bit| mask & (1 << bit) != 0).map(|bit| format!("uid:{bit}")).collect()
}

fn seen(keyring: &Keyring<HeapArena>) -> Model {
    let one = |key: &Key| Modelled {
        note: key.note.clone(),
        brake: key.brake().map(|brake| (brake, key.brake_reason().to_owned(), key.brake_at().unwrap())),
        of_all: key.brake_is_of_all().then(|| match key.disabled_before() {
            None => Before::Nothing,
            Some((at, reason)) => Before::Disabled(at, reason.to_owned()),
        }),
        access: key.access_is_recorded().then(|| key.access().map(String::from).collect()),
        due: key.due().map(|due| (assert_eq!(due.reason, PERSONNEL), due.at_unix).1),
        versions: life::seen_versions(key),
        policy: life::seen_policy(key),
    };
    keyring.keys().iter().map(|key| (key.name.clone(), one(key))).collect()
}

fn apply(keyring: &mut Keyring<HeapArena>, model: &mut Model, step: Step, now: u64) {
    match step {
        Step::Create(place, note) => create(keyring, model, NAMES[place], note, now),
        Step::Disable(selection, compromised, why) => {
            let brake = if compromised { Brake::Compromised } else { Brake::Disabled };
            brake_all(keyring, model, selection, brake, &why, now);
        }
        Step::Enable(selection, lift) => release_all(keyring, model, selection, lift),
        Step::Access(mask, due) => record(keyring, model, mask, now, due),
        Step::Live(place, step) => life::live(keyring, model, NAMES[place], step, now),
    }
}

fn create(keyring: &mut Keyring<HeapArena>, model: &mut Model, text: &str, note: String, now: u64) {
    let mut entropy = Counting(keyring.generation() + 99);
    let made = create_key(keyring, name(text), Class::Message, &note, now, &mut entropy);
    if model.contains_key(text) {
        assert_eq!(made.err(), Some(ChangeError::Exists));
        return;
    }
    commit(keyring, made.unwrap().0);
    model.insert(text.to_owned(), Modelled { note, versions: life::first_version(), ..Modelled::default() });
}

fn brake_all(
    keyring: &mut Keyring<HeapArena>,
    model: &mut Model,
    selection: Option<usize>,
    brake: Brake,
    why: &str,
    now: u64,
) {
    let result = disable(keyring, selected(selection), brake, why, now);
    if selection.is_some_and(|place| !model.contains_key(NAMES[place])) {
        assert_eq!(result.err(), Some(ChangeError::NoSuchKey));
        return;
    }
    if selection.is_some_and(|place| is_destroyed(&model[NAMES[place]])) {
        assert_eq!(result.err(), Some(ChangeError::Life(LifeError::KeyDestroyed)));
        return;
    }
    let (draft, changed) = result.unwrap();
    let mut expected = Vec::new();
    for (name, key) in model.iter_mut().filter(|(name, _)| selection.is_none_or(|p| NAMES[p] == **name)) {
        if is_destroyed(key) {
            continue;
        }
        let weaker = match &key.brake {
            None => true,
            Some((Brake::Disabled, ..)) => brake == Brake::Compromised,
            Some((Brake::Compromised, ..)) => false,
        };
        if weaker {
            let before = key.brake.replace((brake, why.to_owned(), now));
            let before = before.map_or(Before::Nothing, |(_, why, at)| Before::Disabled(at, why));
            key.of_all = selection.is_none().then(|| key.of_all.take().unwrap_or(before));
            expected.push(name.clone());
        } else if selection.is_some() && key.of_all.is_some() {
            // A brake of its own beneath or in place of that of all.
            if key.brake.as_ref().is_some_and(|(on, ..)| *on == brake) {
                key.brake = Some((brake, why.to_owned(), now));
                key.of_all = None;
                expected.push(name.clone());
            } else if key.of_all == Some(Before::Nothing) {
                key.of_all = Some(Before::Disabled(now, why.to_owned()));
                expected.push(name.clone());
            }
        }
    }
    assert_eq!(changed, expected);
    commit(keyring, draft);
}

fn release_all(keyring: &mut Keyring<HeapArena>, model: &mut Model, selection: Option<usize>, lift: bool) {
    let result = enable(keyring, selected(selection), lift, "why");
    let compromised = |key: &Modelled| matches!(key.brake, Some((Brake::Compromised, ..)));
    if let Some(place) = selection {
        let refused = match model.get(NAMES[place]) {
            None => Some(ChangeError::NoSuchKey),
            Some(key) if is_destroyed(key) => Some(ChangeError::Life(LifeError::KeyDestroyed)),
            Some(key) if compromised(key) && !lift => Some(ChangeError::IsCompromised),
            Some(_) => None,
        };
        if refused.is_some() {
            assert_eq!(result.err(), refused);
            return;
        }
    }
    let (draft, enabled) = result.unwrap();
    let mut expected = Enabled::default();
    for (name, key) in model.iter_mut().filter(|(name, _)| selection.is_none_or(|p| NAMES[p] == **name)) {
        if is_destroyed(key) {
            continue;
        }
        if compromised(key) && !lift {
            expected.left_compromised.push(name.clone());
        } else if selection.is_none() && key.brake.is_some() && key.of_all.is_none() {
            expected.left_as_before.push(name.clone());
        } else if key.brake.take().is_some() {
            key.brake = match key.of_all.take() {
                Some(Before::Disabled(at, why)) if selection.is_none() => Some((Brake::Disabled, why, at)),
                _ => None,
            };
            expected.changed.push(name.clone());
        }
    }
    assert_eq!(enabled, expected);
    commit(keyring, draft);
}

fn record(keyring: &mut Keyring<HeapArena>, model: &mut Model, mask: u8, now: u64, due_seconds: u64) {
    let unordered = |key: &str| subjects(mask, key).into_iter().rev().collect();
    let result = record_access(keyring, unordered, now, due_seconds).unwrap();
    let mut expected = Vec::new();
    for (name, key) in model.iter_mut().filter(|(_, key)| !is_destroyed(key)) {
        let current = subjects(mask, name);
        if key.access.as_ref() == Some(&current) {
            continue;
        }
        let before = key.access.replace(current.clone());
        let first = before.is_none();
        let before = before.unwrap_or_default();
        let lost: Vec<String> = before.difference(&current).cloned().collect();
        let gained = current.difference(&before).cloned().collect();
        let mut due_at = None;
        if !lost.is_empty() {
            key.due = Some(key.due.unwrap_or(u64::MAX).min(now + due_seconds));
            due_at = key.due;
        }
        expected.push(AccessChange { key: name.clone(), first, gained, lost, due_at });
    }
    match result {
        None => assert_eq!(expected, []),
        Some((draft, changes)) => {
            assert!(!changes.is_empty());
            assert_eq!(changes, expected);
            commit(keyring, draft);
        }
    }
}

/// Exactly one primary, or nothing but tombstones.
fn one_primary(key: &Modelled) -> bool {
    let primaries = key.versions.iter().filter(|version| version.state == State::Primary).count();
    primaries == 1 || is_destroyed(key)
}

fn is_destroyed(key: &Modelled) -> bool {
    key.versions.iter().all(|version| version.state == State::Destroyed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn keyring_and_model_agree_after_every_change(steps in steps()) {
        let mut keyring = Keyring::create(&HeapArena, &MASTER, &mut Counting(1), NOW).unwrap().0;
        let mut model = seen(&keyring);
        let mut now = NOW;
        for (step, later) in steps {
            now += later;
            apply(&mut keyring, &mut model, step, now);
            prop_assert_eq!(seen(&keyring), model.clone());
            prop_assert!(model.values().all(one_primary));
        }
    }
}
