//! What a burst used which versions for, as its facts tell.

use keyagent_common::op::OperationCode;
use keyagent_core::{
    engine::Facts,
    keyring::{Keyring, State, Version},
    usage::Direction,
};
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
        let alone = facts.version.filter(|_| facts.batch.is_none());
        let alone = alone.map(|version| (facts.key, version, 1, u64::from(facts.is_look_up)));
        let items = facts.batch.iter().flat_map(|batch| &batch.outcomes);
        let items = items.filter(|outcome| outcome.failure.is_none());
        let items = items
            .filter_map(|outcome| Some((outcome.key, outcome.version?, outcome.count, outcome.look_ups)));
        let operation = facts.operation;
        alone.into_iter().chain(items).flat_map(move |(key, (id, number), times, look_ups)| {
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
            let itself = Use { id, direction, times: times.saturating_sub(look_ups) };
            let looked_up = key.filter(|_| look_ups > 0).into_iter().flat_map(|key| in_use(keyring, key));
            let looked_up =
                looked_up.map(move |id| Use { id, direction: Direction::Decryption, times: look_ups });
            Some(itself).filter(|itself| itself.times > 0).into_iter().chain(resealed).chain(looked_up)
        })
    })
}

/// The version that sealed anew what another one had sealed.
fn primary<'k>(keyring: &'k Keyring<LockedArena>, key: Option<&str>, number: u32) -> Option<&'k [u8; 32]> {
    let primary = keyring.find(key?)?.primary()?;
    primary.key_id().filter(|_| primary.number != number)
}

/// The versions whose tags a look-up got: the engine that made them still has this keyring.
fn in_use<'k>(keyring: &'k Keyring<LockedArena>, key: &str) -> impl Iterator<Item = &'k [u8; 32]> {
    let versions = keyring.find(key).into_iter().flat_map(|key| &key.versions);
    let opens = |version: &&Version| matches!(version.state, State::Staged | State::Primary | State::Grace);
    versions.filter(opens).filter_map(Version::key_id)
}
