//! Writes down what a daemon does to its state folder: every write with its bytes, every sync, every name.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use nix::libc;

use super::disk::Op;
use crate::tracer::{Call, Observer, Verdict};

/// What was written down so far.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// Name and content of what was there at the beginning; the place in this list is the number of the file.
    pub(crate) beginning: Vec<(String, Vec<u8>)>,
    /// In order.
    pub(crate) ops: Vec<Op>,
}

/// The observer.
pub(crate) struct Recorder {
    folder: PathBuf,
    recording: Arc<Mutex<Recording>>,
    /// Number of the file behind an inode.
    files: BTreeMap<u64, usize>,
    /// Number of the file behind a name.
    names: BTreeMap<String, usize>,
    next: usize,
}

impl Recorder {
    /// Of a state folder without folders in it.
    pub(crate) fn new(folder: &Path, recording: Arc<Mutex<Recording>>) -> Self {
        Self { folder: folder.into(), recording, files: BTreeMap::new(), names: BTreeMap::new(), next: 0 }
    }

    fn push(&self, op: Op) {
        self.recording.lock().unwrap().ops.push(op);
    }

    /// The name of a path directly in the folder.
    fn name(&self, path: &Path) -> Option<String> {
        let inside = path.parent()? == self.folder;
        inside.then(|| path.file_name().unwrap().to_str().unwrap().to_owned())
    }

    /// The number of the file behind a descriptor.
    fn file(&self, call: &Call) -> Option<usize> {
        let path = call.descriptor(0)?;
        if !path.starts_with(&self.folder) || path == self.folder {
            return None;
        }
        let inode = fs::metadata(call.behind(call.argument(0).cast_signed())).unwrap().ino();
        Some(*self.files.get(&inode).unwrap_or_else(|| panic!("{} is not known", path.display())))
    }

    fn write(&self, call: &Call, offset: u64, count: i64) {
        let Some(file) = self.file(call) else { return };
        let mut bytes = match call.number {
            libc::SYS_writev | libc::SYS_pwritev => {
                let count = usize::try_from(call.argument(2)).unwrap();
                let vectors = call.memory(call.argument(1), 16 * count);
                let word = |at: usize| u64::from_ne_bytes(vectors[at..at + 8].try_into().unwrap());
                let pieces =
                    (0..count).map(|n| call.memory(word(16 * n), usize::try_from(word(16 * n + 8)).unwrap()));
                pieces.collect::<Vec<_>>().concat()
            }
            _ => call.memory(call.argument(1), usize::try_from(call.argument(2)).unwrap()),
        };
        bytes.truncate(usize::try_from(count).unwrap());
        self.push(Op::Write { file, offset: usize::try_from(offset).unwrap(), bytes });
    }

    fn opened(&mut self, call: &Call, descriptor: i64) {
        let Some(name) = call.paths().first().and_then(|path| self.name(path)) else { return };
        let flags = call.argument(if call.number == libc::SYS_openat { 2 } else { 1 });
        assert_eq!(flags & u64::from(libc::O_TRUNC.cast_unsigned()), 0, "{name} is cut by opening it");
        if self.names.contains_key(&name) {
            return;
        }
        let inode = fs::metadata(call.behind(descriptor)).unwrap().ino();
        let file = self.next;
        self.next += 1;
        self.files.insert(inode, file);
        self.names.insert(name.clone(), file);
        self.push(Op::Make { file, name });
    }

    fn renamed(&mut self, call: &Call) {
        let [from, to] = call.paths().try_into().unwrap();
        let names = (self.name(&from), self.name(&to));
        let (Some(from), Some(to)) = names else {
            assert_eq!(names, (None, None), "into or out of the folder");
            return;
        };
        let keeps = matches!(call.number, libc::SYS_link | libc::SYS_linkat);
        let file = if keeps { self.names[&from] } else { self.names.remove(&from).unwrap() };
        self.names.insert(to.clone(), file);
        self.push(if keeps { Op::Make { file, name: to } } else { Op::Rename { file, from, to } });
    }
}

impl Observer for Recorder {
    fn begin(&mut self) {
        let mut recording = self.recording.lock().unwrap();
        for entry in fs::read_dir(&self.folder).unwrap().map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            assert!(metadata.is_file(), "{entry:?}");
            let name = entry.file_name().into_string().unwrap();
            self.files.insert(metadata.ino(), self.next);
            self.names.insert(name.clone(), self.next);
            recording.beginning.push((name, fs::read(entry.path()).unwrap()));
            self.next += 1;
        }
    }

    fn before(&mut self, call: &Call) -> Verdict {
        let sends = matches!(
            call.number,
            libc::SYS_write | libc::SYS_writev | libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_sendmmsg
        );
        let to_a_socket =
            || call.descriptor(0).is_some_and(|path| path.to_string_lossy().starts_with("socket:"));
        if sends && to_a_socket() {
            self.push(Op::Said);
        }
        Verdict::Go
    }

    fn after(&mut self, call: &Call, returned: i64) {
        if returned < 0 {
            return;
        }
        match call.number {
            libc::SYS_open | libc::SYS_openat if call.creates() => self.opened(call, returned),
            libc::SYS_write | libc::SYS_writev => {
                let about_the_folder = call.is_below(&self.folder);
                if about_the_folder {
                    self.write(call, call.position(0) - returned.cast_unsigned(), returned);
                }
            }
            libc::SYS_pwrite64 | libc::SYS_pwritev => self.write(call, call.argument(3), returned),
            libc::SYS_ftruncate => {
                let length = usize::try_from(call.argument(1)).unwrap();
                if let Some(file) = self.file(call) {
                    self.push(Op::Resize { file, length });
                }
            }
            libc::SYS_fsync | libc::SYS_fdatasync => {
                if call.descriptor(0).is_some_and(|path| path == self.folder) {
                    self.push(Op::SyncFolder);
                } else if let Some(file) = self.file(call) {
                    self.push(Op::Sync { file });
                }
            }
            libc::SYS_rename
            | libc::SYS_renameat
            | libc::SYS_renameat2
            | libc::SYS_link
            | libc::SYS_linkat => self.renamed(call),
            libc::SYS_unlink | libc::SYS_unlinkat => {
                if let Some(name) = self.name(&call.paths()[0]) {
                    let file = self.names.remove(&name).unwrap();
                    self.push(Op::Unlink { file, name });
                }
            }
            _ => {
                let unknown = call.may_change_files() && call.is_below(&self.folder) && !call.creates();
                assert!(!unknown, "a change of files that is not known: {call:?}");
            }
        }
    }
}
