//! The audit log on disk: one group of lines per burst, written before the answer leaves.
//!
//! Must never let a request pass that it could not record: a failed write is undone and reported, and
//! the chain moves on only once its bytes are in the file.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use keyagent_core::{
    audit::{
        chain::Chain,
        record::{Bridging, Event, Peer, Record, Via},
    },
    keyring::Keyring,
    pin::Pin,
};
use keyagent_sys::memory::LockedArena;
use nix::fcntl::OFlag;
use tokio::sync::Notify;

use crate::clock;

/// The log could not be written; the request that caused the line must be refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the audit log {}: {error}", path.display())]
pub(crate) struct AuditUnwritable {
    action: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// The open log and its chain.
pub(crate) struct AuditLog {
    path: PathBuf,
    inner: Mutex<Inner>,
    /// Told whenever something was written, so that the pin follows.
    pub(crate) activity: Notify,
    /// The operator was told that it cannot be written, and it could not be written since.
    told: AtomicBool,
}

struct Inner {
    file: File,
    chain: Chain<LockedArena>,
    segment: u64,
    last_seq: u64,
    /// Bytes of the log that belong to complete groups.
    length: u64,
    group: Vec<u8>,
    /// Lines were written since the last pin.
    unpinned: bool,
    /// A failed write could not be undone: nothing may be appended any more.
    spoiled: bool,
}

/// Where the log ended when the daemon started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tail {
    /// Number of the segment to begin.
    pub(crate) segment: u64,
    /// Number of the last line.
    pub(crate) last_seq: u64,
    /// Bytes of complete groups.
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

/// One line to write; its numbers and time are added here.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    /// What happened.
    pub(crate) event: Event<'a>,
    /// The key concerned.
    pub(crate) key: Option<&'a str>,
    /// Who asked.
    pub(crate) peer: Option<Peer>,
    /// What the client calls itself.
    pub(crate) client: Option<&'a str>,
    /// What went wrong.
    pub(crate) error: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// A line of the daemon's own.
    pub(crate) fn own(event: Event<'a>) -> Self {
        Self { event, key: None, peer: None, client: None, error: None }
    }
}

impl AuditLog {
    /// Opens the log for appending behind `tail`, cutting off a group that a crash left unfinished.
    pub(crate) fn open(path: &Path, tail: Tail, chain: Chain<LockedArena>) -> Result<Self, AuditUnwritable> {
        let unwritable = |action, error| AuditUnwritable { action, path: path.to_path_buf(), error };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits())
            .open(path)
            .map_err(|error| unwritable("open", error))?;
        file.set_len(tail.length).map_err(|error| unwritable("cut", error))?;
        let inner = Inner {
            file,
            chain,
            segment: tail.segment,
            last_seq: tail.last_seq,
            length: tail.length,
            group: Vec::with_capacity(64 << 10),
            unpinned: false,
            spoiled: false,
        };
        Ok(Self {
            path: path.to_path_buf(),
            inner: Mutex::new(inner),
            activity: Notify::new(),
            told: AtomicBool::new(false),
        })
    }

    /// Writes one group. Either all its lines are in the file when this returns, or none.
    pub(crate) fn append(&self, lines: &[Line<'_>]) -> Result<(), AuditUnwritable> {
        self.write_group(lines.iter().copied(), false)
    }

    /// Like [`Self::append`], without a list of the lines.
    pub(crate) fn append_each<'l>(
        &self,
        lines: impl ExactSizeIterator<Item = Line<'l>>,
    ) -> Result<(), AuditUnwritable> {
        self.write_group(lines, false)
    }

    /// Like [`Self::append`], and on the disk when this returns.
    pub(crate) fn append_durably(&self, lines: &[Line<'_>]) -> Result<(), AuditUnwritable> {
        self.write_group(lines.iter().copied(), true)
    }

    /// Not inlined: the chain's key was in its frame, and callers scrub what lies below theirs.
    #[inline(never)]
    fn write_group<'l>(
        &self,
        lines: impl ExactSizeIterator<Item = Line<'l>>,
        durable: bool,
    ) -> Result<(), AuditUnwritable> {
        if lines.len() == 0 {
            return Ok(());
        }
        let written = self.lock().append(lines, durable);
        written.map_err(|(action, error)| self.unwritable(action, error))?;
        if self.told.load(Ordering::Relaxed) {
            self.told.store(false, Ordering::Relaxed);
        }
        // Not only after a quiet time: whoever waits for this may have been unable to pin before.
        self.activity.notify_one();
        Ok(())
    }

    /// Begins the next segment with a fresh chain: at unlock. `make` gets its number and the mac before it,
    /// and gives the chain and its salt; nothing else is appended meanwhile.
    pub(crate) fn begin_segment<E: From<AuditUnwritable>>(
        &self,
        make: impl FnOnce(u64, [u8; 32]) -> Result<(Chain<LockedArena>, [u8; 16]), E>,
        identity: SegmentIdentity<'_>,
    ) -> Result<(), E> {
        let mut inner = self.lock();
        let previous_mac = inner.chain.last_mac();
        let (chain, salt) = make(inner.segment + 1, previous_mac)?;
        let before = std::mem::replace(&mut inner.chain, chain);
        inner.segment += 1;
        let first = identity.first_line(&salt, &previous_mac);
        inner.append(std::iter::once(first), false).map_err(|(action, error)| {
            inner.chain = before;
            inner.segment -= 1;
            E::from(self.unwritable(action, error))
        })?;
        self.activity.notify_one();
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
    pub(crate) fn sync_for_pin(&self) -> Result<Option<Standing>, AuditUnwritable> {
        let (file, standing) = {
            let mut inner = self.lock();
            if !inner.unpinned {
                return Ok(None);
            }
            let file = inner.file.try_clone().map_err(|error| self.unwritable("sync", error))?;
            inner.unpinned = false;
            (file, inner.standing())
        };
        // Outside the lock: requests go on while the disk works.
        if let Err(error) = file.sync_data() {
            self.lock().spoiled = true;
            return Err(self.unwritable("sync", error));
        }
        Ok(Some(standing))
    }

    /// Whether a line could be written right now, as far as can be told without writing one.
    pub(crate) fn check(&self) -> Result<(), AuditUnwritable> {
        let inner = self.lock();
        if inner.spoiled {
            return Err(self.unwritable("repair", io::Error::other("an earlier write failed half way")));
        }
        let metadata = inner.file.metadata().map_err(|error| self.unwritable("examine", error))?;
        let at_path =
            std::fs::symlink_metadata(&self.path).map_err(|error| self.unwritable("find", error))?;
        if (metadata.dev(), metadata.ino()) != (at_path.dev(), at_path.ino()) {
            return Err(self.unwritable("recognise", io::Error::other("another file stands in its place")));
        }
        if metadata.len() == inner.length {
            Ok(())
        } else {
            Err(self.unwritable("recognise", io::Error::other("its length was changed from outside")))
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritable(&self, action: &'static str, error: io::Error) -> AuditUnwritable {
        AuditUnwritable { action, path: self.path.clone(), error }
    }
}

/// What the first line of a segment states beside its numbers.
#[derive(Clone, Copy)]
pub(crate) struct SegmentIdentity<'a> {
    /// Name of this host.
    pub(crate) host: &'a str,
    /// Epoch of the keyring.
    pub(crate) epoch: u32,
    /// Id of the keyring.
    pub(crate) keyring_id: &'a [u8; 16],
}

impl<'a> SegmentIdentity<'a> {
    /// The line.
    pub(crate) fn first_line(self, salt: &'a [u8; 16], previous_mac: &'a [u8; 32]) -> Line<'a> {
        let Self { host, epoch, keyring_id } = self;
        let bridging = Bridging::default();
        Line::own(Event::Segment { salt, host, epoch, previous_mac, keyring_id, bridging })
    }
}

impl Inner {
    fn standing(&self) -> Standing {
        Standing { segment: self.segment, seq: self.last_seq, mac: self.chain.last_mac() }
    }

    fn append<'l>(
        &mut self,
        lines: impl Iterator<Item = Line<'l>>,
        durable: bool,
    ) -> Result<(), (&'static str, io::Error)> {
        if self.spoiled {
            return Err(("repair", io::Error::other("an earlier write failed half way")));
        }
        self.group.clear();
        let unix_micros = clock::unix_micros();
        let mut seq = self.last_seq;
        for line in lines {
            seq += 1;
            let record = Record {
                segment: self.segment,
                seq,
                unix_micros,
                event: line.event,
                provider: line.key,
                peer: line.peer,
                via: Via::default(),
                user_agent: line.client,
                error_message: line.error,
            };
            record.push_to_group(&mut self.group);
        }
        let sealed = self.chain.seal_group(&mut self.group);
        if let Err(error) = self.file.write_all_at(&self.group, self.length) {
            // Undo: what was not acknowledged must not stand in the log.
            self.spoiled = self.file.set_len(self.length).is_err();
            return Err(("write", error));
        }
        if durable && let Err(error) = self.file.sync_data() {
            // After a failed sync nobody knows what is on the disk: this log is at its end.
            self.spoiled = true;
            return Err(("sync", error));
        }
        self.chain.advance(sealed);
        self.length += self.group.len() as u64;
        self.last_seq = seq;
        self.unpinned = true;
        Ok(())
    }
}
