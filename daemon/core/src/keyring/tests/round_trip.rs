use super::*;

fn with_canary(keyring: &Keyring<HeapArena>, change: impl FnOnce(&mut Stored)) -> Keyring<HeapArena> {
    let mut contents = (*keyring.contents).clone();
    change(&mut contents.canary);
    Keyring { contents: Arc::new(contents), ..keyring.clone() }
}

#[test]
fn a_sound_keyring_seals_and_opens_again() {
    let (keyring, bytes) = written(1);
    let before = keyring.keys().to_vec();
    keyring.round_trip(&mut Counting(9, 0)).unwrap();
    open(&bytes).unwrap().round_trip(&mut Counting(9, 0)).unwrap();
    assert_eq!((keyring.keys(), keyring.generation()), (&before[..], 1));
}

#[test]
fn every_changed_bit_of_the_canary_in_memory_is_noticed() {
    let (keyring, _) = written(1);
    let length = keyring.contents.canary.bytes.len();
    for bit in 0..length * 8 {
        let broken = with_canary(&keyring, |canary| {
            let mut bytes = canary.bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            canary.bytes = bytes.into();
        });
        let error = broken.round_trip(&mut Counting(9, 0)).err();
        let noticed = matches!(error, Some(KeyringError::Damaged(_) | KeyringError::Truncated));
        assert!(noticed, "bit {bit}: {error:?}");
    }
}

#[test]
fn without_random_bytes_it_says_so() {
    assert_eq!(create(1).round_trip(&mut NoEntropy), Err(KeyringError::Entropy(EntropyFailed)));
}
