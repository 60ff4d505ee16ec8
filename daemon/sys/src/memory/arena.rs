//! Slots for typed secrets in one locked region.
//!
//! Must never let a slot outlive its pages, never hand a place to a second value before it is wiped,
//! and never move a value once it is placed.

#![expect(unsafe_code, reason = "values live at addresses inside the region")]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyagent_core::arena::{Arena, ArenaFull};

use super::free_list::FreeList;
use super::{Backing, LockError, LockPolicy, Region};

/// Slots start at, and are rounded up to, a multiple of so many bytes; stricter alignments are refused.
pub const SLOT_GRANULARITY: usize = 64;

/// Hands out slots of one [`Region::secret`]; cloning gives another handle to the same pages.
///
/// The pages live until the last handle *and* the last slot are gone:
///
/// ```
/// use keyagent_core::arena::Arena;
/// use keyagent_sys::memory::{LockPolicy, LockedArena};
///
/// let arena = LockedArena::new(4096, LockPolicy::AllowUnlocked)?;
/// let mut slot = arena.place(|| [7u8; 32])?;
/// drop(arena);
/// slot[0] = 8;
/// assert_eq!(slot[..2], [8, 7]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A reference into a slot cannot outlive the slot:
///
/// ```compile_fail,E0505
/// use keyagent_core::arena::Arena;
/// use keyagent_sys::memory::{LockPolicy, LockedArena};
///
/// let arena = LockedArena::new(4096, LockPolicy::AllowUnlocked).unwrap();
/// let slot = arena.place(|| [7u8; 32]).unwrap();
/// let inside = &slot[0];
/// drop(slot);
/// assert_eq!(*inside, 7);
/// ```
#[derive(Clone)]
pub struct LockedArena {
    shared: Arc<Shared>,
}

/// Owns one value in a [`LockedArena`]; drops it in place, wipes its bytes, then frees them.
pub struct ArenaSlot<T> {
    place: Place,
    value: PhantomData<T>,
}

struct Shared {
    region: Region,
    free: Mutex<FreeList>,
}

/// Bytes `[offset, offset + len)` of a region, reserved for one value.
struct Place {
    shared: Arc<Shared>,
    offset: usize,
    len: usize,
}

impl LockedArena {
    /// An arena of `bytes` bytes, rounded up to whole pages.
    pub fn new(bytes: usize, policy: LockPolicy) -> Result<Self, LockError> {
        let region = Region::secret(bytes, policy)?;
        let free = Mutex::new(FreeList::new(region.len()));
        Ok(Self { shared: Arc::new(Shared { region, free }) })
    }

    /// How the pages are protected.
    pub fn backing(&self) -> Backing {
        self.shared.region.backing()
    }

    /// Bytes in all.
    pub fn capacity(&self) -> usize {
        self.shared.region.len()
    }

    /// Bytes in slots, each rounded up to [`SLOT_GRANULARITY`].
    pub fn used(&self) -> usize {
        self.capacity() - self.shared.free().free()
    }

    /// Reserves room; the place is zeroed.
    fn reserve(&self, bytes: usize, alignment: usize) -> Result<Place, ArenaFull> {
        let full = ArenaFull { bytes };
        let len = bytes.max(1).checked_next_multiple_of(SLOT_GRANULARITY).ok_or(full)?;
        if alignment > SLOT_GRANULARITY {
            return Err(full);
        }
        let offset = self.shared.free().take(len).ok_or(full)?;
        Ok(Place { shared: Arc::clone(&self.shared), offset, len })
    }
}

impl Arena for LockedArena {
    type Slot<T: Send + Sync + 'static> = ArenaSlot<T>;

    fn place<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Result<ArenaSlot<T>, ArenaFull> {
        let place = self.reserve(size_of::<T>(), align_of::<T>())?;
        let value = make();
        // SAFETY: the place is mapped, aligned and large enough for T (`reserve`), and reserved for this value alone.
        unsafe { place.start().cast::<T>().write(value) };
        Ok(ArenaSlot { place, value: PhantomData })
    }
}

impl fmt::Debug for LockedArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockedArena({} of {} bytes used, {})", self.used(), self.capacity(), self.backing())
    }
}

impl Shared {
    fn free(&self) -> MutexGuard<'_, FreeList> {
        // The list is changed by code that cannot panic half-way, so a poisoned one is still right.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn start(&self) -> *mut u8 {
        self.shared.region.start().wrapping_add(self.offset)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: the range lies in the region, which `shared` keeps mapped; the value in it is already dropped.
        unsafe { memsec::memzero(self.start(), self.len) };
        self.shared.free().give(self.offset, self.len);
    }
}

impl<T> Deref for ArenaSlot<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `place` wrote a T there, and only dropping this slot takes it away.
        unsafe { &*self.place.start().cast::<T>() }
    }
}

impl<T> DerefMut for ArenaSlot<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `&mut self` makes this the only reference.
        unsafe { &mut *self.place.start().cast::<T>() }
    }
}

impl<T> Drop for ArenaSlot<T> {
    fn drop(&mut self) {
        // SAFETY: the value is valid, and nothing reads it after this: `place` wipes and frees its bytes next.
        unsafe { self.place.start().cast::<T>().drop_in_place() };
    }
}

impl<T> fmt::Debug for ArenaSlot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArenaSlot({} bytes)", size_of::<T>())
    }
}

#[cfg(test)]
mod tests;
