//! Context bytes: whatever parses is canonical, so encoding its pairs gives the same bytes.
#![no_main]
use keyagent_common::context::{Context, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(context) = Context::parse(data) {
        assert_eq!(encode(context.pairs()).as_deref(), Ok(data));
    }
});
