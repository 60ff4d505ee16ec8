//! Sealed values on a live daemon (rows 35 to 39): any changed bit, any moved boundary, any other kind is
//! refused with one undivided answer, and what was opened never leaks into an error.

use keyagent_common::{
    codec, context,
    context::EMPTY,
    envelope::HEADER_BYTES,
    error::ErrorCode,
    op::{DataKeyOpen, DataKeyOpenReply, DataKeyOpenRequest, DataKeyReply, Decrypt, DecryptRequest},
};

use crate::support::{Home, bounded, client, log};

#[test]
fn any_changed_bit_of_an_envelope_is_refused() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let context = context::encode([("table", &b"cards"[..]), ("row", b"17")]).unwrap();
    let envelope = client.encrypt(&context, b"a plaintext of some length").unwrap();
    let bits: Vec<usize> = (0..envelope.len() * 8).step_by(bounded(3, 1)).collect();
    for group in bits.chunks(100) {
        let mut frames = Vec::new();
        for (id, bit) in (0..).zip(group) {
            let mut changed = envelope.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let request = DecryptRequest { context: &context, envelope: &changed };
            frames.extend(client::request::<Decrypt>(id, &request));
        }
        client.send(&frames).unwrap();
        for bit in group {
            let reply = client.expect();
            // A changed key id names no key; all else is one undivided answer.
            let in_key_id = (1..33).contains(&(bit / 8));
            let expected = if in_key_id { ErrorCode::UnknownKeyId } else { ErrorCode::DoesNotOpen };
            assert_eq!(reply.error(), expected, "bit {bit}");
            assert!(!reply.body.windows(9).any(|window| window == b"plaintext"));
        }
    }
    for length in 0..envelope.len() {
        assert!(client.decrypt(&context, &envelope[..length]).is_err(), "cut at {length}");
    }
    let longer = [&envelope[..], &[0]].concat();
    assert_eq!(client.decrypt(&context, &longer), Err(ErrorCode::DoesNotOpen));
    assert_eq!(client.decrypt(&context, &envelope).unwrap(), b"a plaintext of some length");
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn contexts_differ_wherever_a_boundary_moves() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let pairs: [&[(&str, &[u8])]; 9] = [
        &[],
        &[("ab", b"c")],
        &[("a", b"bc")],
        &[("abc", b"")],
        &[("a", b"b"), ("c", b"")],
        &[("a", b""), ("b", b"c")],
        &[("ab", b"C")],
        &[("ab", b"c\0")],
        &[("ab", b"c"), ("d", b"")],
    ];
    let contexts = pairs.map(|pairs| context::encode(pairs.iter().copied()).unwrap());
    for sealed_with in &contexts {
        let envelope = client.encrypt(sealed_with, b"bound").unwrap();
        for opened_with in &contexts {
            let expected =
                if opened_with == sealed_with { Ok(b"bound".to_vec()) } else { Err(ErrorCode::DoesNotOpen) };
            assert_eq!(client.decrypt(opened_with, &envelope), expected);
        }
    }
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn kinds_open_only_by_their_own_operation() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let message = client.encrypt(EMPTY, &[7; 32]).unwrap();
    for kind in [2, 3] {
        let body = client.data_key(kind).unwrap();
        let DataKeyReply { plain, envelope, .. } = codec::decode(&body).unwrap();
        assert_eq!((plain.len(), envelope.len(), envelope[0]), (32, 105, kind));
        assert_eq!(client.decrypt(EMPTY, envelope), Err(ErrorCode::DoesNotOpen));
        let opened =
            client.ask::<DataKeyOpen>(&DataKeyOpenRequest { context: EMPTY, envelope }).success().unwrap();
        assert_eq!(codec::decode::<DataKeyOpenReply<'_>>(&opened).unwrap().plain, plain);
        for other in [1, 5 - kind, 0, 4] {
            let mut changed = envelope.to_vec();
            changed[0] = other;
            let request = DataKeyOpenRequest { context: EMPTY, envelope: &changed };
            assert_eq!(client.ask::<DataKeyOpen>(&request).error(), ErrorCode::DoesNotOpen);
            assert_eq!(client.decrypt(EMPTY, &changed), Err(ErrorCode::DoesNotOpen));
        }
    }
    let request = DataKeyOpenRequest { context: EMPTY, envelope: &message };
    assert_eq!(client.ask::<DataKeyOpen>(&request).error(), ErrorCode::DoesNotOpen);
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn no_nonce_comes_twice_even_from_two_copies_of_a_store() {
    let home = Home::initialized();
    let twin = Home::with_key(&std::fs::read_to_string(home.key()).unwrap());
    crate::support::copy_files(&home.state(), &twin.state());
    let (one, two) = (home.start(), twin.start());
    let mut seen = std::collections::HashSet::new();
    let rounds = bounded(10, 1000);
    for _ in 0..rounds {
        for daemon in [&one, &two] {
            let mut client = daemon.client();
            let frames: Vec<u8> = (0..500).flat_map(|id| client::encrypt(id, b"")).collect();
            client.send(&frames).unwrap();
            for _ in 0..500 {
                let body = client.expect().success().unwrap();
                let envelope = &body[12..];
                assert!(seen.insert(envelope[33..HEADER_BYTES].to_vec()), "a nonce came twice");
            }
        }
    }
    assert_eq!(seen.len(), rounds * 1000);
}
