//! Starting: folders, locks, master key, keyring, audit log, in this order, each refused rather than guessed.
//!
//! Runs on a locked stack. Must never make a key, a keyring or a log because one could not be read:
//! only `--init` (on a wholly fresh state), `--new-keyring` and `--accept-rollback` allow that, each what
//! its name says.

use std::path::{Path, PathBuf};

use keyagent_common::{error::ErrorCode, kdf, key_text, layout::Layout, report::Report};
use keyagent_core::{
    audit::{AuditRoot, chain::NO_PREVIOUS_MAC, record::Event, verify::Verified},
    engine::Engine,
    keyring::Keyring,
    pin::Pin,
};
use keyagent_sys::memory::{LockPolicy, LockedArena, LockedBuffer};

use crate::{
    audit_log::{AuditLog, Line, SegmentIdentity, Tail},
    clock,
    files::{self, LockFile},
    history,
    source::{self, Master, Origin, Sources},
    store::{self, Known, SystemEntropy},
};

/// Longest marker that is read.
const MAX_MARKER_BYTES: u64 = 256;

/// What the command line allows beyond an ordinary start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    /// `--init`
    pub(crate) init: bool,
    /// `--new-keyring`
    pub(crate) new_keyring: bool,
    /// `--accept-rollback`
    pub(crate) accept_rollback: bool,
}

/// Everything that was opened.
pub(crate) struct Opened {
    pub(crate) engine: Engine<LockedArena>,
    pub(crate) audit: AuditLog,
    pub(crate) known: Known,
    pub(crate) origin: Origin,
    /// Held for life.
    pub(crate) store_lock: LockFile,
}

/// What starting needs to know.
pub(crate) struct Plan<'p> {
    pub(crate) layout: &'p Layout,
    pub(crate) arena: &'p LockedArena,
    pub(crate) lock_policy: LockPolicy,
    pub(crate) host: &'p str,
    pub(crate) expected_key_id: Option<&'p str>,
    pub(crate) allowed: Allowed,
}

impl Plan<'_> {
    /// Opens everything, or says why not and leaves every file as it was.
    #[inline(never)]
    pub(crate) fn open(&self, sources: Sources) -> Result<Opened, Report> {
        if self.allowed.init {
            self.check_fresh(&sources)?;
        }
        let store_lock = self.take_store()?;
        if self.allowed.init {
            // Again, now that nobody else can be at it.
            self.check_fresh(&sources)?;
            self.make_key(sources.file_to_make())?;
        }
        let (master, origin) = sources.load(self.arena)?;
        let print = kdf::master_fingerprint(&master);
        store::check_expected(self.expected_key_id, &print)?;
        let (engine, audit) = match store::read(self.layout, self.arena, &master)? {
            Some((keyring, root)) => self.continue_with(keyring, &root)?,
            None if self.allowed.init || self.allowed.new_keyring => self.make_keyring(&master)?,
            None => return Err(store::keyring_missing(self.layout, &print)),
        };
        drop(master);
        let keyring = engine.keyring();
        let known = Known {
            fingerprint: print,
            generation: keyring.generation(),
            head_digest: *keyring.head_digest(),
            keyring_id: *keyring.keyring_id(),
        };
        self.write_marker(keyring)?;
        Ok(Opened { engine, audit, known, origin, store_lock })
    }

    /// `--init` works on a state in which nothing exists.
    fn check_fresh(&self, sources: &Sources) -> Result<(), Report> {
        if sources.names_a_source() {
            return Err(Report::new(
                ErrorCode::AlreadyInitialized,
                "refusing to initialise: a master key is given",
            )
            .why("--init makes a new key file, and another source of the master key is named as well")
            .fix("keyagentd --new-keyring          (a new keyring for the key that is given)"));
        }
        let layout = self.layout;
        let places =
            [sources.file_to_make(), &layout.keyring, &layout.audit_log, &layout.audit_pin, &layout.marker];
        let there: Vec<&Path> =
            places.into_iter().filter(|path| std::fs::symlink_metadata(path).is_ok()).collect();
        if there.is_empty() {
            return source::check_place(sources.file_to_make());
        }
        let report =
            Report::new(ErrorCode::AlreadyInitialized, "refusing to initialise: something is there already");
        let report =
            there.iter().fold(report, |report, path| report.fact("exists", path.display().to_string()));
        Err(report
            .why("a new master key could not open what the old one sealed")
            .fix("keyagent start          (or move these files away, if you are sure)"))
    }

    /// Folders, and the lock that makes this the only daemon of the store.
    fn take_store(&self) -> Result<LockFile, Report> {
        let me = keyagent_sys::peer::effective_uid();
        for path in [&self.layout.keyring, &self.layout.audit_log] {
            let folder = path.parent().unwrap_or(path);
            files::make_private_folder(folder).map_err(|error| store::failed(&error))?;
            files::check_private_folder(folder, me).map_err(|error| store::failed(&error))?;
        }
        let lock = files::try_lock(&self.layout.store_lock).map_err(|error| store::failed(&error))?;
        let lock = lock.ok_or_else(|| {
            Report::new(ErrorCode::AlreadyRunning, "refusing to start: another daemon serves this keyring")
                .fact("file", self.layout.store_lock.display().to_string())
                .fix("keyagent status          (or choose another --state-dir)")
        })?;
        for path in [&self.layout.keyring, &self.layout.audit_pin, &self.layout.marker] {
            files::remove_stale_temporary(path).map_err(|error| store::failed(&error))?;
        }
        Ok(lock)
    }

    /// Makes the master key file: 64 hexadecimal digits, 0600, synced before anything depends on it.
    fn make_key(&self, path: &Path) -> Result<(), Report> {
        let folder = path.parent().unwrap_or(path);
        files::make_private_folder(folder).map_err(|error| store::failed(&error))?;
        let mut key = LockedBuffer::secret(key_text::KEY_BYTES, self.lock_policy)
            .map_err(|error| crate::memory_not_locked(&error))?;
        let mut text = LockedBuffer::secret(key_text::MAX_TEXT_BYTES, self.lock_policy)
            .map_err(|error| crate::memory_not_locked(&error))?;
        let internal = || Report::new(ErrorCode::Internal, "cannot make a key");
        let key = key.get_mut(..key_text::KEY_BYTES).ok_or_else(internal)?;
        keyagent_sys::random::fill(key).map_err(|error| internal().why(error.to_string()))?;
        let text = text.get_mut(..key_text::MAX_TEXT_BYTES).ok_or_else(internal)?;
        let (digits, newline) = text.split_at_mut(key_text::MAX_TEXT_BYTES - 1);
        newline.fill(b'\n');
        for (pair, byte) in digits.chunks_exact_mut(2).zip(key.iter()) {
            for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            }
        }
        files::create_new(path, text).map_err(|error| store::failed(&error))
    }

    /// A new keyring, its log and pin. What is left of an older one is kept beside the new files, and named.
    fn make_keyring(&self, master: &Master) -> Result<(Engine<LockedArena>, AuditLog), Report> {
        let made = Keyring::create(self.arena, master, &mut SystemEntropy, clock::unix_seconds());
        let (keyring, root) = made.map_err(|error| store::unusable(&self.layout.keyring, &error))?;
        let lost = files::read_whole(&self.layout.marker, MAX_MARKER_BYTES)
            .map_err(|error| store::failed(&error))?
            .map(|text| keyagent_common::report::escape(String::from_utf8_lossy(&text).trim()));
        let reason = match &lost {
            Some(lost) => format!("new keyring in place of a lost one: {lost}"),
            None => "new keyring".to_owned(),
        };
        if lost.is_some() {
            crate::report::warn(&format!("--new-keyring: {reason}"));
        }
        self.begin_anew(keyring, &root, &reason)
    }

    /// Continues with the keyring on disk, if log and pin agree with it.
    fn continue_with(
        &self,
        keyring: Keyring<LockedArena>,
        root: &AuditRoot<LockedArena>,
    ) -> Result<(Engine<LockedArena>, AuditLog), Report> {
        match history::examine(self.layout, &keyring, root) {
            Ok(history) => {
                let Verified { tail, unfinished_bytes, rejected_bytes, .. } = history.verified;
                let (segment, last_seq, mac) =
                    tail.map_or((0, 0, NO_PREVIOUS_MAC), |tail| (tail.segment, tail.seq, tail.mac));
                let cut_bytes = unfinished_bytes + rejected_bytes;
                if rejected_bytes > 0 {
                    keep_copy(&self.layout.audit_log)?;
                }
                let cut = format!("a crash left {cut_bytes} bytes that are no complete group: cut off");
                let reason = if cut_bytes > 0 { cut.as_str() } else { "start" };
                let tail = Tail { segment: segment + 1, last_seq, length: history.bytes - cut_bytes };
                let audit = self.begin_log(&keyring, root, tail, mac, reason)?;
                self.engine(keyring, audit)
            }
            Err(report)
                if self.allowed.accept_rollback
                    && matches!(report.code, ErrorCode::AuditTampered | ErrorCode::Rollback) =>
            {
                let reason = format!("rollback accepted: {}", report.why);
                crate::report::warn(&format!("--accept-rollback: {} ({})", report.what, report.why));
                self.begin_anew(keyring, root, &reason)
            }
            Err(report) => Err(report),
        }
    }

    /// A fresh log for a keyring, which gets a new generation and a pin written before it is put in place.
    fn begin_anew(
        &self,
        mut keyring: Keyring<LockedArena>,
        root: &AuditRoot<LockedArena>,
        reason: &str,
    ) -> Result<(Engine<LockedArena>, AuditLog), Report> {
        set_aside(&self.layout.audit_log)?;
        set_aside(&self.layout.audit_pin)?;
        let tail = Tail { segment: 1, last_seq: 0, length: 0 };
        let audit = self.begin_log(&keyring, root, tail, NO_PREVIOUS_MAC, reason)?;
        let draft = keyring.draft();
        store::commit(&mut keyring, draft, &audit, self.layout, |keyring, prepared| {
            let pin = Pin {
                generation: prepared.generation,
                head_digest: prepared.head_digest,
                ..audit.standing().pin(keyring)
            };
            files::replace(&self.layout.audit_pin, &keyring.seal_pin(&pin))
                .map_err(|error| store::failed(&error))
        })?;
        self.engine(keyring, audit)
    }

    fn begin_log(
        &self,
        keyring: &Keyring<LockedArena>,
        root: &AuditRoot<LockedArena>,
        tail: Tail,
        previous_mac: [u8; 32],
        reason: &str,
    ) -> Result<AuditLog, Report> {
        let (chain, salt) = store::chain(self.arena, keyring, root, tail.segment, previous_mac)?;
        let audit =
            AuditLog::open(&self.layout.audit_log, tail, chain).map_err(|error| store::unrecorded(&error))?;
        let identity =
            SegmentIdentity { host: self.host, epoch: keyring.epoch(), keyring_id: keyring.keyring_id() };
        let first = identity.first_line(&salt, &previous_mac);
        let second = Line::own(Event::DaemonStart { reason: Some(reason) });
        audit.append_durably(&[first, second]).map_err(|error| store::unrecorded(&error))?;
        Ok(audit)
    }

    /// The engine; and the pin, so that from the first moment one exists.
    fn engine(
        &self,
        keyring: Keyring<LockedArena>,
        audit: AuditLog,
    ) -> Result<(Engine<LockedArena>, AuditLog), Report> {
        let engine = Engine::new(self.arena, keyring)
            .map_err(|error| store::unusable(&self.layout.keyring, &error))?;
        crate::pinning::write(&audit, &engine, &self.layout.audit_pin).map_err(|error| {
            Report::new(ErrorCode::StoreFailed, "the audit pin cannot be written").why(error.to_string())
        })?;
        Ok((engine, audit))
    }

    fn write_marker(&self, keyring: &Keyring<LockedArena>) -> Result<(), Report> {
        let text = format!(
            "keyagent state of keyring {}\n",
            keyagent_common::fingerprint::full(keyring.keyring_id())
        );
        let there = files::read_whole(&self.layout.marker, MAX_MARKER_BYTES);
        if there.is_ok_and(|there| there.is_some_and(|there| there == text.as_bytes())) {
            return Ok(());
        }
        files::replace(&self.layout.marker, text.as_bytes()).map_err(|error| store::failed(&error))
    }
}

/// Moves a file that cannot be continued out of the way; it is never deleted.
fn set_aside(path: &Path) -> Result<(), Report> {
    match std::fs::rename(path, aside(path)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Report::new(ErrorCode::StoreFailed, "an old file cannot be set aside")
                .fact("file", path.display().to_string())
                .why(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// Before bytes are cut off that are more than a torn write, for whoever wants to look at them.
fn keep_copy(path: &Path) -> Result<(), Report> {
    std::fs::copy(path, aside(path)).map(|_| ()).map_err(|error| {
        Report::new(ErrorCode::StoreFailed, "the audit log cannot be copied before it is cut")
            .fact("file", path.display().to_string())
            .why(error.to_string())
    })
}

/// The name under which a file is kept: `audit.log.set-aside-<microseconds since 1970>`.
fn aside(path: &Path) -> PathBuf {
    let mut aside = path.as_os_str().to_os_string();
    aside.push(format!(".set-aside-{}", clock::unix_micros()));
    PathBuf::from(aside)
}
