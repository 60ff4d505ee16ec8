//! The rotated files beside the current one: their names, and what is known of each without reading it.
//!
//! A rotated file is `audit-<seq of its first line, 20 digits>.log` in the folder of `audit.log`, so the order of
//! names is the order of lines. Must never write to one: rotated files are complete and only ever deleted.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use keyagent_core::audit::timestamp;
use nix::fcntl::OFlag;

/// Digits of the number in a name: those of the largest `u64`.
const DIGITS: usize = 20;
/// The head of a line is at most 7 + 20 + 7 + 41 + 15 + 27 bytes.
const HEAD_BYTES: usize = 128;

/// A time as a line states it; the order of bytes is the order of times.
pub(super) type Stamp = [u8; timestamp::CHARACTERS];

/// A time as a line would state it.
pub(super) fn stamp(unix_micros: u64) -> Stamp {
    let mut text = Vec::with_capacity(timestamp::CHARACTERS);
    timestamp::push(&mut text, unix_micros);
    text.try_into().unwrap_or([b'9'; timestamp::CHARACTERS])
}

/// What every line begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineHead {
    pub(super) seq: u64,
    pub(super) time: Stamp,
}

impl LineHead {
    /// Reads `{"seq":N,"id":"..","timestamp":".."`; `None` if the line does not begin like that.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let (seq, rest) = number(line.strip_prefix(b"{\"seq\":")?)?;
        let (_, rest) = number(rest.strip_prefix(b",\"id\":\"")?)?;
        let (_, rest) = number(rest.strip_prefix(b"-")?)?;
        let rest = rest.strip_prefix(b"\",\"timestamp\":\"")?;
        Some(Self { seq, time: *rest.first_chunk()? })
    }
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(digits)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// The head of a file's first line; `None` for an empty file.
pub(super) fn first_line(file: &File) -> io::Result<Option<LineHead>> {
    let mut bytes = [0; HEAD_BYTES];
    let mut filled = 0;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read_at(room, filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let text = bytes.get(..filled).unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    LineHead::of(text)
        .map(Some)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an audit line"))
}

/// The name of the rotated file that begins with line `first_seq`, beside `audit_log`.
pub(crate) fn rotated_path(audit_log: &Path, first_seq: u64) -> PathBuf {
    audit_log.with_file_name(format!("audit-{first_seq:0DIGITS$}.log"))
}

/// Every rotated file beside `audit_log` with the number of its first line, oldest first.
pub(crate) fn rotated_files(audit_log: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder_of(audit_log))? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".log"));
        let number = number.filter(|text| text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit()));
        if let Some(first_seq) = number.and_then(|text| text.parse().ok()) {
            found.push((first_seq, rotated_path(audit_log, first_seq)));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The folder a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens a file of the log for reading, never through a link.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

/// What is known of a rotated file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rotated {
    /// Its length.
    pub(super) bytes: u64,
    /// Time of its first line.
    pub(super) first_time: Stamp,
}

/// The rotated files by the number of their first line.
#[derive(Default)]
pub(super) struct Archive {
    files: BTreeMap<u64, Rotated>,
    bytes: u64,
    /// Files whose deletion was recorded and could not be done yet, with their bytes.
    condemned: BTreeMap<u64, u64>,
}

impl Archive {
    /// What lies beside `audit_log`.
    pub(super) fn list(audit_log: &Path) -> io::Result<Self> {
        let mut archive = Self::default();
        for (first_seq, path) in rotated_files(audit_log)? {
            let file = open_to_read(&path)?;
            let bytes = file.metadata()?.len();
            // An empty one holds nothing; that lines are missing is for whoever verifies to say.
            if let Some(head) = first_line(&file)? {
                archive.add(first_seq, Rotated { bytes, first_time: head.time });
            }
        }
        Ok(archive)
    }

    /// One more file.
    pub(super) fn add(&mut self, first_seq: u64, file: Rotated) {
        self.bytes += file.bytes;
        if let Some(before) = self.files.insert(first_seq, file) {
            self.bytes -= before.bytes;
        }
    }

    /// From now on a file is no part of the log any more; it is only waiting to be deleted.
    pub(super) fn condemn(&mut self, first_seq: u64) {
        if let Some(file) = self.files.remove(&first_seq) {
            self.bytes -= file.bytes;
            self.condemned.insert(first_seq, file.bytes);
        }
    }

    /// A condemned file is gone.
    pub(super) fn forget(&mut self, first_seq: u64) {
        self.condemned.remove(&first_seq);
    }

    /// The files that wait to be deleted, oldest first.
    pub(super) fn condemned(&self) -> Vec<u64> {
        self.condemned.keys().copied().collect()
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, Rotated)> {
        self.files.iter().map(|(first_seq, file)| (*first_seq, *file))
    }

    /// How many files there are.
    pub(super) fn count(&self) -> usize {
        self.files.len()
    }

    /// Bytes of the files of the log.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes on the disk, those included that wait to be deleted.
    pub(super) fn bytes_on_disk(&self) -> u64 {
        self.bytes + self.condemned.values().sum::<u64>()
    }
}

/// Puts the names in the folder of `path` on the disk.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(folder_of(path))?.sync_all()
}
