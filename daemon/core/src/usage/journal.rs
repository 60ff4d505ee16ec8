//! When the file of counters is written, and what it then says. One at a time: the daemon holds a lock around it.
//!
//! Must never leave a file in place that may say too little: where writing fails it is removed, and a file that is not
//! there means "not known".

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use crate::arena::Arena;

use super::{
    counts::Counts,
    entry::{ENTRY_BYTES, Entry, HEADER_BYTES, Header},
    key::CounterKey,
    recovered::{Finding, Recovered, Unreadable},
};

/// Whole seconds until writing is tried again after it failed.
pub const RETRY_SECONDS: u64 = 10;
/// A file is written anew when it has more entries than this many for each version, and more than a few.
const ENTRIES_PER_VERSION: u64 = 4;
const FEW_ENTRIES: u64 = 1024;
/// Who was not used for this long has nothing reserved any more.
const IDLE_SECONDS: u64 = 3600;

/// Where the bytes lie.
pub trait CounterFile {
    /// Why something failed, for people.
    type Error;

    /// Appends to the file; when it returns, the bytes survive a power loss.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Puts a file of these bytes in the place of what is there, likewise.
    fn replace(&mut self, bytes: &[u8]) -> Result<(), NotReplaced<Self::Error>>;

    /// Removes the file, likewise; no file is no error.
    fn remove(&mut self) -> Result<(), Self::Error>;
}

/// The file could not be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReplaced<E> {
    /// What was there is there, and can be appended to.
    Untouched(E),
    /// Nobody knows which file a power loss would leave.
    Unclear(E),
}

/// The counts of every version that was ever used.
pub struct Everything<'e> {
    /// How many there are.
    pub versions: usize,
    /// All of them.
    pub list: &'e dyn Fn() -> Vec<Arc<Counts>>,
}

/// The file `counters` of a running daemon.
pub struct Journal<A: Arena, F> {
    file: F,
    next_sequence: u64,
    /// Entries in the file.
    entries: u64,
    /// With this many the file is written anew.
    most_entries: u64,
    unknown_until: u64,
    epoch: u32,
    /// After a master rotation, for those who still come with the key before.
    newer: Option<CounterKey<A>>,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing was read yet: nothing can have been used.
    Unopened,
    /// What leaves is on the disk before.
    Kept,
    /// There is no file, and writing one failed at this time (seconds since 1970).
    Failed(u64),
}

/// Counts, and what is to be stored of them.
type Pair = (Arc<Counts>, Entry);

/// A file for the next root of the keyring: see [`Journal::rewrite`].
pub struct Rewrite {
    /// The whole file.
    pub bytes: Vec<u8>,
    pairs: Vec<Pair>,
}

impl<A: Arena, F: CounterFile> Journal<A, F> {
    /// Of a file that was not read yet.
    pub fn new(file: F) -> Self {
        Self {
            file,
            next_sequence: 1,
            entries: 0,
            most_entries: FEW_ENTRIES,
            unknown_until: 0,
            epoch: 0,
            newer: None,
            standing: Standing::Unopened,
        }
    }

    /// Whether [`Self::open`] was called.
    pub fn is_open(&self) -> bool {
        self.standing != Standing::Unopened
    }

    /// Takes what a file says, and returns the counts of all versions that it names.
    ///
    /// Where there is none, or not all of it can be read, versions made up to `lost_until` may have been used more than
    /// anybody knows; 0 says that there were none. A file that needs no change is left as it is; else a new one is
    /// written, and the result is whether that succeeded. Times are seconds since 1970.
    pub fn open(
        &mut self,
        key: &CounterKey<A>,
        read: Option<Result<Recovered, Unreadable>>,
        lost_until: u64,
        now: u64,
    ) -> (Vec<Arc<Counts>>, Result<(), F::Error>) {
        let readable = read.and_then(Result::ok);
        let can_be_continued = readable.as_ref().is_some_and(Recovered::can_be_continued);
        let recovered = readable.unwrap_or_else(|| Recovered::empty(lost_until));
        let counts: Vec<_> = recovered.counts(now).map(Arc::new).collect();
        self.epoch = key.epoch();
        self.next_sequence = recovered.next_sequence;
        self.note_entries(recovered.count, counts.len());
        self.unknown_until = match recovered.finding {
            Finding::Damaged => recovered.unknown_until.max(lost_until),
            Finding::Complete | Finding::Torn => recovered.unknown_until,
        };
        self.standing = Standing::Kept;
        let pairs: Vec<Pair> = counts.iter().map(|counts| (Arc::clone(counts), counts.closed())).collect();
        let written = if can_be_continued {
            // The disk says exactly this.
            store_all(&pairs);
            Ok(())
        } else {
            let replaced = self.replace(key, &pairs);
            replaced.map_err(|(NotReplaced::Untouched(error) | NotReplaced::Unclear(error))| {
                self.fail(now, error)
            })
        };
        (counts, written)
    }

    /// Stores a reservation for those among `needing` whose counts have run past the last one. When it returns, every
    /// answer that was counted before may leave; after an error too, but then a crash makes all counts unknown.
    pub fn reserve(
        &mut self,
        key: &CounterKey<A>,
        needing: &[Arc<Counts>],
        everything: &Everything<'_>,
        now: u64,
    ) -> Result<(), F::Error> {
        match self.standing {
            Standing::Kept => {}
            Standing::Failed(at) if now.abs_diff(at) >= RETRY_SECONDS => {
                return self.renew(key, &(everything.list)(), now);
            }
            Standing::Unopened | Standing::Failed(_) => return Ok(()),
        }
        let needing = needing.iter().filter(|counts| counts.needs_room());
        let mut pairs: Vec<Pair> = needing.map(with_room).collect();
        // One version may be named several times.
        pairs.sort_unstable_by_key(|(_, entry)| entry.key_id);
        pairs.dedup_by_key(|(_, entry)| entry.key_id);
        self.write(key, &pairs, everything, now)
    }

    /// Stores exact counts of what was idle for an hour, and newer times of what was not; of everything, and exactly,
    /// with `close`. Whether something is still reserved.
    pub fn settle(
        &mut self,
        key: &CounterKey<A>,
        everything: &Everything<'_>,
        close: bool,
        now: u64,
    ) -> Result<bool, F::Error> {
        let all = (everything.list)();
        match self.standing {
            Standing::Unopened => return Ok(false),
            Standing::Failed(_) => self.renew(key, &all, now)?,
            Standing::Kept => {}
        }
        let open = all.iter().filter(|counts| counts.is_ahead() || counts.needs_room());
        let pair = |counts: &Arc<Counts>| {
            let idle = close || now.saturating_sub(counts.last_used()) >= IDLE_SECONDS;
            if idle { (Arc::clone(counts), counts.closed()) } else { with_room(counts) }
        };
        let pairs: Vec<Pair> = open.map(pair).collect();
        let written = self.write(key, &pairs, everything, now);
        if close {
            self.newer = None;
        }
        written.map(|()| all.iter().any(|counts| counts.is_ahead()))
    }

    /// A file for the next root of the keyring, with everything that the present one says. Until
    /// [`Self::rewritten`], or until it is given up, nothing may be reserved.
    pub fn rewrite(&self, key: &CounterKey<A>, everything: &Everything<'_>) -> Rewrite {
        let pairs: Vec<Pair> = (everything.list)().iter().map(with_room).collect();
        Rewrite { bytes: self.whole(key, &pairs), pairs }
    }

    /// A rewritten file is in the place of the one before, and so is the keyring with that root.
    pub fn rewritten(&mut self, key: &CounterKey<A>, rewrite: &Rewrite) {
        self.newer = Some(key.clone());
        self.replaced(key, &rewrite.pairs);
    }

    /// Nobody knows whether the rewritten file is in place.
    pub fn not_rewritten(&mut self, now: u64) {
        self.distrust(now);
    }

    /// Versions made up to this time (seconds since 1970) may have been used more than is counted; 0 for none.
    pub fn unknown_until(&self) -> u64 {
        self.unknown_until
    }

    /// Whether what is counted now would be lost by a crash.
    pub fn has_failed(&self) -> bool {
        matches!(self.standing, Standing::Failed(_))
    }

    /// Where the bytes lie.
    pub fn file(&mut self) -> &mut F {
        &mut self.file
    }

    fn write(
        &mut self,
        key: &CounterKey<A>,
        pairs: &[Pair],
        everything: &Everything<'_>,
        now: u64,
    ) -> Result<(), F::Error> {
        if pairs.is_empty() {
            return Ok(());
        }
        let Some(key) = self.newest(key) else {
            self.distrust(now);
            return Ok(());
        };
        if key.epoch() != self.epoch {
            return self.renew(&key, &(everything.list)(), now);
        }
        if self.entries > self.most_entries.max(ENTRIES_PER_VERSION * everything.versions as u64) {
            match self.replace(&key, &among_all(pairs, &(everything.list)())) {
                Ok(()) => return Ok(()),
                Err(NotReplaced::Untouched(_)) => self.most_entries = self.entries * 2,
                Err(NotReplaced::Unclear(error)) => return Err(self.fail(now, error)),
            }
        }
        let sealed = pairs.iter().zip(self.next_sequence..);
        let bytes: Vec<u8> = sealed.flat_map(|((_, entry), sequence)| entry.seal(sequence, &key)).collect();
        self.file.append(&bytes).map_err(|error| self.fail(now, error))?;
        self.next_sequence = self.next_sequence.saturating_add(pairs.len() as u64);
        self.entries += pairs.len() as u64;
        store_all(pairs);
        Ok(())
    }

    /// Writes a whole file, where there is none that counts.
    fn renew(&mut self, key: &CounterKey<A>, all: &[Arc<Counts>], now: u64) -> Result<(), F::Error> {
        let Some(key) = self.newest(key) else {
            self.distrust(now);
            return Ok(());
        };
        let pairs: Vec<Pair> = all.iter().map(with_room).collect();
        let replaced = self.replace(&key, &pairs);
        replaced
            .map_err(|(NotReplaced::Untouched(error) | NotReplaced::Unclear(error))| self.fail(now, error))
    }

    fn replace(&mut self, key: &CounterKey<A>, pairs: &[Pair]) -> Result<(), NotReplaced<F::Error>> {
        let bytes = self.whole(key, pairs);
        self.file.replace(&bytes)?;
        self.replaced(key, pairs);
        Ok(())
    }

    fn whole(&self, key: &CounterKey<A>, pairs: &[Pair]) -> Vec<u8> {
        let header = Header { first_sequence: self.next_sequence, unknown_until: self.unknown_until };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + pairs.len() * ENTRY_BYTES);
        bytes.extend_from_slice(&header.seal(key));
        for ((_, entry), sequence) in pairs.iter().zip(self.next_sequence..) {
            bytes.extend_from_slice(&entry.seal(sequence, key));
        }
        bytes
    }

    fn replaced(&mut self, key: &CounterKey<A>, pairs: &[Pair]) {
        self.standing = Standing::Kept;
        self.epoch = key.epoch();
        self.next_sequence = self.next_sequence.saturating_add(pairs.len() as u64);
        self.note_entries(pairs.len() as u64, pairs.len());
        store_all(pairs);
    }

    fn note_entries(&mut self, entries: u64, versions: usize) {
        self.entries = entries;
        self.most_entries = FEW_ENTRIES.max(ENTRIES_PER_VERSION * versions as u64);
    }

    /// The key of the file: whoever began before a master rotation comes with the one before.
    fn newest(&self, key: &CounterKey<A>) -> Option<CounterKey<A>> {
        if key.epoch() >= self.epoch { Some(key.clone()) } else { self.newer.clone() }
    }

    /// There is no key to write with.
    fn distrust(&mut self, now: u64) {
        // If that fails too, nothing is left to be done about it.
        let _ = self.file.remove();
        self.standing = Standing::Failed(now);
    }

    /// Writing failed: what the file says may be too little from now on.
    fn fail(&mut self, now: u64, error: F::Error) -> F::Error {
        self.distrust(now);
        error
    }
}

fn with_room(counts: &Arc<Counts>) -> Pair {
    (Arc::clone(counts), counts.with_room())
}

/// These, and all others as they are: an entry that closes a version must not be followed by one made later.
fn among_all(pairs: &[Pair], all: &[Arc<Counts>]) -> Vec<Pair> {
    let given: BTreeMap<&[u8; 32], &Pair> = pairs.iter().map(|pair| (&pair.1.key_id, pair)).collect();
    all.iter()
        .map(|counts| given.get(counts.key_id()).map_or_else(|| with_room(counts), |pair| (*pair).clone()))
        .collect()
}

/// What is on the disk now.
fn store_all(pairs: &[Pair]) {
    for (counts, entry) in pairs {
        counts.stored(entry);
    }
}
