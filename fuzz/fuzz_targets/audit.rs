//! The audit verifier: never a panic, and nothing but what a chain wrote verifies.
#![no_main]
use keyagent_core::{
    arena::HeapArena,
    audit::{
        AuditRoot,
        verify::{Expected, FoundBridges, Start, Verifier, verify},
    },
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static ROOT: LazyLock<AuditRoot<HeapArena>> = LazyLock::new(|| AuditRoot::derive(&HeapArena, &[9; 32]).unwrap());

fuzz_target!(|data: &[u8]| {
    // Two files, where the input holds a zero byte: no line does.
    let files: Vec<&[u8]> = data.splitn(2, |&byte| byte == 0).collect();
    for start in [Start::Oldest, Start::AnyFile] {
        // Without the key no group can be right: what "verifies" is an unfinished tail, or lines said to be a bridge.
        if let Ok(verified) = verify(&files, start, &ROOT, &[1; 16], None) {
            let unauthenticated: u64 =
                verified.unauthenticated.iter().map(|range| range.last_seq - range.first_seq + 1).sum();
            assert_eq!(verified.lines, unauthenticated);
            assert!(verified.lines > 0 || verified.unfinished_bytes == files.last().unwrap().len() as u64);
            assert!(verified.last_commit.is_none() && verified.kept_from.is_none());
        }
    }
    // As a daemon that starts locked looks at it: numbers and links alone.
    let bridges = FoundBridges::none();
    let expected =
        Expected::<HeapArena> { root: None, keyring_id: &[1; 16], pin: None, bridges: &bridges, own_bridge: None };
    let mut verifier = Verifier::new(Start::AnyFile, expected);
    for file in files {
        verifier.begin_file(None);
        verifier.push(file);
    }
    let _ = verifier.finish_after_crash();
});
