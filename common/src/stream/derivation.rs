//! From the data key to the key of one stream, and from there to its chunks.
//!
//! The published standard and nothing of keyagent's own (<https://c2sp.org/chunked-encryption>), so that
//! its vectors run on this code: the caller brings salt and context. It must never be given the same
//! salt twice under one input key.

use super::{
    CHUNK_PLAINTEXT_BYTES, COMMITMENT_BYTES, ChunkPlace, MAX_CHUNKS, SALT_BYTES, StreamError, TAG_BYTES,
    aead::{Backend, ChunkAead},
};
use alloc::boxed::Box;
use hmac::{Hmac, KeyInit, Mac, digest::FixedOutput};
use sha2::Sha512;
use zeroize::{Zeroize, Zeroizing};

const INFO: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";
const BLOCK_BYTES: usize = 64;

/// The cipher of one stream: its AES key and base nonce.
pub(super) struct ChunkCipher {
    aead: Box<dyn ChunkAead>,
    base_nonce: Zeroizing<[u8; 12]>,
}

impl ChunkCipher {
    /// The cipher for these chunks and the commitment, which is public; the context is given in parts.
    ///
    /// Whoever opens compares the commitment before the first chunk.
    pub(super) fn derive(
        backend: Backend,
        input_key: &[u8; 32],
        salt: &[u8; SALT_BYTES],
        context: [&[u8]; 2],
    ) -> (Self, [u8; COMMITMENT_BYTES]) {
        let (key, base_nonce, commitment) = derive(input_key, salt, context);
        (Self { aead: backend(&key), base_nonce }, *commitment)
    }

    /// Encrypts the plaintext of chunk `index` in place; the tag follows it in the stream.
    /// On an error the buffer is wiped.
    pub(super) fn seal(
        &self,
        index: u64,
        place: ChunkPlace,
        chunk: &mut [u8],
    ) -> Result<[u8; 16], StreamError> {
        let sealed =
            check_index(index).and_then(|()| check_plaintext_length(place, chunk.len())).and_then(|()| {
                self.aead.seal(&self.nonce(index), &[], chunk).map_err(|_| StreamError::Chunk { index })
            });
        sealed.inspect_err(|_| chunk.zeroize())
    }

    /// Opens chunk `index` in place: `chunk` is ciphertext and tag, the result the plaintext in it.
    /// On an error the buffer is wiped.
    pub(super) fn open<'c>(
        &self,
        index: u64,
        place: ChunkPlace,
        chunk: &'c mut [u8],
    ) -> Result<&'c mut [u8], StreamError> {
        if let Err(error) = self.open_in_place(index, place, chunk) {
            chunk.zeroize();
            return Err(error);
        }
        let (plaintext, _) = chunk.split_last_chunk_mut::<TAG_BYTES>().ok_or(StreamError::Truncated)?;
        Ok(plaintext)
    }

    fn open_in_place(&self, index: u64, place: ChunkPlace, chunk: &mut [u8]) -> Result<(), StreamError> {
        check_index(index)?;
        let (ciphertext, tag) = chunk.split_last_chunk_mut::<TAG_BYTES>().ok_or(StreamError::Truncated)?;
        if place == ChunkPlace::Last && ciphertext.len() == CHUNK_PLAINTEXT_BYTES {
            return Err(StreamError::Truncated);
        }
        check_plaintext_length(place, ciphertext.len())?;
        self.aead.open(&self.nonce(index), &[], ciphertext, tag).map_err(|_| StreamError::Chunk { index })
    }

    /// The base nonce XOR the chunk number, big-endian, 12 bytes wide.
    fn nonce(&self, index: u64) -> Zeroizing<[u8; 12]> {
        let mut nonce = self.base_nonce.clone();
        for (byte, counter) in nonce.iter_mut().skip(4).zip(index.to_be_bytes()) {
            *byte ^= counter;
        }
        nonce
    }
}

fn check_index(index: u64) -> Result<(), StreamError> {
    if index < MAX_CHUNKS { Ok(()) } else { Err(StreamError::TooManyChunks) }
}

fn check_plaintext_length(place: ChunkPlace, length: usize) -> Result<(), StreamError> {
    if ChunkPlace::of_plaintext(length) == Some(place) {
        Ok(())
    } else {
        Err(StreamError::ChunkLength { length })
    }
}

type Secret<const N: usize> = Zeroizing<[u8; N]>;

/// `key 32 || base nonce 12 || commitment 32 = HKDF-Expand-SHA-512(input key, info || 00 || salt || context)`.
///
/// Two blocks by hand, `T1 = HMAC(k, info || 01)` and `T2 = HMAC(k, T1 || info || 02)` (RFC 5869,
/// section 2.3): the standard starts from 32 bytes and the `hkdf` crate wants a full SHA-512 output.
pub(super) fn derive(
    input_key: &[u8; 32],
    salt: &[u8; SALT_BYTES],
    context: [&[u8]; 2],
) -> (Secret<32>, Secret<12>, Secret<COMMITMENT_BYTES>) {
    let [head, tail] = context;
    let info = [INFO, salt, head, tail];
    let first = block(input_key, &[], info, 1);
    let second = block(input_key, first.as_slice(), info, 2);
    let mut output = first.iter().chain(second.iter());
    (take(&mut output), take(&mut output), take(&mut output))
}

fn block(key: &[u8; 32], previous: &[u8], info: [&[u8]; 4], number: u8) -> Secret<BLOCK_BYTES> {
    let Ok(mut mac) = Hmac::<Sha512>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length (RFC 2104, section 2)")
    };
    mac.update(previous);
    for part in info {
        mac.update(part);
    }
    mac.update(&[number]);
    let mut out = Zeroizing::new([0; BLOCK_BYTES]);
    mac.finalize_into((&mut *out).into());
    out
}

fn take<'o, const N: usize>(output: &mut impl Iterator<Item = &'o u8>) -> Secret<N> {
    let mut out = Zeroizing::new([0; N]);
    for (to, from) in out.iter_mut().zip(output) {
        *to = *from;
    }
    out
}
