//! The text of a key under a passphrase: never a panic, one text for one content.
#![no_main]
use keyagent_common::protected_key::ProtectedKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(key) = ProtectedKey::parse(data) {
        let text = key.to_text();
        assert_eq!(text.trim_end().as_bytes(), data.strip_suffix(b"\n").unwrap_or(data));
        assert_eq!(ProtectedKey::parse(text.as_bytes()).as_ref(), Ok(&key));
    }
});
