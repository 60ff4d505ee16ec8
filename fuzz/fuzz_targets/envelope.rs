//! Envelopes as bytes and as text: each form that parses has exactly one counterpart in the other.
#![no_main]
use keyagent_common::envelope::{Envelope, from_text, to_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if Envelope::parse(data).is_ok() {
        assert_eq!(from_text(&to_text(data).unwrap()).as_deref(), Ok(data));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(bytes) = from_text(text) {
        assert_eq!(to_text(&bytes).as_deref(), Ok(text));
    }
});
