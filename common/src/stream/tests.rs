use super::*;
use crate::{context, test_vectors};
use alloc::{vec, vec::Vec};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

mod wycheproof;

const KEY: [u8; 32] = [7; 32];
const SALT: [u8; 24] = [9; 24];

fn sealed_key() -> [u8; SEALED_KEY_BYTES] {
    let mut bytes = [5; SEALED_KEY_BYTES];
    bytes[0] = 2;
    bytes
}

fn none() -> context::Context<'static> {
    context::Context::empty()
}

/// Through the chunks in reverse order: nothing may depend on the order.
fn seal_with(
    key: &[u8; 32],
    sealed_key: &[u8; 105],
    salt: &[u8; 24],
    context: &[u8],
    plain: &[u8],
) -> Vec<u8> {
    let context = context::Context::parse(context).unwrap();
    let (sealer, header) = Sealer::new(key, sealed_key, salt, context).unwrap();
    let last = plain.len() / CHUNK_PLAINTEXT_BYTES;
    let mut pieces: Vec<Vec<u8>> = (0..=last)
        .rev()
        .map(|index| {
            let end = plain.len().min((index + 1) * CHUNK_PLAINTEXT_BYTES);
            let mut chunk = plain[index * CHUNK_PLAINTEXT_BYTES..end].to_vec();
            let place = if index == last { ChunkPlace::Last } else { ChunkPlace::Middle };
            let tag = sealer.seal_chunk(index as u64, place, &mut chunk).unwrap();
            chunk.extend_from_slice(&tag);
            chunk
        })
        .collect();
    pieces.push(header.to_vec());
    pieces.reverse();
    pieces.concat()
}

fn seal(plain: &[u8]) -> Vec<u8> {
    seal_with(&KEY, &sealed_key(), &SALT, context::EMPTY, plain)
}

/// As a client reads a pipe.
fn open_with(key: &[u8; 32], context: &[u8], stream: &[u8]) -> Result<Vec<u8>, StreamError> {
    let header = StreamHeader::parse(stream)?;
    let opener = Opener::new(key, &header, context::Context::parse(context).unwrap())?;
    let mut opener = StreamOpener::new(opener);
    let mut body = stream[HEADER_BYTES..].to_vec();
    let (chunks, rest) = body.as_chunks_mut::<CHUNK_SEALED_BYTES>();
    let mut plain = Vec::new();
    for chunk in chunks {
        plain.extend_from_slice(opener.open(chunk)?);
    }
    plain.extend_from_slice(opener.finish(rest)?);
    Ok(plain)
}

fn open(stream: &[u8]) -> Result<Vec<u8>, StreamError> {
    open_with(&KEY, context::EMPTY, stream)
}

fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// The plaintexts of the vectors: "hello", zeros, and a count modulo 251.
fn vector_plaintext(length: usize) -> Vec<u8> {
    match length {
        5 => b"hello".to_vec(),
        40_000 => sample(length),
        _ => vec![0; length],
    }
}

#[test]
fn equals_the_published_vectors_in_both_directions() {
    let vectors = &test_vectors::formats()["stream"];
    let key = test_vectors::array(&vectors["data_key"]);
    let salt = test_vectors::array(&vectors["salt"]);
    let cases = vectors["cases"].as_array().unwrap();
    for case in cases {
        let pairs: Vec<(&str, Vec<u8>)> = case["context"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(n, v)| (n.as_str(), test_vectors::bytes(v)))
            .collect();
        let context = context::encode(pairs.iter().map(|(n, v)| (*n, v.as_slice()))).unwrap();
        let plain = vector_plaintext(usize::try_from(case["plaintext_len"].as_u64().unwrap()).unwrap());
        assert_eq!(hex::encode(Sha256::digest(&plain)), case["plaintext_sha256"]);
        let header = test_vectors::bytes(&case["header177"]);
        let sealed_key = StreamHeader::parse(&header).unwrap().sealed_key;

        let stream = seal_with(&key, sealed_key, &salt, &context, &plain);
        assert_eq!(stream[..HEADER_BYTES], header);
        assert_eq!(stream.len() as u64, case["stream_len"].as_u64().unwrap());
        assert_eq!(hex::encode(Sha256::digest(&stream)), case["stream_sha256"]);
        if let Some(whole) = case.get("stream") {
            assert_eq!(hex::encode(&stream), whole.as_str().unwrap());
        }
        assert_eq!(open_with(&key, &context, &stream).unwrap(), plain);
        let other = context::encode([("file", &b"b"[..])]).unwrap();
        assert_eq!(open_with(&key, &other, &stream), Err(StreamError::Commitment));
    }
    assert_eq!(cases.len(), 12);
}

#[test]
fn round_trips_around_every_border() {
    for length in [0, 1, 16_383, 16_384, 16_385, 32_767, 32_768, 32_769] {
        let plain = sample(length);
        let stream = seal(&plain);
        assert_eq!(sealed_len(length as u64), Some(stream.len() as u64));
        assert_eq!(plaintext_len(stream.len() as u64), Some(length as u64));
        assert_eq!(open(&stream).unwrap(), plain, "{length}");
    }
}

#[test]
fn the_pipe_writes_what_the_chunks_write() {
    let plain = sample(40_000);
    let (sealer, header) = Sealer::new(&KEY, &sealed_key(), &SALT, none()).unwrap();
    let mut sealer = StreamSealer::new(sealer);
    let (mut stream, mut copy) = (header.to_vec(), plain.clone());
    let (chunks, rest) = copy.as_chunks_mut::<CHUNK_PLAINTEXT_BYTES>();
    for chunk in chunks {
        let tag = sealer.seal(chunk).unwrap();
        stream.extend_from_slice(chunk);
        stream.extend_from_slice(&tag);
    }
    let tag = sealer.finish(rest).unwrap();
    stream.extend_from_slice(rest);
    stream.extend_from_slice(&tag);
    assert_eq!(stream, seal(&plain));
}

#[test]
fn refuses_every_flipped_bit_but_those_of_the_sealed_key() {
    let stream = seal(b"hello");
    for bit in 0..stream.len() * 8 {
        let mut bad = stream.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        match bit / 8 {
            0..15 => assert_eq!(open(&bad), Err(StreamError::NotAStream)),
            15 => assert_eq!(open(&bad), Err(StreamError::UnknownVersion(bad[15]))),
            16 => assert_eq!(open(&bad), Err(StreamError::SealedKeyKind)),
            // `rewrap` replaces them; the envelope guards itself.
            17..121 => assert_eq!(open(&bad).unwrap(), b"hello"),
            121..177 => assert_eq!(open(&bad), Err(StreamError::Commitment)),
            _ => assert_eq!(open(&bad), Err(StreamError::Chunk { index: 0 })),
        }
    }
}

#[test]
fn refuses_every_truncation() {
    let small = seal(b"hello");
    for length in 0..small.len() {
        assert!(open(&small[..length]).is_err(), "{length}");
    }
    let stream = seal(&sample(3 * CHUNK_PLAINTEXT_BYTES + 100));
    for chunks in 0..=3 {
        let border = HEADER_BYTES + chunks * CHUNK_SEALED_BYTES;
        for inside in [0, 1, 15] {
            assert_eq!(open(&stream[..border + inside]), Err(StreamError::Truncated), "{chunks} {inside}");
        }
        for inside in [16, 17, 115] {
            let index = chunks as u64;
            assert_eq!(
                open(&stream[..border + inside]),
                Err(StreamError::Chunk { index }),
                "{chunks} {inside}"
            );
        }
    }
}

#[test]
fn a_pipe_that_failed_once_keeps_failing() {
    let stream = seal(&sample(2 * CHUNK_PLAINTEXT_BYTES + 9));
    let opener = Opener::new(&KEY, &StreamHeader::parse(&stream).unwrap(), none()).unwrap();
    let mut opener = StreamOpener::new(opener);
    let mut body = stream[HEADER_BYTES..].to_vec();
    let (chunks, rest) = body.as_chunks_mut::<CHUNK_SEALED_BYTES>();
    let error = StreamError::Chunk { index: 0 };
    let mut good = chunks[0];
    chunks[0][7] ^= 1;
    assert_eq!(opener.open(&mut chunks[0]), Err(error));
    assert_eq!(opener.open(&mut good), Err(error));
    assert_eq!(opener.open(&mut chunks[1]), Err(error));
    assert_eq!(opener.finish(rest), Err(error));
    assert!(body.iter().chain(&good).all(|b| *b == 0));
}

#[test]
fn refuses_a_last_chunk_that_a_full_one_replaced() {
    let stream = seal(&sample(2 * CHUNK_PLAINTEXT_BYTES));
    assert_eq!(open(&stream[..stream.len() - TAG_BYTES]), Err(StreamError::Truncated));
    let header = StreamHeader::parse(&stream).unwrap();
    let opener = Opener::new(&KEY, &header, none()).unwrap();
    let mut full = stream[HEADER_BYTES..][..CHUNK_SEALED_BYTES].to_vec();
    assert_eq!(opener.open_chunk(0, ChunkPlace::Last, &mut full), Err(StreamError::Truncated));
    assert!(full.iter().all(|b| *b == 0));
}

#[test]
fn refuses_chunks_swapped_dropped_doubled_and_appended() {
    let stream = seal(&sample(2 * CHUNK_PLAINTEXT_BYTES + 9));
    let (header, body) = stream.split_at(HEADER_BYTES);
    let chunks: Vec<&[u8]> = body.chunks(CHUNK_SEALED_BYTES).collect();
    let arranged = |order: &[usize]| {
        let mut bytes = header.to_vec();
        for chunk in order {
            bytes.extend_from_slice(chunks[*chunk]);
        }
        open(&bytes)
    };
    assert!(arranged(&[0, 1, 2]).is_ok());
    for order in
        [&[1, 0, 2][..], &[0, 2], &[1, 2], &[2], &[0, 0, 1, 2], &[0, 0, 2], &[0, 1, 2, 2], &[0, 1, 2, 0]]
    {
        assert!(matches!(arranged(order), Err(StreamError::Chunk { .. })), "{order:?}");
    }
    assert_eq!(arranged(&[0, 1]), Err(StreamError::Truncated));
    let mut longer = stream.clone();
    longer.push(0);
    assert_eq!(open(&longer), Err(StreamError::Chunk { index: 2 }));
}

#[test]
fn refuses_a_chunk_of_another_stream_of_the_same_key() {
    let plain = sample(CHUNK_PLAINTEXT_BYTES + 9);
    let mut stream = seal(&plain);
    let other = seal_with(&KEY, &sealed_key(), &[10; 24], context::EMPTY, &plain);
    stream[HEADER_BYTES..][..CHUNK_SEALED_BYTES]
        .copy_from_slice(&other[HEADER_BYTES..][..CHUNK_SEALED_BYTES]);
    assert_eq!(open(&stream), Err(StreamError::Chunk { index: 0 }));
    assert_eq!(open_with(&[8; 32], context::EMPTY, &other), Err(StreamError::Commitment));
}

#[test]
fn a_chunk_in_the_wrong_place_is_refused_and_wiped() {
    let (sealer, header) = Sealer::new(&KEY, &sealed_key(), &SALT, none()).unwrap();
    let opener = Opener::new(&KEY, &StreamHeader::parse(&header).unwrap(), none()).unwrap();
    for (place, length) in [
        (ChunkPlace::Middle, 0),
        (ChunkPlace::Middle, CHUNK_PLAINTEXT_BYTES - 1),
        (ChunkPlace::Middle, CHUNK_PLAINTEXT_BYTES + 1),
        (ChunkPlace::Last, CHUNK_PLAINTEXT_BYTES),
        (ChunkPlace::Last, CHUNK_PLAINTEXT_BYTES + 1),
    ] {
        let mut chunk = vec![1; length];
        assert_eq!(sealer.seal_chunk(0, place, &mut chunk), Err(StreamError::ChunkLength { length }));
        assert!(chunk.iter().all(|b| *b == 0));
        let mut chunk = vec![1; length + TAG_BYTES];
        let error = opener.open_chunk(0, place, &mut chunk).unwrap_err();
        assert!(matches!(error, StreamError::ChunkLength { .. } | StreamError::Truncated), "{error}");
        assert!(chunk.iter().all(|b| *b == 0));
    }
}

#[test]
fn chunk_numbers_end_at_two_to_the_38() {
    let (sealer, header) = Sealer::new(&KEY, &sealed_key(), &SALT, none()).unwrap();
    let opener = Opener::new(&KEY, &StreamHeader::parse(&header).unwrap(), none()).unwrap();
    let mut chunk = *b"end-of-the-stream";
    let tag = sealer.seal_chunk(MAX_CHUNKS - 1, ChunkPlace::Last, &mut chunk).unwrap();
    let mut buffer = [&chunk[..], &tag].concat();
    let plain = opener.open_chunk(MAX_CHUNKS - 1, ChunkPlace::Last, &mut buffer).unwrap();
    assert_eq!(plain, b"end-of-the-stream");
    for index in [MAX_CHUNKS, u64::MAX] {
        assert_eq!(sealer.seal_chunk(index, ChunkPlace::Last, &mut []), Err(StreamError::TooManyChunks));
        let error = opener.open_chunk(index, ChunkPlace::Last, &mut [0; 16]).unwrap_err();
        assert_eq!(error, StreamError::TooManyChunks);
        assert_eq!(chunk_offset(index), None);
    }
    let longest = MAX_CHUNKS * CHUNK_PLAINTEXT_BYTES as u64 - 1;
    assert_eq!(plaintext_len(sealed_len(longest).unwrap()), Some(longest));
    assert_eq!(sealed_len(longest + 1), None);
    assert_eq!(sealed_len(u64::MAX), None);
    assert_eq!(plaintext_len(sealed_len(longest).unwrap() + 17), None);
    assert_eq!(plaintext_len(u64::MAX), None);
    assert_eq!(chunk_offset(2), Some(177 + 32_800));
}

#[test]
fn impossible_sizes_have_no_plaintext_length() {
    for none in (0..193).chain(16_577..16_593).chain(32_977..32_993) {
        assert_eq!(plaintext_len(none), None, "{none}");
    }
    for (sealed, plain) in [(193, 0), (16_576, 16_383), (16_593, 16_384), (32_993, 32_768)] {
        assert_eq!(plaintext_len(sealed), Some(plain));
        assert_eq!(sealed_len(plain), Some(sealed));
    }
}

#[test]
fn headers_say_what_is_wrong_with_them() {
    let stream = seal(b"");
    for length in 0..HEADER_BYTES {
        assert_eq!(StreamHeader::parse(&stream[..length]), Err(StreamError::HeaderTooShort), "{length}");
    }
    assert!(StreamHeader::is_stream(&stream[..15]) && !StreamHeader::is_stream(&stream[..14]));
    assert_eq!(StreamHeader::parse(&[b'x'; 15]), Err(StreamError::NotAStream));
    assert_eq!(StreamHeader::parse(b"keyagent/stream\x02"), Err(StreamError::UnknownVersion(2)));
    for kind in (0..=255).filter(|kind| *kind != 2) {
        let mut bad = sealed_key();
        bad[0] = kind;
        assert_eq!(Sealer::new(&KEY, &bad, &SALT, none()).err(), Some(StreamError::SealedKeyKind));
    }
}

#[test]
fn threads_may_share_sealer_and_opener() {
    fn shared<T: Send + Sync>() {}
    shared::<Sealer>();
    shared::<Opener>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_sealed_is_opened(length in 0_usize..70_000, key: [u8; 32], salt: [u8; 24]) {
        let plain = sample(length);
        let stream = seal_with(&key, &sealed_key(), &salt, context::EMPTY, &plain);
        prop_assert_eq!(sealed_len(length as u64), Some(stream.len() as u64));
        prop_assert_eq!(open_with(&key, context::EMPTY, &stream).unwrap(), plain);
    }

    #[test]
    fn a_flipped_bit_after_the_sealed_key_is_refused(length in 0_usize..40_000, place: prop::sample::Index, bit in 0_u8..8) {
        let mut stream = seal(&sample(length));
        let guarded = 121;
        let at = guarded + place.index(stream.len() - guarded);
        stream[at] ^= 1_u8 << bit;
        prop_assert!(open(&stream).is_err());
    }

    #[test]
    fn a_cut_anywhere_is_refused(length in 0_usize..40_000, place: prop::sample::Index) {
        let stream = seal(&sample(length));
        prop_assert!(open(&stream[..place.index(stream.len())]).is_err());
    }

    #[test]
    fn sizes_are_inverse(sealed in 0_u64..1 << 54) {
        if let Some(plain) = plaintext_len(sealed) {
            prop_assert_eq!(sealed_len(plain), Some(sealed));
        }
    }
}
