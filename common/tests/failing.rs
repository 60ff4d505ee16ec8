//! Reads `common/vectors/failing.json`: every input is refused, and by the rule it breaks
//! (docs/FORMATS.md, "Vectors"). The unchanged inputs open, so that no vector fails for a mistake here.
//!
//! The daemon's cipher lives in another crate; the one below is written from the specification
//! (<https://c2sp.org/XAES-256-GCM>) and doubles as a second implementation.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test may fail")]

use std::{fmt::Debug, ops::RangeInclusive};

use aes_gcm::{
    AeadInOut, Aes256Gcm, KeyInit,
    aes::{Aes256, cipher::BlockCipherEncrypt},
};
use keyagent_common::{
    context::Context,
    envelope::{self, Envelope},
    kdf, key_text,
    stream::{
        CHUNK_PLAINTEXT_BYTES, CHUNK_SEALED_BYTES, HEADER_BYTES, Opener, Sealer, StreamHeader, StreamOpener,
        StreamSealer,
    },
};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn formats() -> Value {
    serde_json::from_str(include_str!("../vectors/formats.json")).unwrap()
}

fn failing(list: &str, count: usize) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/failing.json")).unwrap();
    let cases = vectors[list].as_array().unwrap().clone();
    assert_eq!(cases.len(), count, "vectors that were published stay");
    cases
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

/// An error of the library by the name of its variant.
fn word(error: impl Debug) -> String {
    let text = format!("{error:?}");
    let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    text[..end].to_owned()
}

fn assert_refused(cases: &[Value], read: impl Fn(&Value) -> Result<(), String>) {
    for case in cases {
        assert_eq!(read(case), Err(case["error"].as_str().unwrap().to_owned()), "{}", case["name"]);
    }
}

#[test]
fn contexts() {
    assert_refused(&failing("context", 25), |case| {
        Context::parse(&bytes(&case["bytes"])).map(|_| ()).map_err(word)
    });
    for case in formats()["envelope"].as_array().unwrap() {
        Context::parse(&bytes(&case["context_encoded"])).unwrap();
    }
}

#[test]
fn key_texts() {
    assert_refused(&failing("key_text", 29), |case| {
        let mut out = [0; 32];
        let result = key_text::parse(case["text"].as_str().unwrap().as_bytes(), &mut out).map_err(word);
        assert!(result.is_ok() || out == [0; 32]);
        result
    });
    key_text::parse(formats()["root"]["root"].as_str().unwrap().as_bytes(), &mut [0; 32]).unwrap();
}

#[test]
fn envelope_texts() {
    let read = |text: &str| envelope::from_text(text).map(|_| ()).map_err(word);
    assert_refused(&failing("envelope_text", 18), |case| read(case["text"].as_str().unwrap()));
    for case in formats()["envelope"].as_array().unwrap() {
        read(case["text"].as_str().unwrap()).unwrap();
    }
}

#[test]
fn envelopes() {
    let read = |sealed: &[u8], context: &[u8]| {
        assert!(Context::parse(context).is_ok());
        open_envelope(sealed, context, 1..=1)
    };
    assert_refused(&failing("envelope", 34), |case| {
        read(&bytes(&case["envelope"]), &bytes(&case["context"])).map(|_| ())
    });
    for case in formats()["envelope"].as_array().unwrap() {
        let plaintext = read(&bytes(&case["envelope"]), &bytes(&case["context_encoded"])).unwrap();
        assert_eq!(hex::encode(plaintext), case["plaintext"]);
    }
}

#[test]
fn streams() {
    let base: Vec<(Vec<u8>, Vec<u8>)> =
        formats()["stream"]["cases"].as_array().unwrap().iter().map(base_stream).collect();
    for (stream, context) in &base {
        open_stream(stream, context).unwrap();
    }
    assert_refused(&failing("stream", 44), |case| {
        let (stream, context) = &base[usize::try_from(case["base"].as_u64().unwrap()).unwrap()];
        let context = case.get("context").map_or(context.clone(), bytes);
        let mut changed = stream.clone();
        case["edits"].as_array().unwrap().iter().for_each(|one| edit(&mut changed, one));
        assert!(changed != *stream || case.get("context").is_some(), "{} changes nothing", case["name"]);
        open_stream(&changed, &context)
    });
}

/// The stream of a published case, sealed here, and its context.
fn base_stream(case: &Value) -> (Vec<u8>, Vec<u8>) {
    let vectors = &formats()["stream"];
    let pairs: Vec<(&str, Vec<u8>)> = case["context"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), bytes(value)))
        .collect();
    let context =
        keyagent_common::context::encode(pairs.iter().map(|(name, value)| (*name, &value[..]))).unwrap();
    let length = usize::try_from(case["plaintext_len"].as_u64().unwrap()).unwrap();
    let mut plaintext = match length {
        5 => b"hello".to_vec(),
        40_000 => (0..=250).cycle().take(length).collect(),
        _ => vec![0; length],
    };
    assert_eq!(hex::encode(Sha256::digest(&plaintext)), case["plaintext_sha256"]);
    let sealed_key: [u8; 105] = bytes(&case["header177"])[16..121].try_into().unwrap();
    let (sealer, header) = Sealer::new(
        &array(&vectors["data_key"]),
        &sealed_key,
        &array(&vectors["salt"]),
        Context::parse(&context).unwrap(),
    )
    .unwrap();
    let (mut sealer, mut stream) = (StreamSealer::new(sealer), header.to_vec());
    let (chunks, rest) = plaintext.as_chunks_mut::<CHUNK_PLAINTEXT_BYTES>();
    for chunk in chunks {
        let tag = sealer.seal(chunk).unwrap();
        stream.extend_from_slice(chunk);
        stream.extend_from_slice(&tag);
    }
    let tag = sealer.finish(rest).unwrap();
    stream.extend_from_slice(rest);
    stream.extend_from_slice(&tag);
    assert_eq!(hex::encode(Sha256::digest(&stream)), case["stream_sha256"]);
    (stream, context)
}

fn edit(stream: &mut Vec<u8>, edit: &Value) {
    let number = |at: usize| usize::try_from(edit[at].as_u64().unwrap()).unwrap();
    match edit[0].as_str().unwrap() {
        "cut" => {
            assert!(number(1) < stream.len());
            stream.truncate(number(1));
        }
        "flip" => stream[number(1)] ^= u8::try_from(number(2)).unwrap(),
        "append" => stream.extend(bytes(&edit[1])),
        "remove" => drop(stream.drain(number(1)..number(2))),
        "swap" => {
            let (first, second) = stream.split_at_mut(number(2));
            first[number(1)..number(1) + number(3)].swap_with_slice(&mut second[..number(3)]);
        }
        other => panic!("no edit {other}"),
    }
}

/// A whole reader of streams: header, sealed key, commitment, chunks.
fn open_stream(stream: &[u8], context: &[u8]) -> Result<(), String> {
    let header = StreamHeader::parse(stream).map_err(word)?;
    let data_key = open_envelope(header.sealed_key, context, 2..=3)?.try_into().unwrap();
    let opener = Opener::new(&data_key, &header, Context::parse(context).unwrap()).map_err(word)?;
    let (mut opener, mut body) = (StreamOpener::new(opener), stream[HEADER_BYTES..].to_vec());
    let (chunks, rest) = body.as_chunks_mut::<CHUNK_SEALED_BYTES>();
    let chunk_error = |error| match error {
        keyagent_common::stream::StreamError::Chunk { index } => format!("Chunk {index}"),
        error => word(error),
    };
    for chunk in chunks {
        opener.open(chunk).map_err(chunk_error)?;
    }
    opener.finish(rest).map(|_| ()).map_err(chunk_error)
}

/// Opens an envelope of the published secret, in the order of docs/FORMATS.md: length, kind, id, open.
fn open_envelope(sealed: &[u8], context: &[u8], kinds: RangeInclusive<u8>) -> Result<Vec<u8>, String> {
    let secret = array(&formats()["kdf"]["secret"]);
    let parsed = Envelope::parse(sealed).map_err(word)?;
    if !kinds.contains(&(parsed.kind as u8)) {
        return Err("DoesNotOpen".into());
    }
    if *parsed.key_id != kdf::key_id(&secret, 1) {
        return Err("UnknownKeyId".into());
    }
    let mut key = [0; 32];
    kdf::derive(&secret, "message", &[], &mut key);
    let associated = [b"keyagent/v1 envelope\0", &parsed.prefix[..], context].concat();
    let mut text = parsed.ciphertext.to_vec();
    let (cipher, nonce) = xaes(&key, parsed.nonce);
    let opened = cipher.decrypt_inout_detached(
        &nonce.into(),
        &associated,
        text.as_mut_slice().into(),
        parsed.tag.into(),
    );
    opened.map(|()| text).map_err(|_| "DoesNotOpen".to_owned())
}

/// XAES-256-GCM: the AES-256-GCM key and nonce of a 24-byte nonce.
fn xaes(key: &[u8; 32], nonce: &[u8; 24]) -> (Aes256Gcm, [u8; 12]) {
    let aes = Aes256::new(key.into());
    let encrypt = |block: [u8; 16]| {
        let mut block = block.into();
        aes.encrypt_block(&mut block);
        <[u8; 16]>::from(block)
    };
    let whole = u128::from_be_bytes(encrypt([0; 16]));
    let mask = (whole << 1) ^ (0x87 * (whole >> 127));
    let half = |number: u8| {
        let mut block = [0, number, b'X', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        block[4..].copy_from_slice(&nonce[..12]);
        encrypt((u128::from_be_bytes(block) ^ mask).to_be_bytes())
    };
    let derived: [u8; 32] = [half(1), half(2)].concat().try_into().unwrap();
    (Aes256Gcm::new(&derived.into()), nonce[12..].try_into().unwrap())
}
