//! The keyring on disk: read, made, replaced, compared; and the audit lines that belong to it.
//!
//! A keyring is put in place between two lines of the audit log, `keyring.intent` (synced before) and
//! `keyring.commit` (after), so that an older one put back is noticed. Never makes one because reading
//! one failed.

use std::path::Path;

use keyagent_common::{error::ErrorCode, fingerprint, layout::Layout, report::Report};
use keyagent_core::{
    audit::{AuditRoot, bridge::BridgeSecret, chain::Chain, record::Event},
    entropy::{Entropy, EntropyFailed},
    keyring::{Draft, Keyring, KeyringError, PreparedCommit, file::MAX_FILE_BYTES},
    pin::FILE_BYTES,
};
use keyagent_sys::{memory::LockedArena, random};

use crate::{
    audit_log::{AuditLog, AuditUnwritable, Line, NextSegment, SegmentIdentity},
    files::{self, FileError},
    state::Shared,
};

/// Randomness of the operating system, a system call for each request.
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        random::fill(out).map_err(|_| EntropyFailed)
    }
}

/// Which keyring is in use; the one on disk must be the same at unlock and reload.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Public fingerprint of its master key: of the one that was read, while two open it.
    pub(crate) fingerprint: [u8; 16],
    /// Fingerprints of all that open it: the one in use, and behind it the next one of an unfinished rotation.
    pub(crate) masters: Vec<[u8; 16]>,
    /// Its generation.
    pub(crate) generation: u64,
    /// SHA-256 of its header, slots and head.
    pub(crate) head_digest: [u8; 32],
    /// Its random id.
    pub(crate) keyring_id: [u8; 16],
}

impl Known {
    /// The keyring that was opened with a master key.
    pub(crate) fn of(keyring: &Keyring<LockedArena>, fingerprint: [u8; 16]) -> Self {
        Self {
            fingerprint,
            masters: keyring.masters(),
            generation: keyring.generation(),
            head_digest: *keyring.head_digest(),
            keyring_id: *keyring.keyring_id(),
        }
    }

    /// A keyring that cannot be opened yet: what its file says in the clear.
    pub(crate) fn unopened(layout: &Layout, fingerprint: [u8; 16]) -> Result<Self, Report> {
        let bytes =
            files::read_whole(&layout.keyring, MAX_FILE_BYTES as u64).map_err(|error| failed(&error))?;
        let bytes = bytes.ok_or_else(|| keyring_missing(layout, &fingerprint))?;
        let seen =
            keyagent_core::keyring::examine(&bytes).map_err(|error| unusable(&layout.keyring, &error))?;
        let keyagent_core::keyring::Examined { keyring_id, generation, head_digest, masters } = seen;
        if !masters.contains(&fingerprint) {
            // Known before anybody types a passphrase.
            let error = KeyringError::WrongKey { expected: masters, got: fingerprint };
            return Err(unusable(&layout.keyring, &error));
        }
        Ok(Self { fingerprint, masters, generation, head_digest, keyring_id })
    }

    /// The next generation is in place.
    pub(crate) fn advance(&mut self, keyring: &Keyring<LockedArena>) {
        self.generation = keyring.generation();
        self.head_digest = *keyring.head_digest();
        self.masters = keyring.masters();
        if let Some(first) = self.masters.first().filter(|_| !self.is_opened_by(&self.fingerprint)) {
            self.fingerprint = *first;
        }
    }

    /// Whether the master key of this fingerprint opens it.
    pub(crate) fn is_opened_by(&self, fingerprint: &[u8; 16]) -> bool {
        self.masters.contains(fingerprint)
    }

    /// The master key that is to take the place of the one in use, while a rotation of it is unfinished.
    pub(crate) fn next_master(&self) -> Option<&[u8; 16]> {
        self.masters.get(1)
    }

    /// Refuses any keyring but the one in use.
    pub(crate) fn check(&self, keyring: &Keyring<LockedArena>) -> Result<(), Report> {
        if keyring.keyring_id() == &self.keyring_id
            && keyring.generation() == self.generation
            && keyring.head_digest() == &self.head_digest
        {
            return Ok(());
        }
        Err(Report::new(ErrorCode::Rollback, "the keyring on disk is not the one in use")
            .why("it was replaced from outside while the daemon ran")
            .fix("restore it, or restart the daemon to have it examined: keyagent stop; keyagent start"))
    }
}

/// A keyring and what its audit chain begins with; the latter is dropped as soon as a segment has begun.
pub(crate) type OpenKeyring = (Keyring<LockedArena>, AuditRoot<LockedArena>);

/// Reads and opens the keyring; `None` when there is none.
pub(crate) fn read(
    layout: &Layout,
    arena: &LockedArena,
    master: &[u8; 32],
) -> Result<Option<OpenKeyring>, Report> {
    let Some(bytes) =
        files::read_whole(&layout.keyring, MAX_FILE_BYTES as u64).map_err(|error| failed(&error))?
    else {
        return Ok(None);
    };
    Keyring::open(arena, &bytes, master).map(Some).map_err(|error| unusable(&layout.keyring, &error))
}

/// What is not as it should be, although the keyring is in place and in use.
#[derive(Debug, Default)]
pub(crate) struct Shortfall {
    /// The folder could not be synced: after a power loss the keyring before this one may be found.
    pub(crate) unsynced: Option<Report>,
    /// The log has no line of it but the intent.
    pub(crate) unrecorded: Option<Report>,
}

impl Shortfall {
    /// What is answered in the place of success.
    pub(crate) fn told(&self) -> Option<Report> {
        let instead =
            |report: &Report, what: &str, fix: &str| Report { what: what.into(), ..report.clone() }.fix(fix);
        let unsynced = self.unsynced.as_ref().map(|report| {
            let fix = "check the disk, restart the agent, and look whether it is still so";
            instead(report, "done, but a loss of power may undo it", fix)
        });
        let unrecorded = self.unrecorded.as_ref();
        unsynced.or_else(|| {
            unrecorded.map(|report| instead(report, "done, but the audit log cannot be written", &report.fix))
        })
    }
}

/// [`commit_recording`] without further lines; what falls short is told on stderr.
pub(crate) fn commit(
    keyring: &mut Keyring<LockedArena>,
    draft: Draft<LockedArena>,
    log: &AuditLog,
    layout: &Layout,
    before_it_is_in_place: impl FnOnce(&Keyring<LockedArena>, &PreparedCommit) -> Result<(), Report>,
) -> Result<(), Report> {
    let Shortfall { unsynced, unrecorded } =
        commit_recording(keyring, draft, log, layout, before_it_is_in_place, &[])?;
    for report in unsynced.into_iter().chain(unrecorded) {
        crate::report::failure(&report);
    }
    Ok(())
}

/// Puts the next generation in place: intent, rename, commit. `lines` say what was done; they are in one group
/// with the commit, synced.
///
/// An error means that nothing was changed. From the rename on there is none any more: what the disk holds is what
/// is used.
pub(crate) fn commit_recording(
    keyring: &mut Keyring<LockedArena>,
    draft: Draft<LockedArena>,
    log: &AuditLog,
    layout: &Layout,
    before_it_is_in_place: impl FnOnce(&Keyring<LockedArena>, &PreparedCommit) -> Result<(), Report>,
    lines: &[Line<'_>],
) -> Result<Shortfall, Report> {
    settle_epoch(keyring, log, layout)?;
    let standing = log.sync_for_pin().map_err(|error| unrecorded(&error))?;
    let pin = standing.map(|standing| standing.pin(keyring));
    let prepared =
        draft.prepare(pin.as_ref(), &mut SystemEntropy).map_err(|error| unusable(&layout.keyring, &error))?;
    let (generation, digest) = (prepared.generation, &prepared.head_digest);
    let staged = files::stage(&layout.keyring, &prepared.bytes).map_err(|error| failed(&error))?;
    log.append_durably(&[Line::own(Event::KeyringIntent { generation, digest })])
        .map_err(|error| unrecorded(&error))?;
    before_it_is_in_place(keyring, &prepared)?;
    let mut shortfall = Shortfall::default();
    if let Err(error) = staged.place() {
        if !is_in_place(layout, digest) {
            return Err(failed(&error));
        }
        shortfall.unsynced = Some(failed(&error));
    }
    let mut group = vec![Line::own(Event::KeyringCommit { generation, digest })];
    group.extend_from_slice(lines);
    shortfall.unrecorded = log.append_durably(&group).err().map(|error| unrecorded(&error));
    // Cannot fail: the draft is of this very keyring, which nobody else changes.
    keyring.confirm(prepared).map_err(|error| unusable(&layout.keyring, &error))?;
    Ok(shortfall)
}

/// The keyring that began an epoch gives way only once the pin is one of that epoch: a start accepts one of the epoch
/// before with that very keyring alone.
pub(crate) fn settle_epoch(
    keyring: &Keyring<LockedArena>,
    log: &AuditLog,
    layout: &Layout,
) -> Result<(), Report> {
    if !keyring.begins_epoch() {
        return Ok(());
    }
    let pin = files::read_whole(&layout.audit_pin, FILE_BYTES as u64).map_err(|error| failed(&error))?;
    if pin.is_some_and(|pin| keyring.open_pin(&pin).is_ok()) {
        return Ok(());
    }
    let standing = match log.sync_for_pin().map_err(|error| unrecorded(&error))? {
        Some(standing) => standing,
        None => log.standing(),
    };
    files::replace(&layout.audit_pin, &keyring.seal_pin(&standing.pin(keyring)))
        .map_err(|error| failed(&error))
}

/// Whether the keyring on disk is the one with this head, as when a rename was done and only the folder not synced.
fn is_in_place(layout: &Layout, head_digest: &[u8; 32]) -> bool {
    let read = files::read_whole(&layout.keyring, MAX_FILE_BYTES as u64).ok().flatten();
    let seen = read.and_then(|bytes| keyagent_core::keyring::examine(&bytes).ok());
    seen.is_some_and(|seen| seen.head_digest == *head_digest)
}

/// The keyring on disk against the one in use; its generation.
pub(crate) fn compare_with_disk(shared: &Shared) -> Result<u64, Report> {
    let layout = &shared.settings.layout;
    let bytes = files::read_whole(&layout.keyring, MAX_FILE_BYTES as u64).map_err(|error| failed(&error))?;
    let known = shared.known();
    let bytes = bytes.ok_or_else(|| keyring_missing(layout, &known.fingerprint))?;
    let seen = keyagent_core::keyring::examine(&bytes).map_err(|error| unusable(&layout.keyring, &error))?;
    if (seen.keyring_id, seen.generation, seen.head_digest)
        == (known.keyring_id, known.generation, known.head_digest)
    {
        return Ok(known.generation);
    }
    Err(Report::new(ErrorCode::Rollback, "the keyring on disk is not the one in use")
        .fact("file", layout.keyring.display().to_string())
        .why("it was replaced or changed from outside while the daemon ran; the one in memory stays in use")
        .fix("restore it, or restart the daemon to have it examined: keyagent stop; keyagent start"))
}

/// A fresh chain for a segment; its salt.
pub(crate) fn chain(
    arena: &LockedArena,
    keyring: &Keyring<LockedArena>,
    root: &AuditRoot<LockedArena>,
    segment: u64,
    previous_mac: [u8; 32],
) -> Result<(Chain<LockedArena>, [u8; 16]), Report> {
    let mut salt = [0; 16];
    SystemEntropy.fill(&mut salt).map_err(|error| Report::new(ErrorCode::Internal, error.to_string()))?;
    let chain = Chain::begin(arena, root, keyring.keyring_id(), segment, &salt, previous_mac);
    Ok((chain.map_err(crate::arena_full)?, salt))
}

/// Begins the next segment of a running daemon's log: at unlock. Behind a bridge its first line states the
/// bridge's key, sealed.
pub(crate) fn begin_segment(
    shared: &Shared,
    keyring: &Keyring<LockedArena>,
    root: &AuditRoot<LockedArena>,
    bridge: Option<&BridgeSecret<LockedArena>>,
    unauthenticated_from: Option<u64>,
) -> Result<(), Report> {
    let identity = SegmentIdentity {
        host: &shared.settings.host,
        epoch: keyring.epoch(),
        keyring_id: keyring.keyring_id(),
    };
    let make = |segment, previous_mac| -> Result<NextSegment, Report> {
        let (chain, salt) = chain(&shared.arena, keyring, root, segment, previous_mac)?;
        let sealed = bridge.map(|secret| root.seal_bridge(secret, &mut SystemEntropy)).transpose();
        let bridge_key =
            sealed.map_err(|error| Report::new(ErrorCode::Internal, "no bridge").why(error.to_string()))?;
        Ok(NextSegment { bridge_key, unauthenticated_from, ..NextSegment::plain(chain, salt) })
    };
    shared.audit.begin_bridging(make, identity)
}

/// `KEYAGENT_EXPECT_KEY_ID`: refuses every master key but the one named.
pub(crate) fn check_expected(expected: Option<&str>, print: &[u8; 16]) -> Result<(), Report> {
    match expected {
        Some(text) if !fingerprint::matches(text, print) => Err(Report::new(
            ErrorCode::WrongMasterKey,
            "refusing to start: this is not the expected master key",
        )
        .fact("expect", keyagent_common::report::escape(text))
        .fact("found", format!("{}   {}", fingerprint::short(print), fingerprint::full(print)))
        .why("KEYAGENT_EXPECT_KEY_ID names another key")
        .fix("install the right key file, or correct the variable")),
        _ => Ok(()),
    }
}

/// There is a master key, but no keyring.
pub(crate) fn keyring_missing(layout: &Layout, print: &[u8; 16]) -> Report {
    Report::new(ErrorCode::KeyringMissing, "refusing to start: there is a master key but no keyring")
        .fact("file", format!("{}   does not exist", layout.keyring.display()))
        .fact("master", fingerprint::short(print))
        .why("keys other than `default` exist in the keyring alone; a new one could not open what they sealed")
        .fix("restore the keyring from its backup; or, if this key never had one here: keyagent start --new-keyring")
}

/// The keyring is there but cannot be used.
pub(crate) fn unusable(path: &Path, error: &KeyringError) -> Report {
    let (code, what) = match error {
        KeyringError::WrongKey { .. } => {
            (ErrorCode::WrongMasterKey, "the master key does not belong to this keyring")
        }
        KeyringError::UnsupportedVersion(_) => {
            (ErrorCode::Configuration, "the keyring is of a newer version")
        }
        KeyringError::NotAKeyring | KeyringError::Truncated | KeyringError::Damaged(_) => {
            (ErrorCode::Damaged, "the keyring is damaged")
        }
        _ => (ErrorCode::Internal, "the keyring cannot be used"),
    };
    let fix = match code {
        ErrorCode::WrongMasterKey => {
            "install the key file that belongs to this keyring, or the keyring of this key"
        }
        ErrorCode::Configuration => "install a version of keyagent at least as new as the one that wrote it",
        _ => "restore the keyring from its backup; nothing was changed",
    };
    Report::new(code, format!("refusing to start: {what}"))
        .fact("file", path.display().to_string())
        .why(error.to_string())
        .fix(fix)
}

/// A file or folder of the store failed.
pub(crate) fn failed(error: &FileError) -> Report {
    Report::new(ErrorCode::StoreFailed, "the state folder cannot be used")
        .fact("file", error.path.display().to_string())
        .why(error.to_string())
        .fix("check owner, rights and free space of the folder; nothing was changed")
}

impl From<AuditUnwritable> for Report {
    fn from(error: AuditUnwritable) -> Self {
        unrecorded(&error)
    }
}

/// The log refused a line.
pub(crate) fn unrecorded(error: &AuditUnwritable) -> Report {
    Report::new(ErrorCode::AuditUnwritable, "the audit log cannot be written")
        .why(error.to_string())
        .fix(error.fix())
}
