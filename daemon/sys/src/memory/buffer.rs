//! A byte buffer of fixed length in protected pages.
//!
//! Must never show, clone or leak its content; wiped on drop.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};

use super::{Backing, LockError, LockPolicy, Region};

/// `len` bytes in a [`Region`] of their own; dereferences to a slice of exactly that length.
///
/// Making one costs 20 to 50 µs: keep a pool of them, not one per request.
pub struct LockedBuffer {
    region: Region,
    len: usize,
}

impl LockedBuffer {
    /// A zeroed buffer of `len` bytes over [`Region::secret`].
    pub fn secret(len: usize, policy: LockPolicy) -> Result<Self, LockError> {
        Ok(Self { region: Region::secret(len, policy)?, len })
    }

    /// A zeroed buffer of `len` bytes over [`Region::locked`].
    pub fn locked(len: usize, policy: LockPolicy) -> Result<Self, LockError> {
        Ok(Self { region: Region::locked(len, policy)?, len })
    }

    /// How the pages are protected.
    pub fn backing(&self) -> Backing {
        self.region.backing()
    }

    /// Overwrites the whole buffer with zeros.
    pub fn wipe(&mut self) {
        crate::bytes::wipe(self);
    }

    /// Overwrites the bytes of `range` with zeros; what lies beyond the end does not exist and needs no wiping.
    pub fn wipe_range(&mut self, range: Range<usize>) {
        let end = range.end.min(self.len);
        if let Some(part) = self.get_mut(range.start.min(end)..end) {
            crate::bytes::wipe(part);
        }
    }
}

impl Deref for LockedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.region.as_slice().get(..self.len).unwrap_or_default()
    }
}

impl DerefMut for LockedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.region.as_mut_slice().get_mut(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for LockedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockedBuffer({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_length_asked_for_and_wipes() {
        let mut buffer = LockedBuffer::secret(100, LockPolicy::Required).unwrap();
        assert_eq!(buffer.len(), 100);
        assert_eq!(*buffer, [0; 100]);
        buffer.fill(7);
        buffer.wipe_range(10..20);
        assert!(buffer[..10].iter().chain(&buffer[20..]).all(|byte| *byte == 7));
        assert_eq!(buffer[10..20], [0; 10]);
        buffer.wipe_range(90..5000);
        buffer.wipe_range(5000..6000);
        assert_eq!(buffer[80..], [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        buffer.wipe();
        assert_eq!(*buffer, [0; 100]);
        assert_eq!(format!("{buffer:?}"), "LockedBuffer(100 bytes)");
    }

    #[test]
    fn moves_to_another_thread() {
        let mut buffer = LockedBuffer::locked(8192, LockPolicy::Required).unwrap();
        buffer[8191] = 3;
        std::thread::spawn(move || assert_eq!(buffer[8191], 3)).join().unwrap();
    }
}
