//! A disk that loses power: which contents of a folder may be found after a crash between any two operations.
//!
//! What was synced is there: a file's content by the file's own sync, a name by the folder's. Of everything else any
//! part may be there, in any order: files and names are written back independently of each other.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use crate::support::bounded;

/// One operation on the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// A name for a file: a new one, or a second name.
    Make { file: usize, name: String },
    /// Bytes.
    Write { file: usize, offset: usize, bytes: Vec<u8> },
    /// Cut, or extended with zeros.
    Resize { file: usize, length: usize },
    /// The content is durable.
    Sync { file: usize },
    /// The names are durable.
    SyncFolder,
    /// Another name.
    Rename { file: usize, from: String, to: String },
    /// No name any more.
    Unlink { file: usize, name: String },
    /// Something was sent through a socket.
    Said,
    /// The step of this number was acknowledged.
    Acknowledged(usize),
}

/// What may be found: names with contents.
pub(crate) type Found = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Clone, Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Op>,
}

/// The folder while operations are applied.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    names: BTreeMap<String, usize>,
    pending: Vec<Op>,
    files: BTreeMap<usize, Content>,
}

/// How much of something pending is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    None,
    All,
}

fn apply_to_names(names: &mut BTreeMap<String, usize>, op: &Op) {
    match op {
        Op::Make { file, name } => {
            names.insert(name.clone(), *file);
        }
        Op::Rename { file, from, to } => {
            names.remove(from);
            names.insert(to.clone(), *file);
        }
        Op::Unlink { name, .. } => {
            names.remove(name);
        }
        _ => {}
    }
}

fn apply_to_content(content: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write { offset, bytes, .. } => {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(bytes);
        }
        Op::Resize { length, .. } => content.resize(*length, 0),
        _ => {}
    }
}

/// A write of which only a part was done: the first half, and in the full campaign other parts too.
fn torn(op: &Op) -> Vec<Op> {
    let Op::Write { file, offset, bytes } = op else { return Vec::new() };
    let parts = bounded(2, 16);
    let cuts: BTreeSet<usize> = (1..parts).map(|part| bytes.len() * part / parts).collect();
    let cut = |length: usize| Op::Write { file: *file, offset: *offset, bytes: bytes[..length].to_vec() };
    cuts.into_iter().filter(|length| *length > 0).map(cut).collect()
}

/// Which of `count` operations are there: none, all, every beginning, all but one, and every choice of a few.
fn choices(count: usize) -> BTreeSet<Vec<bool>> {
    if count <= 4 {
        return (0..1_usize << count).map(|bits| (0..count).map(|n| bits >> n & 1 == 1).collect()).collect();
    }
    let beginnings = (0..=count).map(|length| (0..count).map(|n| n < length).collect());
    let gaps = (0..count).map(|gap| (0..count).map(|n| n != gap).collect());
    beginnings.chain(gaps).collect()
}

impl Disk {
    /// A folder in which everything is durable.
    pub(crate) fn new(beginning: &[(String, Vec<u8>)]) -> Self {
        let mut disk = Self::default();
        for (file, (name, content)) in beginning.iter().enumerate() {
            disk.names.insert(name.clone(), file);
            disk.files.insert(file, Content { durable: content.clone(), pending: Vec::new() });
        }
        disk
    }

    /// The next operation.
    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { file, .. } | Op::Resize { file, .. } => {
                self.files.entry(*file).or_default().pending.push(op.clone());
            }
            Op::Sync { file } => {
                let content = self.files.entry(*file).or_default();
                for op in std::mem::take(&mut content.pending) {
                    apply_to_content(&mut content.durable, &op);
                }
            }
            Op::SyncFolder => {
                for op in std::mem::take(&mut self.pending) {
                    apply_to_names(&mut self.names, &op);
                }
            }
            Op::Make { .. } | Op::Rename { .. } | Op::Unlink { .. } => self.pending.push(op.clone()),
            Op::Said | Op::Acknowledged(_) => {}
        }
    }

    fn found(&self, names: &[bool], content: impl Fn(usize, &Content) -> Vec<u8>) -> Found {
        let mut present = self.names.clone();
        for (op, _) in self.pending.iter().zip(names).filter(|(_, kept)| **kept) {
            apply_to_names(&mut present, op);
        }
        let nothing = Content::default();
        let file = |number: &usize| content(*number, self.files.get(number).unwrap_or(&nothing));
        present.iter().map(|(name, number)| (name.clone(), file(number))).collect()
    }

    /// Order is kept, and what was not synced is there or not: names and contents each.
    pub(crate) fn in_order(&self) -> Vec<Found> {
        let mut all = Vec::new();
        for names in [Kept::None, Kept::All] {
            for contents in [Kept::None, Kept::All] {
                let content = |_, content: &Content| {
                    let mut bytes = content.durable.clone();
                    let kept = content.pending.iter().filter(|_| contents == Kept::All);
                    kept.for_each(|op| apply_to_content(&mut bytes, op));
                    bytes
                };
                all.push(self.found(&vec![names == Kept::All; self.pending.len()], content));
            }
        }
        all
    }

    /// Any choice of names with any choice of one file's pending writes, whole or in part, while those of the other
    /// files are there or not.
    pub(crate) fn in_any_order(&self) -> Vec<Found> {
        let mut all = self.in_order();
        let open: Vec<usize> = self
            .files
            .iter()
            .filter(|(_, content)| !content.pending.is_empty())
            .map(|(file, _)| *file)
            .collect();
        for names in choices(self.pending.len()) {
            for others in [Kept::None, Kept::All] {
                let rest = |content: &Content| {
                    let mut bytes = content.durable.clone();
                    let kept = content.pending.iter().filter(|_| others == Kept::All);
                    kept.for_each(|op| apply_to_content(&mut bytes, op));
                    bytes
                };
                all.push(self.found(&names, |_, content| rest(content)));
                for file in &open {
                    for variant in variants(&self.files[file]) {
                        let content = |number, content: &Content| {
                            if number == *file { variant.clone() } else { rest(content) }
                        };
                        all.push(self.found(&names, content));
                    }
                }
            }
        }
        all
    }
}

/// What may be found of a file whose last operations were not synced.
fn variants(content: &Content) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for kept in choices(content.pending.len()) {
        let mut bytes = content.durable.clone();
        for (op, _) in content.pending.iter().zip(&kept).filter(|(_, kept)| **kept) {
            // Torn in the middle of any one of them.
            for part in torn(op) {
                let mut cut = bytes.clone();
                apply_to_content(&mut cut, &part);
                all.push(cut);
            }
            apply_to_content(&mut bytes, op);
        }
        all.push(bytes);
    }
    // The length was written, the bytes were not.
    let mut zeros = content.durable.clone();
    for op in &content.pending {
        if let Op::Write { offset, bytes, .. } = op {
            zeros.resize(zeros.len().max(offset + bytes.len()), 0);
        }
    }
    all.push(zeros);
    all
}

/// Tells states apart.
pub(crate) fn digest(found: &Found) -> u64 {
    let mut hasher = DefaultHasher::new();
    found.hash(&mut hasher);
    hasher.finish()
}
