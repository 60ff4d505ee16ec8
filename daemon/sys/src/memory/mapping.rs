//! A range of mapped pages between two guard pages, without a word about what it is for.
//!
//! Must never be handed to anyone but [`super::Region`]: locking and wiping are its work.

#![expect(unsafe_code, reason = "mapping, protecting and unmapping pages")]

use std::num::NonZeroUsize;
use std::os::fd::{OwnedFd, RawFd};
use std::ptr::NonNull;
use std::slice;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};
use nix::unistd::{SysconfVar, ftruncate, sysconf};

use super::LockError;

/// `mlock2(2)`: the same on every architecture; missing in the `libc` crate for glibc.
const MLOCK_ONFAULT: libc::c_uint = 1;

/// Pages `[start, start + guard + len + guard)`; only the middle is accessible.
pub(super) struct Mapping {
    start: NonNull<libc::c_void>,
    middle: NonNull<u8>,
    len: usize,
    guard: usize,
}

// SAFETY: the mapping belongs to this value alone and has no tie to the thread that made it.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference the bytes can only be read.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Private anonymous zeroed pages.
    pub(super) fn anonymous(len: usize) -> Result<Self, LockError> {
        let size = Size::of(len)?;
        // SAFETY: the kernel chooses the address, so no existing mapping is replaced.
        let start = unsafe { mmap_anonymous(None, size.total, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE) };
        size.opened("mmap", start)
    }

    /// Pages of a fresh `memfd_secret` file, whose descriptor is closed again.
    pub(super) fn secret(len: usize) -> Result<Self, LockError> {
        let size = Size::of(len)?;
        let file = memfd_secret().map_err(|errno| size.failed("memfd_secret", errno))?;
        let file_len = i64::try_from(size.total.get()).map_err(|_| LockError::Size { bytes: len })?;
        ftruncate(&file, file_len).map_err(|errno| size.failed("ftruncate(memfd_secret)", errno))?;
        // SAFETY: the kernel chooses the address, and nobody else has the file to shrink it under us.
        let start = unsafe { mmap(None, size.total, ProtFlags::PROT_NONE, MapFlags::MAP_SHARED, &file, 0) };
        size.opened("mmap(memfd_secret)", start)
    }

    /// Locks the middle: a page is locked from its first touch on and costs no memory before.
    ///
    /// The whole length counts against `RLIMIT_MEMLOCK` at once. Kernels before 4.4 populate every page.
    pub(super) fn lock(&self) -> Result<(), Errno> {
        // SAFETY: the range is mapped, and locking changes no content.
        let on_fault =
            unsafe { libc::syscall(libc::SYS_mlock2, self.middle.as_ptr(), self.len, MLOCK_ONFAULT) };
        match Errno::result(on_fault) {
            Err(Errno::ENOSYS | Errno::EINVAL) => {}
            result => return result.map(drop),
        }
        // SAFETY: as above.
        let locked = unsafe { memsec::mlock(self.middle.as_ptr(), self.len) };
        if locked { Ok(()) } else { Err(Errno::last()) }
    }

    /// Gives advice about the middle that changes no content in this process (`MADV_DONTDUMP` and the like).
    pub(super) fn advise(&self, call: &'static str, advice: libc::c_int) -> Result<(), LockError> {
        // SAFETY: the range is mapped and ours; the callers' advice concerns dumps and forks only.
        let result = unsafe { libc::madvise(self.middle.as_ptr().cast(), self.len, advice) };
        Errno::result(result).map(drop).map_err(|errno| LockError::Map { call, bytes: self.len, errno })
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.middle.as_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: the middle is readable, initialised (the kernel zeroes pages) and lives as long as `self`.
        unsafe { slice::from_raw_parts(self.middle.as_ptr(), self.len) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.middle.as_ptr(), self.len) }
    }

    fn open_middle(&self) -> Result<(), Errno> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the middle lies within our own mapping and nobody has a reference into it yet.
        unsafe { mprotect(self.middle.cast(), self.len, access) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped, and no reference into it outlives `self`.
        let result = unsafe { munmap(self.start, self.len + 2 * self.guard) };
        debug_assert_eq!(result, Ok(()), "munmap of our own pages");
    }
}

/// Lengths in whole pages.
struct Size {
    len: usize,
    guard: usize,
    total: NonZeroUsize,
}

impl Size {
    fn of(bytes: usize) -> Result<Self, LockError> {
        let nonsense = LockError::Size { bytes };
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| usize::try_from(size).ok());
        let guard = page.filter(|size| size.is_power_of_two()).ok_or(nonsense)?;
        let len = bytes.checked_next_multiple_of(guard).filter(|len| *len > 0).ok_or(nonsense)?;
        let total =
            len.checked_add(2 * guard).filter(|total| isize::try_from(*total).is_ok()).ok_or(nonsense)?;
        Ok(Self { len, guard, total: NonZeroUsize::new(total).ok_or(nonsense)? })
    }

    fn failed(&self, call: &'static str, errno: Errno) -> LockError {
        LockError::Map { call, bytes: self.len, errno }
    }

    /// Takes over what mmap returned and opens the pages between the guards.
    fn opened(
        self,
        call: &'static str,
        start: Result<NonNull<libc::c_void>, Errno>,
    ) -> Result<Mapping, LockError> {
        let start = start.map_err(|errno| self.failed(call, errno))?;
        let middle = NonNull::new(start.as_ptr().wrapping_byte_add(self.guard).cast::<u8>())
            .ok_or_else(|| self.failed(call, Errno::EFAULT))?;
        let mapping = Mapping { start, middle, len: self.len, guard: self.guard };
        mapping.open_middle().map_err(|errno| self.failed("mprotect", errno))?;
        Ok(mapping)
    }
}

fn memfd_secret() -> Result<OwnedFd, Errno> {
    // SAFETY: takes one integer and touches no memory.
    let number = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let number = RawFd::try_from(Errno::result(number)?).map_err(|_| Errno::EBADF)?;
    Ok(crate::descriptor::own(number))
}
