//! Bridges: segments begun while the daemon is locked, with a random first key that is sealed into the
//! next segment at unlock (docs/FORMATS.md, section 4 "Bridges").

/// Bytes of a sealed first key: nonce 24, sealed key 32, tag 16.
pub const SEALED_BYTES: usize = 72;

/// The first key of a bridge, sealed under `KDF(R, "audit bridge", 32)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedBridge {
    /// Number of the bridge's segment.
    pub segment: u64,
    /// Nonce, sealed key, tag.
    pub bytes: [u8; SEALED_BYTES],
}
