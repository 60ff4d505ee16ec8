//! A guarded, locked, undumped range of pages.
//!
//! Must never be unmapped before it is wiped, and never claim a backing it does not have.

use std::fmt;

use super::mapping::Mapping;
use super::{Backing, LockError, LockPolicy};
use crate::limits::memlock_limit;

/// Private pages between two inaccessible guard pages; wiped, then unmapped on drop.
pub struct Region {
    mapping: Mapping,
    backing: Backing,
}

impl Region {
    /// At least `len` zeroed bytes of `memfd_secret` memory, or, where the kernel refuses that, as [`Region::locked`].
    ///
    /// A forked child does not have the pages at all. The two guard pages count against `RLIMIT_MEMLOCK` too.
    pub fn secret(len: usize, policy: LockPolicy) -> Result<Self, LockError> {
        match Self::memfd_secret(len) {
            Ok(region) => Ok(region),
            Err(LockError::Size { bytes }) => Err(LockError::Size { bytes }),
            Err(_) => Self::locked(len, policy),
        }
    }

    /// At least `len` zeroed bytes of anonymous memory, locked, left out of core dumps and empty in a forked child.
    pub fn locked(len: usize, policy: LockPolicy) -> Result<Self, LockError> {
        let mapping = Mapping::anonymous(len)?;
        mapping.advise("madvise(MADV_DONTDUMP)", libc::MADV_DONTDUMP)?;
        mapping.advise("madvise(MADV_WIPEONFORK)", libc::MADV_WIPEONFORK)?;
        let backing = match (mapping.lock(), policy) {
            (Ok(()), _) => Backing::LockedPages,
            (Err(_), LockPolicy::AllowUnlocked) => Backing::Unlocked,
            (Err(errno), LockPolicy::Required) => {
                let bytes = mapping.len();
                return Err(LockError::Lock { call: "mlock", bytes, errno, limit: memlock_limit() });
            }
        };
        Ok(Self { mapping, backing })
    }

    /// Ordinary memory with guard pages: stacks in the control build of the memory test.
    #[cfg(feature = "control-unscrubbed")]
    pub(crate) fn ordinary(len: usize, _policy: LockPolicy) -> Result<Self, LockError> {
        Ok(Self { mapping: Mapping::anonymous(len)?, backing: Backing::Unlocked })
    }

    fn memfd_secret(len: usize) -> Result<Self, LockError> {
        let mapping = Mapping::secret(len)?;
        mapping.advise("madvise(MADV_DONTFORK)", libc::MADV_DONTFORK)?;
        mapping.advise("madvise(MADV_DONTDUMP)", libc::MADV_DONTDUMP)?;
        let mut region = Self { mapping, backing: Backing::MemfdSecret };
        // The kernel allocates these pages on first touch: better now than while a key is being read.
        crate::bytes::wipe(region.as_mut_slice());
        Ok(region)
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.mapping.as_slice()
    }

    /// The bytes, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.mapping.as_mut_slice()
    }

    /// How the pages are protected.
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// Usable bytes: the length asked for, rounded up to whole pages.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Always false: an empty region cannot be made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Address of the first byte, page-aligned; valid as long as the region.
    pub(crate) fn start(&self) -> *mut u8 {
        self.mapping.start()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        crate::bytes::wipe(self.as_mut_slice());
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({} bytes, {})", self.len(), self.backing)
    }
}

#[cfg(test)]
mod tests;
