//! Sealed streams of every length to four chunks: they open; with one byte changed or the end cut off
//! they do not. Only the sealed key may change (`rewrap`), its kind apart.
#![no_main]
use keyagent_fuzz::{open, seal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, u32, u8, bool)| {
    let (length, at, xor, cut) = input;
    let (plaintext, sealed_key) = (vec![xor; length.into()], [2; 105]);
    let mut stream = seal(&sealed_key, &[xor; 24], &plaintext);
    assert_eq!(open(&stream).as_deref(), Ok(&plaintext[..]));
    let at = at as usize % stream.len();
    if cut {
        stream.truncate(at)
    } else {
        stream[at] ^= xor.max(1)
    }
    assert_eq!(open(&stream).is_ok(), !cut && (17..121).contains(&at));
});
