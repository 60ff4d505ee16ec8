//! Every call on a file of the store fails once, with every error that it may have: no panic, no hang, a clear
//! answer, and everything that was acknowledged is there afterwards.
//!
//! By default with one error at each occurrence of each call; in the full campaign with every error.

use std::{collections::BTreeMap, path::PathBuf};

use nix::{errno::Errno, libc};

use crate::{
    examine::expected,
    life::{Lived, Origin},
    support::{assert_no_failure, long_campaign, skipped},
    tracer::{Call, Observer, Verdict, available},
};

/// Calls by name, and what they may answer.
const FAULTS: [(&str, &[i64], &[Errno]); 10] = [
    (
        "open",
        &[libc::SYS_openat, libc::SYS_open],
        &[Errno::EMFILE, Errno::EIO, Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS, Errno::EACCES, Errno::EINTR],
    ),
    (
        "write",
        &[libc::SYS_write, libc::SYS_pwrite64, libc::SYS_writev],
        &[Errno::ENOSPC, Errno::EIO, Errno::EDQUOT, Errno::EROFS, Errno::EINTR],
    ),
    ("fsync", &[libc::SYS_fsync], &[Errno::EIO, Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS, Errno::EINTR]),
    ("fdatasync", &[libc::SYS_fdatasync], &[Errno::EIO, Errno::ENOSPC, Errno::EDQUOT, Errno::EINTR]),
    (
        "rename",
        &[libc::SYS_rename, libc::SYS_renameat, libc::SYS_renameat2],
        &[Errno::EIO, Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS, Errno::EACCES],
    ),
    ("link", &[libc::SYS_link, libc::SYS_linkat], &[Errno::EIO, Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS]),
    ("unlink", &[libc::SYS_unlink, libc::SYS_unlinkat], &[Errno::EIO, Errno::EROFS, Errno::EACCES]),
    ("close", &[libc::SYS_close], &[Errno::EIO, Errno::ENOSPC, Errno::EDQUOT, Errno::EINTR]),
    ("ftruncate", &[libc::SYS_ftruncate], &[Errno::EIO, Errno::ENOSPC, Errno::EINTR]),
    (
        "stat",
        &[libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx],
        &[Errno::EIO, Errno::EACCES, Errno::ENOSPC],
    ),
];

/// Fails one call, and counts those like it.
#[derive(Debug)]
struct Failer {
    home: PathBuf,
    /// Which row of [`FAULTS`], its n-th occurrence from 1, and the error; none only counts.
    fault: Option<(usize, usize, Errno)>,
    seen: BTreeMap<usize, usize>,
    failed: Option<String>,
    /// Descriptor of the folder in which a keyring was put in place last.
    placed_in: Option<u64>,
    /// A keyring was put in place, and the sync of its folder failed.
    left_unsynced: bool,
}

impl Failer {
    fn new(home: PathBuf, fault: Option<(usize, usize, Errno)>) -> Self {
        Self { home, fault, seen: BTreeMap::new(), failed: None, placed_in: None, left_unsynced: false }
    }
}

impl Observer for Failer {
    fn before(&mut self, call: &Call) -> Verdict {
        let row = FAULTS.iter().position(|(_, numbers, _)| numbers.contains(&call.number));
        let Some(row) = row.filter(|_| call.is_below(&self.home)) else { return Verdict::Go };
        if call.number == libc::SYS_renameat && call.paths()[1].ends_with("state/keyring") {
            self.placed_in = Some(call.argument(0));
        }
        let syncs_it = call.number == libc::SYS_fsync
            && call.paths()[0].ends_with("state")
            && self.placed_in.take_if(|folder| *folder == call.argument(0)).is_some();
        let seen = self.seen.entry(row).or_default();
        *seen += 1;
        match self.fault {
            Some((of, occurrence, errno)) if of == row && occurrence == *seen => {
                // After EINTR it is tried again, for nothing was said about the disk.
                self.left_unsynced = syncs_it && errno != Errno::EINTR;
                self.failed = Some(format!("{:?}", call.paths()));
                Verdict::Fail(errno)
            }
            _ => Verdict::Go,
        }
    }
}

/// Which errors of a row are tried at one occurrence.
fn errors(row: usize, occurrence: usize) -> Vec<Errno> {
    let all = FAULTS[row].2;
    if long_campaign() { all.to_vec() } else { vec![all[occurrence % all.len()]] }
}

#[test]
fn every_operation_survives_every_error_of_every_call() {
    const NAME: &str = "every_operation_survives_every_error_of_every_call";
    if !available() {
        return skipped(NAME, "needs root and 64-bit x86");
    }
    let origin = Origin::new();
    let home = origin.copy();
    let lived = origin.live(&home, Failer::new(home.path().into(), None), |_| {});
    let occurrences = lived.observer.seen;
    let (mut faults, mut refused, mut unsynced) = (0, 0, 0);
    for (row, count) in &occurrences {
        for occurrence in 1..=*count {
            for errno in errors(*row, occurrence) {
                let case = format!("{} number {occurrence}: {errno:?}", FAULTS[*row].0);
                let home = origin.copy();
                let observer = Failer::new(home.path().into(), Some((*row, occurrence, errno)));
                let lived = origin.live(&home, observer, |_| {});
                let Some(path) = lived.observer.failed.clone() else { continue };
                faults += 1;
                refused += usize::from(lived.refused);
                unsynced += usize::from(lived.observer.left_unsynced);
                let case = format!("{case} of {path}");
                assert_no_failure(&lived.ended.stderr);
                assert!(matches!(lived.ended.code, Some(0 | 74)), "{case}: {:?}", lived.ended);
                let all = lived.acknowledged == origin.steps.len();
                assert!(all || lived.refused, "{case}: no answer: {:?}", lived.ended);
                // Nothing is simply acknowledged that a loss of power may undo.
                assert!(!lived.observer.left_unsynced || !lived.unrecorded.is_empty(), "{case}: believed");
                // What was refused was not done, and is not there after a restart.
                let expected = expected(&origin, &lived, false);
                expected.examine(&home).unwrap_or_else(|why| panic!("{case}: {why}"));
            }
        }
    }
    let counted: Vec<_> = occurrences.iter().map(|(row, count)| (FAULTS[*row].0, count)).collect();
    println!("{faults} faults, {refused} ended the life of the store, at {counted:?}");
    assert!(faults > 100 && unsynced > 5, "only {faults} faults, {unsynced} of a keyring's folder");
}

#[test]
fn the_detector_objects_to_a_refused_change_that_is_there() {
    const NAME: &str = "the_detector_objects_to_a_refused_change_that_is_there";
    if !available() {
        return skipped(NAME, "needs root and 64-bit x86");
    }
    let origin = Origin::new();
    let home = origin.copy();
    let whole = origin.live(&home, Failer::new(home.path().into(), None), |_| {});
    let refused = Lived { acknowledged: 0, sealed: origin.sealed().to_vec(), ..whole };
    let seen = expected(&origin, &refused, false).look(&home);
    assert!(seen.is_err());
}
