//! Starting: folders, locks, master key, keyring, audit log, in this order, each refused rather than guessed.
//!
//! Runs on a locked stack. Must never make a key, a keyring or a log because one could not be read:
//! only `--init` (on a wholly fresh state), `--new-keyring` and `--accept-rollback` allow that, each what
//! its name says.

use std::path::{Path, PathBuf};

use keyagent_common::{error::ErrorCode, kdf, key_text, layout::Layout, protected_key, report::Report};
use keyagent_core::{
    audit::{
        AuditRoot,
        bridge::BridgeSecret,
        chain::{Chain, NO_PREVIOUS_MAC},
        record::{Bridging, Event},
        verify::Verified,
    },
    engine::{Engine, LockedEngine},
    keyring::Keyring,
    pin::Pin,
};
use keyagent_sys::memory::{LockPolicy, LockedArena, LockedBuffer};

use crate::{
    audit_log::{self, AuditLog, Line, LogSettings, SegmentIdentity, Tail},
    clock,
    files::{self, LockFile},
    history::{self, History},
    source::{self, Found, Master, Origin, Sources},
    state::EngineState,
    store::{self, Known, SystemEntropy},
    usage::{Before, KeyUsage},
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
    pub(crate) engine: EngineState,
    /// Of a daemon that starts locked: the first key of the log's segment.
    pub(crate) bridge: Option<BridgeSecret<LockedArena>>,
    pub(crate) audit: AuditLog,
    pub(crate) usage: KeyUsage,
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
    /// How the audit log is kept: how much it may hold must be known before the first line.
    pub(crate) log: LogSettings,
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
        let (master, origin) = match sources.find(self.arena)? {
            Found::Plain(master, origin) => (master, origin),
            Found::Protected { path, fingerprint } => {
                return self.open_locked(path, fingerprint, store_lock);
            }
        };
        let print = kdf::master_fingerprint(&master);
        store::check_expected(self.expected_key_id, &print)?;
        let (engine, audit) = match store::read(self.layout, self.arena, &master)? {
            Some((keyring, root)) => self.continue_with(keyring, &root)?,
            None if self.allowed.init || self.allowed.new_keyring => self.make_keyring(&master)?,
            None => return Err(store::keyring_missing(self.layout, &print)),
        };
        drop(master);
        let known = Known::of(engine.keyring(), print);
        self.write_marker(engine.keyring())?;
        let usage = KeyUsage::new(&self.layout.counters);
        usage.open(engine.keyring(), self.use_before());
        let engine = EngineState::Unlocked(Box::new(engine));
        Ok(Opened { engine, bridge: None, audit, usage, known, origin, store_lock })
    }

    /// There is only a key under a passphrase: nothing is opened, and nothing but the log is written, until a
    /// client brings it. Whether log and keyring belong to each other is examined then.
    fn open_locked(
        &self,
        path: PathBuf,
        fingerprint: [u8; 16],
        store_lock: LockFile,
    ) -> Result<Opened, Report> {
        store::check_expected(self.expected_key_id, &fingerprint)?;
        if self.allowed.new_keyring || self.allowed.accept_rollback {
            return Err(Report::new(
                ErrorCode::Configuration,
                "refusing to start: the master key is locked away",
            )
            .fact("file", path.display().to_string())
            .why("--new-keyring and --accept-rollback need the key at once")
            .fix("give it for this one start: --key-fd N"));
        }
        let known = Known::unopened(self.layout, fingerprint)?;
        let (audit, bridge) = self.begin_bridge(&known)?;
        let origin = Origin::Protected(path);
        let engine = EngineState::Locked(LockedEngine);
        let usage = KeyUsage::new(&self.layout.counters);
        Ok(Opened { engine, bridge: Some(bridge), audit, usage, known, origin, store_lock })
    }

    /// What is to be thought of the use of keys before, if no file says so.
    fn use_before(&self) -> Before {
        let Allowed { init, new_keyring, accept_rollback } = self.allowed;
        match (init, new_keyring || accept_rollback) {
            (true, _) => Before::Unused,
            (false, true) => Before::NotBelieved,
            (false, false) => Before::Unknown,
        }
    }

    /// The log of a daemon that starts locked: goes on behind its last complete group with a random key.
    fn begin_bridge(&self, known: &Known) -> Result<(AuditLog, BridgeSecret<LockedArena>), Report> {
        let history = history::survey(self.layout, &known.keyring_id)?;
        let (tail, mac, cut) = behind(&history);
        let random = BridgeSecret::random(self.arena, &mut SystemEntropy, &known.keyring_id, tail.segment);
        let secret = random.map_err(|error| {
            Report::new(ErrorCode::Internal, "the audit log cannot be continued").why(error.to_string())
        })?;
        let chain = Chain::begin_bridge(self.arena, &secret, mac).map_err(crate::arena_full)?;
        if history.verified.rejected_bytes > 0 {
            keep_copy(&self.layout.audit_log)?;
        }
        let audit = self.open_log(tail, chain)?;
        // The epoch stands in the keyring's sealed part; a bridge does not know it.
        let identity = SegmentIdentity { host: self.host, epoch: 0, keyring_id: &known.keyring_id };
        let unauthenticated_from = history.verified.unauthenticated_from;
        let bridging = Bridging { bridge: true, unauthenticated_from, ..Bridging::default() };
        let first = identity.first_line_bridging(secret.salt(), &mac, bridging);
        let reason = cut.unwrap_or_else(|| "start, locked".to_owned());
        let second = Line::own(Event::DaemonStart { reason: Some(&reason) });
        audit.append_durably(&[first, second]).map_err(|error| store::unrecorded(&error))?;
        Ok((audit, secret))
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
        let protected = protected_key::beside(sources.file_to_make());
        let places = [
            sources.file_to_make(),
            &protected,
            &layout.keyring,
            &layout.audit_log,
            &layout.audit_pin,
            &layout.marker,
        ];
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
        let (layout, next_counters) = (self.layout, crate::usage::next(&self.layout.counters));
        for path in [&layout.keyring, &layout.audit_pin, &layout.marker, &layout.counters, &next_counters] {
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
                let (tail, mac, cut) = behind(&history);
                let Verified { rejected_bytes, kept_from, unauthenticated_from, .. } = history.verified;
                if rejected_bytes > 0 {
                    keep_copy(&self.layout.audit_log)?;
                }
                let reason = cut.unwrap_or_else(|| "start".to_owned());
                let audit = self.begin_log(&keyring, root, tail, mac, unauthenticated_from, &reason)?;
                if let Some(first_seq) = kept_from {
                    // What a crash left undeleted, although the log says that it is gone.
                    audit.finish_retention(first_seq).map_err(|error| store::unrecorded(&error))?;
                }
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
        for (_, rotated) in audit_log::archive::rotated_files(&self.layout.audit_log)
            .map_err(|error| history::log_unreadable(&self.layout.audit_log, &error))?
        {
            set_aside(&rotated)?;
        }
        set_aside(&self.layout.audit_pin)?;
        let tail = Tail { segment: 1, last_seq: 0, length: 0 };
        let audit = self.begin_log(&keyring, root, tail, NO_PREVIOUS_MAC, None, reason)?;
        let mut draft = keyring.draft();
        // Segments count from 1 again: none of the new log's is one of an earlier epoch.
        draft.forget_earlier_epochs();
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
        unauthenticated_from: Option<u64>,
        reason: &str,
    ) -> Result<AuditLog, Report> {
        let (chain, salt) = store::chain(self.arena, keyring, root, tail.segment, previous_mac)?;
        let audit = self.open_log(tail, chain)?;
        let identity =
            SegmentIdentity { host: self.host, epoch: keyring.epoch(), keyring_id: keyring.keyring_id() };
        let bridging = Bridging { unauthenticated_from, ..Bridging::default() };
        let first = identity.first_line_bridging(&salt, &previous_mac, bridging);
        let second = Line::own(Event::DaemonStart { reason: Some(reason) });
        audit.append_durably(&[first, second]).map_err(|error| store::unrecorded(&error))?;
        Ok(audit)
    }

    fn open_log(&self, tail: Tail, chain: Chain<LockedArena>) -> Result<AuditLog, Report> {
        AuditLog::open(&self.layout.audit_log, tail, chain, self.log)
            .map_err(|error| store::unrecorded(&error))
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

/// Where the log goes on, the mac before that, and what is cut off in between, in words.
fn behind(history: &History) -> (Tail, [u8; 32], Option<String>) {
    let Verified { tail, unfinished_bytes, rejected_bytes, .. } = &history.verified;
    let (segment, last_seq, mac) =
        tail.map_or((0, 0, NO_PREVIOUS_MAC), |tail| (tail.segment, tail.seq, tail.mac));
    let cut_bytes = unfinished_bytes + rejected_bytes;
    let cut = format!("a crash left {cut_bytes} bytes that are no complete group: cut off");
    let length = history.bytes.saturating_sub(cut_bytes);
    (Tail { segment: segment + 1, last_seq, length }, mac, Some(cut).filter(|_| cut_bytes > 0))
}

/// Moves a file that cannot be continued out of the way; it is never deleted.
pub(crate) fn set_aside(path: &Path) -> Result<(), Report> {
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
