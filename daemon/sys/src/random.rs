//! Random bytes straight from the kernel.
//!
//! Must never keep a stock or a generator of its own: after a fork or a virtual machine snapshot it
//! would repeat itself, and it would be state outside locked memory.

#![expect(unsafe_code, reason = "the getrandom system call writes through a raw pointer")]

use nix::errno::Errno;

/// The kernel gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("getrandom failed: {errno}")]
pub struct RandomError {
    /// What the kernel said.
    pub errno: Errno,
}

/// Fills `out` with random bytes by the `getrandom` system call.
///
/// Waits at boot until the kernel's pool is ready; goes on after signals and short reads. On an error
/// the contents of `out` must not be used.
pub fn fill(mut out: &mut [u8]) -> Result<(), RandomError> {
    while !out.is_empty() {
        // SAFETY: the kernel writes at most `out.len()` bytes into `out`, which is borrowed exclusively.
        let got = unsafe { libc::syscall(libc::SYS_getrandom, out.as_mut_ptr(), out.len(), 0u32) };
        match Errno::result(got) {
            Ok(got) => {
                let got = usize::try_from(got).unwrap_or(0);
                out = out.get_mut(got..).ok_or(RandomError { errno: Errno::EOVERFLOW })?;
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(RandomError { errno }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_everything_and_never_the_same() {
        // Above 256 bytes and above 32 MiB - 1 the kernel may return short.
        let (mut one, mut two) = (vec![0u8; 100_000], vec![0u8; 100_000]);
        fill(&mut one).unwrap();
        fill(&mut two).unwrap();
        assert_ne!(one, two);
        assert!(one.chunks(16).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
        fill(&mut []).unwrap();
    }
}
