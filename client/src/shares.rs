//! A backup key split into shares, and joined again: Shamir's scheme over GF(2^8), by the crate `vsss-rs`.
//!
//! Fewer shares than the threshold say nothing about the key. What is joined is the key only if it has the id of the
//! backup, which the caller checks: a wrong share gives another key, not an error.

use core::convert::Infallible;

use keyagent_common::backup::{
    KEY_BYTES, id,
    share::{Share, Sharing},
};
use rand_core::{TryCryptoRng, TryRng};
use vsss_rs::Gf256;
use zeroize::{Zeroize, Zeroizing};

/// Enough for 32 shares of 32 bytes: at most four bytes for each coefficient.
const RANDOM_BYTES: usize = 8 << 10;

/// Why a key was not split or joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SharesError {
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random bytes")]
    Entropy,
    /// Fewer than are needed.
    #[error("{given} of the {needed} shares that are needed")]
    TooFew {
        /// How many different ones were given.
        given: usize,
        /// How many are needed.
        needed: u8,
    },
    /// One of another backup, or of another sharing of the same one.
    #[error("share {number} is of another backup")]
    OfAnother {
        /// Its number.
        number: u8,
    },
    /// Two with one number that say different things.
    #[error("two shares have the number {number} and differ")]
    Contradiction {
        /// Their number.
        number: u8,
    },
    /// They fit together, and the key that comes out is not the one of the backup.
    #[error("the shares do not make the key of this backup: one of them is wrong")]
    AnotherKey,
    /// The library refused; no input that passed the checks above leads here.
    #[error("the shares cannot be computed")]
    Scheme,
}

/// Splits a backup key.
pub(crate) fn split(key: &[u8; KEY_BYTES], sharing: Sharing) -> Result<Vec<Share>, SharesError> {
    let mut random = Drawn::new()?;
    let (threshold, count) = (usize::from(sharing.threshold()), usize::from(sharing.count()));
    let split = Gf256::split_bytes(threshold, count, key, &mut random).map_err(|_| SharesError::Scheme)?;
    if random.ran_out {
        return Err(SharesError::Scheme);
    }
    let backup = short_id(key);
    let split = Zeroizing::new(split);
    split.iter().map(|bytes| share(bytes, backup, sharing)).collect()
}

/// Joins shares to the key whose backup has this id.
pub(crate) fn join(shares: &[Share], wanted: &[u8; 32]) -> Result<Zeroizing<[u8; KEY_BYTES]>, SharesError> {
    let first = shares.first().ok_or(SharesError::TooFew { given: 0, needed: 2 })?;
    let mut different: Vec<&Share> = Vec::new();
    for share in shares {
        if !wanted.starts_with(&share.backup) || share.sharing != first.sharing {
            return Err(SharesError::OfAnother { number: share.number });
        }
        match different.iter().find(|known| known.number == share.number) {
            None => different.push(share),
            Some(known) if *known.value == *share.value => {}
            Some(_) => return Err(SharesError::Contradiction { number: share.number }),
        }
    }
    let needed = first.sharing.threshold();
    if different.len() < usize::from(needed) {
        return Err(SharesError::TooFew { given: different.len(), needed });
    }
    let mut points: Zeroizing<Vec<Vec<u8>>> =
        Zeroizing::new(different.iter().map(|share| point(share)).collect());
    let joined = Gf256::combine_bytes(&*points).map(Zeroizing::new).map_err(|_| SharesError::Scheme)?;
    points.zeroize();
    let key: [u8; KEY_BYTES] = joined.as_slice().try_into().map_err(|_| SharesError::Scheme)?;
    let key = Zeroizing::new(key);
    if id(&key) == *wanted { Ok(key) } else { Err(SharesError::AnotherKey) }
}

/// The first 16 bytes of the id of a key's backup.
fn short_id(key: &[u8; KEY_BYTES]) -> [u8; 16] {
    let mut short = [0; 16];
    for (place, byte) in short.iter_mut().zip(id(key)) {
        *place = byte;
    }
    short
}

/// What the library returns: the x-coordinate, then the y-coordinates.
fn share(bytes: &[u8], backup: [u8; 16], sharing: Sharing) -> Result<Share, SharesError> {
    let (&number, value) = bytes.split_first().ok_or(SharesError::Scheme)?;
    let value: [u8; KEY_BYTES] = value.try_into().map_err(|_| SharesError::Scheme)?;
    Ok(Share { backup, sharing, number, value: Zeroizing::new(value) })
}

fn point(share: &Share) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + KEY_BYTES);
    bytes.push(share.number);
    bytes.extend_from_slice(&*share.value);
    bytes
}

/// Random bytes drawn beforehand: the library asks for a source that cannot fail.
struct Drawn {
    bytes: Zeroizing<Vec<u8>>,
    ran_out: bool,
}

impl Drawn {
    fn new() -> Result<Self, SharesError> {
        let mut bytes = Zeroizing::new(vec![0; RANDOM_BYTES]);
        getrandom::fill(&mut bytes).map_err(|_| SharesError::Entropy)?;
        Ok(Self { bytes, ran_out: false })
    }
}

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for place in out {
            let drawn = self.bytes.pop();
            self.ran_out |= drawn.is_none();
            *place = drawn.unwrap_or_default();
        }
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(share: &Share) -> Share {
        Share { value: Zeroizing::new(*share.value), ..*share }
    }

    /// Every choice of so many of the shares.
    fn choices(shares: &[Share], size: usize) -> Vec<Vec<Share>> {
        (0_u32..1 << shares.len())
            .filter(|choice| choice.count_ones() as usize == size)
            .map(|choice| {
                (0..shares.len())
                    .filter(|place| choice >> place & 1 == 1)
                    .map(|place| copy(&shares[place]))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn any_three_of_five_open_and_no_two_do() {
        let key = [0x5a; KEY_BYTES];
        let shares = split(&key, Sharing::new(3, 5).unwrap()).unwrap();
        assert_eq!(choices(&shares, 3).len(), 10);
        for size in 3..=5 {
            assert!(choices(&shares, size).iter().all(|chosen| *join(chosen, &id(&key)).unwrap() == key));
        }
        for size in 0..3 {
            for chosen in choices(&shares, size) {
                assert!(matches!(join(&chosen, &id(&key)), Err(SharesError::TooFew { .. })));
            }
        }
        // Not even if the threshold is denied: what comes out is another key.
        for mut chosen in choices(&shares, 2) {
            for share in &mut chosen {
                share.sharing = Sharing::new(2, 5).unwrap();
            }
            assert_eq!(join(&chosen, &id(&key)).unwrap_err(), SharesError::AnotherKey);
        }
    }

    #[test]
    fn shares_differ_each_time_and_never_hold_the_key() {
        let key = [7; KEY_BYTES];
        let sharing = Sharing::new(2, 3).unwrap();
        let (one, other) = (split(&key, sharing).unwrap(), split(&key, sharing).unwrap());
        for (a, b) in one.iter().zip(&other) {
            assert!(a.value != b.value && *a.value != key);
        }
        // Of two sharings of one key, which nothing tells apart but what comes out.
        let mixed = [copy(&one[0]), copy(&other[1])];
        assert_eq!(join(&mixed, &id(&key)).unwrap_err(), SharesError::AnotherKey);
    }

    #[test]
    fn what_does_not_belong_is_named() {
        let (key, another) = ([7; KEY_BYTES], [8; KEY_BYTES]);
        let sharing = Sharing::new(2, 3).unwrap();
        let (shares, foreign) = (split(&key, sharing).unwrap(), split(&another, sharing).unwrap());
        let given = [copy(&shares[0]), copy(&foreign[1])];
        assert_eq!(join(&given, &id(&key)).unwrap_err(), SharesError::OfAnother { number: 2 });
        let twice = [copy(&shares[0]), copy(&shares[0])];
        assert_eq!(join(&twice, &id(&key)).unwrap_err(), SharesError::TooFew { given: 1, needed: 2 });
        let mut changed = copy(&shares[0]);
        changed.value[3] ^= 1;
        let given = [copy(&shares[0]), changed];
        assert_eq!(join(&given, &id(&key)).unwrap_err(), SharesError::Contradiction { number: 1 });
    }

    #[test]
    fn the_most_shares_there_are() {
        let key = [9; KEY_BYTES];
        let shares = split(&key, Sharing::new(32, 32).unwrap()).unwrap();
        assert_eq!(*join(&shares, &id(&key)).unwrap(), key);
        assert!(join(&shares[1..], &id(&key)).is_err());
    }

    #[test]
    fn a_source_that_runs_out_says_so() {
        let mut drawn = Drawn::new().unwrap();
        let mut out = vec![0; RANDOM_BYTES];
        drawn.try_fill_bytes(&mut out).unwrap();
        assert!(!drawn.ran_out);
        drawn.try_next_u32().unwrap();
        assert!(drawn.ran_out);
    }
}
