//! `rewrap`, `hmac`, `jwt` and `random` with the real agent, as their users type them.

use super::place::{Place, noise};

mod hmac;
mod interrupted;
mod jwt;
mod lines;
mod many_files;
mod rewrap;

/// An agent with a key `app` of two versions, and a value of its first one.
fn rotated() -> (Place, String) {
    let place = Place::started();
    place.run(&["keys", "create", "app"], b"").expect(0);
    let value = place.run(&["encrypt", "-a", "-k", "app", "-c", "row=1"], b"secret").expect(0).line();
    place.run(&["keys", "rotate", "app"], b"").expect(0);
    (place, value)
}

/// The key id that `inspect` reads in a value.
fn key_id(place: &Place, value: &[u8]) -> String {
    let text = place.run(&["inspect"], value).expect(0).text();
    text.lines().find_map(|line| line.strip_prefix("key id      ")).unwrap().to_owned()
}

#[test]
fn random_bytes_have_the_length_and_form_that_was_asked_for() {
    let place = Place::started();
    for bytes in [1, 2, 3, 4095, 4096, 4097, 100_000] {
        let number = bytes.to_string();
        assert_eq!(place.run(&["random", &number], b"").expect(0).stdout.len(), bytes);
        let hex = place.run(&["random", &number, "--hex"], b"").expect(0).line();
        assert_eq!(hex::decode(&hex).unwrap().len(), bytes);
        let text = place.run(&["random", &number, "--base64"], b"").expect(0).line();
        assert_eq!(text.len(), (bytes * 4).div_ceil(3));
    }
    assert_ne!(place.run(&["random", "32"], b"").stdout, place.run(&["random", "32"], b"").stdout);
    for bad in
        [&["random", "0"][..], &["random", "1048577"], &["random"], &["random", "8", "--hex", "--base64"]]
    {
        place.run(bad, b"").expect(64);
    }
    place.run(&["lock"], b"").expect(0);
    place.run(&["random", "8"], b"").refused(75, "LOCKED");
}

#[test]
fn what_needs_a_key_of_its_own_says_so() {
    let place = Place::started();
    for words in [&["hmac"][..], &["jwt", "sign"], &["jwt", "verify"]] {
        let done = place.run(words, b"{}");
        assert!(done.stderr.contains("keyagent keys create --class"), "{}", done.stderr);
        done.refused(64, "USAGE");
        place.run(&[words, &["-k", "default"]].concat(), b"{}").refused(64, "WRONG_CLASS");
        let none = place.run(&[words, &["-k", "none"]].concat(), b"{}");
        none.refused(79, "UNKNOWN_KEY");
    }
    for words in [&["jwt", "sign", "-k", "x", "-c", "a=b"][..], &["jwt", "verify", "-k", "x", "-c", "a=b"]] {
        place.run(words, &noise(3)).refused(64, "USAGE");
    }
}
