//! SHA-256 and HMAC by the book (FIPS 180-4, RFC 2104), for the tests alone.
//!
//! HMAC keeps two states that are as good as its key; libraries do not show them, so they are computed here.

const ROUNDS: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// HMAC-SHA-256 under a key of 32 bytes.
pub(crate) fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let inner = finish(compress(START, &padded(key, 0x36)), message);
    finish(compress(START, &padded(key, 0x5c)), &inner)
}

/// The two states of HMAC after its key, as they lie in memory on a little-endian machine.
pub(crate) fn hmac_states(key: &[u8; 32]) -> [[u8; 32]; 2] {
    [0x36, 0x5c].map(|pad| {
        let mut bytes = [0; 32];
        for (place, word) in bytes.chunks_exact_mut(4).zip(compress(START, &padded(key, pad))) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    })
}

/// The block that HMAC begins with.
fn padded(key: &[u8; 32], pad: u8) -> [u8; 64] {
    std::array::from_fn(|index| key.get(index).copied().unwrap_or_default() ^ pad)
}

/// Hashes the rest of a message whose first block is in the state already.
fn finish(mut state: [u32; 8], message: &[u8]) -> [u8; 32] {
    let mut rest = message.to_vec();
    rest.push(0x80);
    rest.resize((rest.len() + 8).next_multiple_of(64) - 8, 0);
    rest.extend(((message.len() as u64 + 64) * 8).to_be_bytes());
    for block in rest.as_chunks::<64>().0 {
        state = compress(state, block);
    }
    let mut digest = [0; 32];
    for (place, word) in digest.chunks_exact_mut(4).zip(state) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

#[expect(clippy::many_single_char_names, reason = "the names of FIPS 180-4")]
fn compress(state: [u32; 8], block: &[u8; 64]) -> [u32; 8] {
    let mut words = [0u32; 64];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for index in 16..64 {
        let (before, last) = (words[index - 15], words[index - 2]);
        let low = before.rotate_right(7) ^ before.rotate_right(18) ^ (before >> 3);
        let high = last.rotate_right(17) ^ last.rotate_right(19) ^ (last >> 10);
        words[index] = words[index - 16].wrapping_add(low).wrapping_add(words[index - 7]).wrapping_add(high);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
    for (constant, word) in ROUNDS.iter().zip(words) {
        let turned = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let chosen = (e & f) ^ (!e & g);
        let first = h.wrapping_add(turned).wrapping_add(chosen).wrapping_add(*constant).wrapping_add(word);
        let turned = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let second = turned.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(first), c, b, a, first.wrapping_add(second));
    }
    let sums = [a, b, c, d, e, f, g, h];
    std::array::from_fn(|index| state[index].wrapping_add(sums[index]))
}

#[test]
fn matches_the_key_derivation_of_the_formats() {
    let (key, mut derived) = ([7; 32], [0; 32]);
    keyagent_common::kdf::derive(&key, "message", &[5], &mut derived);
    // HKDF-Expand with one block is one HMAC (RFC 5869, section 2.3).
    assert_eq!(hmac(&key, b"keyagent/v1 message\0\x05\x01"), derived);
    let long = [1u8; 300];
    keyagent_common::kdf::derive(&key, "x", &long, &mut derived);
    assert_eq!(hmac(&key, &[b"keyagent/v1 x\0".as_slice(), &long, &[1]].concat()), derived);
}
