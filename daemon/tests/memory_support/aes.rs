//! AES-256 by the book (FIPS 197), for the tests alone: every round key of a needle, and single blocks.
//!
//! Written for itself and not taken from the cipher under test. Slow, and not constant-time: the keys
//! are those of the test.

/// Round keys of AES-256.
pub(crate) const ROUND_KEYS: usize = 15;

/// The key schedule.
pub(crate) fn expand(key: &[u8; 32]) -> [[u8; 16]; ROUND_KEYS] {
    let table = substitution();
    let mut words = [[0u8; 4]; 4 * ROUND_KEYS];
    for (word, bytes) in words.iter_mut().zip(key.chunks_exact(4)) {
        word.copy_from_slice(bytes);
    }
    let mut constant = 1u8;
    for index in 8..words.len() {
        let mut word = words[index - 1];
        if index % 8 == 0 {
            word.rotate_left(1);
            word = word.map(|byte| table[usize::from(byte)]);
            word[0] ^= constant;
            constant = double(constant);
        } else if index % 8 == 4 {
            word = word.map(|byte| table[usize::from(byte)]);
        }
        for (byte, before) in word.iter_mut().zip(words[index - 8]) {
            *byte ^= before;
        }
        words[index] = word;
    }
    let mut keys = [[0; 16]; ROUND_KEYS];
    for (place, word) in keys.as_flattened_mut().chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word);
    }
    keys
}

/// One block under a key.
pub(crate) fn encrypt(key: &[u8; 32], mut block: [u8; 16]) -> [u8; 16] {
    let (keys, table) = (expand(key), substitution());
    add(&mut block, &keys[0]);
    for (round, key) in keys.iter().enumerate().skip(1) {
        let substituted = block.map(|byte| table[usize::from(byte)]);
        for (index, byte) in block.iter_mut().enumerate() {
            // Row r of column c comes from column c + r.
            *byte = substituted[(index + 4 * (index % 4)) % 16];
        }
        if round + 1 < ROUND_KEYS {
            for column in block.chunks_exact_mut(4) {
                let old = [column[0], column[1], column[2], column[3]];
                for (row, byte) in column.iter_mut().enumerate() {
                    let (next, third, fourth) = (old[(row + 1) % 4], old[(row + 2) % 4], old[(row + 3) % 4]);
                    *byte = double(old[row]) ^ double(next) ^ next ^ third ^ fourth;
                }
            }
        }
        add(&mut block, key);
    }
    block
}

/// The AES-256-GCM key that XAES-256-GCM derives for a nonce (C2SP XAES-256-GCM).
pub(crate) fn xaes_message_key(key: &[u8; 32], nonce: &[u8; 24]) -> [u8; 32] {
    let first = encrypt(key, [0; 16]);
    let mut mask = [0; 16];
    for (index, byte) in mask.iter_mut().enumerate() {
        *byte = (first[index] << 1) | first.get(index + 1).map_or(0, |next| next >> 7);
    }
    mask[15] ^= (first[0] >> 7) * 0x87;
    let mut derived = [0; 32];
    for (counter, half) in (1u8..).zip(derived.chunks_exact_mut(16)) {
        let mut block = [0; 16];
        block[..4].copy_from_slice(&[0, counter, b'X', 0]);
        block[4..].copy_from_slice(&nonce[..12]);
        add(&mut block, &mask);
        half.copy_from_slice(&encrypt(key, block));
    }
    derived
}

/// The first 16 bytes of plaintext of an XAES-256-GCM message: shows that the message key is the right one.
pub(crate) fn first_block(message_key: &[u8; 32], nonce: &[u8; 24], ciphertext: &[u8; 16]) -> [u8; 16] {
    let mut counter = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    counter[..12].copy_from_slice(&nonce[12..]);
    let mut block = encrypt(message_key, counter);
    add(&mut block, ciphertext);
    block
}

fn add(block: &mut [u8; 16], other: &[u8; 16]) {
    for (byte, other) in block.iter_mut().zip(other) {
        *byte ^= other;
    }
}

fn double(byte: u8) -> u8 {
    (byte << 1) ^ ((byte >> 7) * 0x1b)
}

/// The S-box: the inverse in GF(2^8), then the affine map (FIPS 197, section 5.1.1).
fn substitution() -> [u8; 256] {
    let mut table = [0; 256];
    let (mut value, mut inverse) = (1u8, 1u8);
    loop {
        // 3 generates the field; dividing by it is multiplying by its inverse 0xf6.
        value ^= double(value);
        inverse ^= inverse << 1;
        inverse ^= inverse << 2;
        inverse ^= inverse << 4;
        if inverse & 0x80 != 0 {
            inverse ^= 0x09;
        }
        let turned = [1, 2, 3, 4].map(|bits| inverse.rotate_left(bits));
        table[usize::from(value)] = turned.into_iter().fold(inverse ^ 0x63, |sum, byte| sum ^ byte);
        if value == 1 {
            break;
        }
    }
    table[0] = 0x63;
    table
}

#[test]
fn matches_the_published_examples() {
    // FIPS 197, appendices A.3 and C.3.
    let key: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let block = std::array::from_fn(|index| u8::try_from(index * 0x11).unwrap());
    let sealed = encrypt(&key, block);
    assert_eq!(crate::support::hex(&sealed), "8ea2b7ca516745bfeafc49904b496089");
    let key = crate::support::unhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let keys = expand(&key.try_into().unwrap());
    assert_eq!(crate::support::hex(&keys[14]), "fe4890d1e6188d0b046df344706c631e");
}
