//! What is sealed under a passphrase opens with it and nothing else.

use std::time::Instant;

use clap::Parser;
use keyagent_common::protected_key::MIN_MEMORY_KIB;

use super::*;
use crate::arguments::CommandLine;

const VECTORS: &str = include_str!("../../../common/vectors/protected_key.json");

fn passphrase(bytes: &[u8]) -> Passphrase {
    Passphrase::new(Zeroizing::new(bytes.to_vec())).unwrap()
}

/// The cheapest that is allowed.
fn cheap() -> Parameters {
    Parameters::new(MIN_MEMORY_KIB, 2, 1).unwrap()
}

fn bytes(value: &serde_json::Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

#[test]
fn the_published_vectors_open_to_their_key_and_are_made_again() {
    let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    let cases = vectors["protected_key"].as_array().unwrap();
    assert!(cases.len() >= 3);
    for case in cases {
        let name = &case["name"];
        let text = case["text"].as_str().unwrap();
        let protected = ProtectedKey::parse(text.as_bytes()).unwrap();
        assert_eq!(protected.to_text().trim_end(), text, "{name}");
        assert_eq!(bytes(&case["associated_data"]), protected.associated_data(), "{name}");
        let passphrase = passphrase(&bytes(&case["passphrase"]));
        let master = open(&protected, &passphrase).unwrap().unwrap();
        assert_eq!(bytes(&case["master"]), master.expose_secret(), "{name}");
        let mut again = ProtectedKey { sealed: [0; 32], tag: [0; 16], ..protected.clone() };
        let cipher = cipher(&again, &passphrase).unwrap();
        seal(&mut again, &cipher, &master).unwrap();
        assert_eq!(again, protected, "{name}");
    }
}

#[test]
fn a_passphrase_is_its_bytes() {
    let master = new_master().unwrap();
    let right = "  Grüße an 東京 ".as_bytes();
    let protected = protect(&master, &passphrase(right), cheap()).unwrap();
    assert_eq!(
        open(&protected, &passphrase(right)).unwrap().unwrap().expose_secret(),
        master.expose_secret()
    );
    // Trimmed, composed differently, other case, longer, shorter.
    for wrong in [
        "Grüße an 東京",
        "  Gru\u{308}ße an 東京 ",
        "  grüße an 東京 ",
        "  Grüße an 東京  ",
        "  Grüße an 東京 \n",
        " ",
    ] {
        assert!(open(&protected, &passphrase(wrong.as_bytes())).unwrap().is_none(), "{wrong:?}");
    }
    let odd: &[u8] = &[0xff, 0, 0xfe, b'\r'];
    let protected = protect(&master, &passphrase(odd), cheap()).unwrap();
    assert!(open(&protected, &passphrase(odd)).unwrap().is_some());
    assert!(open(&protected, &passphrase(&odd[..1])).unwrap().is_none());
}

#[test]
fn no_changed_bit_opens() {
    let (master, right) = (new_master().unwrap(), passphrase(b"correct horse battery"));
    let protected = protect(&master, &right, cheap()).unwrap();
    let text = protected.to_text();
    // The very cipher that opens the file: even a derivation that ignored every change would not help.
    let cipher = cipher(&protected, &right).unwrap();
    assert!(open_with(&protected, &cipher).unwrap().is_some());
    let mut read = 0;
    for bit in 0..text.trim_end().len() * 8 {
        let mut changed = text.clone().into_bytes();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = ProtectedKey::parse(&changed) {
            read += 1;
            assert!(open_with(&other, &cipher).unwrap().is_none(), "bit {bit} of the text");
        }
    }
    assert!(read > 300, "{read} changes were read at all");
}

#[test]
fn a_file_that_lies_about_its_key_is_refused() {
    let (master, right) = (new_master().unwrap(), passphrase(b"correct horse battery"));
    let mut protected = protect(&master, &right, cheap()).unwrap();
    protected.fingerprint[0] ^= 1;
    let cipher = cipher(&protected, &right).unwrap();
    seal(&mut protected, &cipher, &master).unwrap();
    assert_eq!(open(&protected, &right).unwrap_err().code, ErrorCode::KeyMalformed);
}

#[test]
fn salt_and_nonce_are_never_the_same_and_cost_is_what_it_should_be() {
    let (master, right) = (new_master().unwrap(), passphrase(b"correct horse battery"));
    let one = protect(&master, &right, cheap()).unwrap();
    let two = protect(&master, &right, cheap()).unwrap();
    assert!(one.salt != two.salt && one.nonce != two.nonce && one.sealed != two.sealed);
    assert_eq!(one.fingerprint, two.fingerprint);
    let begin = Instant::now();
    protect(&master, &right, Parameters::DEFAULT).unwrap();
    println!("one attempt with the default parameters: {:?}", begin.elapsed());
}

#[test]
fn new_passphrases_have_a_least_length_and_can_be_typed() {
    let line = CommandLine::try_parse_from(["keyagent", "-q", "status"]).unwrap();
    let console = Console::new(&line.globals);
    for bad in ["a", "seven77", "with\nbreak", "with\ttab in it", "ünö€äöü"] {
        assert_eq!(
            passphrase(bad.as_bytes()).check_new(&console).unwrap_err().code,
            ErrorCode::Usage,
            "{bad:?}"
        );
    }
    for good in ["eight888", "ünö€äöü8", "        ", "five random words are better"] {
        assert!(passphrase(good.as_bytes()).check_new(&console).is_ok(), "{good:?}");
    }
    assert!(Passphrase::new(Zeroizing::new(Vec::new())).is_err());
    assert!(Passphrase::new(Zeroizing::new(vec![b'a'; MAX_BYTES])).is_ok());
    assert!(Passphrase::new(Zeroizing::new(vec![b'a'; MAX_BYTES + 1])).is_err());
}
