//! The files of the log as they were at one moment: rotated ones, oldest first, then the current one.
//!
//! Read-only, without a lock: the daemon may append, rotate and delete meanwhile. Must never follow a link, and
//! never read behind the end that the current file had when it was opened.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use keyagent_core::audit::verify::Verifier;
use keyagent_sys::memory::LockedArena;
use nix::fcntl::OFlag;

use crate::audit_log::archive::rotated_files;

/// Bytes of the log read at once.
const PIECE_BYTES: usize = 64 << 10;
/// More than the first member of a line.
const FIRST_MEMBER_BYTES: u64 = 32;

/// The files, in the order of their lines.
pub(crate) struct LogFiles {
    files: Vec<LogFile>,
}

struct LogFile {
    path: PathBuf,
    /// Number of the first line by the name of a rotated file.
    named: Option<u64>,
    /// The current file: opened, and how long it was then.
    current: Option<(File, u64)>,
}

impl LogFiles {
    /// Looks at what is there. A log that does not exist is empty; a current file may be missing.
    pub(crate) fn open(audit_log: &Path) -> io::Result<Self> {
        // The current file first: if it is rotated now, it appears in the list as well, and never in none.
        let current = match open(audit_log) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let current = current.map(|file| file.metadata().map(|metadata| (file, metadata))).transpose()?;
        let mut files = Vec::new();
        let mut rotated_meanwhile = false;
        let rotated = match rotated_files(audit_log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            rotated => rotated?,
        };
        for (first_seq, path) in rotated {
            if let (Some((_, current)), Ok(found)) = (&current, std::fs::symlink_metadata(&path)) {
                rotated_meanwhile |= (current.dev(), current.ino()) == (found.dev(), found.ino());
            }
            files.push(LogFile { path, named: Some(first_seq), current: None });
        }
        if let Some((file, _)) = current.filter(|_| !rotated_meanwhile) {
            let bytes = file.metadata()?.len();
            // Its length last: a line that announces a deletion stands before any file is missing from the list.
            let current = Some((file, bytes));
            files.push(LogFile { path: audit_log.to_path_buf(), named: None, current });
        }
        Ok(Self { files })
    }

    /// Only the file in which line `seq` lies and those behind it; all, if it lies in none.
    pub(crate) fn reading_from(mut self, seq: u64) -> Self {
        let begins_before = |file: &LogFile| match &file.current {
            Some((file, _)) => first_number(file).is_some_and(|first| first <= seq),
            None => file.named.is_some_and(|first| first <= seq),
        };
        let pinned = self.files.iter().rposition(begins_before).unwrap_or(0);
        self.files.drain(..pinned);
        self
    }

    /// Hands all of them to a verifier, each from its beginning; an error names the file.
    pub(crate) fn push_to(&self, verifier: &mut Verifier<'_, LockedArena>) -> Result<(), (&Path, io::Error)> {
        for file in &self.files {
            verifier.begin_file(file.named);
            file.read(|piece| verifier.push(piece)).map_err(|error| (file.path.as_path(), error))?;
        }
        Ok(())
    }

    /// The path of a file, counted from 0.
    pub(crate) fn path(&self, place: usize) -> Option<&Path> {
        self.files.get(place).map(|file| file.path.as_path())
    }

    /// Length of the current file when it was opened; 0 if there is none.
    pub(crate) fn current_bytes(&self) -> u64 {
        self.files.iter().find_map(|file| file.current.as_ref()).map_or(0, |(_, bytes)| *bytes)
    }
}

impl LogFile {
    fn read(&self, mut hand_over: impl FnMut(&[u8])) -> io::Result<()> {
        let rotated;
        let (file, mut left) = if let Some((file, bytes)) = &self.current {
            (file, *bytes)
        } else {
            rotated = open(&self.path)?;
            (&rotated, u64::MAX)
        };
        let mut at = 0;
        let mut piece = vec![0; PIECE_BYTES];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let place = piece.get_mut(..wanted).unwrap_or_default();
            match std::os::unix::fs::FileExt::read_at(file, place, at) {
                Ok(0) => break,
                Ok(count) => {
                    hand_over(place.get(..count).unwrap_or_default());
                    at += count as u64;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits() | OFlag::O_NOCTTY.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// What the first line claims to be its number: only where to begin follows from it.
fn first_number(mut file: &File) -> Option<u64> {
    let mut text = Vec::new();
    // The position moves, but everybody else reads at a place.
    file.by_ref().take(FIRST_MEMBER_BYTES).read_to_end(&mut text).ok()?;
    let digits = text.strip_prefix(b"{\"seq\":")?.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit_log::archive::rotated_path;

    /// A log whose rotated files begin with lines 1 and 5, and whose current one begins with line 9.
    fn log() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join("audit.log");
        for (path, seq) in
            [(rotated_path(&current, 1), 1), (rotated_path(&current, 5), 5), (current.clone(), 9)]
        {
            std::fs::write(path, format!("{{\"seq\":{seq},\"id\":\"1-{seq}\"}}\n")).unwrap();
        }
        (folder, current)
    }

    fn named(log: &LogFiles) -> Vec<Option<u64>> {
        log.files.iter().map(|file| file.named).collect()
    }

    #[test]
    fn begins_with_the_pinned_file() {
        let (_folder, current) = log();
        let all = [Some(1), Some(5), None];
        for (seq, from) in [(0, 0), (1, 0), (4, 0), (5, 1), (8, 1), (9, 2), (u64::MAX, 2)] {
            let log = LogFiles::open(&current).unwrap();
            assert_eq!(named(&log), all);
            assert_eq!(log.current_bytes(), 21);
            assert_eq!(named(&log.reading_from(seq)), all[from..], "pinned {seq}");
        }
        // What the current file begins with cannot be told: the rotated one before it is read as well.
        std::fs::write(&current, "rubbish").unwrap();
        assert_eq!(named(&LogFiles::open(&current).unwrap().reading_from(9)), all[1..]);
    }

    #[test]
    fn there_may_be_no_current_file_or_none_at_all() {
        let (folder, current) = log();
        std::fs::remove_file(&current).unwrap();
        let log = LogFiles::open(&current).unwrap();
        assert_eq!((named(&log), log.current_bytes()), (vec![Some(1), Some(5)], 0));
        let log = LogFiles::open(&folder.path().join("none").join("audit.log")).unwrap();
        assert_eq!((named(&log), log.current_bytes()), (vec![], 0));
    }

    #[test]
    fn a_file_that_is_rotated_meanwhile_is_read_once() {
        let (_folder, current) = log();
        std::fs::hard_link(&current, rotated_path(&current, 9)).unwrap();
        assert_eq!(named(&LogFiles::open(&current).unwrap()), [Some(1), Some(5), Some(9)]);
    }
}
