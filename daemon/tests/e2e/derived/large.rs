//! Batches whose replies do not fit into a worker's output wait for a large buffer.

use keyagent_common::op::{Encrypt, EncryptReply, EncryptRequest};

use super::*;
use crate::support::client::{self, encrypt};

/// Frames of less than 64 KiB whose replies may have a mebibyte.
fn small_but_long(items: usize) -> Vec<u8> {
    let item = EncryptRequest { key: "default", context: EMPTY, plaintext: b"x" };
    let items = frames::<Encrypt>(&vec![item; items]);
    client::request::<Batch>(77, &BatchRequest { operation: 16, items: &items })
}

#[test]
fn replies_longer_than_their_request_come_whole_and_in_order() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let batch = small_but_long(1000);
    assert!(batch.len() < 64 << 10, "{}", batch.len());
    // Alone, behind and before other requests, in pieces.
    client.send(&batch).unwrap();
    assert_eq!(results(&client.expect().success().unwrap()).len(), 1000);
    let mixed =
        [encrypt(1, b"a"), small_but_long(600), encrypt(2, b"b"), small_but_long(300), encrypt(3, b"c")]
            .concat();
    for pieces in [mixed.len(), 1000, 4001] {
        for piece in mixed.chunks(pieces) {
            client.send(piece).unwrap();
        }
        for (id, items) in [(1, 0), (77, 600), (2, 0), (77, 300), (3, 0)] {
            let reply = client.expect();
            assert_eq!((reply.id, reply.code), (id, 0));
            if items > 0 {
                assert_eq!(results(&reply.body).len(), items);
            }
        }
    }
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn clients_that_do_not_read_get_their_replies_later_and_keep_nobody_waiting_for_good() {
    let home = Home::initialized();
    let daemon = home.start();
    let batch = small_but_long(1000);
    let mut clients: Vec<Client> = (0..6).map(|_| daemon.client()).collect();
    for client in &mut clients {
        client.send(&batch).unwrap();
        client.send(&encrypt(5, b"behind")).unwrap();
    }
    // Somebody else is served meanwhile.
    daemon.client().encrypt(EMPTY, b"x").unwrap();
    for client in &mut clients {
        let reply = client.expect();
        // Without a large buffer within four seconds it is refused, and nothing is lost.
        if reply.code == 0 {
            assert_eq!(results(&reply.body).len(), 1000);
        } else {
            assert_eq!(reply.error(), ErrorCode::Busy);
        }
        let behind = client.expect();
        assert_eq!((behind.id, behind.code), (5, 0));
    }
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn a_whole_frame_of_items_is_answered() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let text = vec![7; 900];
    let items = vec![EncryptRequest { key: "default", context: EMPTY, plaintext: &text }; 1000];
    let replies = client.batch::<Encrypt>(&items).unwrap();
    assert_eq!(replies.len(), 1000);
    let sealed: Vec<Vec<u8>> = replies
        .iter()
        .map(|reply| codec::decode::<EncryptReply<'_>>(&reply.body).unwrap().envelope.to_vec())
        .collect();
    client.rotate("default", Takeover::Grace).unwrap();
    let items: Vec<_> = sealed.iter().map(|envelope| RewrapRequest { context: EMPTY, envelope }).collect();
    let moved = client.batch::<Rewrap>(&items).unwrap();
    for reply in moved.iter().step_by(97) {
        let reply = codec::decode::<RewrapReply<'_>>(&reply.body).unwrap();
        assert_eq!((reply.version, reply.changed), (2, true));
        assert_eq!(client.decrypt(EMPTY, reply.envelope).unwrap(), text);
    }
    let mut nonces: Vec<Vec<u8>> = moved
        .iter()
        .map(|reply| codec::decode::<RewrapReply<'_>>(&reply.body).unwrap().envelope[33..57].to_vec())
        .chain(sealed.iter().map(|envelope| envelope[33..57].to_vec()))
        .collect();
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), 2000, "no nonce twice");
    daemon.terminate();
    log::lines(&home);
}
