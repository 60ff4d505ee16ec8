//! Randomness of one burst.

use keyagent_common::op::OperationCode;
use keyagent_core::{
    cipher::NONCE_BYTES,
    engine,
    entropy::{Entropy, EntropyFailed},
};
use keyagent_sys::{bytes, random};

use super::frames::{Frame, next_frame};

/// Longer ones are drawn for themselves, where they shall be.
const MAX_FROM_STOCK: usize = 64;

/// Random bytes for the requests already received in this burst: drawn when first needed, given out by
/// position, and wiped with the burst, so that no snapshot of the machine can repeat a nonce.
pub(super) struct BurstEntropy<'s> {
    stock: &'s mut [u8],
    filled: usize,
    used: usize,
    /// What the requests received will need in all.
    expected: usize,
    /// How many requests that are.
    pub(super) frames: usize,
}

impl<'s> BurstEntropy<'s> {
    pub(super) fn new(stock: &'s mut [u8], mut input: &[u8]) -> Self {
        let (mut expected, mut frames) = (0, 0);
        while let Ok(Some(frame)) = next_frame(input) {
            frames += 1;
            expected += match frame.operation {
                Some(OperationCode::Batch) => of_items(&frame),
                Some(operation) => of_one(operation),
                None => 0,
            };
            input = input.get(frame.header.frame_bytes()..).unwrap_or_default();
        }
        Self { stock, filled: 0, used: 0, expected, frames }
    }

    fn wipe(&mut self) {
        if let Some(drawn) = self.stock.get_mut(..self.filled) {
            bytes::wipe(drawn);
        }
        (self.filled, self.used) = (0, 0);
    }

    fn draw(&mut self, at_least: usize) -> Result<(), EntropyFailed> {
        let wanted = self.expected.clamp(at_least, self.stock.len().max(at_least));
        // A shorter draw must not leave the end of a longer one behind.
        self.wipe();
        let place = self.stock.get_mut(..wanted).ok_or(EntropyFailed)?;
        random::fill(place).map_err(|_| EntropyFailed)?;
        self.expected -= wanted.min(self.expected);
        (self.filled, self.used) = (wanted, 0);
        Ok(())
    }
}

/// What a request needs at most; what is drawn in vain is wiped with the rest.
fn of_one(operation: OperationCode) -> usize {
    match operation {
        OperationCode::Encrypt | OperationCode::Rewrap => NONCE_BYTES,
        OperationCode::DataKey => NONCE_BYTES + 32,
        _ => 0,
    }
}

/// What the items of a batch need: they were received with it.
fn of_items(frame: &Frame<'_>) -> usize {
    engine::batch_needs(frame.request_body())
        .map_or(0, |(operation, items, _)| of_one(operation) * items.count())
}

impl Entropy for BurstEntropy<'_> {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        if out.len() > MAX_FROM_STOCK {
            return random::fill(out).map_err(|_| EntropyFailed);
        }
        if self.filled - self.used < out.len() {
            self.draw(out.len())?;
        }
        let given = self.stock.get(self.used..self.used + out.len()).ok_or(EntropyFailed)?;
        out.copy_from_slice(given);
        self.used += out.len();
        Ok(())
    }
}

impl Drop for BurstEntropy<'_> {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ENTROPY_BYTES, *};

    #[test]
    fn one_draw_covers_the_burst_and_no_value_is_given_twice() {
        let frame = keyagent_common::codec::frame(1, OperationCode::Encrypt as u16, &()).unwrap();
        let input = frame.repeat(300);
        let mut stock = vec![0; ENTROPY_BYTES];
        let mut entropy = BurstEntropy::new(&mut stock, &input);
        assert_eq!(entropy.expected, 300 * 24);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..300 {
            let mut nonce = [0; 24];
            entropy.fill(&mut nonce).unwrap();
            assert!(seen.insert(nonce), "a nonce came twice");
        }
        assert_eq!(entropy.expected, 0);
        drop(entropy);
        assert!(stock.iter().all(|byte| *byte == 0), "nothing outlives the burst");
    }
}
