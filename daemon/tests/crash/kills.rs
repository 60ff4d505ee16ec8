//! Killed before every system call of every operation: `kill -9`, and another start.
//!
//! By default before every call that may change a file, and before some of the others.

use std::{fs, path::PathBuf};

use crate::{
    examine::{Expected, expected},
    life::{Origin, configure},
    support::{Home, bounded, copy_files, skipped},
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
        let Some(call) = lived.observer.killed_before.clone() else { continue };
        assert!(lived.ended.signal.is_some(), "{:?}", lived.ended);
        kills += 1;
        seen[lived.acknowledged] += 1;
        let expected = expected(&origin, &lived, true);
        expected.examine(&home).unwrap_or_else(|why| panic!("killed before {point:?}, {call}: {why}"));
    }
    println!("{kills} kills, {calls} calls, {changes} changes, per step {seen:?}");
}

#[test]
fn the_detector_objects_to_what_a_kill_must_never_leave() {
    const NAME: &str = "the_detector_objects_to_what_a_kill_must_never_leave";
    if !available() {
        return skipped(NAME, "needs root and 64-bit x86");
    }
    let origin = Origin::new();
    let lived_at = origin.copy();
    let lived = origin.live(&lived_at, Killer::new(lived_at.path().into(), Point::Never), |_| {});
    let whole = || {
        let home = Home::with_key(&origin.key_file_after(lived.acknowledged));
        configure(&home);
        copy_files(&lived_at.state(), &home.state());
        home
    };
    let spoiled = |case: &str, spoil: &dyn Fn(&Home)| {
        let home = whole();
        spoil(&home);
        assert!(expected(&origin, &lived, true).examine(&home).is_err(), "{case} was not noticed");
    };
    expected(&origin, &lived, true).examine(&whole()).unwrap();
    let cut = |home: &Home, name: &str| {
        let bytes = fs::read(home.state_file(name)).unwrap();
        fs::write(home.state_file(name), &bytes[..bytes.len() - 1]).unwrap();
    };
    spoiled("half a keyring", &|home| cut(home, "keyring"));
    spoiled("a cut log", &|home| cut(home, "audit.log"));
    spoiled("half a pin", &|home| cut(home, "audit.pin"));
    spoiled("a lost keyring", &|home| fs::remove_file(home.state_file("keyring")).unwrap());
    spoiled("all changes lost", &|home| {
        fs::remove_dir_all(home.state()).unwrap();
        copy_files(&origin.copy().state(), &home.state());
    });
    let mut strange = lived.sealed.clone();
    strange[0].envelope[60] ^= 1;
    let expected = Expected { sealed: &strange, ..expected(&origin, &lived, true) };
    assert!(expected.examine(&whole()).is_err(), "a lost value was not noticed");
}
