//! Locked payload buffers: borrowed while a request is in flight, wiped when given back.
//!
//! An idle connection owns none. Their number is fixed, so that the daemon never asks for more locked
//! memory than it announced at its start ([`LOCKED_BYTES`] and docs/ARCHITECTURE.md, "Locked memory");
//! whoever finds none waits or is refused.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

use keyagent_common::frame::MAX_FRAME_BYTES;
use keyagent_core::reply::REPLY_OVERHEAD_BYTES;
use keyagent_sys::memory::{LockError, LockPolicy, LockedBuffer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes and number of buffers for a frame that arrived in part.
const SMALL: (usize, usize) = (4 << 10, 64);
/// The same for frames up to what a worker reads at once.
const MEDIUM: (usize, usize) = (MEDIUM_BYTES, 8);
/// Bytes of a medium buffer.
pub(crate) const MEDIUM_BYTES: usize = 68 << 10;
/// Largest frame in a medium buffer: its reply must fit into a worker's output.
pub(crate) const MEDIUM_FRAME: usize = 64 << 10;
/// Bytes for the largest frame.
const LARGE_INPUT: usize = (MAX_FRAME_BYTES + 4095) & !4095;
/// Bytes for the reply to the largest frame.
pub(crate) const LARGE_OUTPUT: usize = (MAX_FRAME_BYTES + REPLY_OVERHEAD_BYTES + 4095) & !4095;
/// The largest frame and its reply share one buffer, so that nobody waits for the second half.
const LARGE: (usize, usize) = (LARGE_INPUT + LARGE_OUTPUT, 2);

/// What all buffers together lock.
pub(crate) const LOCKED_BYTES: usize = SMALL.0 * SMALL.1 + MEDIUM.0 * MEDIUM.1 + LARGE.0 * LARGE.1;

/// Every buffer of the daemon.
pub(crate) struct Buffers {
    small: Class,
    medium: Class,
    large: Class,
}

impl Buffers {
    /// Maps and locks all of them.
    pub(crate) fn new(policy: LockPolicy) -> Result<Self, LockError> {
        Ok(Self {
            small: Class::new(SMALL, policy)?,
            medium: Class::new(MEDIUM, policy)?,
            large: Class::new(LARGE, policy)?,
        })
    }

    /// A buffer for `bytes` of input, if one is free right now.
    pub(crate) fn try_lease(&self, bytes: usize) -> Option<Lease> {
        let class = self.class(bytes);
        let permit = Arc::clone(&class.permits).try_acquire_owned().ok()?;
        class.take(permit)
    }

    /// A buffer for `bytes` of input, as soon as one is free.
    pub(crate) async fn lease(&self, bytes: usize) -> Option<Lease> {
        let class = self.class(bytes);
        let permit = Arc::clone(&class.permits).acquire_owned().await.ok()?;
        class.take(permit)
    }

    fn class(&self, bytes: usize) -> &Class {
        match bytes {
            0..=4096 => &self.small,
            _ if bytes <= MEDIUM_FRAME => &self.medium,
            _ => &self.large,
        }
    }
}

type Free = Arc<Mutex<Vec<LockedBuffer>>>;

struct Class {
    permits: Arc<Semaphore>,
    free: Free,
}

impl Class {
    fn new((bytes, count): (usize, usize), policy: LockPolicy) -> Result<Self, LockError> {
        let free = (0..count).map(|_| LockedBuffer::locked(bytes, policy)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { permits: Arc::new(Semaphore::new(count)), free: Arc::new(Mutex::new(free)) })
    }

    fn take(&self, permit: OwnedSemaphorePermit) -> Option<Lease> {
        let buffer = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Lease { buffer: Some(buffer), free: Arc::clone(&self.free), _permit: permit })
    }
}

/// A borrowed buffer; wiped when it goes back.
pub(crate) struct Lease {
    buffer: Option<LockedBuffer>,
    free: Free,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Bytes of the largest frame that belongs here.
    pub(crate) fn frame_room(&self) -> usize {
        match self.len() {
            length if length >= LARGE.0 => LARGE_INPUT,
            length if length >= MEDIUM.0 => MEDIUM_FRAME,
            length => length,
        }
    }

    /// Whether it is one of the large buffers, which have room for a reply behind the frame.
    pub(crate) fn split_large(&mut self) -> Option<(&mut [u8], &mut [u8])> {
        if self.len() < LARGE.0 {
            return None;
        }
        self.split_at_mut_checked(LARGE_INPUT)
    }
}

/// What a worker sets aside before it answers or reads: whatever turns up then has a place.
///
/// Medium buffers, for they hold the whole of a worker's input or output.
#[derive(Default)]
pub(crate) struct Reserve {
    unsent: Option<Lease>,
    tail: Option<Lease>,
}

impl Reserve {
    /// Sets aside again what was used, if it is to be had; whether there is a buffer for unsent replies.
    pub(crate) fn refill(&mut self, buffers: &Buffers) -> bool {
        for place in [&mut self.unsent, &mut self.tail] {
            if place.is_none() {
                *place = buffers.try_lease(MEDIUM_FRAME);
            }
        }
        self.unsent.is_some()
    }

    /// Sets a medium buffer aside for unsent replies.
    pub(crate) fn set_aside(&mut self, lease: Lease) {
        self.unsent.get_or_insert(lease);
    }

    /// Whether there is a buffer for input that cannot be answered at once.
    pub(crate) fn has_tail(&self) -> bool {
        self.tail.is_some()
    }

    /// The buffer for input that cannot be answered at once.
    pub(crate) fn take_tail(&mut self) -> Option<Lease> {
        self.tail.take()
    }

    /// The buffer for replies that the socket did not take.
    pub(crate) fn take_unsent(&mut self) -> Option<Lease> {
        self.unsent.take()
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buffer.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(mut buffer) = self.buffer.take() {
            buffer.wipe();
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_wiped_when_it_goes_back() {
        let buffers = Buffers::new(LockPolicy::AllowUnlocked).unwrap();
        let all: Vec<Lease> = std::iter::from_fn(|| buffers.try_lease(MAX_FRAME_BYTES)).collect();
        assert_eq!(all.len(), LARGE.1);
        drop(all);
        let mut lease = buffers.try_lease(MAX_FRAME_BYTES).unwrap();
        let (input, output) = lease.split_large().unwrap();
        assert!(input.len() >= MAX_FRAME_BYTES && output.len() > MAX_FRAME_BYTES);
        input.fill(7);
        output.fill(7);
        drop(lease);
        let all: Vec<Lease> = std::iter::from_fn(|| buffers.try_lease(MAX_FRAME_BYTES)).collect();
        assert!(all.iter().all(|lease| lease.iter().all(|byte| *byte == 0)));
    }

    #[test]
    fn the_announced_budget_leaves_room_for_keys_and_stacks_below_eight_mebibytes() {
        const { assert!(LOCKED_BYTES < 6 << 20) };
    }
}
