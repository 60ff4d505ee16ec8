//! More key versions than states are kept, and an arena without room.

use alloc::{boxed::Box, collections::BTreeMap, format, string::String, vec::Vec};
use core::{
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{arena::ArenaFull, entropy::Entropy};

/// So many values at once, and no more.
#[derive(Clone)]
struct Few(Arc<AtomicUsize>);

struct FewSlot<T>(Box<T>, Few);

impl Few {
    fn new(slots: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(slots)))
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Arena for Few {
    type Slot<T: Send + Sync + 'static> = FewSlot<T>;

    fn place<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Result<FewSlot<T>, ArenaFull> {
        let less = |left: usize| left.checked_sub(1);
        if self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
            return Err(ArenaFull { bytes: size_of::<T>() });
        }
        Ok(FewSlot(Box::new(make()), self.clone()))
    }
}

impl<T> Deref for FewSlot<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for FewSlot<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for FewSlot<T> {
    fn drop(&mut self) {
        self.1.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn keyring(arena: &Few, keys: usize) -> Keyring<Few> {
    let (mut keyring, _) = Keyring::create(arena, &[1; 32], &mut Random(1), 0).unwrap();
    let mut draft = keyring.draft();
    for number in 0..keys {
        let name = format!("key{number}");
        draft
            .add_key(KeyName::parse(&name).unwrap(), Class::Message, &mut Random(number as u64 + 2), 0)
            .unwrap();
    }
    commit(&mut keyring, draft);
    keyring
}

fn commit(keyring: &mut Keyring<Few>, draft: crate::keyring::Draft<Few>) {
    let prepared = draft.prepare(None, &mut Random(7)).unwrap();
    keyring.confirm(prepared).unwrap();
}

/// Distinct bytes; nothing here has to be unpredictable.
struct Random(u64);

impl Entropy for Random {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        for chunk in out.chunks_mut(8) {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

fn seal(engine: &Engine<Few>, key: &str) -> Result<Vec<u8>, OperationError> {
    let request = EncryptRequest { key, context: EMPTY, plaintext: b"x" };
    let (_, body, failure) = ask(engine, &caller(&owner()), OperationCode::Encrypt, &request);
    match failure {
        Some(failure) => Err(failure),
        None => Ok(codec::decode::<EncryptReply<'_>>(&body).unwrap().envelope.to_vec()),
    }
}

fn open(engine: &Engine<Few>, envelope: &[u8]) -> Result<(), OperationError> {
    let request = DecryptRequest { context: EMPTY, envelope };
    ask(engine, &caller(&owner()), OperationCode::Decrypt, &request).2.map_or(Ok(()), Err)
}

#[test]
fn what_is_not_kept_is_served_all_the_same_and_leaves_nothing() {
    let arena = Few::new(20);
    let mut engine = Engine::keeping(8, &arena, keyring(&arena, 100)).unwrap();
    assert_eq!(engine.states.count(), 8);
    let left = arena.left();
    let sealed: Vec<_> = (0..100).map(|number| seal(&engine, &format!("key{number}")).unwrap()).collect();
    assert!(sealed.iter().all(|envelope| open(&engine, envelope).is_ok()));
    assert_eq!(arena.left(), left);
    // A change takes no more room than there was, and keeps what is good.
    let mut next = engine.keyring().clone();
    let mut draft = next.draft();
    draft.add_key(KeyName::parse("one/more").unwrap(), Class::Message, &mut Random(999), 0).unwrap();
    commit(&mut next, draft);
    engine.adopt(next);
    assert_eq!((engine.states.count(), arena.left()), (8, left));
    assert!(open(&engine, &seal(&engine, "one/more").unwrap()).is_ok());
    assert!(sealed.iter().all(|envelope| open(&engine, envelope).is_ok()));
    drop(engine);
    assert_eq!(arena.left(), 20, "every place was given back");
}

#[test]
fn an_arena_without_room_means_busy_and_never_disabled() {
    let arena = Few::new(12);
    let engine = Engine::keeping(100, &arena, keyring(&arena, 30)).unwrap();
    assert_eq!(arena.left(), 0);
    assert!(seal(&engine, "default").is_ok(), "`default` is kept before any other");
    let answers: Vec<_> = (0..30).map(|number| seal(&engine, &format!("key{number}")).map(drop)).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), engine.states.count() - 1);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(OperationError::Busy))));
    // A change on the disk comes into force all the same.
    let mut engine = engine;
    let mut next = engine.keyring().clone();
    let draft = next.draft();
    commit(&mut next, draft);
    engine.adopt(next);
    assert_eq!(engine.keyring().generation(), 2);
    assert!(seal(&engine, "default").is_ok());
}

#[test]
fn a_brake_that_is_held_wipes_the_state_and_the_stronger_one_is_told() {
    let arena = Few::new(100);
    let mut engine = Engine::keeping(100, &arena, keyring(&arena, 3)).unwrap();
    let (kept, left) = (engine.states.count(), arena.left());
    let hold = |brakes: &[(&str, Brake)]| -> BTreeMap<String, Brake> {
        brakes.iter().map(|(name, brake)| (String::from(*name), *brake)).collect()
    };
    engine.hold(hold(&[("key1", Brake::Compromised), ("key2", Brake::Disabled), ("none", Brake::Disabled)]));
    assert_eq!((engine.states.count(), arena.left()), (kept - 2, left + 2));
    assert_eq!(seal(&engine, "key1"), Err(OperationError::KeyCompromised));
    assert_eq!(seal(&engine, "key2"), Err(OperationError::KeyDisabled));
    assert!(seal(&engine, "key0").is_ok());
    let same = engine.keyring().clone();
    engine.adopt(same);
    assert_eq!(seal(&engine, "key1"), Err(OperationError::KeyCompromised), "a change does not lift it");
    engine.hold(BTreeMap::new());
    assert!(seal(&engine, "key1").is_ok() && seal(&engine, "key2").is_ok());
    assert_eq!(engine.states.count(), kept);
}

#[test]
fn the_round_trip_tries_keys_that_are_served() {
    let arena = Few::new(100);
    let mut engine = Engine::keeping(2, &arena, keyring(&arena, 3)).unwrap();
    let tried = |engine: &Engine<Few>| -> Vec<String> {
        let mut names: Vec<_> = (0..200)
            .map(|seed| String::from(engine.round_trip(&mut Random(seed * 77)).unwrap().unwrap()))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    assert_eq!(tried(&engine), ["default", "key0", "key1", "key2"]);
    engine.hold(["default", "key0", "key1"].map(|name| (String::from(name), Brake::Disabled)).into());
    assert_eq!(tried(&engine), ["key2"]);
    // Whoever cannot be served is noticed.
    let room: Vec<_> = (0..arena.left()).map(|_| arena.place(|| ()).unwrap()).collect();
    engine.hold(BTreeMap::new());
    let failures = (0..50).filter(|seed| engine.round_trip(&mut Random(seed * 77)).is_err()).count();
    assert!(failures > 0, "some key finds no room");
    drop(room);
    let every = ["default", "key0", "key1", "key2"];
    engine.hold(every.map(|name| (String::from(name), Brake::Disabled)).into());
    assert_eq!(engine.round_trip(&mut Random(1)), Ok(None));
}
