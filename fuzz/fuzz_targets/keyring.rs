//! A keyring file: arbitrary bytes, and a real one with bytes changed, cut or added. Only the very bytes
//! that were written open.
#![no_main]
use keyagent_core::{
    arena::HeapArena,
    entropy::{Entropy, EntropyFailed},
    keyring::{Keyring, examine},
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const MASTER: [u8; 32] = *b"a master key for fuzzing only...";

static REAL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (keyring, _) = Keyring::create(&HeapArena, &MASTER, &mut Counting(0), 1).unwrap();
    keyring.draft().prepare(None, &mut Counting(100)).unwrap().bytes
});

fuzz_target!(|data: &[u8]| {
    let _ = examine(data);
    assert!(Keyring::open(&HeapArena, data, &MASTER).is_err() || data == *REAL);
    // The first three bytes say where and how the real file is changed, the rest is what is put there.
    let [high, low, how, rest @ ..] = data else { return };
    let mut changed = REAL.clone();
    let at = usize::from(u16::from_be_bytes([*high, *low])) % changed.len();
    match how % 3 {
        0 => changed.truncate(at),
        1 => drop(changed.splice(at..at, rest.iter().copied())),
        _ => changed.iter_mut().skip(at).zip(rest).for_each(|(byte, other)| *byte ^= other),
    }
    let opened = Keyring::open(&HeapArena, &changed, &MASTER).is_ok();
    assert_eq!(opened, changed == *REAL);
});

/// Bytes that differ from call to call; nothing here has to be unpredictable.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        self.0 = self.0.wrapping_add(1);
        out.fill(self.0);
        Ok(())
    }
}
