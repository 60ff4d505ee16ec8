//! The library with agents that misbehave: what dies, what is late, what answers something else.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests; clippy knows only functions marked #[test]"
)]

mod support;

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use keyagent_client::{
    Address, Client, Connection, Context, Error, ErrorCode, KeyName, Options, Pipeline, op,
};
use keyagent_common::{
    codec,
    frame::{HEADER_BYTES, Header},
    op::{BatchReply, BatchRequest, EncryptReply, EncryptRequest, ErrorReply, HelloReply, OperationCode},
};
use support::{FakeAgent, Request, hello, hello_reply, reply};

const HELLO: u16 = OperationCode::Hello as u16;
const BATCH: u16 = OperationCode::Batch as u16;

/// An envelope that ends with what was asked to seal.
fn sealed(request: &Request) -> Vec<u8> {
    let asked: EncryptRequest<'_> = codec::decode(&request.body).unwrap();
    reply(request, 0, &EncryptReply { version: 1, envelope: &[&[1; 73][..], asked.plaintext].concat() })
}

fn client(agent: &FakeAgent) -> Client {
    Client::new(Address::exactly(agent.socket()).unwrap())
}

fn encrypt(client: &mut Client, plain: &[u8]) -> Result<Vec<u8>, Error> {
    client.encrypt(KeyName::DEFAULT, Context::empty(), plain)
}

fn asked(agent: &FakeAgent, code: u16) -> usize {
    agent.requests.try_iter().filter(|request| request.code == code).count()
}

/// An agent that answers encrypts but for those whose number, from 1, is in `fatal`.
fn dying(fatal: &'static [usize]) -> FakeAgent {
    let mut number = 0;
    FakeAgent::new(move |request| {
        if request.code == HELLO {
            return hello(request);
        }
        number += 1;
        if fatal.contains(&number) { Vec::new() } else { sealed(request) }
    })
}

#[test]
fn one_dead_connection_is_made_good_by_a_new_one() {
    let agent = dying(&[2]);
    let mut client = client(&agent);
    for plain in [b"one", b"two", b"3rd"] {
        assert_eq!(&encrypt(&mut client, plain).unwrap()[73..], plain);
    }
    let requests: Vec<_> = agent.requests.try_iter().collect();
    assert_eq!(requests.iter().filter(|request| request.code == HELLO).count(), 2);
    assert_eq!(requests.len(), 2 + 4, "the second was sent twice, the others once");
}

#[test]
fn what_dies_twice_is_an_error_and_a_fresh_connection_is_not_tried_again() {
    let agent = dying(&[2, 3]);
    let mut client = client(&agent);
    encrypt(&mut client, b"x").unwrap();
    assert_eq!(encrypt(&mut client, b"x").unwrap_err().code(), ErrorCode::AgentUnreachable);
    assert_eq!(asked(&agent, OperationCode::Encrypt as u16), 3);
    encrypt(&mut client, b"x").unwrap();
    let agent = dying(&[1]);
    let mut client = self::client(&agent);
    assert!(matches!(encrypt(&mut client, b"x"), Err(Error::Closed { .. })));
    assert_eq!(asked(&agent, OperationCode::Encrypt as u16), 1);
}

#[test]
fn what_changes_keys_is_never_sent_twice() {
    let agent = FakeAgent::new(|request| if request.code == HELLO { hello(request) } else { Vec::new() });
    let mut client = client(&agent);
    client.server().unwrap();
    assert!(matches!(client.connection().unwrap().reload(), Err(Error::Closed { .. })));
    assert_eq!(asked(&agent, OperationCode::Reload as u16), 1);
}

#[test]
fn a_late_answer_is_nobodys() {
    let mut number = 0;
    let agent = FakeAgent::new(move |request| {
        if request.code == HELLO {
            return hello(request);
        }
        number += 1;
        if number == 1 {
            thread::sleep(Duration::from_millis(500));
        }
        sealed(request)
    });
    let mut client = client(&agent);
    client.set_timeout(Duration::from_millis(150));
    let error = encrypt(&mut client, b"late").unwrap_err();
    assert!(error.code() == ErrorCode::Timeout && error.hint().contains("--timeout"), "{error:?}");
    client.set_timeout(Duration::from_secs(5));
    assert_eq!(&encrypt(&mut client, b"own").unwrap()[73..], b"own");
    // A bare connection is of no use after that.
    let mut connection = Connection::open(
        &Address::exactly(agent.socket()).unwrap(),
        Options { timeout: Duration::from_secs(5) },
    );
    let connection = connection.as_mut().unwrap();
    client.disconnect();
    connection.hello().unwrap();
    connection.set_timeout(Duration::from_nanos(1));
    assert!(connection.encrypt(KeyName::DEFAULT, Context::empty(), b"x").is_err());
    connection.set_timeout(Duration::from_secs(5));
    assert!(!connection.is_usable());
    assert!(connection.encrypt(KeyName::DEFAULT, Context::empty(), b"x").is_err());
}

#[test]
fn an_answer_to_another_request_ends_the_connection() {
    let mut number = 0;
    let agent = FakeAgent::new(move |request| {
        if request.code == HELLO {
            return hello(request);
        }
        number += 1;
        match number {
            1 => sealed(&Request { id: request.id.wrapping_add(1), ..request.clone() }),
            2 => reply(request, 0, &EncryptReply { version: 1, envelope: b"short" }),
            3 => reply(request, 9, &7_u8),
            _ => sealed(request),
        }
    });
    let mut client = client(&agent);
    for _ in 0..3 {
        assert!(matches!(encrypt(&mut client, b"x"), Err(Error::Protocol { .. })));
    }
    encrypt(&mut client, b"x").unwrap();
    assert_eq!(asked(&agent, HELLO), 4);
}

/// What a raw agent does with the frames that it has; true to go on.
type Answers = Box<dyn FnMut(&mut UnixStream, &mut Vec<Request>) -> bool + Send>;

/// An agent that reads whatever is there before it answers; with these limits and features.
fn raw(in_flight: u32, features: u64, mut answer: Answers) -> (tempfile::TempDir, Client) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut waiting = Vec::new();
        loop {
            let mut head = [0; HEADER_BYTES];
            stream.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
            if stream.read_exact(&mut head).is_ok() {
                stream.set_read_timeout(None).unwrap();
                let header = Header::parse(&head).unwrap().unwrap();
                let mut body = vec![0; header.body_bytes];
                stream.read_exact(&mut body).unwrap();
                let request = Request { id: header.request_id, code: header.code, body };
                if request.code == HELLO {
                    let mut greeting: HelloReply<'_> = hello_reply(1, "0.1.0");
                    (greeting.limits.in_flight, greeting.features) = (in_flight, features);
                    stream.write_all(&reply(&request, 0, &greeting)).unwrap();
                } else {
                    waiting.push(request);
                }
            } else if !waiting.is_empty() && !answer(&mut stream, &mut waiting) {
                return;
            }
        }
    });
    (folder, Client::new(Address::exactly(socket).unwrap()))
}

fn pipeline(count: usize) -> (Pipeline, Vec<keyagent_client::Ticket<op::Encrypt>>) {
    let mut pipeline = Pipeline::new();
    let push = |number: usize| {
        let plaintext = &number.to_le_bytes()[..];
        pipeline.push(&EncryptRequest { key: "default", context: &[0, 0], plaintext }).unwrap()
    };
    let tickets = (0..count).map(push).collect();
    (pipeline, tickets)
}

#[test]
fn replies_in_any_order_find_their_requests_and_no_more_are_in_flight_than_allowed() {
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let (_folder, mut client) = raw(
        16,
        0,
        Box::new(move |stream, waiting| {
            seen.fetch_max(waiting.len(), Ordering::Relaxed);
            for request in waiting.drain(..).rev() {
                stream.write_all(&sealed(&request)).unwrap();
            }
            true
        }),
    );
    let (pipeline, tickets) = pipeline(100);
    let mut replies = client.run(pipeline).unwrap();
    for (number, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(replies.take(ticket).unwrap()[73..], number.to_le_bytes());
    }
    assert_eq!(most.load(Ordering::Relaxed), 16);
}

#[test]
fn a_reply_twice_or_before_its_request_is_a_violation() {
    for early in [false, true] {
        let (_folder, mut client) = raw(
            4,
            0,
            Box::new(move |stream, waiting| {
                let request = waiting.remove(0);
                let second = Request { id: request.id + if early { 10 } else { 0 }, ..request.clone() };
                let _ = stream.write_all(&[sealed(&request), sealed(&second)].concat());
                true
            }),
        );
        let error = client.run(pipeline(20).0).err().unwrap();
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    }
}

/// The frames in a batch.
fn items(batch: &BatchRequest<'_>) -> Vec<Request> {
    let (mut rest, mut items) = (batch.items, Vec::new());
    while let Some(header) = Header::parse(rest).unwrap() {
        let (frame, after) = rest.split_at(header.frame_bytes());
        items.push(Request {
            id: header.request_id,
            code: header.code,
            body: frame[HEADER_BYTES..].to_vec(),
        });
        rest = after;
    }
    items
}

fn batches(sizes: &'static std::sync::Mutex<Vec<usize>>, spoil: fn(&mut Vec<u8>)) -> Answers {
    Box::new(move |stream, waiting| {
        for request in waiting.drain(..) {
            if request.code != BATCH {
                sizes.lock().unwrap().push(1);
                stream.write_all(&sealed(&request)).unwrap();
                continue;
            }
            let batch: BatchRequest<'_> = codec::decode(&request.body).unwrap();
            let items = items(&batch);
            assert!(items.iter().zip(0..).all(|(item, id)| item.id == id && item.code == batch.operation));
            sizes.lock().unwrap().push(items.len());
            let refusal = ErrorReply { what: "no", why: "", fix: "" };
            let answer =
                |item: &Request| if item.id % 5 == 4 { reply(item, 7, &refusal) } else { sealed(item) };
            let mut results: Vec<u8> = items.iter().flat_map(answer).collect();
            spoil(&mut results);
            stream.write_all(&reply(&request, 0, &BatchReply { results: &results })).unwrap();
        }
        true
    })
}

#[test]
fn batches_are_split_by_the_limits_and_every_item_has_its_own_answer() {
    static SIZES: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());
    let (_folder, mut client) = raw(10, 2, batches(&SIZES, |_| {}));
    let plains: Vec<Vec<u8>> = (0..31_u8).map(|number| vec![number; 3]).collect();
    let items: Vec<_> = plains.iter().map(|plain| (Context::empty(), &plain[..])).collect();
    let answers = client.encrypt_many(KeyName::DEFAULT, &items).unwrap();
    for (at, (answer, plain)) in answers.iter().zip(&plains).enumerate() {
        match answer {
            Ok(sealed) => assert!(sealed[73..] == plain[..] && (at % 10 % 5 != 4 || at == 30), "{at}"),
            Err(error) => {
                assert!(error.code() == ErrorCode::DoesNotOpen && at % 10 % 5 == 4, "{at}: {error}");
            }
        }
    }
    assert_eq!((answers.len(), SIZES.lock().unwrap().clone()), (31, vec![10, 10, 10, 1]));
    SIZES.lock().unwrap().clear();
    // Four of these fit into a frame.
    let large = vec![7; 260_000];
    let answers = client.encrypt_many(KeyName::DEFAULT, &[(Context::empty(), &large[..]); 9]).unwrap();
    assert_eq!((answers.len(), SIZES.lock().unwrap().clone()), (9, vec![4, 4, 1]));
}

#[test]
fn a_batch_that_is_answered_wrongly_is_a_violation() {
    static SIZES: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());
    let spoilers: [fn(&mut Vec<u8>); 5] = [
        |results| results.truncate(results.len() - 1),
        |results| results.push(0),
        |results| results[4] = 1,
        |results| results.clear(),
        |results| results[10] = 1,
    ];
    for spoil in spoilers {
        let (_folder, mut client) = raw(64, 2, batches(&SIZES, spoil));
        let error = client.encrypt_many(KeyName::DEFAULT, &[(Context::empty(), &b"x"[..]); 3]).unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    }
}
