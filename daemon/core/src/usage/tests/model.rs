//! Any sequence of uses, failing writes and crashes, against what left: no count is ever too low, and one that is
//! called exact is. Run once more with reservations stored too late, which must be noticed.

use alloc::{collections::BTreeMap, format, string::String};

use proptest::prelude::*;

use super::*;

mod cases;

const VERSIONS: u8 = 4;
const CREATED: u64 = NOW;

/// Bytes that survive a crash, and what goes wrong with the next calls.
#[derive(Debug, Default, Clone)]
struct Disk {
    bytes: Option<Vec<u8>>,
    /// For the next call: fails or crashes after this many bytes.
    next: Option<(Trouble, usize)>,
    crashed: bool,
    appends: usize,
    replacements: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Fails,
    FailsUnclear,
    Crashes,
}

impl Disk {
    /// Nothing reaches a disk after a crash.
    fn trouble(&mut self) -> Option<(Trouble, usize)> {
        if self.crashed {
            return Some((Trouble::Fails, 0));
        }
        let next = self.next.take();
        self.crashed |= next.is_some_and(|(trouble, _)| trouble == Trouble::Crashes);
        next
    }
}

impl CounterFile for Disk {
    type Error = ();

    fn append(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let was_crashed = self.crashed;
        let trouble = self.trouble();
        if was_crashed {
            return Err(());
        }
        let there = self.bytes.as_mut().expect("only a file that is there is appended to");
        self.appends += 1;
        let Some((_, length)) = trouble else {
            there.extend_from_slice(bytes);
            return Ok(());
        };
        there.extend_from_slice(&bytes[..length.min(bytes.len())]);
        Err(())
    }

    fn replace(&mut self, bytes: &[u8]) -> Result<(), NotReplaced<()>> {
        let was_crashed = self.crashed;
        match self.trouble() {
            None => {}
            Some(_) if was_crashed => return Err(NotReplaced::Unclear(())),
            Some((Trouble::FailsUnclear | Trouble::Crashes, length)) => {
                if length % 2 == 0 {
                    self.bytes = Some(bytes.to_vec());
                }
                return Err(NotReplaced::Unclear(()));
            }
            Some((Trouble::Fails, _)) => return Err(NotReplaced::Untouched(())),
        }
        self.replacements += 1;
        self.bytes = Some(bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self) -> Result<(), ()> {
        if self.crashed {
            return Err(());
        }
        self.bytes = None;
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A burst: versions, whether they open, how often.
    Burst(Vec<(u8, bool, u16)>),
    Settle(bool),
    Rewrite,
    Later(u32),
    /// The next write fails or crashes.
    Trouble(Trouble, usize),
    /// With or without an orderly end.
    Restart(bool),
    /// Bytes of the file change.
    Damage(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let times = prop_oneof![4 => 1..4u16, 2 => 1..200u16, 1 => any::<u16>()];
    let uses = prop::collection::vec((0..VERSIONS, any::<bool>(), times), 1..5);
    let trouble = prop_oneof![
        Just(Trouble::Fails),
        Just(Trouble::FailsUnclear),
        Just(Trouble::Crashes),
        Just(Trouble::Crashes)
    ];
    let step = prop_oneof![
        12 => uses.prop_map(Step::Burst),
        2 => any::<bool>().prop_map(Step::Settle),
        1 => Just(Step::Rewrite),
        2 => (0..8000u32).prop_map(Step::Later),
        3 => (trouble, 0..400usize).prop_map(|(trouble, length)| Step::Trouble(trouble, length)),
        2 => any::<bool>().prop_map(Step::Restart),
        1 => any::<usize>().prop_map(Step::Damage),
    ];
    prop::collection::vec(step, 1..60)
}

/// When reservations are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    BeforeTheAnswer,
    AfterTheAnswer,
}

struct Life {
    order: Order,
    now: u64,
    epoch: u32,
    journal: Journal<HeapArena, Disk>,
    counts: BTreeMap<[u8; 32], Arc<Counts>>,
    /// What left, by version and direction.
    left: BTreeMap<(u8, bool), (u64, u64)>,
    damaged: bool,
}

impl Life {
    fn new(order: Order) -> Self {
        let (journal, counts, left) = (Journal::new(Disk::default()), BTreeMap::new(), BTreeMap::new());
        let mut life = Self { order, now: NOW, epoch: 1, journal, counts, left, damaged: false };
        life.journal.open(&life.key(), None, 0, NOW).1.unwrap();
        life
    }

    fn key(&self) -> CounterKey<HeapArena> {
        key(u8::try_from(self.epoch % 200).unwrap(), self.epoch)
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Burst(uses) => self.burst(&uses),
            Step::Settle(close) => {
                let (key, now) = (self.key(), self.now);
                let _ = with(&self.counts, |all| self.journal.settle(&key, all, close, now));
            }
            Step::Rewrite => self.rewrite(),
            Step::Later(seconds) => self.now += u64::from(seconds),
            Step::Trouble(trouble, length) => self.journal.file().next = Some((trouble, length)),
            Step::Restart(orderly) => {
                self.journal.file().crashed |= !orderly;
                let (key, now) = (self.key(), self.now);
                let _ = with(&self.counts, |all| self.journal.settle(&key, all, true, now));
                self.journal.file().crashed = true;
            }
            Step::Damage(place) => {
                if let Some(bytes) = &mut self.journal.file().bytes {
                    let place = place % bytes.len();
                    bytes[place] ^= 1;
                    self.damaged = true;
                }
            }
        }
        if self.journal.file().crashed { self.restart() } else { self.check() }
    }

    fn burst(&mut self, uses: &[(u8, bool, u16)]) {
        let mut needing = Vec::new();
        for (id, opens, times) in uses {
            let counts = self.counts.entry([*id; 32]).or_insert_with(|| Arc::new(Counts::new([*id; 32])));
            let direction = if *opens { Direction::Decryption } else { Direction::Encryption };
            if counts.add(direction, u64::from(*times), self.now) {
                needing.push(Arc::clone(counts));
            }
        }
        if self.order == Order::AfterTheAnswer {
            self.leave(uses);
        }
        let (key, now) = (self.key(), self.now);
        let _ = with(&self.counts, |all| self.journal.reserve(&key, &needing, all, now));
        if self.order == Order::BeforeTheAnswer && !self.journal.file().crashed {
            self.leave(uses);
        }
    }

    fn leave(&mut self, uses: &[(u8, bool, u16)]) {
        for (id, opens, times) in uses {
            let left = self.left.entry((*id, *opens)).or_default();
            *left = (left.0 + u64::from(*times), self.now);
        }
    }

    /// A master rotation; a crash leaves either file with its keyring, or the old file with the new keyring.
    fn rewrite(&mut self) {
        if self.journal.file().crashed {
            return;
        }
        let (old, epoch) = (self.key(), self.epoch);
        self.epoch += 1;
        let new = self.key();
        let rewrite = with(&self.counts, |all| self.journal.rewrite(&new, all));
        let placed = self.journal.file().replace(&rewrite.bytes);
        if placed == Err(NotReplaced::Unclear(())) && !self.journal.file().crashed {
            self.journal.not_rewritten(self.now);
        }
        if placed.is_ok() {
            self.journal.rewritten(&new, &rewrite);
            // Who began before comes with the old key.
            let needing: Vec<_> = self.counts.values().cloned().collect();
            let now = self.now;
            let _ = with(&self.counts, |all| self.journal.reserve(&old, &needing, all, now));
        } else if self.journal.file().crashed {
            let there = self.journal.file().bytes.as_ref() == Some(&rewrite.bytes);
            self.epoch = if there { self.epoch } else { epoch };
        }
    }

    fn restart(&mut self) -> Result<(), String> {
        let disk = self.journal.file().clone();
        let read = disk.bytes.as_ref().map(|bytes| read(bytes, &self.key()));
        let known = matches!(&read, Some(Ok(recovered)) if recovered.finding != Finding::Damaged);
        let unknown_before = self.journal.unknown_until() >= CREATED;
        self.journal = Journal::new(Disk { bytes: disk.bytes, ..Disk::default() });
        let (counts, opened) = self.journal.open(&self.key(), read, self.now.max(CREATED), self.now);
        opened.unwrap();
        self.counts = counts.into_iter().map(|counts| (*counts.key_id(), counts)).collect();
        if !known && self.journal.unknown_until() < CREATED {
            return Err("damage is not told".into());
        }
        if known && !unknown_before && !self.damaged && self.journal.unknown_until() != 0 {
            return Err("called unknown without a reason".into());
        }
        self.check()?;
        if self.journal.unknown_until() >= CREATED {
            // From here on the model knows as little.
            for (place, left) in &mut self.left {
                let used = self.counts.get(&[place.0; 32]).map(|counts| counts.used()).unwrap_or_default();
                left.0 = left.0.min(if place.1 { used.decryptions } else { used.encryptions });
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let unknown = self.journal.unknown_until() >= CREATED;
        for (&(id, opens), &(left, at)) in &self.left {
            let used = self.counts.get(&[id; 32]).map(|counts| counts.used()).unwrap_or_default();
            let (count, counted_at) = if opens {
                (used.decryptions, used.decrypted_at)
            } else {
                (used.encryptions, used.encrypted_at)
            };
            if !unknown && (count < left || counted_at < at) {
                return Err(format!(
                    "version {id}: {count} at {counted_at}, but {left} left, the last at {at}"
                ));
            }
            if !unknown && used.exact && count != left {
                return Err(format!("version {id}: {count} is called exact, but {left} left"));
            }
        }
        Ok(())
    }
}

fn with<R>(counts: &BTreeMap<[u8; 32], Arc<Counts>>, then: impl FnOnce(&Everything<'_>) -> R) -> R {
    let list = || counts.values().cloned().collect();
    then(&Everything { versions: counts.len(), list: &list })
}

fn live(order: Order, steps: Vec<Step>) -> Result<(), String> {
    let mut life = Life::new(order);
    steps.into_iter().try_for_each(|step| life.step(step))?;
    life.step(Step::Restart(false))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_count_is_ever_too_low(steps in steps()) {
        prop_assert_eq!(live(Order::BeforeTheAnswer, steps), Ok(()));
    }
}
