//! What authenticates the file of counters.

use alloc::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::arena::Arena;

/// The subkey `counters` of a root, and which root of which keyring that is.
///
/// A clone is another handle to the same place; the key is wiped with the last one.
pub struct CounterKey<A: Arena> {
    key: Arc<A::Slot<[u8; 32]>>,
    keyring_id: [u8; 16],
    epoch: u32,
}

impl<A: Arena> Clone for CounterKey<A> {
    fn clone(&self) -> Self {
        Self { key: Arc::clone(&self.key), keyring_id: self.keyring_id, epoch: self.epoch }
    }
}

impl<A: Arena> CounterKey<A> {
    pub(crate) fn new(key: Arc<A::Slot<[u8; 32]>>, keyring_id: [u8; 16], epoch: u32) -> Self {
        Self { key, keyring_id, epoch }
    }

    /// Which keyring the file belongs to.
    pub fn keyring_id(&self) -> &[u8; 16] {
        &self.keyring_id
    }

    /// One more at each master rotation.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The first 16 bytes of HMAC-SHA-256 of `keyring id || bytes`.
    pub(super) fn mac(&self, bytes: &[u8]) -> [u8; 16] {
        let mut mac = authenticator(&self.key);
        mac.update(&self.keyring_id);
        mac.update(bytes);
        let full = mac.finalize().into_bytes();
        let mut short = [0; 16];
        short.copy_from_slice(full.split_at(16).0);
        short
    }

    /// Whether this is the mac of these bytes; compared in constant time.
    pub(super) fn verifies(&self, bytes: &[u8], mac: &[u8]) -> bool {
        let mut expected = authenticator(&self.key);
        expected.update(&self.keyring_id);
        expected.update(bytes);
        mac.len() == 16 && expected.verify_truncated_left(mac).is_ok()
    }
}

fn authenticator(key: &[u8; 32]) -> Hmac<Sha256> {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC accepts keys of any length (RFC 2104)")
    };
    mac
}
