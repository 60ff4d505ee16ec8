//! Do keyring, audit log and pin belong to each other? Asked at every start, before anything is written.
//!
//! The log is read in pieces, and only from the file on in which the pinned group lies: what stands in older
//! files was read by earlier starts, and is looked at again by `audit verify` alone ([`crate::verify`]). Must
//! never repair or move anything.

#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a method by name is not general enough in its lifetime"
)]

use std::{io, path::Path};

use keyagent_common::{error::ErrorCode, layout::Layout, report::Report};
use keyagent_core::{
    audit::{
        AuditRoot,
        bridge::BridgeSecret,
        verify::{AuditError, Expected, FoundBridges, Start, Verified, Verifier},
    },
    keyring::Keyring,
    pin::{FILE_BYTES, Pin, PinError},
};
use keyagent_sys::memory::LockedArena;

use crate::{files, store};

mod log_files;

pub(crate) use log_files::LogFiles;

/// How one goes on in spite of what was found.
const ACCEPT: &str = "go on and have it recorded: keyagent start --accept-rollback";

/// What a log that is in order says, and how long it is.
pub(crate) struct History {
    /// Of the files from the pinned one on.
    pub(crate) verified: Verified,
    /// Bytes of the current file; 0 if there is none, as after a crash in the middle of a rotation.
    pub(crate) bytes: u64,
}

/// Log, pin and keyring must belong to each other: at start.
pub(crate) fn examine(
    layout: &Layout,
    keyring: &Keyring<LockedArena>,
    root: &AuditRoot<LockedArena>,
) -> Result<History, Report> {
    compare(layout, keyring, root, None, |verifier| verifier.finish_after_crash())
}

/// The same at the first unlock of a daemon that started locked: it wrote a bridge meanwhile, with the first key
/// `own`. Nothing was appended by anybody else, so nothing is excused by a crash.
pub(crate) fn examine_at_unlock(
    layout: &Layout,
    keyring: &Keyring<LockedArena>,
    root: &AuditRoot<LockedArena>,
    own: &BridgeSecret<LockedArena>,
) -> Result<History, Report> {
    compare(layout, keyring, root, Some(own), |verifier| verifier.finish_strictly())
}

fn compare(
    layout: &Layout,
    keyring: &Keyring<LockedArena>,
    root: &AuditRoot<LockedArena>,
    own_bridge: Option<&BridgeSecret<LockedArena>>,
    finish: impl for<'v> FnOnce(Verifier<'v, LockedArena>) -> Result<Verified, AuditError>,
) -> Result<History, Report> {
    let pin = furthest_pin(layout, keyring, root)?;
    let bridges = FoundBridges::none();
    let expected = Expected {
        root: Some(root),
        keyring_id: keyring.keyring_id(),
        pin: Some(&pin),
        bridges: &bridges,
        own_bridge,
    };
    let history = walk(layout, expected, finish)?;
    check_keyring(layout, keyring, &history.verified, &pin)?;
    Ok(history)
}

/// Where the log ends, for a daemon that starts locked: numbers and links are checked from the pinned group on, but
/// neither macs nor the pin itself, since there is no key. [`examine_at_unlock`] checks the rest.
pub(crate) fn survey(layout: &Layout, keyring_id: &[u8; 16]) -> Result<History, Report> {
    let bytes = read_pin_file(&layout.audit_pin)?;
    let pin = Pin::read_unverified(&bytes).map_err(|error| pin_does_not_hold(&layout.audit_pin, error))?;
    let bridges = FoundBridges::none();
    let expected = Expected::<LockedArena> {
        root: None,
        keyring_id,
        pin: Some(&pin),
        bridges: &bridges,
        own_bridge: None,
    };
    walk(layout, expected, |verifier| verifier.finish_after_crash())
}

/// Reads the log from the pinned file on, twice if it holds the keys of bridges.
fn walk(
    layout: &Layout,
    expected: Expected<'_, LockedArena>,
    finish: impl for<'v> FnOnce(Verifier<'v, LockedArena>) -> Result<Verified, AuditError>,
) -> Result<History, Report> {
    let unreadable = |error: (&Path, io::Error)| log_unreadable(error.0, &error.1);
    let log = LogFiles::open(&layout.audit_log).map_err(|error| log_unreadable(&layout.audit_log, &error))?;
    let log = log.reading_from(expected.pin.map_or(0, |pin| pin.seq));
    let mut bridges = expected.bridges.clone();
    loop {
        let mut verifier = Verifier::new(Start::AnyFile, Expected { bridges: &bridges, ..expected });
        log.push_to(&mut verifier).map_err(unreadable)?;
        if let Some(found) = verifier.found_bridges() {
            bridges = found;
            continue;
        }
        let verdict = finish(verifier).map_err(|error| {
            Report::new(
                ErrorCode::AuditTampered,
                "refusing to start: the audit log was changed, cut or replaced",
            )
            .fact("file", log.path(error.file).unwrap_or(&layout.audit_log).display().to_string())
            .why(error.to_string())
            .fix(format!("restore it, or {ACCEPT}"))
        })?;
        return Ok(History { verified: verdict, bytes: log.current_bytes() });
    }
}

/// The keyring is the one of the last intent or commit.
fn check_keyring(
    layout: &Layout,
    keyring: &Keyring<LockedArena>,
    verified: &Verified,
    pin: &Pin,
) -> Result<(), Report> {
    if is_in_step(keyring, verified, pin) {
        return Ok(());
    }
    let keyring_fact = format!("{}   generation {}", layout.keyring.display(), keyring.generation());
    Err(Report::new(ErrorCode::Rollback, "refusing to start: keyring and audit log are out of step")
        .fact("file", keyring_fact)
        .fact("file", layout.audit_log.display().to_string())
        .why("one of them was put back from an earlier time, or lost")
        .fix(format!("restore both from the same backup, or {ACCEPT}")))
}

/// Whether log and pin know this keyring as the one on disk. Where no line says which it was, since the last commit
/// lies in a file that is not read, the pin does: no keyring was put in place between the two.
pub(crate) fn is_in_step(keyring: &Keyring<LockedArena>, verified: &Verified, pin: &Pin) -> bool {
    let (generation, digest) = (keyring.generation(), keyring.head_digest());
    let pinned = verified.last_commit.is_none() && (pin.generation, &pin.head_digest) == (generation, digest);
    pin.generation <= generation && (pinned || verified.accepts_keyring(generation, digest))
}

/// The pin that reaches furthest: that of the file or that of the keyring's head.
///
/// The file is written before its keyring is put in place: a keyring without one is never in order. Of a daemon that
/// ended right after it put the first keyring of an epoch in place, it is one of the epoch before.
pub(crate) fn furthest_pin(
    layout: &Layout,
    keyring: &Keyring<LockedArena>,
    root: &AuditRoot<LockedArena>,
) -> Result<Pin, Report> {
    let bytes = read_pin_file(&layout.audit_pin)?;
    let pin = keyring.open_pin(&bytes).or_else(|error| {
        let before = root.open_pin_before(keyring.generation(), &bytes);
        before.map_err(|_| error)
    });
    let pin = pin.map_err(|error| pin_does_not_hold(&layout.audit_pin, error))?;
    Ok(keyring.pin().filter(|head| head.seq > pin.seq).copied().unwrap_or(pin))
}

fn read_pin_file(path: &Path) -> Result<Vec<u8>, Report> {
    let bytes = files::read_whole(path, FILE_BYTES as u64).map_err(|error| store::failed(&error))?;
    bytes.ok_or_else(|| {
        Report::new(ErrorCode::Rollback, "refusing to start: the pin of the audit log is missing")
            .fact("file", path.display().to_string())
            .why("without it a shortened log could not be told from a complete one")
            .fix(format!("restore it, or {ACCEPT}"))
    })
}

fn pin_does_not_hold(path: &Path, error: PinError) -> Report {
    Report::new(ErrorCode::AuditTampered, "refusing to start: the pin of the audit log does not hold")
        .fact("file", path.display().to_string())
        .why(error.to_string())
        .fix(format!("restore it, or {ACCEPT}"))
}

/// The log is there and cannot be read.
pub(crate) fn log_unreadable(path: &Path, error: &io::Error) -> Report {
    Report::new(ErrorCode::StoreFailed, "the audit log cannot be read")
        .fact("file", path.display().to_string())
        .why(error.to_string())
        .fix("check owner and rights of the file; nothing was changed")
}
