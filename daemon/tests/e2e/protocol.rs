//! The protocol on a live daemon (rows 27, 28, 30): every way to break a frame or a body has one answer, and
//! nobody else notices.

use std::{io::Read, net::Shutdown, time::Duration};

use keyagent_common::{
    codec,
    context::EMPTY,
    error::ErrorCode,
    frame::{MAX_LENGTH, MAX_MESSAGE_BYTES},
    op::{
        Decrypt, DecryptRequest, Empty, Encrypt, EncryptRequest, Hello, HelloReply, HelloRequest, Lock,
        OperationCode, Reload, Status, Stop,
    },
};

use crate::support::{Client, Home, client, log};

fn raw_frame(length: u32, id: u32, code: u16, flags: u16) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(id.to_le_bytes());
    bytes.extend(code.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes
}

#[test]
fn broken_frames_end_the_connection_after_earlier_answers() {
    let home = Home::initialized();
    let daemon = home.start();
    let too_long = u32::try_from(MAX_LENGTH).unwrap() + 1;
    let encrypt = OperationCode::Encrypt as u16;
    let broken = [
        raw_frame(u32::MAX, 1, encrypt, 0),
        raw_frame(0x8000_0000, 1, encrypt, 0),
        raw_frame(too_long, 1, encrypt, 0),
        raw_frame(0, 1, encrypt, 0),
        raw_frame(7, 1, encrypt, 0),
        raw_frame(8, 1, encrypt, 2),
        raw_frame(8, 1, encrypt, 3),
        raw_frame(8, 1, encrypt, 0x8000),
        u32::MAX.to_le_bytes().to_vec(),
    ];
    for bytes in &broken {
        // Alone, behind a good request, and before `hello`.
        for (greeted, before) in [(true, 0), (true, 2), (false, 0)] {
            let mut client = Client::connect(daemon.socket()).unwrap();
            if greeted {
                client = daemon.client();
            }
            let mut sent: Vec<u8> = (0..before).flat_map(|id| client::encrypt(id + 7, b"earlier")).collect();
            sent.extend(bytes);
            client.send(&sent).unwrap();
            for id in 0..before {
                let reply = client.expect();
                assert_eq!((reply.id, reply.code), (id + 7, 0));
            }
            let reply = client.expect();
            assert_eq!((reply.id, reply.error()), (0, ErrorCode::Malformed), "{bytes:02x?}");
            client.expect_end();
        }
    }
    daemon.client().encrypt(EMPTY, b"others are served").unwrap();
    daemon.terminate();
    assert_eq!(log::count(&log::lines(&home), "encrypt"), broken.len() * 2 + 1);
}

#[test]
fn bodies_that_do_not_decode_leave_the_connection_open() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let good = client::encrypt(1, b"plaintext")[12..].to_vec();
    let mut bodies: Vec<Vec<u8>> = (0..good.len()).map(|cut| good[..cut].to_vec()).collect();
    bodies.push([&good[..], &[0]].concat());
    // A length of 2^64 - 1, one of 2^32, text that is not UTF-8.
    bodies.push([&[0xff; 8][..], &good[8..]].concat());
    bodies.push([&(1_u64 << 32).to_le_bytes()[..], &good[8..]].concat());
    let mut not_text = good.clone();
    not_text[8] = 0xff;
    bodies.push(not_text);
    let count = bodies.len();
    for body in bodies {
        let length = u32::try_from(body.len() + 8).unwrap();
        client.send(&[raw_frame(length, 5, OperationCode::Encrypt as u16, 0), body].concat()).unwrap();
        let reply = client.expect();
        assert_eq!((reply.id, reply.error()), (5, ErrorCode::Malformed));
    }
    for code in [OperationCode::Status, OperationCode::Lock, OperationCode::Reload, OperationCode::Stop] {
        client.send(&[raw_frame(9, 6, code as u16, 0), vec![0]].concat()).unwrap();
        assert_eq!(client.expect().error(), ErrorCode::Malformed, "{code:?}");
    }
    for code in [0, 11, 15, 26, 31, 43, 44, 48, 999, u16::MAX] {
        client.send(&raw_frame(8, 9, code, 0)).unwrap();
        let reply = client.expect();
        assert_eq!((reply.id, reply.error()), (9, ErrorCode::UnknownOperation), "{code}");
    }
    // Flag 1: what stands before the body does not decode either.
    for body in [&[][..], &[0; 15], &[0xff; 16], &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff]] {
        let length = u32::try_from(body.len() + 8).unwrap();
        client.send(&[&raw_frame(length, 5, OperationCode::Encrypt as u16, 1)[..], body].concat()).unwrap();
        let reply = client.expect();
        assert_eq!((reply.id, reply.error()), (5, ErrorCode::Malformed));
    }
    client.encrypt(EMPTY, b"still open").unwrap();
    daemon.terminate();
    // The four that do not say for whom they ask are recorded too.
    assert_eq!(log::count(&log::lines(&home), "encrypt"), count + 4 + 1);
}

#[test]
fn requests_outside_the_limits_have_their_own_answers() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let largest = vec![7; MAX_MESSAGE_BYTES];
    let envelope = client.encrypt(EMPTY, &largest).unwrap();
    assert_eq!(client.decrypt(EMPTY, &envelope).unwrap(), largest);
    assert_eq!(client.encrypt(EMPTY, &vec![7; MAX_MESSAGE_BYTES + 1]), Err(ErrorCode::TooLarge));
    for name in
        ["", "Default", "../x", "a b", "x\n{\"seq\":1}", "\x1b[2J", "ä", &"a".repeat(65), &"n".repeat(60_000)]
    {
        assert_eq!(client.encrypt_under(name, EMPTY, b"x"), Err(ErrorCode::InvalidRequest), "{name:.20}");
    }
    assert_eq!(client.encrypt_under("unknown", EMPTY, b"x"), Err(ErrorCode::UnknownKey));
    for context in [&[][..], &[1, 0], &[0, 0, 0], &[0xff, 0xff], &[1, 0, 1, 0, b'A', 0, 0], &[0; 8193]] {
        assert_eq!(client.encrypt(context, b"x"), Err(ErrorCode::InvalidRequest), "{context:.20?}");
        let known = envelope.as_slice();
        assert_eq!(client.decrypt(context, known), Err(ErrorCode::InvalidRequest), "{context:.20?}");
    }
    for kind in [0, 1, 4, 255] {
        assert_eq!(client.data_key(kind), Err(ErrorCode::InvalidRequest), "{kind}");
    }
    for envelope in [&[][..], &[1; 72], &[0; 73], &[9; 200]] {
        assert_eq!(client.decrypt(EMPTY, envelope), Err(ErrorCode::DoesNotOpen));
    }
    assert_eq!(client.decrypt(EMPTY, &[1; 73]), Err(ErrorCode::UnknownKeyId));
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn hello_comes_first_and_says_who_speaks() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = Client::connect(daemon.socket()).unwrap();
    assert_eq!(client.encrypt(EMPTY, b"x"), Err(ErrorCode::HelloRequired));
    assert_eq!(client.ask::<Lock>(&Empty {}).error(), ErrorCode::HelloRequired);
    assert_eq!(client.ask::<Reload>(&Empty {}).error(), ErrorCode::HelloRequired);
    assert_eq!(client.unlock(&[1; 32]), Err(ErrorCode::HelloRequired));
    assert_eq!(client.status("state"), "unlocked");
    let mut hello = |protocol_min, protocol_max, name: &str| {
        client.ask::<Hello>(&HelloRequest { protocol_min, protocol_max, client: name })
    };
    for (min, max) in [(2, 9), (0, 0), (2, 1)] {
        assert_eq!(hello(min, max, "e2e").error(), ErrorCode::ProtocolMismatch);
    }
    for name in ["", "tab\t", "line\nbreak", "ünïcode", "\x1b[31m", &"x".repeat(65)] {
        assert_eq!(hello(1, 1, name).error(), ErrorCode::InvalidRequest, "{name:?}");
    }
    let reply = hello(0, 7, &"x".repeat(64)).success().unwrap();
    let reply = codec::decode::<HelloReply<'_>>(&reply).unwrap();
    assert_eq!((reply.protocol, reply.protocol_min, reply.protocol_max, reply.features), (1, 1, 1, 3));
    assert!(reply.server.starts_with("keyagentd/"));
    assert_eq!((reply.limits.message, reply.limits.context), (1 << 20, 8192));
    let instance = reply.instance;
    assert_eq!(client.status("instance"), crate::support::hex(&instance));
    client.encrypt(EMPTY, b"greeted").unwrap();
    // `stop` works without a greeting, for every version to come.
    let mut stopping = Client::connect(daemon.socket()).unwrap();
    assert_eq!(stopping.ask::<Stop>(&Empty {}).code, 0);
    assert_eq!(daemon.wait().code, Some(0));
}

#[test]
fn frames_cut_anywhere_or_sent_bytewise_are_handled() {
    let home = Home::initialized();
    let daemon = home.start();
    let frame = client::encrypt(3, b"in pieces");
    for cut in 0..frame.len() {
        let mut client = daemon.client();
        client.send(&frame[..cut]).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.expect_end();
    }
    let mut client = daemon.client();
    for _ in 0..3 {
        for byte in &frame {
            client.send(std::slice::from_ref(byte)).unwrap();
        }
        assert_eq!(client.expect().code, 0);
    }
    // Two frames and a half, then the other half and one more.
    let stream = frame.repeat(4);
    let (first, second) = stream.split_at(frame.len() * 5 / 2);
    client.send(first).unwrap();
    assert_eq!((client.expect().code, client.expect().code), (0, 0));
    client.send(second).unwrap();
    assert_eq!((client.expect().code, client.expect().code), (0, 0));
    // A client that has said all it wants is answered still.
    client.send(&frame.repeat(20)).unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    for _ in 0..20 {
        assert_eq!(client.expect().code, 0);
    }
    client.expect_end();
    daemon.terminate();
    assert_eq!(log::count(&log::lines(&home), "encrypt"), 3 + 4 + 20);
}

#[test]
fn frames_that_never_end_meet_their_deadline() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut idle = daemon.client();
    let small = client::encrypt(1, b"never complete");
    let large = client::request::<Encrypt>(
        1,
        &EncryptRequest { key: "default", context: EMPTY, plaintext: &vec![0; MAX_MESSAGE_BYTES] },
    );
    let mut stalled: Vec<Client> = Vec::new();
    for bytes in [&small[..1], &small[..11], &small[..12], &small[..30], &large[..12], &large[..70_000]] {
        let mut client = daemon.client();
        client.send(bytes).unwrap();
        stalled.push(client);
    }
    // One byte a second keeps no frame alive: the deadline counts from its first byte.
    let mut trickling = daemon.client();
    let trickle = std::thread::spawn(move || {
        for byte in client::request::<Status>(1, &Empty {}) {
            if trickling.send(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        trickling.expect_end();
    });
    for client in &mut stalled {
        client.expect_end();
    }
    trickle.join().unwrap();
    // An idle connection has no deadline, and all buffers are back.
    idle.encrypt(EMPTY, &vec![0; MAX_MESSAGE_BYTES]).unwrap();
    daemon.terminate();
    assert_eq!(log::count(&log::lines(&home), "encrypt"), 1);
}

#[test]
fn a_reply_that_is_taken_in_drops_meets_its_deadline() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let plaintext = vec![0; MAX_MESSAGE_BYTES];
    let request = EncryptRequest { key: "default", context: EMPTY, plaintext: &plaintext };
    client.send(&client::request::<Encrypt>(1, &request)).unwrap();
    // 50 kB a second: the megabyte would be taken in twenty.
    let (mut drop, mut taken) = (vec![0; 50_000], 0);
    loop {
        match client.stream.read(&mut drop) {
            Ok(0) | Err(_) => break,
            Ok(count) => taken += count,
        }
        if taken >= MAX_MESSAGE_BYTES {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(taken < MAX_MESSAGE_BYTES, "the daemon waited for all of it");
    daemon.client().encrypt(EMPTY, &plaintext).unwrap();
    daemon.terminate();
    log::lines(&home);
}

#[test]
fn answers_come_in_order_under_their_own_ids() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut client = daemon.client();
    let envelope = client.encrypt(EMPTY, b"value").unwrap();
    let mut sent = Vec::new();
    let ids = [5, 5, 0, u32::MAX, 1];
    for id in ids {
        sent.extend(client::encrypt(id, b"x"));
        sent.extend(client::request::<Decrypt>(id, &DecryptRequest { context: EMPTY, envelope: &envelope }));
        sent.extend(client::request::<Status>(id, &Empty {}));
        sent.extend(client::hello(id));
    }
    client.send(&sent).unwrap();
    for id in ids {
        for _ in 0..4 {
            let reply = client.expect();
            assert_eq!((reply.id, reply.code), (id, 0));
        }
    }
    daemon.terminate();
    log::lines(&home);
}
