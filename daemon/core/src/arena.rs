//! Where cipher state and keys may live.
//!
//! Core never allocates memory for a secret itself: it asks an [`Arena`] for a slot. The daemon's
//! arena (`keyagent-sys`) hands out slots in locked, undumped, guarded pages; tests use
//! [`HeapArena`]. Core must never copy a secret out of its slot into ordinary memory.

use alloc::boxed::Box;
use core::ops::DerefMut;

/// No slot of the wanted size is free, or the value is too large or too strictly aligned for the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no locked memory left for a secret of {bytes} bytes")]
pub struct ArenaFull {
    /// Size of the value that found no place, in bytes.
    pub bytes: usize,
}

/// A source of slots for secret values.
///
/// Cloning an arena gives another handle to the same pages.
pub trait Arena: Clone + Send + Sync + 'static {
    /// Owns one value; dropping it drops the value and then wipes every byte of its place.
    type Slot<T: Send + Sync + 'static>: DerefMut<Target = T> + Send + Sync + 'static;

    /// Makes a value and moves it into a slot.
    ///
    /// `make` runs on the caller's stack, which the daemon keeps in locked memory as well.
    fn place<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Result<Self::Slot<T>, ArenaFull>;
}

/// An arena on the ordinary heap: for tests and for programs that hold no long-lived key.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeapArena;

impl Arena for HeapArena {
    type Slot<T: Send + Sync + 'static> = Box<T>;

    fn place<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Result<Box<T>, ArenaFull> {
        Ok(Box::new(make()))
    }
}
