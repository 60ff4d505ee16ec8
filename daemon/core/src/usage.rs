//! How much each key version was used: counts that survive any crash and are never too low
//! (docs/FORMATS.md, section "Usage counters").
//!
//! Bytes in, bytes out; files are the daemon's work.

use alloc::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::arena::Arena;

/// Authenticates the file of counters: a subkey of the root, and the keyring that it belongs to.
pub struct CounterKey<A: Arena> {
    key: Arc<A::Slot<[u8; 32]>>,
    keyring_id: [u8; 16],
}

impl<A: Arena> Clone for CounterKey<A> {
    fn clone(&self) -> Self {
        Self { key: Arc::clone(&self.key), keyring_id: self.keyring_id }
    }
}

impl<A: Arena> CounterKey<A> {
    pub(crate) fn new(key: Arc<A::Slot<[u8; 32]>>, keyring_id: [u8; 16]) -> Self {
        Self { key, keyring_id }
    }

    /// Which keyring the file belongs to.
    pub fn keyring_id(&self) -> &[u8; 16] {
        &self.keyring_id
    }

    /// The first 16 bytes of HMAC-SHA-256 under `counters` of `keyring id || bytes`.
    pub fn mac(&self, bytes: &[u8]) -> [u8; 16] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&**self.key) else {
            unreachable!("HMAC accepts keys of any length (RFC 2104)")
        };
        mac.update(&self.keyring_id);
        mac.update(bytes);
        let full = mac.finalize().into_bytes();
        let mut short = [0; 16];
        short.copy_from_slice(full.split_at(16).0);
        short
    }
}
