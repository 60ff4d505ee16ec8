//! Single lives: what each rule is good for.

use super::*;

#[test]
fn a_reservation_that_is_stored_after_the_answer_is_noticed() {
    let burst = || Step::Burst(vec![(1, true, 65)]);
    // Cut within the entry that the second burst needs.
    let steps = || vec![burst(), Step::Trouble(Trouble::Crashes, 40), burst()];
    assert_eq!(live(Order::BeforeTheAnswer, steps()), Ok(()));
    assert!(live(Order::AfterTheAnswer, steps()).unwrap_err().contains("left"));
}

#[test]
fn reservations_double_and_are_rare() {
    let mut life = Life::new(Order::BeforeTheAnswer);
    for _ in 0..100_000 {
        life.step(Step::Burst(vec![(0, false, 64)])).unwrap();
    }
    let appends = life.journal.file().appends;
    assert!((15..40).contains(&appends), "{appends}");
    let many: Vec<_> = (0..VERSIONS).map(|id| (id, true, 1)).collect();
    life.step(Step::Burst(many)).unwrap();
    assert_eq!(life.journal.file().appends, appends + 1, "one write for all versions of a burst");
}

#[test]
fn an_orderly_end_leaves_exact_counts_and_a_file_that_needs_no_change() {
    let mut life = Life::new(Order::BeforeTheAnswer);
    life.step(Step::Burst(vec![(0, false, 3), (1, true, 70)])).unwrap();
    let before = life.journal.file().replacements;
    life.step(Step::Restart(true)).unwrap();
    let used = life.counts[&[1; 32]].used();
    assert_eq!((used.decryptions, used.decrypted_at, used.exact), (70, NOW, true));
    assert_eq!((before, life.journal.file().replacements), (1, 0));
}

#[test]
fn a_crash_makes_only_that_an_upper_bound_that_was_reserved() {
    let mut life = Life::new(Order::BeforeTheAnswer);
    life.step(Step::Burst(vec![(0, false, 3)])).unwrap();
    life.step(Step::Later(100)).unwrap();
    life.step(Step::Restart(false)).unwrap();
    let expected =
        Used { encryptions: 67, decryptions: 0, encrypted_at: NOW + 100, decrypted_at: 0, exact: false };
    assert_eq!(life.counts[&[0; 32]].used(), expected);
}

#[test]
fn who_is_idle_for_an_hour_has_nothing_reserved() {
    let mut life = Life::new(Order::BeforeTheAnswer);
    life.step(Step::Burst(vec![(0, true, 3)])).unwrap();
    life.step(Step::Later(3600)).unwrap();
    life.step(Step::Burst(vec![(1, true, 3)])).unwrap();
    life.step(Step::Settle(false)).unwrap();
    life.step(Step::Restart(false)).unwrap();
    let [first, second] = [0, 1].map(|id| life.counts[&[id; 32]].used());
    assert_eq!((first.decryptions, first.decrypted_at, first.exact), (3, NOW, true));
    assert_eq!((second.decryptions, second.decrypted_at, second.exact), (67, NOW + 3600, false));
}

#[test]
fn the_file_does_not_grow_for_ever() {
    let mut life = Life::new(Order::BeforeTheAnswer);
    for _ in 0..5000 {
        life.step(Step::Burst(vec![(0, true, 1)])).unwrap();
        life.step(Step::Settle(true)).unwrap();
    }
    let length = life.journal.file().bytes.as_ref().unwrap().len();
    assert!(length <= HEADER_BYTES + 1100 * ENTRY_BYTES, "{length}");
    assert!(life.journal.file().replacements >= 5);
}

#[test]
fn what_cannot_be_written_is_unknown_after_a_crash_and_known_again_once_it_can() {
    let mut life = Life::new(Order::BeforeTheAnswer);
    life.step(Step::Burst(vec![(0, true, 1)])).unwrap();
    life.step(Step::Trouble(Trouble::Fails, 30)).unwrap();
    life.step(Step::Burst(vec![(0, true, 100)])).unwrap();
    assert!(life.journal.has_failed() && life.journal.file().bytes.is_none());
    // Too early.
    life.step(Step::Burst(vec![(0, true, 100)])).unwrap();
    assert!(life.journal.has_failed());
    life.step(Step::Later(10)).unwrap();
    life.step(Step::Burst(vec![(0, true, 100)])).unwrap();
    assert!(!life.journal.has_failed());
    life.step(Step::Restart(false)).unwrap();
    assert_eq!(life.journal.unknown_until(), 0);
    life.step(Step::Trouble(Trouble::Fails, 30)).unwrap();
    life.step(Step::Burst(vec![(0, true, 1)])).unwrap();
    life.step(Step::Restart(false)).unwrap();
    assert_eq!(life.journal.unknown_until(), NOW + 10);
}

#[test]
fn two_threads_that_count_while_a_third_one_settles_lose_nothing() {
    extern crate std;
    use std::{sync::Mutex, thread};
    let counts = Arc::new(Counts::new([9; 32]));
    let journal = Mutex::new(Journal::<HeapArena, Disk>::new(Disk::default()));
    let key = key(1, 1);
    journal.lock().unwrap().open(&key, None, 0, NOW).1.unwrap();
    let list = || vec![Arc::clone(&counts)];
    // What the disk promised must never be below what left.
    let left = core::sync::atomic::AtomicU64::new(0);
    let promised = |disk: &Disk| {
        let recovered = read(disk.bytes.as_ref().unwrap(), &key).unwrap();
        recovered.entries.get(&[9; 32]).map_or(0, |entry| entry.encryptions.count)
    };
    let failed = Mutex::new(None::<String>);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    if counts.add(Direction::Encryption, 1, NOW) {
                        let everything = Everything { versions: 1, list: &list };
                        let needing = [Arc::clone(&counts)];
                        journal.lock().unwrap().reserve(&key, &needing, &everything, NOW).unwrap();
                    }
                    left.fetch_add(1, core::sync::atomic::Ordering::SeqCst);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..400 {
                let mut journal = journal.lock().unwrap();
                let everything = Everything { versions: 1, list: &list };
                journal.settle(&key, &everything, true, NOW).unwrap();
                let left = left.load(core::sync::atomic::Ordering::SeqCst);
                let promised = promised(journal.file());
                if promised < left {
                    *failed.lock().unwrap() = Some(format!("{promised} promised, {left} left"));
                }
                drop(journal);
                thread::yield_now();
            }
        });
    });
    assert_eq!(*failed.lock().unwrap(), None);
    assert_eq!(counts.used().encryptions, 40_000);
}
