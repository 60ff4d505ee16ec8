use super::*;
use alloc::vec;
use proptest::prelude::*;

#[test]
fn encodes_the_published_vectors() {
    for case in crate::test_vectors::formats()["envelope"].as_array().unwrap() {
        let pairs: Vec<(String, Vec<u8>)> = case["context"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), crate::test_vectors::bytes(value)))
            .collect();
        let encoded = encode(pairs.iter().map(|(n, v)| (n.as_str(), v.as_slice()))).unwrap();
        assert_eq!(hex::encode(&encoded), case["context_encoded"]);
        let parsed = Context::parse(&encoded).unwrap();
        assert_eq!(parsed.pairs().count(), pairs.len());
    }
}

#[test]
fn refuses_every_broken_rule() {
    let long = vec![b'a'; 65];
    let long_name = core::str::from_utf8(&long).unwrap();
    assert_eq!(encode([("a", &b"1"[..]), ("a", b"2")]), Err(ContextError::Duplicate));
    assert_eq!(encode([("A", &b""[..])]), Err(ContextError::Name));
    assert_eq!(encode([("", &b""[..])]), Err(ContextError::Name));
    assert_eq!(encode([(long_name, &b""[..])]), Err(ContextError::Name));
    assert_eq!(encode([("a", &[0; 4097][..])]), Err(ContextError::Value));
    assert_eq!(encode([("a", &[0; 4096][..]), ("b", &[0; 4096])]), Err(ContextError::TooLong));
    let names: Vec<String> = (0..17).map(|n| format!("n{n:02}")).collect();
    assert_eq!(encode(names.iter().map(|n| (n.as_str(), &b""[..]))), Err(ContextError::TooManyPairs));
}

#[test]
fn refuses_bytes_that_are_not_canonical() {
    for (bytes, why) in [
        (&b""[..], ContextError::Framing),
        (b"\0", ContextError::Framing),
        (b"\0\0\0", ContextError::Framing),
        (b"\x01\0", ContextError::Framing),
        (b"\x01\0\x01\0a\x02\0x", ContextError::Framing),
        (b"\x02\0\x01\0b\0\0\x01\0a\0\0", ContextError::Order),
        (b"\x02\0\x01\0a\0\0\x01\0a\0\0", ContextError::Duplicate),
        (b"\x11\0", ContextError::TooManyPairs),
        (b"\x01\0\x01\0/\0\0", ContextError::Name),
    ] {
        assert_eq!(Context::parse(bytes), Err(why), "{bytes:?}");
    }
}

#[test]
fn a_shifted_boundary_is_another_context() {
    let one = encode([("ab", &b"c"[..])]).unwrap();
    let other = encode([("a", &b"bc"[..])]).unwrap();
    assert_ne!(one, other);
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_back(pairs in proptest::collection::btree_map("[a-z0-9._-]{1,12}", proptest::collection::vec(any::<u8>(), 0..64), 0..16)) {
        let encoded = encode(pairs.iter().map(|(n, v)| (n.as_str(), v.as_slice()))).unwrap();
        let read: Vec<(String, Vec<u8>)> = Context::parse(&encoded).unwrap().pairs().map(|(n, v)| (n.into(), v.to_vec())).collect();
        prop_assert_eq!(read, pairs.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(context) = Context::parse(&bytes) {
            let again = encode(context.pairs()).unwrap();
            prop_assert_eq!(again, bytes);
        }
    }
}
