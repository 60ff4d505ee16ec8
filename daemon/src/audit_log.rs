//! The audit log on disk: one group of lines per burst, written before the answer leaves.
//!
//! Must never let a request pass that it could not record: a failed write is undone and reported, and
//! the chain moves on only once its bytes are in the file.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use keyagent_core::{audit::chain::Chain, keyring::Keyring, pin::Pin};
use keyagent_sys::memory::LockedArena;
use nix::fcntl::OFlag;
use tokio::sync::Notify;

pub(crate) mod archive;
mod floods;
mod journal;
mod line;
mod query;
mod retention;
mod rotation;
mod settings;
mod writer;

pub(crate) use line::{Line, Manner, NextSegment, SegmentIdentity};
pub(crate) use query::Wanted;
pub(crate) use rotation::ALERT_KIND as ROTATION_ALERT;
pub(crate) use settings::LogSettings;
#[cfg(test)]
use settings::{Durability, WhenFull};

use archive::Archive;
use floods::Floods;
use journal::Copies;
use writer::{Failed, Rotation, Sync, USUAL_LINE_BYTES, Writer};

/// What cannot be done to a log whose budget is used up.
const EXTEND: &str = "extend";

/// The log could not be written; the request that caused the line must be refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the audit log {}: {error}", path.display())]
pub(crate) struct AuditUnwritable {
    action: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl AuditUnwritable {
    /// Whether nothing is wrong but that its budget is used up.
    pub(crate) fn is_budget(&self) -> bool {
        self.action == EXTEND
    }

    /// One that did not happen.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self { action: "write", path: PathBuf::new(), error: io::Error::other("a test") }
    }

    /// What mends it.
    pub(crate) fn fix(&self) -> &'static str {
        if self.is_budget() {
            "raise audit.budget, lower audit.keep, or set audit.when_full = \"delete-oldest\"; then keyagent reload"
        } else {
            "keyagent doctor; free space or rights on the folder of the audit log"
        }
    }
}

/// The open log and its chain.
pub(crate) struct AuditLog {
    path: PathBuf,
    writer: Mutex<Writer>,
    /// Held by whoever rotates or deletes, which both take longer than a request may wait.
    turn: Mutex<()>,
    journal: journal::Sink,
    /// Told whenever something was written, so that the pin follows.
    pub(crate) activity: Notify,
    /// Told when the current file is large enough for [`Self::rotate_when_due`], or what waited can be deleted.
    pub(crate) rotation: Notify,
    /// Files could not be deleted yet, for want of a pin behind them.
    tidying_waits: AtomicBool,
    /// The operator was told that it cannot be written, and it could not be written since.
    told: AtomicBool,
    /// The last group could not be written.
    failing: AtomicBool,
    /// Called before every step of a rotation or deletion.
    #[cfg(test)]
    steps: Mutex<Option<tests::Steps>>,
}

/// Where the log ended when the daemon started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tail {
    /// Number of the segment to begin.
    pub(crate) segment: u64,
    /// Number of the last line.
    pub(crate) last_seq: u64,
    /// Bytes of complete groups in `audit.log`; 0 if there is none beside rotated files.
    pub(crate) length: u64,
}

/// Where the log stands now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Number of the segment.
    pub(crate) segment: u64,
    /// Number of the last line.
    pub(crate) seq: u64,
    /// Mac of the last group.
    pub(crate) mac: [u8; 32],
}

impl Standing {
    /// The pin of this place in the log and of the keyring that goes with it.
    pub(crate) fn pin(self, keyring: &Keyring<LockedArena>) -> Pin {
        let Self { segment, seq, mac } = self;
        Pin { segment, seq, mac, generation: keyring.generation(), head_digest: *keyring.head_digest() }
    }
}

impl AuditLog {
    /// Opens the log for appending behind `tail`, cutting off a group that a crash left unfinished.
    pub(crate) fn open(
        path: &Path,
        tail: Tail,
        chain: Chain<LockedArena>,
        settings: LogSettings,
    ) -> Result<Self, AuditUnwritable> {
        let writer = open_writer(path, tail, chain, settings).map_err(|(action, error)| AuditUnwritable {
            action,
            path: path.to_path_buf(),
            error,
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            writer: Mutex::new(writer),
            turn: Mutex::new(()),
            journal: journal::Sink::default(),
            activity: Notify::new(),
            rotation: Notify::new(),
            tidying_waits: AtomicBool::new(false),
            told: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            #[cfg(test)]
            steps: Mutex::new(None),
        })
    }

    /// Other settings, from the next group on.
    pub(crate) fn configure(&self, settings: LogSettings) {
        self.lock().settings = settings;
    }

    /// Writes one group, in the room that the strongest of its lines may use. Either all its lines are in the file
    /// when this returns, or none; or they are counted, if the same user asked in vain too often ([`floods`]).
    pub(crate) fn append(&self, lines: &[Line<'_>]) -> Result<(), AuditUnwritable> {
        self.write_group(lines.iter().copied())
    }

    /// Like [`Self::append`], without a list of them.
    pub(crate) fn append_each<'l>(
        &self,
        lines: impl Iterator<Item = Line<'l>>,
    ) -> Result<(), AuditUnwritable> {
        self.write_group(lines)
    }

    /// Like [`Self::append`], and on the disk when this returns. Others write while the disk works.
    pub(crate) fn append_durably(&self, lines: &[Line<'_>]) -> Result<(), AuditUnwritable> {
        self.append(lines)?;
        let file = self.lock().file_to_sync().map_err(|(action, error)| self.unwritable(action, error))?;
        self.sync_outside(&file)
    }

    /// Syncs a file of the log without its lock.
    fn sync_outside(&self, file: &std::fs::File) -> Result<(), AuditUnwritable> {
        file.sync_data().map_err(|error| {
            // After a failed sync nobody knows what is on the disk: this log is at its end.
            self.lock().spoiled = true;
            self.failing.store(true, Ordering::Relaxed);
            self.unwritable("sync", error)
        })
    }

    /// Writes what was counted. To be called about a second after [`Self::activity`] told of something; where it
    /// cannot be written it waits for the next time.
    pub(crate) fn append_sums(&self) -> Result<(), AuditUnwritable> {
        let mut copies = Copies::default();
        let mut writer = self.lock();
        let sums = writer.floods.sums();
        if sums.is_empty() {
            return Ok(());
        }
        let written = writer.append(sums.iter().map(floods::Sum::line), Sync::AsSet, &mut copies);
        if written.is_ok() {
            writer.floods.forget_sums();
        }
        drop(writer);
        self.failing.store(written.is_err(), Ordering::Relaxed);
        written.map_err(|(action, error)| self.unwritable(action, error))?;
        self.activity.notify_one();
        self.journal.send(&copies);
        Ok(())
    }

    /// Not inlined: the chain's key was in its frame, and callers scrub what lies below theirs.
    #[inline(never)]
    fn write_group<'l>(&self, lines: impl Iterator<Item = Line<'l>>) -> Result<(), AuditUnwritable> {
        let mut lines = lines.peekable();
        if lines.peek().is_none() {
            return Ok(());
        }
        let mut copies = Copies::default();
        let mut writer = self.lock();
        let may_count = !self.failing.load(Ordering::Relaxed);
        let written = writer.append_or_count(lines, may_count, &mut copies);
        let rotate = writer.rotation_due() && !writer.rotation.announced;
        writer.rotation.announced |= rotate;
        drop(writer);
        self.failing.store(written.is_err(), Ordering::Relaxed);
        written.map_err(|(action, error)| self.unwritable(action, error))?;
        if rotate {
            self.rotation.notify_one();
        }
        if self.told.load(Ordering::Relaxed) {
            self.told.store(false, Ordering::Relaxed);
        }
        // Not only after a quiet time: whoever waits for this may have been unable to pin before.
        self.activity.notify_one();
        self.journal.send(&copies);
        Ok(())
    }

    /// Begins the next segment with a fresh chain: at unlock. `make` gets its number and the mac before it, and
    /// nothing else is appended meanwhile.
    pub(crate) fn begin_bridging<E: From<AuditUnwritable>>(
        &self,
        make: impl FnOnce(u64, [u8; 32]) -> Result<NextSegment, E>,
        identity: SegmentIdentity<'_>,
    ) -> Result<(), E> {
        let mut copies = Copies::default();
        let mut writer = self.lock();
        let previous_mac = writer.chain.last_mac();
        let NextSegment { chain, salt, bridge, bridge_key, unauthenticated_from } =
            make(writer.segment + 1, previous_mac)?;
        let before = std::mem::replace(&mut writer.chain, chain);
        writer.segment += 1;
        let bridging = line::bridging(bridge, bridge_key.as_ref(), unauthenticated_from);
        let first = identity.first_line_bridging(&salt, &previous_mac, bridging);
        writer.append(std::iter::once(first), Sync::AsSet, &mut copies).map_err(|(action, error)| {
            writer.chain = before;
            writer.segment -= 1;
            E::from(self.unwritable(action, error))
        })?;
        drop(writer);
        self.activity.notify_one();
        self.journal.send(&copies);
        Ok(())
    }

    /// Tells the operator that requests are refused: once, until a line could be written again.
    pub(crate) fn complain(&self, error: &AuditUnwritable) {
        if !self.told.swap(true, Ordering::Relaxed) {
            crate::report::warn(error);
        }
    }

    /// Where the log stands, not yet synced: what must be in a pin if the log is synced before it is written.
    pub(crate) fn standing(&self) -> Standing {
        self.lock().standing()
    }

    /// Syncs the log and says where it stands; `None` when nothing was written since the last time.
    ///
    /// The files before the current one are complete on the disk since they were rotated.
    pub(crate) fn sync_for_pin(&self) -> Result<Option<Standing>, AuditUnwritable> {
        let (file, standing) = {
            let mut writer = self.lock();
            if !writer.unpinned {
                return Ok(None);
            }
            let file = writer.file_to_sync().map_err(|(action, error)| self.unwritable(action, error))?;
            writer.unpinned = false;
            (file, writer.standing())
        };
        self.sync_outside(&file)?;
        Ok(Some(standing))
    }

    /// Whether a request's line could be written right now, as far as can be told without writing one.
    pub(crate) fn check(&self) -> Result<(), AuditUnwritable> {
        self.lock().check().map_err(|(action, error)| self.unwritable(action, error))?;
        if self.failing.load(Ordering::Relaxed) {
            return Err(self.unwritable("write", io::Error::other("the last attempt failed")));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritable(&self, action: &'static str, error: io::Error) -> AuditUnwritable {
        AuditUnwritable { action, path: self.path.clone(), error }
    }

    /// A step of a rotation or deletion is about to begin. Only tests do anything here.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests let steps fail, log by log")]
    fn reached(&self, _step: &'static str) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn reached(&self, step: &'static str) -> io::Result<()> {
        match &mut *self.steps.lock().unwrap() {
            Some(hook) => hook(step),
            None => Ok(()),
        }
    }
}

fn open_writer(
    path: &Path,
    tail: Tail,
    chain: Chain<LockedArena>,
    settings: LogSettings,
) -> Result<Writer, Failed> {
    rotation::remove_new(path).map_err(|error| ("tidy", error))?;
    let archive = Archive::list(path).map_err(|error| ("list the files of", error))?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|error| ("open", error))?;
    file.set_len(tail.length).map_err(|error| ("cut", error))?;
    let first = archive::first_line(&file).map_err(|error| ("read", error))?;
    Ok(Writer {
        file,
        path: path.to_path_buf(),
        chain,
        segment: tail.segment,
        last_seq: tail.last_seq,
        length: tail.length,
        first_seq: first.map_or(tail.last_seq + 1, |head| head.seq),
        first_time: first.map(|head| head.time),
        archive,
        settings,
        group: Vec::with_capacity(64 << 10),
        unpinned: false,
        spoiled: false,
        folder_unsynced: first.is_none(),
        rotation: Rotation::default(),
        floods: Floods::default(),
        #[cfg(test)]
        time: None,
    })
}

impl Writer {
    fn check(&self) -> Result<(), Failed> {
        self.check_usable()?;
        let metadata = self.file.metadata().map_err(|error| ("examine", error))?;
        let at_path = std::fs::symlink_metadata(&self.path).map_err(|error| ("find", error))?;
        if (metadata.dev(), metadata.ino()) != (at_path.dev(), at_path.ino()) {
            return Err(("recognise", io::Error::other("another file stands in its place")));
        }
        if metadata.len() != self.length {
            return Err(("recognise", io::Error::other("its length was changed from outside")));
        }
        self.check_budget(USUAL_LINE_BYTES, Manner::Request)
    }
}

#[cfg(test)]
mod tests;
