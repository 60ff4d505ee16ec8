//! How much each key version is used: counted for every burst, stored so that no crash makes a count too low
//! (docs/FORMATS.md, section "Usage counters").
//!
//! What writes lives in the core; here are the map of counts, the lock around the file and what an operator is told.
//! Must never keep data operations from working: what cannot be stored is "not known".

mod first_bytes;
mod place;
mod rewriting;
mod uses;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use keyagent_common::{op::WatchSeverity, report::Report};
use keyagent_core::{
    engine::Facts,
    keyring::{Keyring, Version},
    usage::{CounterKey, Counts, Everything, Finding, Journal, Unreadable, Used, read},
};
use keyagent_sys::{memory::LockedArena, thread::scrub_stack};
use tokio::{sync::Notify, time::sleep};

use crate::{
    alarm, clock,
    files::{self, FileError},
    state::{EngineState, Shared},
    store,
};
use first_bytes::FirstBytes;
use place::Place;
pub(crate) use rewriting::{Rewriting, next};
use uses::{Use, uses};

/// Longest file that is read: four entries for each of the most versions that a keyring can have, and more.
const MAX_FILE_BYTES: u64 = 128 << 20;
/// A version that opened or sealed something within this time is needed; `keys list` and `doctor` say of others that
/// they can be retired.
const NEEDED_SECONDS: u64 = 30 * 24 * 3600;
/// What is idle is stored exactly this often, and times of use are.
const SETTLED_EVERY: Duration = Duration::from_hours(1);
/// The same while writing fails.
const TRIED_AGAIN: Duration = Duration::from_mins(1);

type Key = CounterKey<LockedArena>;

/// The counts of all versions, and their file.
pub(crate) struct KeyUsage {
    path: PathBuf,
    counts: RwLock<HashMap<[u8; 32], Arc<Counts>, FirstBytes>>,
    journal: Mutex<Journal<LockedArena, Place>>,
    /// As the journal says: whoever asks need not wait for the disk.
    unknown_until: AtomicU64,
    has_failed: AtomicBool,
    /// Told when something was reserved, or could not be.
    active: Notify,
}

/// What a file that is missing says of the versions that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// They were made just now.
    Unused,
    /// They may have been used.
    Unknown,
    /// So they may, whatever the file says: it is not of the time of the keyring.
    NotBelieved,
}

/// Versions of which more must be reserved before an answer leaves.
#[derive(Default)]
#[must_use]
pub(crate) struct Needed(Option<(Key, Vec<Arc<Counts>>)>);

impl KeyUsage {
    /// Of a file that is read by [`Self::open`]; until then nothing may be used.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            counts: RwLock::default(),
            journal: Mutex::new(Journal::new(Place::new(path))),
            unknown_until: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            active: Notify::new(),
        }
    }

    /// Reads the file under the keyring that was opened, once. What cannot be read or written is told, and is
    /// "not known"; nobody is kept from working.
    pub(crate) fn open(&self, keyring: &Keyring<LockedArena>, before: Before) {
        let mut journal = self.journal();
        if journal.is_open() {
            return;
        }
        let (key, now) = (keyring.counter_key(), clock::unix_seconds());
        let newest =
            keyring.keys().iter().flat_map(|key| &key.versions).map(|version| version.created_at).max();
        let lost_until = if before == Before::Unused { 0 } else { newest.unwrap_or_default().max(now) };
        let mut read = self.read(&key);
        if let (Before::NotBelieved, Some(Ok(recovered))) = (before, &mut read) {
            recovered.finding = Finding::Damaged;
        }
        let damaged = match &read {
            Some(Ok(recovered)) => recovered.finding == Finding::Damaged && before != Before::NotBelieved,
            Some(Err(_)) => true,
            None => false,
        };
        if damaged {
            crate::report::warn(&format!(
                "{} is damaged or belongs to another keyring: how much keys were used before is not known",
                self.path.display()
            ));
            if let Err(report) = crate::start::set_aside(&self.path) {
                crate::report::failure(&report);
            }
        }
        let (counts, written) = journal.open(&key, read, lost_until, now);
        let counts = counts.into_iter().map(|counts| (*counts.key_id(), counts));
        self.counts.write().unwrap_or_else(PoisonError::into_inner).extend(counts);
        if let Err(error) = written {
            crate::report::failure(&store::failed(&error));
        }
        self.mirror(&journal);
    }

    /// The file; the one that a master rotation was about to put in place if that is the one of this keyring.
    fn read(&self, key: &Key) -> Option<Result<keyagent_core::usage::Recovered, Unreadable>> {
        let look = |path: &Path| match files::read_whole(path, MAX_FILE_BYTES) {
            Ok(bytes) => bytes.map(|bytes| read(&bytes, key)),
            Err(error) => {
                crate::report::warn(&error);
                Some(Err(Unreadable))
            }
        };
        let (found, next) = (look(&self.path), rewriting::next(&self.path));
        let found = match (found, look(&next)) {
            (None | Some(Err(_)), Some(Ok(recovered))) if rewriting::place(&next, &self.path) => {
                return Some(Ok(recovered));
            }
            (found, _) => found,
        };
        if let Err(error) = files::remove(&next) {
            crate::report::warn(&error);
        }
        found
    }

    /// Counts what a burst did, while the engine that did it is held; the answer may leave once what it needs is
    /// [stored](Needed::store).
    pub(crate) fn count(&self, engine: &EngineState, facts: &[Facts<'_>], now_unix: u64) -> Needed {
        let EngineState::Unlocked(engine) = engine else { return Needed::default() };
        let keyring = engine.keyring();
        let mut needing = Vec::new();
        let mut add = |id: &[u8; 32], direction, times| {
            let known = self.counts.read().unwrap_or_else(PoisonError::into_inner);
            match known.get(id) {
                Some(counts) if !counts.add(direction, times, now_unix) => {}
                Some(counts) => needing.push(Arc::clone(counts)),
                None => {
                    drop(known);
                    let counts = self.first_use(id);
                    counts.add(direction, times, now_unix);
                    needing.push(counts);
                }
            }
        };
        let mut uses = uses(keyring, facts).peekable();
        while let Some(Use { id, direction, mut times }) = uses.next() {
            // Bursts are mostly about one version.
            while let Some(more) = uses.next_if(|next| (next.id, next.direction) == (id, direction)) {
                times += more.times;
            }
            add(id, direction, times);
        }
        Needed((!needing.is_empty()).then(|| (keyring.counter_key(), needing)))
    }

    fn first_use(&self, id: &[u8; 32]) -> Arc<Counts> {
        let mut known = self.counts.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(*id).or_insert_with(|| Arc::new(Counts::new(*id))))
    }

    /// How much a version was used. `None` for the counts if nobody knows; the times are then the latest possible ones.
    pub(crate) fn of(&self, version: &Version) -> Used {
        let counted = version.key_id().and_then(|id| {
            self.counts.read().unwrap_or_else(PoisonError::into_inner).get(id).map(|counts| counts.used())
        });
        let used = counted.unwrap_or(Used { exact: true, ..Used::default() });
        match self.unknown_until(version) {
            None => used,
            Some(until) => Used {
                encryptions: u64::MAX,
                decryptions: u64::MAX,
                encrypted_at: used.encrypted_at.max(until),
                decrypted_at: used.decrypted_at.max(until),
                exact: false,
            },
        }
    }

    /// When a version was last used for anything at the latest, in seconds since 1970; 0 for never.
    pub(crate) fn last_used(&self, version: &Version) -> u64 {
        let used = self.of(version);
        used.encrypted_at.max(used.decrypted_at)
    }

    /// Why the use of a version forbids to destroy it, if it does.
    ///
    /// By the clock as it is: the latest time ever seen would have every use look old once a clock was ahead for a
    /// moment. A use in the future is a recent one.
    pub(crate) fn still_needs(&self, version: &Version, now_unix: u64) -> Option<String> {
        version.key_id()?;
        if self.has_failed() {
            return Some("its use cannot be recorded at present, so nobody knows who needs it".into());
        }
        let is_recent = |at| is_recent(at, now_unix);
        if self.unknown_until(version).is_some_and(is_recent) {
            return Some("how much it was used until lately is not known: the counters were lost".into());
        }
        let used = self.of(version);
        // What it sealed is needed although nobody has opened it yet.
        let (did, times, at) = if is_recent(used.decrypted_at) {
            ("opened", used.decryptions, used.decrypted_at)
        } else if is_recent(used.encrypted_at) {
            ("sealed", used.encryptions, used.encrypted_at)
        } else {
            return None;
        };
        let about = if used.exact { "" } else { "at most " };
        let hours = now_unix.saturating_sub(at) / 3600;
        let ago = match hours {
            0 => "less than an hour ago".to_owned(),
            1..48 => format!("{hours} h ago"),
            _ => format!("{} days ago", hours / 24),
        };
        Some(format!("it {did} data {about}{times} times, the last time {ago}"))
    }

    /// For `health`: whether what is counted would survive a crash, in words.
    pub(crate) fn health(&self) -> Result<String, String> {
        let since = self.unknown_until.load(Ordering::Acquire);
        if self.has_failed() {
            Err("the use of keys cannot be recorded: after a crash it is not known".into())
        } else if since > 0 {
            Ok(format!("counted; not known from before {since} (seconds since 1970)"))
        } else {
            Ok("counted".into())
        }
    }

    /// Stores everything exactly: while nothing is used any more, at a lock and at the end.
    pub(crate) fn close(&self, key: &Key) -> Result<(), FileError> {
        let mut journal = self.journal();
        let closed = self.with_everything(|all| journal.settle(key, all, true, clock::unix_seconds()));
        self.mirror(&journal);
        closed.map(|_| ())
    }

    /// Begins the same counts in a file for the next root of the keyring. Until it ends nothing can be reserved: it is
    /// held from before that keyring is put in place until after it was.
    pub(crate) fn begin_rewriting(&self, next: Key) -> Rewriting<'_> {
        Rewriting::begin(self, next)
    }

    fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Until when a version may have been used more than was counted.
    fn unknown_until(&self, version: &Version) -> Option<u64> {
        let until = self.unknown_until.load(Ordering::Acquire);
        Some(until).filter(|until| *until > 0 && version.created_at <= *until)
    }

    fn journal(&self) -> MutexGuard<'_, Journal<LockedArena, Place>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_everything<R>(&self, then: impl FnOnce(&Everything<'_>) -> R) -> R {
        let list = || self.counts.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let versions = self.counts.read().unwrap_or_else(PoisonError::into_inner).len();
        then(&Everything { versions, list: &list })
    }

    fn mirror(&self, journal: &Journal<LockedArena, Place>) {
        self.unknown_until.store(journal.unknown_until(), Ordering::Release);
        self.has_failed.store(journal.has_failed(), Ordering::Release);
    }
}

/// Whether a time of use, in seconds since 1970, is so recent that what was used is needed; 0 for never.
fn is_recent(at: u64, now_unix: u64) -> bool {
    at > 0 && now_unix.saturating_sub(at) < NEEDED_SECONDS
}

impl Needed {
    /// Stores it, before the answer leaves and without holding the engine: the disk may take its time.
    pub(crate) fn store(self, shared: &Shared) {
        let Some((key, needing)) = self.0 else { return };
        let usage = &shared.key_usage;
        let stored = {
            let mut journal = usage.journal();
            let now = clock::unix_seconds();
            let stored = usage.with_everything(|all| journal.reserve(&key, &needing, all, now));
            usage.mirror(&journal);
            stored
        };
        usage.active.notify_one();
        if let Err(error) = stored {
            tell(shared, &error);
        }
    }
}

/// The use of keys cannot be recorded.
fn tell(shared: &Shared, error: &FileError) {
    let report = store::failed(error);
    let message = format!("the use of keys cannot be recorded: {}", report.why);
    alarm::raise_lasting(shared, "usage_not_recorded", WatchSeverity::Warning, "", &message);
}

/// Stores exactly what is idle, and newer times of what is not, every hour in which something was used.
pub(crate) async fn settle_in_time(shared: Arc<Shared>) {
    loop {
        shared.key_usage.active.notified().await;
        let mut open = true;
        while open {
            let failed = shared.key_usage.has_failed();
            sleep(if failed { TRIED_AGAIN } else { SETTLED_EVERY }).await;
            open = settle(&shared);
            scrub_stack();
        }
    }
}

/// Whether there will be something to do again.
fn settle(shared: &Shared) -> bool {
    let key = match &*shared.engine.read().unwrap_or_else(PoisonError::into_inner) {
        EngineState::Unlocked(engine) => engine.keyring().counter_key(),
        // Everything was stored at the lock.
        EngineState::Locked(_) => return false,
    };
    let usage = &shared.key_usage;
    let settled = {
        let mut journal = usage.journal();
        let settled = usage.with_everything(|all| journal.settle(&key, all, false, clock::unix_seconds()));
        usage.mirror(&journal);
        settled
    };
    settled.unwrap_or_else(|error| {
        tell(shared, &error);
        true
    })
}

/// At the end and at a lock: a failure is told, for nobody waits for it.
pub(crate) fn close(shared: &Shared, key: &Key) {
    if let Err(error) = shared.key_usage.close(key) {
        let report: Report = store::failed(&error);
        alarm::failed(shared, "usage_not_recorded", &report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_recent_for_30_days_and_in_the_future() {
        let (now, month) = (1_800_000_000, 30 * 24 * 3600);
        for (at, recent) in [
            (0, false),
            (1, false),
            (now - month, false),
            (now - month + 1, true),
            (now, true),
            // A clock was ahead when it was used.
            (now + 10 * 12 * month, true),
            (u64::MAX, true),
        ] {
            assert_eq!(is_recent(at, now), recent, "{at}");
        }
    }
}
