//! The text of a key file: never a panic, nothing left after an error, one key for one text.
#![no_main]
use keyagent_common::key_text::{KEY_BYTES, check, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut key = [7; KEY_BYTES];
    match parse(data, &mut key) {
        Ok(()) => {
            assert_eq!(check(&key), Ok(()));
            let mut again = [0; KEY_BYTES];
            let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(parse(digits.as_bytes(), &mut again), Ok(()));
            assert_eq!(again, key);
        }
        Err(_) => assert_eq!(key, [0; KEY_BYTES]),
    }
});
