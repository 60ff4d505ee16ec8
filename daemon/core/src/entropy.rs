//! Where random bytes come from: an argument, like time and the peer.
//!
//! The daemon's implementation is the `getrandom` system call, nothing else. Nothing here may keep,
//! stretch or predict bytes: a snapshot of the machine must not repeat a nonce.

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct EntropyFailed;

/// A source of uniform random bytes.
pub trait Entropy {
    /// Fills all of `out`, or fails and leaves `out` in an unspecified state.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed>;
}
