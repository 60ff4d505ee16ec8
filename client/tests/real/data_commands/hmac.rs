//! Tags: equal for equal values, and for nothing else.

use sha2::{Digest, Sha256};

use super::super::place::{Place, noise};

fn place() -> Place {
    let place = Place::started();
    place.run(&["keys", "create", "--class", "index", "mail"], b"").expect(0);
    place
}

#[test]
fn equal_values_have_equal_tags_and_every_byte_counts() {
    let place = place();
    let tag = |words: &[&str], value: &[u8]| {
        place.run(&[&["hmac", "-k", "mail"], words].concat(), value).expect(0).line()
    };
    let plain = tag(&[], b"ana@example.org");
    assert_eq!(plain, tag(&[], b"ana@example.org"));
    assert_eq!(plain.len(), 32, "24 bytes in base64url");
    let mut seen = std::collections::BTreeSet::from([plain.clone()]);
    for (words, value) in [
        (&[][..], &b"ana@example.org\n"[..]),
        (&[], b"ana@example.org\0"),
        (&[], b"Ana@example.org"),
        (&[], b""),
        (&["-c", "table=users"], b"ana@example.org"),
        (&["-c", "table=cards"], b"ana@example.org"),
    ] {
        assert!(seen.insert(tag(words, value)), "{words:?} {value:?}");
    }
    let hex = tag(&["--hex"], b"ana@example.org");
    assert_eq!(hex.len(), 48);
    // The shorter tag is the beginning of the longer one, and both begin with eight bytes of the version's id.
    assert!(tag(&["--hex", "--bytes", "32"], b"ana@example.org").starts_with(&hex));
    assert_eq!(tag(&["--hex", "--bytes", "8"], b"ana@example.org"), hex[..32]);
    assert_eq!(tag(&["--hex"], b"other")[..16], hex[..16]);
    for bad in ["7", "33", "x"] {
        place.run(&["hmac", "-k", "mail", "--bytes", bad], b"x").expect(64);
    }
}

#[test]
fn values_of_any_size_and_content_come_from_files_too() {
    let place = place();
    let value = noise(1 << 20);
    std::fs::write(place.work("value"), &value).unwrap();
    let named = place.run(&["hmac", "-k", "mail", "value"], b"").expect(0).line();
    assert_eq!(
        named,
        place.run(&["hmac", "-k", "mail"], &value).expect(0).line(),
        "{:x?}",
        Sha256::digest(&value)
    );
    place.run(&["hmac", "-k", "mail"], &noise((1 << 20) + 1)).refused(64, "TOO_LARGE");
    place.run(&["hmac", "-k", "mail", "no such.txt"], b"").refused(66, "INPUT_MISSING");
}

#[test]
fn a_look_up_during_grace_gets_the_tags_of_every_version() {
    let place = place();
    let tags = |words: &[&str]| -> Vec<String> {
        let done = place.run(&[&["hmac", "-k", "mail"], words].concat(), b"ana").expect(0);
        done.text().lines().map(str::to_owned).collect()
    };
    let first = tags(&[]);
    assert_eq!(tags(&["--all-versions"]), first);
    place.run(&["keys", "rotate", "mail"], b"").expect(0);
    let second = tags(&[]);
    assert_ne!(first, second);
    assert_eq!(tags(&["--all-versions"]), [&second[..], &first[..]].concat());
    place.run(&["keys", "retire", "mail", "1"], b"").expect(0);
    assert_eq!(tags(&["--all-versions"]), second);
    let json = place.run(&["hmac", "-k", "mail", "--json", "--all-versions"], b"ana").expect(0).text();
    assert_eq!(
        json,
        format!(
            "{{\"schema\":\"keyagent.hmac/1\",\"tags\":[{{\"version\":2,\"tag\":\"{}\"}}]}}\n",
            second[0]
        )
    );
}
