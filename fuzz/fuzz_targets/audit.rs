//! The audit verifier: never a panic, and nothing but what a chain wrote verifies.
#![no_main]
use keyagent_core::{
    arena::HeapArena,
    audit::{
        AuditRoot,
        verify::{Start, verify},
    },
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static ROOT: LazyLock<AuditRoot<HeapArena>> = LazyLock::new(|| AuditRoot::derive(&HeapArena, &[9; 32]).unwrap());

fuzz_target!(|data: &[u8]| {
    for start in [Start::NewLog, Start::AnySegment] {
        // Without the key no group can be right: what "verifies" is an unfinished tail alone.
        if let Ok(verified) = verify(data, start, &ROOT, &[1; 16], None) {
            assert_eq!((verified.groups, verified.unfinished_bytes), (0, data.len() as u64));
        }
    }
});
