//! Tokens: as they come, and made of a header and claims; neither panics, and one that is accepted is canonical.
#![no_main]
use keyagent_common::envelope::{decode_base64, encode_base64};
use keyagent_core::ops::check_token_parts;
use libfuzzer_sys::fuzz_target;

/// Before any `exp` of the seeds.
const NOW: u64 = 1_000;

fuzz_target!(|data: &[u8]| {
    if let Ok(token) = str::from_utf8(data) {
        check(token);
    }
    // Header and claims with a zero between them: no luck with base64 is needed to reach what they say.
    if let Some(border) = data.iter().position(|byte| *byte == 0) {
        let (header, claims) = (&data[..border], &data[border + 1..]);
        check(&format!("{}.{}.{}", encode_base64(header), encode_base64(claims), encode_base64(&[7; 32])));
    }
});

fn check(token: &str) {
    let accepted = check_token_parts(token, NOW);
    if accepted.is_err() {
        return;
    }
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    for part in &parts {
        assert_eq!(encode_base64(&decode_base64(part).unwrap()), **part, "one text for one content");
    }
    let (header, claims) = (decode_base64(parts[0]).unwrap(), decode_base64(parts[1]).unwrap());
    for json in [&header, &claims] {
        let text = str::from_utf8(json).unwrap().trim_matches([' ', '\t', '\r', '\n']);
        assert!(text.starts_with('{') && text.ends_with('}'));
    }
    // Time passes: what is accepted now is refused in the end.
    assert!(check_token_parts(token, u64::MAX).is_err());
    // White space around an object changes nothing.
    let spaced = [b" ", &claims[..], b"\n"].concat();
    let spaced = format!("{}.{}.{}", parts[0], encode_base64(&spaced), parts[2]);
    assert_eq!(check_token_parts(&spaced, NOW), Ok(()));
}
