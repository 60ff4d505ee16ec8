//! Arbitrary bytes as a stream: whatever opens is exactly what sealing its plaintext gives. Tried as
//! received and with the right commitment, so that the chunks are reached.
#![no_main]
use keyagent_common::stream::{HEADER_BYTES, StreamHeader};
use keyagent_fuzz::{open, seal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(header) = StreamHeader::parse(data) else { return };
    let mut corrected = data.to_vec();
    corrected[..HEADER_BYTES].copy_from_slice(&seal(header.sealed_key, header.salt, b"")[..HEADER_BYTES]);
    for stream in [data, &corrected] {
        if let Ok(plaintext) = open(stream) {
            assert_eq!(seal(header.sealed_key, header.salt, &plaintext), stream);
        }
    }
});
