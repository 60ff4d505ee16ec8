//! `hmac`: blind indexes.

use super::*;
use crate::test_vectors;

#[test]
fn a_tag_is_what_the_format_says() {
    let vectors = test_vectors::formats();
    let published = &vectors["blind_index"];
    let secret: [u8; 32] = test_vectors::array(&published["secret"]);
    let context = hex::decode(published["context_encoded"].as_str().unwrap()).unwrap();
    let value = hex::decode(published["value"].as_str().unwrap()).unwrap();
    // `Counting` would not give this secret: a keyring with one more key, whose secret is the published one.
    let mut bench = Bench::new();
    let mut draft = bench.keyring.draft();
    let mut entropy = Given(secret);
    draft.add_key(named("published"), Class::Index, &mut entropy, NOW).unwrap();
    bench.commit(draft);
    let id = hex::decode(vectors["kdf"]["key_id_class2"].as_str().unwrap()).unwrap();
    let mac = hex::decode(published["mac"].as_str().unwrap()).unwrap();
    for tag_bytes in 8..=32 {
        for every_version in [false, true] {
            let request =
                HmacRequest { key: "published", context: &context, value: &value, tag_bytes, every_version };
            let wanted = [&id[..8], &mac[..usize::from(tag_bytes)]].concat();
            assert_eq!(bench.tags(request), Ok(vec![(1, wanted)]));
        }
    }
}

/// This secret; other draws repeat its first byte.
struct Given([u8; 32]);

impl Entropy for Given {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        match <&mut [u8; 32]>::try_from(&mut *out) {
            Ok(whole) => *whole = self.0,
            Err(_) => out.fill(self.0[1]),
        }
        Ok(())
    }
}

#[test]
fn context_and_value_have_a_border_and_versions_differ() {
    let mut bench = Bench::new();
    let ab = context::encode([("a", &b"b"[..])]).unwrap();
    let one = |bench: &mut Bench, context: &[u8], value: &[u8]| {
        bench.tags(look_up("i", context, value)).unwrap().remove(0).1
    };
    let tag = one(&mut bench, &ab, b"c");
    assert_eq!(one(&mut bench, &ab, b"c"), tag, "the same each time");
    assert_ne!(one(&mut bench, EMPTY, b"c"), tag);
    assert_ne!(one(&mut bench, &ab, b"d"), tag);
    // Whatever joins to the same bytes is not the same: the context says where it ends.
    let joined = [&ab[..], b"c"].concat();
    assert_ne!(one(&mut bench, EMPTY, &joined[2..]), tag);
    bench.rotate("i", Takeover::Grace);
    assert_ne!(one(&mut bench, &ab, b"c"), tag);
}

#[test]
fn a_look_up_gets_the_tags_of_every_version_in_use_the_primary_first() {
    let mut bench = Bench::new();
    let first = bench.tags(look_up("i", EMPTY, b"v")).unwrap();
    bench.rotate("i", Takeover::Grace);
    let second = bench.tags(look_up("i", EMPTY, b"v")).unwrap();
    assert_eq!(second[1..], first[..]);
    bench.rotate("i", Takeover::Grace);
    bench.rotate("i", Takeover::Staged);
    let all = bench.tags(look_up("i", EMPTY, b"v")).unwrap();
    assert_eq!(all.iter().map(|(version, _)| *version).collect::<Vec<_>>(), [3, 4, 2, 1]);
    assert_eq!(all[2..], second[..]);
    // To write, the primary one alone.
    let write = HmacRequest { every_version: false, ..look_up("i", EMPTY, b"v") };
    assert_eq!(bench.tags(write), Ok(vec![all[0].clone()]));
    // What is out of use has no tag; maintenance is no reason to find nothing.
    bench.change("i", 1, How::Retire);
    bench.change("i", 2, How::Disable);
    bench.maintenance = true;
    assert_eq!(bench.tags(look_up("i", EMPTY, b"v")).unwrap(), all[..2]);
    bench.maintenance = false;
    bench.brake("i", Brake::Disabled);
    assert_eq!(bench.tags(look_up("i", EMPTY, b"v")), Err(OperationError::KeyDisabled));
}

#[test]
fn lengths_have_limits() {
    let mut bench = Bench::new();
    for tag_bytes in [0, 7, 33, 255] {
        let request = HmacRequest { tag_bytes, ..look_up("i", EMPTY, b"v") };
        assert_eq!(bench.tags(request), Err(OperationError::InvalidTagLength));
    }
    let long = vec![0; MAX_MESSAGE_BYTES + 1];
    assert_eq!(bench.tags(look_up("i", EMPTY, &long)), Err(OperationError::TooLarge));
    assert!(bench.tags(look_up("i", EMPTY, &long[1..])).is_ok());
    assert!(bench.tags(look_up("i", EMPTY, b"")).is_ok());
    assert_eq!(bench.tags(look_up("i", b"", b"")), Err(OperationError::InvalidContext));
    for _ in 1..64 {
        bench.rotate("i", Takeover::Grace);
    }
    assert_eq!(bench.tags(look_up("i", EMPTY, b"v")).unwrap().len(), 64);
    bench.rotate("i", Takeover::Grace);
    assert_eq!(bench.tags(look_up("i", EMPTY, b"v")), Err(OperationError::TooManyVersions));
    let write = HmacRequest { every_version: false, ..look_up("i", EMPTY, b"v") };
    assert_eq!(bench.tags(write).unwrap().len(), 1);
}
