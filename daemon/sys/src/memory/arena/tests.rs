//! The arena: places, alignment, wiping, exhaustion, threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn arena(bytes: usize) -> LockedArena {
    LockedArena::new(bytes, LockPolicy::Required).unwrap()
}

#[test]
fn places_are_aligned_and_rounded() {
    #[repr(align(64))]
    struct Strict([u8; 65]);
    #[repr(align(128))]
    struct Stricter(#[expect(dead_code, reason = "only its layout matters")] u8);
    let arena = arena(4096);
    let small = arena.place(|| 1u8).unwrap();
    let strict = arena.place(|| Strict([9; 65])).unwrap();
    let nothing = arena.place(|| ()).unwrap();
    assert_eq!(std::ptr::from_ref(&*small).addr() % 64, 0);
    assert_eq!(std::ptr::from_ref(&*strict).addr() % 64, 0);
    assert_eq!((*small, strict.0, *nothing), (1, [9; 65], ()));
    assert_eq!((arena.used(), arena.capacity()), (64 + 128 + 64, 4096));
    assert_eq!(arena.place(|| Stricter(1)).unwrap_err(), ArenaFull { bytes: 128 });
    drop((small, strict, nothing));
    assert_eq!(arena.used(), 0);
}

#[test]
fn exhaustion_is_an_error_and_room_comes_back() {
    let arena = arena(4096);
    let mut slots: Vec<_> = (0..4u8).map(|n| arena.place(|| [n; 1000]).unwrap()).collect();
    assert_eq!(arena.place(|| 0u8).unwrap_err(), ArenaFull { bytes: 1 });
    assert_eq!(
        arena.place(|| -> [u8; 5000] { unreachable!("no room, so nothing is made") }).unwrap_err().bytes,
        5000
    );
    slots.remove(1);
    let again = arena.place(|| [9u8; 1000]).unwrap();
    assert!(again.iter().all(|byte| *byte == 9));
    assert!(slots.iter().zip([0, 2, 3]).all(|(slot, n)| slot.iter().all(|byte| *byte == n)));
}

#[test]
fn a_dropped_slot_is_wiped() {
    let arena = arena(4096);
    let bytes = || arena.shared.region.as_slice();
    let count = |pattern: u8| bytes().split(|byte| *byte == pattern).count() - 1;
    let slot = arena.place(|| [0xA5u8; 300]).unwrap();
    assert_eq!(count(0xA5), 300);
    drop(slot);
    assert_eq!((count(0xA5), count(0)), (0, 4096));
}

#[test]
fn a_value_is_dropped_once_and_before_the_wipe() {
    struct Noisy<'a>([u8; 4], &'a AtomicUsize);
    impl Drop for Noisy<'_> {
        fn drop(&mut self) {
            assert_eq!(self.0, *b"full");
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    let arena = arena(4096);
    drop(arena.place(|| Noisy(*b"full", &DROPS)).unwrap());
    assert_eq!(DROPS.load(Ordering::SeqCst), 1);
}

#[test]
fn a_panic_while_making_gives_the_place_back() {
    let arena = arena(4096);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        arena.place(|| -> u8 { panic!("no value") })
    }));
    assert!(outcome.is_err());
    assert_eq!(arena.used(), 0);
}

#[test]
fn many_threads_share_one_arena() {
    let arena = arena(64 * 1024);
    let workers: Vec<_> = (0..4u8)
        .map(|worker| {
            let arena = arena.clone();
            std::thread::spawn(move || {
                for round in 0..2000u16 {
                    let size = usize::from(round % 7) + 1;
                    let slots: Vec<_> = (0..size).map(|_| arena.place(|| [worker; 100]).unwrap()).collect();
                    assert!(slots.iter().all(|slot| slot.iter().all(|byte| *byte == worker)));
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(arena.used(), 0);
    assert!(arena.shared.region.as_slice().iter().all(|byte| *byte == 0));
}

#[test]
fn shows_no_content() {
    let arena = arena(4096);
    let slot = arena.place(|| [0x41u8; 32]).unwrap();
    assert_eq!(format!("{slot:?}"), "ArenaSlot(32 bytes)");
    assert_eq!(format!("{arena:?}"), format!("LockedArena(64 of 4096 bytes used, {})", arena.backing()));
}
