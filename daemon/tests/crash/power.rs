//! Power loss between any two operations on the disk: one life is recorded, every state that a disk may be left in
//! is built from it, and a daemon is started on each.
//!
//! In two models: in the order in which the daemon wrote, with what was not synced there or not; and in any order.
//! Recordings of broken stores, made from the same one, show that the detector objects.

mod controls;
mod disk;
mod recorder;

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, Mutex},
};

use crate::{
    examine::{Expected, Loss},
    life::{Lived, Origin, configure},
    support::{Home, bounded, make_folder, skipped},
    tracer::available,
};
use disk::{Disk, Found, Op, digest};
use recorder::{Recorder, Recording};

/// A life that was recorded.
struct Recorded {
    origin: Origin,
    beginning: Vec<(String, Vec<u8>)>,
    ops: Vec<Op>,
    lived: Lived<Recorder>,
}

impl Recorded {
    fn new() -> Self {
        let origin = Origin::new();
        let home = origin.copy();
        let recording = Arc::new(Mutex::new(Recording::default()));
        let recorder = Recorder::new(&home.state(), Arc::clone(&recording));
        let lived = origin.live(&home, recorder, |step| {
            let mut recording = recording.lock().unwrap();
            // The one request that was under way got the last thing said; whatever was done since came after.
            let said = recording.ops.iter().rposition(|op| *op == Op::Said).unwrap();
            recording.ops.insert(said, Op::Acknowledged(step));
        });
        assert_eq!(
            (lived.acknowledged, lived.ended.code),
            (origin.steps.len(), Some(0)),
            "{:?}",
            lived.ended
        );
        let Recording { beginning, ops } = std::mem::take(&mut *recording.lock().unwrap());
        Self { origin, beginning, ops, lived }
    }

    /// Every different state that a power loss may leave, with the number of steps acknowledged until then, while
    /// they are wanted.
    fn each_state(
        &self,
        ops: &[Op],
        model: impl Fn(&Disk) -> Vec<Found>,
        mut wanted: impl FnMut(usize, Found) -> bool,
    ) {
        let (mut disk, mut acknowledged, mut known) = (Disk::new(&self.beginning), 0, BTreeSet::new());
        for op in std::iter::once(&Op::Said).chain(ops) {
            disk.apply(op);
            if let Op::Acknowledged(step) = op {
                acknowledged = step + 1;
            }
            for found in model(&disk) {
                if known.insert((acknowledged, digest(&found))) && !wanted(acknowledged, found) {
                    return;
                }
            }
        }
    }

    /// Puts a state into a home.
    fn put(&self, acknowledged: usize, found: &Found) -> Home {
        let home = Home::with_key(&self.origin.key_file_after(acknowledged));
        make_folder(&home.state(), 0o700);
        configure(&home);
        for (name, content) in found {
            fs::write(home.state_file(name), content).unwrap();
            crate::support::chmod(&home.state_file(name), 0o600);
        }
        home
    }

    /// What must be found there.
    fn expected(&self, acknowledged: usize) -> Expected<'_> {
        let values =
            self.origin.steps[..acknowledged].iter().filter(|step| step.operation == "encrypt").count();
        let before = self.lived.sealed.len()
            - self.origin.steps.iter().filter(|step| step.operation == "encrypt").count();
        Expected {
            origin: &self.origin,
            acknowledged,
            unrecorded: &[],
            one_more: true,
            sealed: &self.lived.sealed[..before + values],
            loss: Loss::Power,
        }
    }

    /// Looks at a state or starts a daemon on it; what is wrong.
    fn check(&self, acknowledged: usize, found: &Found, start: bool) -> Option<String> {
        let (home, expected) = (self.put(acknowledged, found), self.expected(acknowledged));
        let seen = if start { expected.examine(&home) } else { expected.look(&home) };
        let why = seen.err()?;
        let sizes: Vec<_> = found.iter().map(|(name, bytes)| (name, bytes.len())).collect();
        Some(format!("{acknowledged} acknowledged, {sizes:?}: {why}"))
    }
}

/// Which states a disk may be left in.
type Model = fn(&Disk) -> Vec<Found>;

#[test]
fn no_power_loss_leaves_half_a_change() {
    const NAME: &str = "no_power_loss_leaves_half_a_change";
    if !available() {
        return skipped(NAME, "needs root and 64-bit x86");
    }
    let recorded = Recorded::new();
    let models: [(&str, Model); 2] = [("in order", Disk::in_order), ("in any order", Disk::in_any_order)];
    for (model, states) in models {
        let (mut count, mut started, mut bad) = (0, 0, Vec::new());
        recorded.each_state(&recorded.ops, states, |acknowledged, found| {
            let start = count % bounded(5, 1) == 0;
            count += 1;
            started += usize::from(start);
            bad.extend(recorded.check(acknowledged, &found, start));
            true
        });
        let operations = recorded.ops.len();
        println!("{model}: {operations} operations, {count} states, {started} started, {} bad", bad.len());
        assert!(bad.is_empty(), "{model}: {} of {count} states: {}", bad.len(), bad[0]);
        assert!(count > 100, "{model}: only {count} states");
    }
}
