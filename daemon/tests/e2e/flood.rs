//! Floods (rows 27 to 31): while one kind of nonsense after the other hits the daemon, an honest client is
//! served all the time; afterwards memory and descriptors are back where they were.

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use keyagent_common::{context::EMPTY, frame::MAX_MESSAGE_BYTES, op::OperationCode};

use crate::support::{Client, Daemon, Home, assert_no_failure, bounded, client, eventually, log};

/// Bytes of resident memory that no flood may add.
const GROWTH: u64 = 32 << 20;

/// Runs a flood beside an honest client on a fresh daemon.
fn flood(attack: impl FnOnce(&Daemon)) -> Home {
    let home = Home::initialized();
    let daemon = home.start();
    // Each kind of buffer and both workers have been used once.
    for size in [10, 10_000, MAX_MESSAGE_BYTES] {
        (0..4).for_each(|_| drop(daemon.client().encrypt(EMPTY, &vec![0; size]).unwrap()));
    }
    let (resident, descriptors) = (daemon.resident_bytes(), daemon.descriptors());
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut kept = daemon.client();
            while !done.load(Ordering::Relaxed) {
                for client in [&mut kept, &mut daemon.client()] {
                    let envelope = client.encrypt(EMPTY, b"honest").unwrap();
                    assert_eq!(client.decrypt(EMPTY, &envelope).unwrap(), b"honest");
                    served.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let finish = Finish(&done);
        attack(&daemon);
        let before = served.load(Ordering::Relaxed);
        eventually("the honest client is served", || served.load(Ordering::Relaxed) >= before + 4);
        drop(finish);
    });
    let grown = daemon.resident_bytes().saturating_sub(resident);
    assert!(grown < GROWTH, "{grown} bytes more");
    // Connections that stall are ended by their deadline, and not before.
    eventually("as many descriptors as before", || daemon.descriptors() <= descriptors);
    let said = daemon.terminate();
    assert_no_failure(&said);
    log::lines(&home);
    home
}

/// Ends the honest client even when the attack's own assertions fail.
struct Finish<'f>(&'f AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    keyagent_sys::random::fill(&mut bytes).unwrap();
    bytes
}

#[test]
fn nonsense_of_every_kind() {
    flood(|daemon| {
        let huge = [u32::MAX.to_le_bytes(), [0; 4], [16, 0, 0, 0]].concat();
        let zero = [0; 4096].to_vec();
        for round in 0..bounded(150, 10_000) {
            // What the daemon answers or not is nobody's concern here; many are closed half way.
            for bytes in
                [&huge, &zero, &random_bytes(round % 3000 + 1), &client::encrypt(1, b"x")[..20].to_vec()]
            {
                let mut client = Client::connect(daemon.socket()).unwrap();
                let _ = client.send(bytes);
                if round % 2 == 0 {
                    let _ = client.send(&random_bytes(64));
                }
            }
            let mut greeted = daemon.client();
            // A body of random bytes under every operation but those that stop or lock.
            for code in [7, 16, 17, 19, 20, 1, 2, 3, 77] {
                let body = random_bytes(round % 200);
                let mut frame = u32::try_from(body.len() + 8).unwrap().to_le_bytes().to_vec();
                frame.extend([9, 0, 0, 0, code, 0, 0, 0]);
                frame.extend(body);
                greeted.send(&frame).unwrap();
                assert_eq!(greeted.expect().id, 9);
            }
        }
    });
}

#[test]
fn connections_that_come_and_go() {
    flood(|daemon| {
        for round in 0..bounded(1500, 100_000) {
            let mut client = Client::connect(daemon.socket()).unwrap();
            match round % 4 {
                0 => {}
                1 => drop(client.send(&client::hello(1))),
                2 => drop(client.stream.shutdown(Shutdown::Read)),
                _ => {
                    // Closed with the answer unread.
                    let _ = client.send(&[client::hello(1), client::encrypt(2, b"x")].concat());
                }
            }
        }
    });
}

#[test]
fn many_half_open_connections() {
    flood(|daemon| {
        let half = client::encrypt(1, b"half a frame");
        let mut clients: Vec<Client> = (0..bounded(256, 4000)).map(|_| daemon.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&half[..number % half.len()]).unwrap();
        }
        for _ in 0..20 {
            let mut honest = daemon.client();
            assert!(honest.encrypt(EMPTY, &vec![1; 30_000]).is_ok());
        }
        for (number, client) in clients.iter_mut().enumerate() {
            if number % half.len() == 0 {
                // Nothing was begun: it is an idle connection, and served.
                client.encrypt(EMPTY, b"idle").unwrap();
            } else {
                client.expect_end();
            }
        }
    });
}

#[test]
fn ten_thousand_requests_in_one_write() {
    let clients = 3;
    let home = flood(|daemon| {
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    let mut client = daemon.client();
                    let frames: Vec<u8> =
                        (0..10_000).flat_map(|id| client::encrypt(id, b"pipelined")).collect();
                    let mut writer = client.stream.try_clone().unwrap();
                    let writing = std::thread::spawn(move || writer.write_all(&frames));
                    for id in 0..10_000 {
                        let reply = client.expect();
                        assert_eq!((reply.id, reply.code), (id, 0));
                    }
                    writing.join().unwrap().unwrap();
                });
            }
        });
    });
    assert!(log::count(&log::lines(&home), "encrypt") > clients * 10_000);
}

#[test]
fn clients_that_never_read() {
    flood(|daemon| {
        let frames: Vec<u8> = (0..200).flat_map(|id| client::encrypt(id, &[5; 2000])).collect();
        std::thread::scope(|scope| {
            for _ in 0..bounded(6, 50) {
                scope.spawn(|| {
                    let mut client = daemon.client();
                    // The daemon stops reading, and at the deadline ends the connection: the write fails.
                    for _ in 0..1000 {
                        if client.send(&frames).is_err() {
                            break;
                        }
                    }
                    // What had been sent before can still be read, then the end.
                    let mut rest = Vec::new();
                    let _ = client.stream.read_to_end(&mut rest);
                    assert!(rest.len() < 8 << 20, "the daemon sent {} bytes to nobody", rest.len());
                });
            }
        });
    });
}

#[test]
fn the_largest_messages_from_eight_clients_at_once() {
    flood(|daemon| {
        std::thread::scope(|scope| {
            for number in 0..8_u8 {
                scope.spawn(move || {
                    let mut client = daemon.client();
                    let message = vec![number; MAX_MESSAGE_BYTES];
                    for _ in 0..bounded(3, 100) {
                        let envelope = client.encrypt(EMPTY, &message).unwrap();
                        assert!(client.decrypt(EMPTY, &envelope).unwrap() == message);
                    }
                });
            }
        });
    });
}

#[test]
fn frames_for_operations_that_nobody_knows() {
    let known: Vec<u16> = OperationCode::ALL.iter().map(|code| *code as u16).collect();
    flood(|daemon| {
        let mut client = daemon.client();
        let codes: Vec<u16> = (0..bounded(3000, u16::MAX)).filter(|code| !known.contains(code)).collect();
        for codes in codes.chunks(500) {
            let mut frames = Vec::new();
            for code in codes {
                frames.extend([8, 0, 0, 0, 1, 0, 0, 0]);
                frames.extend(code.to_le_bytes());
                frames.extend([0, 0]);
            }
            client.send(&frames).unwrap();
            for _ in codes {
                assert_eq!(client.expect().code, 2);
            }
        }
    });
}
