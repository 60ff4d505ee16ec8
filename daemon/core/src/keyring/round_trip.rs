//! The proof that the keyring in memory still seals and opens: what `health` does.
//!
//! Must never let a sealed probe out, or keep the secret beyond the stack.

use keyagent_common::kdf;
use zeroize::Zeroizing;

use super::{Keyring, KeyringError, Working, secrets};
use crate::{arena::Arena, cipher, entropy::Entropy};

const PROBE_LABEL: &[u8] = b"keyagent/v1 health\0";

impl<A: Arena> Keyring<A> {
    /// Opens the canary, seals 32 random bytes under its secret, opens them and compares.
    ///
    /// Anything but the same bytes is [`KeyringError::Damaged`].
    pub fn round_trip(&self, entropy: &mut dyn Entropy) -> Result<(), KeyringError> {
        let (mut probe, mut nonce) = ([0; 32], [0; cipher::NONCE_BYTES]);
        entropy.fill(&mut probe)?;
        entropy.fill(&mut nonce)?;
        let Working { identity, subkeys, .. } = &*self.working;
        let canary = &self.contents.canary;
        secrets::with_stored_secret(&subkeys.record, identity, canary, |_, secret| {
            seal_and_open(secret, &nonce, &probe)
        })?
    }
}

fn seal_and_open(
    secret: &[u8],
    nonce: &[u8; cipher::NONCE_BYTES],
    probe: &[u8; 32],
) -> Result<(), KeyringError> {
    let secret = secret.try_into().map_err(|_| KeyringError::Damaged("the canary has another length"))?;
    let mut key = Zeroizing::new([0; 32]);
    kdf::derive(secret, "message", &[], &mut *key);
    let mut bytes = *probe;
    let tag = cipher::seal_with(&key, nonce, PROBE_LABEL, &mut bytes)?;
    if bytes == *probe {
        return Err(KeyringError::Damaged("sealing changes nothing"));
    }
    cipher::open_with(&key, nonce, PROBE_LABEL, &mut bytes, &tag)
        .map_err(|_| KeyringError::Damaged("what was just sealed does not open"))?;
    if bytes == *probe {
        Ok(())
    } else {
        Err(KeyringError::Damaged("what was just sealed opens to other bytes"))
    }
}
