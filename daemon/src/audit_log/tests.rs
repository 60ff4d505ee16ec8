//! What the tests of the log share: a log in a folder of its own, and its verification over all files.

mod cost;
mod floods;
mod query;
mod retention;
mod rotation;

use keyagent_core::audit::{
    AuditRoot,
    chain::NO_PREVIOUS_MAC,
    record::{Bridging, Details, Event, Peer},
    verify::{Expected, FoundBridges, Start, Verified, Verifier},
};
use keyagent_sys::memory::LockPolicy;
use tempfile::TempDir;

use super::*;

/// Called before every step; an error is what that step met.
pub(super) type Steps = Box<dyn FnMut(&'static str) -> io::Result<()> + Send>;

const KEYRING_ID: [u8; 16] = [9; 16];
const SALT: [u8; 16] = [5; 16];
const IDENTITY: SegmentIdentity<'static> = SegmentIdentity { host: "h", epoch: 1, keyring_id: &KEYRING_ID };

/// A folder below the home folder, since others may write to the ordinary one for temporary files.
pub(super) fn folder() -> TempDir {
    let cache = PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    std::fs::create_dir_all(&cache).unwrap();
    tempfile::tempdir_in(cache).unwrap()
}

pub(super) fn log_path(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}

fn arena() -> LockedArena {
    LockedArena::new(4096, LockPolicy::AllowUnlocked).unwrap()
}

/// Opens as a start does: verified, cut where a crash left something, with a new segment; how many lines there are.
pub(super) fn open(folder: &Path) -> AuditLog {
    let (path, arena) = (log_path(folder), arena());
    let root = AuditRoot::derive(&arena, &[1; 32]).unwrap();
    let verified = verify(folder, false);
    let (segment, last_seq, mac) =
        verified.tail.map_or((0, 0, NO_PREVIOUS_MAC), |tail| (tail.segment, tail.seq, tail.mac));
    let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    assert_eq!(verified.rejected_bytes, 0);
    let tail = Tail { segment: segment + 1, last_seq, length: length - verified.unfinished_bytes };
    let chain = Chain::begin(&arena, &root, &KEYRING_ID, segment + 1, &SALT, mac).unwrap();
    let log = AuditLog::open(&path, tail, chain, LogSettings::default()).unwrap();
    log.append_durably(&[IDENTITY.first_line_bridging(&SALT, &mac, Bridging::default())]).unwrap();
    log
}

/// Every file in order, as a verifier reads them.
pub(super) fn whole(folder: &Path) -> Vec<u8> {
    let path = log_path(folder);
    let mut bytes = Vec::new();
    for (_, rotated) in archive::rotated_files(&path).unwrap() {
        bytes.extend(std::fs::read(rotated).unwrap());
    }
    bytes.extend(std::fs::read(path).unwrap_or_default());
    bytes
}

fn verify(folder: &Path, strictly: bool) -> Verified {
    let root = AuditRoot::derive(&arena(), &[1; 32]).unwrap();
    let bridges = FoundBridges::default();
    let (keyring_id, pin, own_bridge) = (&KEYRING_ID, None, None);
    let expected = Expected { root: Some(&root), keyring_id, pin, bridges: &bridges, own_bridge };
    let mut verifier = Verifier::new(Start::Oldest, expected);
    let path = log_path(folder);
    for (first_seq, rotated) in archive::rotated_files(&path).unwrap() {
        verifier.begin_file(Some(first_seq));
        verifier.push(&std::fs::read(rotated).unwrap());
    }
    if let Ok(current) = std::fs::read(path) {
        verifier.begin_file(None);
        verifier.push(&current);
    }
    let verdict = if strictly { verifier.finish_strictly() } else { verifier.finish_after_crash() };
    verdict.unwrap()
}

/// Number of lines of a log in which nothing is wrong or unfinished.
pub(super) fn lines_in_order(folder: &Path) -> u64 {
    let verified = verify(folder, true);
    assert_eq!(verified.unfinished_bytes, 0);
    verified.tail.map_or(0, |tail| tail.seq)
}

/// A line as requests make them.
pub(super) fn request() -> Line<'static> {
    let details =
        Details { version: Some(1), bytes: Some(100), key_id: Some(&[7; 32]), ..Details::default() };
    Line {
        key: Some("default"),
        peer: Some(Peer { uid: 1000, gid: 1000, pid: 4242 }),
        client: Some("keyagent/0.1.0"),
        manner: Manner::Request,
        ..Line::own(Event::Operation { name: "encrypt", details })
    }
}

fn small_files() -> LogSettings {
    LogSettings { rotate_bytes: 4096, ..LogSettings::default() }
}

fn append_many(log: &AuditLog, count: usize) {
    (0..count).for_each(|_| log.append_each([request()].into_iter()).unwrap());
}

#[test]
fn a_log_is_continued_and_a_group_without_end_is_cut_off() {
    let folder = folder();
    let log = open(folder.path());
    log.append(&[request(); 3]).unwrap();
    log.append(&[]).unwrap();
    drop(log);
    let path = log_path(folder.path());
    let mut torn = std::fs::read(&path).unwrap();
    torn.extend_from_slice(b"{\"seq\":5,\"id\":\"1-5\"");
    std::fs::write(&path, torn).unwrap();
    let log = open(folder.path());
    assert_eq!(log.standing().seq, 5);
    assert_eq!(lines_in_order(folder.path()), 5);
    assert!(log.check().is_ok());
    std::fs::remove_file(&path).unwrap();
    assert!(log.check().is_err());
}

#[test]
fn a_synced_log_is_written_like_any_other() {
    let folder = folder();
    let log = open(folder.path());
    log.configure(LogSettings { durability: Durability::Fsync, ..LogSettings::default() });
    append_many(&log, 3);
    assert!(!log.lock().folder_unsynced);
    assert_eq!(log.sync_for_pin().unwrap().unwrap().seq, 4);
    assert!(log.sync_for_pin().unwrap().is_none());
    assert_eq!(lines_in_order(folder.path()), 4);
}

#[test]
fn what_a_sync_cannot_promise_ends_the_log() {
    let folder = folder();
    let log = open(folder.path());
    log.configure(LogSettings { durability: Durability::Fsync, ..LogSettings::default() });
    // A pipe can be written at no offset and synced never.
    let (_reader, pipe) = std::io::pipe().unwrap();
    let file = std::mem::replace(&mut log.lock().file, std::os::fd::OwnedFd::from(pipe).into());
    assert!(log.append(&[request()]).is_err());
    assert!(log.check().is_err());
    log.lock().file = file;
    assert!(log.append(&[request()]).is_err(), "nobody knows what is in the file");
}
