//! What a burst used which versions for, as its facts tell.

use keyagent_common::op::OperationCode;
use keyagent_core::{engine::Facts, keyring::Keyring, usage::Direction};
use keyagent_sys::memory::LockedArena;

/// A version was used so often.
pub(super) struct Use<'f> {
    pub(super) id: &'f [u8; 32],
    pub(super) direction: Direction,
    pub(super) times: u64,
}

/// What was used for what, each item of a batch for itself. Whatever was refused was not used.
pub(super) fn uses<'f>(
    keyring: &'f Keyring<LockedArena>,
    facts: &'f [Facts<'_>],
) -> impl Iterator<Item = Use<'f>> {
    facts.iter().filter(|facts| facts.failure.is_none()).flat_map(move |facts| {
        let alone = facts.version.filter(|_| facts.batch.is_none()).map(|version| (facts.key, version, 1));
        let items = facts.batch.iter().flat_map(|batch| &batch.outcomes);
        let items = items.filter(|outcome| outcome.failure.is_none());
        let items = items.filter_map(|outcome| Some((outcome.key, outcome.version?, outcome.count)));
        let operation = facts.operation;
        alone.into_iter().chain(items).flat_map(move |(key, (id, number), times)| {
            let made = matches!(
                operation,
                OperationCode::Encrypt
                    | OperationCode::DataKey
                    | OperationCode::Hmac
                    | OperationCode::JwtSign
            );
            let direction = if made { Direction::Encryption } else { Direction::Decryption };
            let resealed =
                if operation == OperationCode::Rewrap { primary(keyring, key, number) } else { None };
            let resealed = resealed.map(|id| Use { id, direction: Direction::Encryption, times });
            [Use { id, direction, times }].into_iter().chain(resealed)
        })
    })
}

/// The version that sealed anew what another one had sealed.
fn primary<'k>(keyring: &'k Keyring<LockedArena>, key: Option<&str>, number: u32) -> Option<&'k [u8; 32]> {
    let primary = keyring.find(key?)?.primary()?;
    primary.key_id().filter(|_| primary.number != number)
}
