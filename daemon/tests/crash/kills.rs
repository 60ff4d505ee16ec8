//! Killed before every system call of every operation: `kill -9`, and another start.
//!
//! By default before every call that may change a file, and before some of the others.

use std::path::PathBuf;

use crate::{
    examine::{Expected, Loss},
    life::Origin,
    support::{bounded, skipped},
    tracer::{Call, Observer, Verdict, available},
};

/// Before which call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    Never,
    /// The n-th of all calls, from 1.
    Call(usize),
    /// The n-th that may change a file of the home, from 1.
    Change(usize),
}

/// Counts calls, and kills before one.
#[derive(Debug)]
struct Killer {
    home: PathBuf,
    point: Point,
    calls: usize,
    changes: usize,
    /// The call that did not happen.
    killed_before: Option<String>,
}

impl Killer {
    fn new(home: PathBuf, point: Point) -> Self {
        Self { home, point, calls: 0, changes: 0, killed_before: None }
    }
}

impl Observer for Killer {
    fn before(&mut self, call: &Call) -> Verdict {
        if self.killed_before.is_some() {
            return Verdict::Go;
        }
        self.calls += 1;
        let changes = call.may_change_files() && call.is_below(&self.home);
        self.changes += usize::from(changes);
        let reached = match self.point {
            Point::Never => false,
            Point::Call(number) => number == self.calls,
            Point::Change(number) => changes && number == self.changes,
        };
        if !reached {
            return Verdict::Go;
        }
        self.killed_before = Some(format!("{} {:?}", call.number, call.paths()));
        Verdict::Kill
    }
}

/// The points of a life: those of the full campaign, or a part.
fn points(calls: usize, changes: usize) -> Vec<Point> {
    let step = bounded(calls / 40, 1).max(1);
    let all = (1..=calls).step_by(step).map(Point::Call);
    (1..=changes).map(Point::Change).chain(all).collect()
}

#[test]
fn every_operation_survives_a_kill_before_every_call() {
    const NAME: &str = "every_operation_survives_a_kill_before_every_call";
    if !available() {
        return skipped(NAME, "needs root and 64-bit x86");
    }
    let origin = Origin::new();
    let home = origin.copy();
    let lived = origin.live(&home, Killer::new(home.path().into(), Point::Never), |_| {});
    assert_eq!((lived.acknowledged, lived.ended.code), (origin.steps.len(), Some(0)), "{:?}", lived.ended);
    let Killer { calls, changes, .. } = lived.observer;
    let mut seen = vec![0; origin.steps.len() + 1];
    let mut kills = 0;
    for point in points(calls, changes) {
        let home = origin.copy();
        let lived = origin.live(&home, Killer::new(home.path().into(), point), |_| {});
        // Threads take turns differently each time: the last few points may not be reached.
        let Some(call) = lived.observer.killed_before else { continue };
        assert!(lived.ended.signal.is_some(), "{:?}", lived.ended);
        kills += 1;
        seen[lived.acknowledged] += 1;
        let (acknowledged, sealed) = (lived.acknowledged, &lived.sealed);
        let expected =
            Expected { origin: &origin, acknowledged, one_more: true, sealed, loss: Loss::Process };
        expected.examine(&home).unwrap_or_else(|why| panic!("killed before {point:?}, {call}: {why}"));
    }
    println!("{kills} kills, {calls} calls, {changes} changes, per step {seen:?}");
}
