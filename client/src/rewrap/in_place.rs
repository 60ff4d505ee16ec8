//! Moving a stream file where it lies: 105 of its bytes are written over, however large it is.
//!
//! Before they are, both forms of them lie synced in `FILE.rewrap` (docs/FORMATS.md, "Journal of a rewrap"); it goes
//! when the file is synced. A process or machine that ends at any point leaves a file that opens, or one that the next
//! run repairs before it does anything else. It must never write into a file that the journal is not about.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use keyagent_common::{
    context::Context,
    error::ErrorCode,
    report::Report,
    stream::{HEADER_BYTES, MAGIC, SEALED_KEY_BYTES, StreamHeader},
};
use nix::fcntl::{Flock, FlockArg, OFlag};

use super::{Moved, rewrap_header};
use crate::{
    failure::{Failure, cannot_create, cannot_read, cannot_write},
    input::fill,
    session::Session,
};

/// What a journal begins and ends with.
const MARK: &[u8; 16] = b"keyagent/rewrap\x01";
/// Where the sealed data key stands in a stream, and where what tells streams apart.
const SEALED_KEY_AT: u64 = MAGIC.len() as u64;
const IDENTITY_BYTES: usize = HEADER_BYTES - MAGIC.len() - SEALED_KEY_BYTES;
const JOURNAL_BYTES: usize = 2 * MARK.len() + IDENTITY_BYTES + 2 * SEALED_KEY_BYTES;

/// Whether a file is to be moved here: it begins like a stream.
pub(crate) fn is_stream(path: &Path) -> bool {
    let mut beginning = [0; HEADER_BYTES];
    File::open(path)
        .and_then(|mut file| fill(&mut file, &mut beginning))
        .is_ok_and(|count| StreamHeader::is_stream(beginning.get(..count).unwrap_or_default()))
}

/// The journal of a file.
pub(crate) fn journal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".rewrap");
    name.into()
}

/// Moves a stream file; one that is current stays untouched.
pub(crate) fn rewrap(session: &mut Session<'_>, context: Context<'_>, path: &Path) -> Result<Moved, Failure> {
    let name = path.display().to_string();
    let file = lock(path)?;
    if repair(&file, path)? {
        session.console.say(&format!("{name}: repaired after an interrupted rewrap"));
    }
    let old = header(&file, &name)?;
    let (sealed, new) = rewrap_header(session, context, &name, &old)?;
    if sealed.changed {
        replace(&file, path, &old, &new).map_err(|error| cannot_write(&name, &error))?;
    }
    Ok(sealed.moved("stream"))
}

/// The file, for this process alone.
fn lock(path: &Path) -> Result<Flock<File>, Failure> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
        .map_err(|error| cannot_write(&path.display().to_string(), &error))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
        Report::new(ErrorCode::InputOutput, "the file is being worked on")
            .fact("file", path.display().to_string())
            .why(format!("it cannot be locked: {}", error.desc()))
            .fix("try again when the other process has ended")
            .into()
    })
}

fn header(file: &File, name: &str) -> Result<[u8; HEADER_BYTES], Failure> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact_at(&mut bytes, 0).map_err(|error| cannot_read(name, &error))?;
    Ok(bytes)
}

/// Writes the journal, then the 105 bytes, and takes the journal away.
fn replace(file: &File, path: &Path, old: &[u8; HEADER_BYTES], new: &[u8; HEADER_BYTES]) -> io::Result<()> {
    let journal = journal_of(path);
    let mut bytes = Vec::with_capacity(JOURNAL_BYTES);
    for part in [MARK, identity(old), sealed_key(old), sealed_key(new), MARK] {
        bytes.extend_from_slice(part);
    }
    let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&journal)?;
    written.write_all(&bytes).and_then(|()| written.sync_all()).and_then(|()| sync_folder(path))?;
    file.write_all_at(sealed_key(new), SEALED_KEY_AT)?;
    file.sync_data()?;
    fs::remove_file(&journal)
}

/// Puts a file right whose journal was left behind; whether that was needed.
fn repair(file: &File, path: &Path) -> Result<bool, Failure> {
    let (journal, name) = (journal_of(path), path.display().to_string());
    let bytes = match fs::symlink_metadata(&journal) {
        Err(_) => return Ok(false),
        Ok(found) if found.is_file() && found.uid() == nix::unistd::geteuid().as_raw() => {
            fs::read(&journal).map_err(|error| cannot_read(&journal.display().to_string(), &error))?
        }
        Ok(_) => return Err(in_the_way(&journal).into()),
    };
    let now = header(file, &name)?;
    // One that is not whole was not synced, and before that nothing is written.
    let whole = bytes.len() == JOURNAL_BYTES && bytes.starts_with(MARK) && bytes.ends_with(MARK);
    let parts = bytes.get(MARK.len()..).filter(|_| whole).and_then(|rest| {
        let (identity, rest) = rest.split_at_checked(IDENTITY_BYTES)?;
        let (old, rest) = rest.split_at_checked(SEALED_KEY_BYTES)?;
        Some((identity, old, rest.get(..SEALED_KEY_BYTES)?))
    });
    let mut torn = false;
    if let Some((of, old, new)) = parts {
        if of != identity(&now) {
            return Err(in_the_way(&journal).into());
        }
        torn = ![old, new].contains(&sealed_key(&now));
        if torn {
            let written = file.write_all_at(old, SEALED_KEY_AT).and_then(|()| file.sync_data());
            written.map_err(|error| cannot_write(&name, &error))?;
        }
    } else if bytes.len() > JOURNAL_BYTES {
        return Err(in_the_way(&journal).into());
    }
    fs::remove_file(&journal).map_err(|error| cannot_write(&journal.display().to_string(), &error))?;
    Ok(torn)
}

fn sealed_key(header: &[u8; HEADER_BYTES]) -> &[u8] {
    header.get(MAGIC.len()..).and_then(|rest| rest.get(..SEALED_KEY_BYTES)).unwrap_or_default()
}

/// Salt and commitment: no two streams have them in common.
fn identity(header: &[u8; HEADER_BYTES]) -> &[u8] {
    header.get(HEADER_BYTES - IDENTITY_BYTES..).unwrap_or_default()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn in_the_way(journal: &Path) -> Report {
    cannot_create(journal, "a file of this name exists, and it is no journal of this stream by this user")
        .fix("look at it, and move it away")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [u8; HEADER_BYTES] = filled(1);
    const NEW: [u8; HEADER_BYTES] = {
        let mut bytes = filled(1);
        let mut at = 16;
        while at < 121 {
            bytes[at] = 2;
            at += 1;
        }
        bytes
    };

    const fn filled(byte: u8) -> [u8; HEADER_BYTES] {
        [byte; HEADER_BYTES]
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [&OLD[..], b"chunks"].concat()).unwrap();
        (folder, path)
    }

    /// The journal as it lies there while the file is written.
    fn journal() -> Vec<u8> {
        [MARK, identity(&OLD), sealed_key(&OLD), sealed_key(&NEW), MARK].concat()
    }

    #[test]
    fn only_the_sealed_key_changes_and_no_journal_stays() {
        let (folder, path) = place();
        replace(&lock(&path).unwrap(), &path, &OLD, &NEW).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [&NEW[..], b"chunks"].concat());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_torn_write_is_repaired_from_the_journal() {
        let (_folder, path) = place();
        for torn in 0..=SEALED_KEY_BYTES {
            let mut bytes = OLD;
            bytes[16..16 + torn].copy_from_slice(&sealed_key(&NEW)[..torn]);
            fs::write(&path, bytes).unwrap();
            fs::write(journal_of(&path), journal()).unwrap();
            let needed = repair(&lock(&path).unwrap(), &path).unwrap();
            assert_eq!(needed, (1..SEALED_KEY_BYTES).contains(&torn), "{torn}");
            let now = fs::read(&path).unwrap();
            assert!(now == OLD || (torn == SEALED_KEY_BYTES && now == NEW), "{torn}");
            assert!(!journal_of(&path).exists());
        }
    }

    #[test]
    fn a_journal_that_was_not_synced_is_taken_away_and_changes_nothing() {
        let (_folder, path) = place();
        for length in 0..JOURNAL_BYTES {
            fs::write(journal_of(&path), &journal()[..length]).unwrap();
            assert!(!repair(&lock(&path).unwrap(), &path).unwrap());
            assert_eq!(fs::read(&path).unwrap()[..HEADER_BYTES], OLD);
            assert!(!journal_of(&path).exists());
        }
    }

    #[test]
    fn a_journal_of_another_stream_is_left_alone_and_stops_everything() {
        let (_folder, path) = place();
        let mut other = journal();
        other[16] ^= 1;
        for bytes in [other, vec![7; 4096]] {
            fs::write(journal_of(&path), &bytes).unwrap();
            assert!(repair(&lock(&path).unwrap(), &path).is_err());
            assert_eq!(fs::read(journal_of(&path)).unwrap(), bytes);
            assert_eq!(fs::read(&path).unwrap()[..HEADER_BYTES], OLD);
        }
    }

    #[test]
    fn two_at_once_are_refused() {
        let (_folder, path) = place();
        let _first = lock(&path).unwrap();
        assert!(lock(&path).is_err());
    }
}
