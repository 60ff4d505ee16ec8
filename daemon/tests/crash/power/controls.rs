//! The same recording with one thing left out, as a careless store would have made it: the detector must object.

use std::collections::BTreeSet;

use super::{
    Recorded,
    disk::{Disk, Found, Op},
};
use crate::support::{bounded, skipped};

impl Recorded {
    /// Numbers of the files that ever had a name that fits.
    fn files(&self, fits: impl Fn(&str) -> bool) -> BTreeSet<usize> {
        let there = self.beginning.iter().enumerate().map(|(file, (name, _))| (file, name.as_str()));
        let made = self.ops.iter().filter_map(|op| match op {
            Op::Make { file, name } | Op::Rename { file, to: name, .. } => Some((*file, name.as_str())),
            _ => None,
        });
        there.chain(made).filter(|(_, name)| fits(name)).map(|(file, _)| file).collect()
    }

    fn without_syncs_of(&self, fits: impl Fn(&str) -> bool) -> Vec<Op> {
        let files = self.files(fits);
        let left_out = |op: &&Op| !matches!(op, Op::Sync { file } if files.contains(file));
        self.ops.iter().filter(left_out).cloned().collect()
    }

    fn without_syncs_of_the_folder(&self) -> Vec<Op> {
        self.ops.iter().filter(|op| **op != Op::SyncFolder).cloned().collect()
    }

    /// The keyring is cut and written where it stands, and synced, instead of being replaced.
    fn written_in_place(&self) -> Vec<Op> {
        let keyring = self.beginning.iter().position(|(name, _)| name == "keyring").unwrap();
        let mut contents = Vec::new();
        let mut ops = Vec::new();
        for op in &self.ops {
            match op {
                Op::Make { name, .. } if name == "keyring.tmp" => contents.clear(),
                Op::Write { file, bytes, .. } if self.is_new_keyring(*file) => {
                    contents.extend_from_slice(bytes);
                }
                Op::Sync { file } if self.is_new_keyring(*file) => {}
                Op::Rename { to, .. } if to == "keyring" => ops.extend([
                    Op::Resize { file: keyring, length: 0 },
                    Op::Write { file: keyring, offset: 0, bytes: contents.clone() },
                    Op::Sync { file: keyring },
                ]),
                other => ops.push(other.clone()),
            }
        }
        ops
    }

    fn is_new_keyring(&self, file: usize) -> bool {
        self.ops
            .iter()
            .any(|op| matches!(op, Op::Rename { file: of, to, .. } if *of == file && to == "keyring"))
    }

    /// Every step is acknowledged before its first operation is done.
    fn acknowledged_too_early(&self) -> Vec<Op> {
        let mut ops: Vec<Op> = Vec::new();
        let mut begin = 0;
        for op in &self.ops {
            if matches!(op, Op::Acknowledged(_)) {
                ops.insert(begin, op.clone());
                begin = ops.len();
            } else {
                ops.push(op.clone());
            }
        }
        ops
    }

    /// The keyring is put in place before the line that announces it is written.
    fn keyring_before_its_line(&self) -> Vec<Op> {
        let mut ops = self.ops.clone();
        for place in 0..ops.len() {
            if matches!(&ops[place], Op::Rename { to, .. } if to == "keyring") {
                // Behind the sync of the new keyring there are: the intent, its sync, the rename.
                let rename = ops.remove(place);
                let synced = ops[..place]
                    .iter()
                    .rposition(|op| matches!(op, Op::Sync { file } if self.is_new_keyring(*file)));
                ops.insert(synced.unwrap() + 1, rename);
            }
        }
        ops
    }
}

/// Which states a disk may be left in.
type Model<'m> = &'m dyn Fn(&Disk) -> Vec<Found>;

#[test]
fn the_detector_objects_to_careless_stores() {
    const NAME: &str = "the_detector_objects_to_careless_stores";
    if !crate::tracer::available() {
        return skipped(NAME, "needs root and 64-bit x86");
    }
    let recorded = Recorded::new();
    let kept = |disk: &Disk| disk.in_order().pop().into_iter().collect();
    let lossy = Disk::in_any_order;
    let cases: [(&str, Vec<Op>, Model<'_>); 8] = [
        ("new keyrings are not synced", recorded.without_syncs_of(|name| name == "keyring.tmp"), &lossy),
        ("the log is not synced", recorded.without_syncs_of(|name| name == "audit.log"), &lossy),
        ("pins are not synced", recorded.without_syncs_of(|name| name == "audit.pin.tmp"), &lossy),
        ("counts are not synced", recorded.without_syncs_of(|name| name.starts_with("counters")), &lossy),
        ("the folder is not synced", recorded.without_syncs_of_the_folder(), &lossy),
        ("the keyring is written in place", recorded.written_in_place(), &kept),
        ("acknowledged too early", recorded.acknowledged_too_early(), &kept),
        ("the keyring comes before its line", recorded.keyring_before_its_line(), &kept),
    ];
    for (case, ops, model) in cases {
        assert_ne!(ops, recorded.ops, "{case}: nothing was left out");
        let (mut bad, mut looked) = (0, 0);
        recorded.each_state(&ops, model, |acknowledged, found| {
            looked += 1;
            bad += usize::from(recorded.check(acknowledged, &found, true).is_some());
            bad < bounded(1, 100)
        });
        println!("{case}: {bad} of {looked} states are bad");
        assert!(bad > 0, "{case}: not noticed in {looked} states");
    }
}
