//! Descriptors this process was started with (`--key-fd N`), and what only the kernel can tell about one.
//!
//! Must never take over standard input, output or error, nor a number that is not open.

#![expect(unsafe_code, reason = "a bare number becomes an owned descriptor")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// A descriptor number could not be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// 0, 1 and 2 (and negative numbers) are never adopted.
    #[error("descriptor {number} is a standard stream or no descriptor number")]
    Reserved {
        /// The number asked for.
        number: RawFd,
    },
    /// No such descriptor, or its flags could not be read or set.
    #[error("{call} on descriptor {number} failed: {errno}")]
    Failed {
        /// The call that failed.
        call: &'static str,
        /// The number asked for.
        number: RawFd,
        /// What the kernel said; `EBADF` when the number is not open.
        errno: Errno,
    },
}

/// Takes ownership of an inherited descriptor and marks it close-on-exec.
///
/// Call it at most once per number, and only for numbers that were inherited: the returned value
/// closes the descriptor when dropped.
pub fn adopt(number: RawFd) -> Result<OwnedFd, DescriptorError> {
    if number <= 2 {
        return Err(DescriptorError::Reserved { number });
    }
    // SAFETY: F_GETFD takes no further argument and touches no memory; a closed number gives EBADF.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    Errno::result(flags).map_err(|errno| DescriptorError::Failed {
        call: "fcntl(F_GETFD)",
        number,
        errno,
    })?;
    let owned = own(number);
    fcntl(&owned, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|errno| DescriptorError::Failed {
        call: "fcntl(F_SETFD)",
        number,
        errno,
    })?;
    Ok(owned)
}

/// Whether an open file carries an access control list, so that its group bits are a mask and not a group's rights.
///
/// A file system without such lists gives false.
pub fn has_access_list(file: BorrowedFd<'_>) -> Result<bool, DescriptorError> {
    let number = file.as_raw_fd();
    let name = c"system.posix_acl_access";
    // SAFETY: the name is a C string, and with a length of 0 the kernel writes nothing and gives the size only.
    let size = unsafe { libc::fgetxattr(number, name.as_ptr(), ptr::null_mut(), 0) };
    match Errno::result(size) {
        Ok(_) => Ok(true),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(false),
        Err(errno) => Err(DescriptorError::Failed { call: "fgetxattr", number, errno }),
    }
}

/// Wraps a descriptor that is open and that nobody else owns.
pub(crate) fn own(number: RawFd) -> OwnedFd {
    // SAFETY: both callers have just seen the number open and hand over the only claim to it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn refuses_standard_streams_and_closed_numbers() {
        for number in [-1, 0, 1, 2] {
            assert_eq!(adopt(number).unwrap_err(), DescriptorError::Reserved { number });
        }
        let error = adopt(99_999).unwrap_err();
        assert!(error.to_string().contains("EBADF"), "{error}");
    }

    #[test]
    fn an_access_list_is_seen() {
        use std::os::fd::AsFd;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let file = std::fs::File::create(&path).unwrap();
        assert!(!has_access_list(file.as_fd()).unwrap());
        // Version 2; then owner rw, user 65533 r, group none, mask r, others none (acl(5) as the kernel stores it).
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, u32::MAX), (2, 4, 65_533), (4, 0, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
        let mut list = 2u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
            list.extend(id.to_le_bytes());
        }
        let name = c"system.posix_acl_access";
        // SAFETY: test only; name and value are valid for the call and the length is the value's.
        let set =
            unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), list.as_ptr().cast(), list.len(), 0) };
        match Errno::result(set) {
            Ok(_) => assert!(has_access_list(file.as_fd()).unwrap()),
            Err(errno) => eprintln!("SKIPPED: this file system takes no access lists ({errno})"),
        }
        let path = std::fs::File::open("/proc/self/status").unwrap();
        assert!(!has_access_list(path.as_fd()).unwrap());
    }

    #[test]
    fn adopts_and_closes_on_exec() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"text").unwrap();
        file.rewind().unwrap();
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let adopted = adopt(file.into_raw_fd()).unwrap();
        assert_eq!(fcntl(&adopted, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
        let mut text = String::new();
        std::fs::File::from(adopted).read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    }
}
