//! The counts of one version in memory: adding is two atomic operations, whoever adds at the same time.
//!
//! Every access is sequentially consistent: one thread counts and looks at the reservation, another one lowers the
//! reservation and looks at the count, and one of the two must see the other.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use super::entry::{Entry, Stored};

/// The first reservation.
pub(super) const FIRST_STEP: u64 = 64;
/// Reservations double up to this.
pub(super) const LARGEST_STEP: u64 = 1 << 20;

/// What a version was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It sealed, signed or made a tag.
    Encryption,
    /// It opened or verified.
    Decryption,
}

/// How much a version was used, as far as its own counts say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// How often it sealed, signed or made a tag.
    pub encryptions: u64,
    /// How often it opened or verified.
    pub decryptions: u64,
    /// When it last did the former, in seconds since 1970; 0 = never.
    pub encrypted_at: u64,
    /// When it last did the latter.
    pub decrypted_at: u64,
    /// Whether the counts are exact; else they are upper bounds, because of a crash.
    pub exact: bool,
}

/// The counts of one version.
#[derive(Debug)]
pub struct Counts {
    key_id: [u8; 32],
    encryptions: Count,
    decryptions: Count,
}

/// One direction.
#[derive(Debug, Default)]
struct Count {
    counted: AtomicU64,
    at: AtomicU64,
    /// What the disk says; at least `counted` whenever an answer leaves.
    reserved: AtomicU64,
    /// The disk says that `reserved` may not have been used up.
    ahead: AtomicBool,
    /// The next reservation runs ahead by this.
    step: AtomicU64,
    upper: AtomicBool,
}

impl Counts {
    /// Of a version that was never used.
    pub fn new(key_id: [u8; 32]) -> Self {
        Self { key_id, encryptions: Count::default(), decryptions: Count::default() }
    }

    /// As the disk says after a start at `now`: what was reserved counts as used, and as used until now.
    pub(super) fn recovered(entry: &Entry, now: u64) -> Self {
        let Entry { key_id, encryptions, decryptions } = entry;
        Self {
            key_id: *key_id,
            encryptions: Count::recovered(encryptions, now),
            decryptions: Count::recovered(decryptions, now),
        }
    }

    /// Id of the version.
    pub fn key_id(&self) -> &[u8; 32] {
        &self.key_id
    }

    /// Counts `times` uses at `now` (seconds since 1970). Whether more is counted now than the disk says: then a
    /// reservation must be stored before any answer leaves.
    pub fn add(&self, direction: Direction, times: u64, now: u64) -> bool {
        let count = self.direction(direction);
        if count.at.load(SeqCst) < now {
            count.at.fetch_max(now, SeqCst);
        }
        let counted = count.counted.fetch_add(times, SeqCst).saturating_add(times);
        counted > count.reserved.load(SeqCst)
    }

    /// How much it was used.
    pub fn used(&self) -> Used {
        let Self { encryptions, decryptions, .. } = self;
        Used {
            encryptions: encryptions.counted.load(SeqCst),
            decryptions: decryptions.counted.load(SeqCst),
            encrypted_at: encryptions.at.load(SeqCst),
            decrypted_at: decryptions.at.load(SeqCst),
            exact: !encryptions.upper.load(SeqCst) && !decryptions.upper.load(SeqCst),
        }
    }

    /// When it was last used for anything.
    pub(super) fn last_used(&self) -> u64 {
        self.encryptions.at.load(SeqCst).max(self.decryptions.at.load(SeqCst))
    }

    /// Whether the disk says less than was counted.
    pub(super) fn needs_room(&self) -> bool {
        self.encryptions.needs_room() || self.decryptions.needs_room()
    }

    /// Whether the disk says that something is reserved.
    pub(super) fn is_ahead(&self) -> bool {
        self.encryptions.ahead.load(SeqCst) || self.decryptions.ahead.load(SeqCst)
    }

    /// What to store so that there is room for what was counted, and for a while to come.
    pub(super) fn with_room(&self) -> Entry {
        self.entry(Count::with_room)
    }

    /// What to store so that the disk says what was counted and no more. Until that is [`Self::stored`], every further
    /// use asks for room.
    pub(super) fn closed(&self) -> Entry {
        self.entry(Count::closed)
    }

    fn entry(&self, of: impl Fn(&Count) -> Stored) -> Entry {
        let (encryptions, decryptions) = (of(&self.encryptions), of(&self.decryptions));
        Entry { key_id: self.key_id, encryptions, decryptions }
    }

    /// An entry is on the disk.
    pub(super) fn stored(&self, entry: &Entry) {
        self.encryptions.stored(&entry.encryptions);
        self.decryptions.stored(&entry.decryptions);
    }

    fn direction(&self, direction: Direction) -> &Count {
        match direction {
            Direction::Encryption => &self.encryptions,
            Direction::Decryption => &self.decryptions,
        }
    }
}

impl Count {
    fn recovered(stored: &Stored, now: u64) -> Self {
        let at = if stored.ahead { stored.at.max(now) } else { stored.at };
        Self {
            counted: stored.count.into(),
            at: at.into(),
            upper: (stored.ahead || stored.upper).into(),
            ..Self::default()
        }
    }

    fn needs_room(&self) -> bool {
        self.counted.load(SeqCst) > self.reserved.load(SeqCst)
    }

    fn with_room(&self) -> Stored {
        let (counted, reserved) = (self.counted.load(SeqCst), self.reserved.load(SeqCst));
        let step = self.step.load(SeqCst).clamp(FIRST_STEP, LARGEST_STEP);
        let count = if counted > reserved { counted.saturating_add(step) } else { reserved };
        self.as_stored(count, count > counted)
    }

    fn closed(&self) -> Stored {
        // Before the count is read: whoever counts later finds no room, whoever counted before is in it.
        self.reserved.store(0, SeqCst);
        self.as_stored(self.counted.load(SeqCst), false)
    }

    fn as_stored(&self, count: u64, ahead: bool) -> Stored {
        Stored { count, at: self.at.load(SeqCst), ahead, upper: self.upper.load(SeqCst) }
    }

    fn stored(&self, stored: &Stored) {
        if stored.ahead && stored.count > self.reserved.load(SeqCst) {
            let step = self.step.load(SeqCst).clamp(FIRST_STEP, LARGEST_STEP);
            self.step.store((step * 2).min(LARGEST_STEP), SeqCst);
        }
        self.ahead.store(stored.ahead, SeqCst);
        self.reserved.store(stored.count, SeqCst);
    }
}
