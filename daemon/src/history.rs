//! Do keyring, audit log and pin belong to each other? Asked at every start, before anything is written.
//!
//! The log is read in pieces, so that its length does not matter. Must never repair or move anything.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use keyagent_common::{error::ErrorCode, layout::Layout, report::Report};
use keyagent_core::{
    audit::{
        AuditRoot,
        verify::{Start, Verified, Verifier},
    },
    keyring::Keyring,
    pin::{FILE_BYTES, Pin},
};
use keyagent_sys::memory::LockedArena;
use nix::fcntl::OFlag;

use crate::{files, store};

/// Bytes of the log read at once.
const PIECE_BYTES: usize = 64 << 10;
/// How one goes on in spite of what was found.
const ACCEPT: &str = "go on and have it recorded: keyagent start --accept-rollback";

/// What a log that is in order says, and how long it is.
pub(crate) struct History {
    pub(crate) verified: Verified,
    /// Bytes of the file.
    pub(crate) bytes: u64,
}

/// Log, pin and keyring must belong to each other.
pub(crate) fn examine(
    layout: &Layout,
    keyring: &Keyring<LockedArena>,
    root: &AuditRoot<LockedArena>,
) -> Result<History, Report> {
    let pin = read_pin(&layout.audit_pin, keyring)?;
    let pins = [Some(&pin), keyring.pin()];
    let furthest = pins.into_iter().flatten().max_by_key(|pin| pin.seq);
    let mut walk = Verifier::new(Start::NewLog, root, keyring.keyring_id(), furthest);
    let bytes = read_log(&layout.audit_log, |piece| walk.push(piece)).map_err(|error| {
        Report::new(ErrorCode::StoreFailed, "the audit log cannot be read")
            .fact("file", layout.audit_log.display().to_string())
            .why(error.to_string())
            .fix("check owner and rights of the file; nothing was changed")
    })?;
    let verified = walk.finish_after_crash().map_err(|error| {
        Report::new(ErrorCode::AuditTampered, "refusing to start: the audit log was changed, cut or replaced")
            .fact("file", layout.audit_log.display().to_string())
            .why(error.to_string())
            .fix(format!("restore it, or {ACCEPT}"))
    })?;
    let newer = furthest.is_some_and(|pin| pin.generation > keyring.generation());
    if newer || !verified.accepts_keyring(keyring.generation(), keyring.head_digest()) {
        let keyring_fact = format!("{}   generation {}", layout.keyring.display(), keyring.generation());
        return Err(Report::new(
            ErrorCode::Rollback,
            "refusing to start: keyring and audit log are out of step",
        )
        .fact("file", keyring_fact)
        .fact("file", layout.audit_log.display().to_string())
        .why("one of them was put back from an earlier time, or lost")
        .fix(format!("restore both from the same backup, or {ACCEPT}")));
    }
    Ok(History { verified, bytes })
}

/// The pin is written before its keyring is put in place: a keyring without one is never in order.
fn read_pin(path: &Path, keyring: &Keyring<LockedArena>) -> Result<Pin, Report> {
    let bytes = files::read_whole(path, FILE_BYTES as u64).map_err(|error| store::failed(&error))?;
    let bytes = bytes.ok_or_else(|| {
        Report::new(ErrorCode::Rollback, "refusing to start: the pin of the audit log is missing")
            .fact("file", path.display().to_string())
            .why("without it a shortened log could not be told from a complete one")
            .fix(format!("restore it, or {ACCEPT}"))
    })?;
    keyring.open_pin(&bytes).map_err(|error| {
        Report::new(ErrorCode::AuditTampered, "refusing to start: the pin of the audit log does not hold")
            .fact("file", path.display().to_string())
            .why(error.to_string())
            .fix(format!("restore it, or {ACCEPT}"))
    })
}

/// Hands the whole log over in pieces; its length. A log that does not exist is empty.
fn read_log(path: &Path, mut hand_over: impl FnMut(&[u8])) -> io::Result<u64> {
    let flags = OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits() | OFlag::O_NOCTTY.bits();
    let mut file: File = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut piece = vec![0; PIECE_BYTES];
    let mut length = 0;
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(length),
            Ok(count) => {
                hand_over(piece.get(..count).unwrap_or_default());
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
