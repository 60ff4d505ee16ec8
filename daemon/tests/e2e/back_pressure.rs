//! Connections that ask faster than they read, or ask for much at once: nobody else starves, nothing that was
//! recorded or received is lost for want of a buffer, and every wait has one end.

use std::{
    io::{ErrorKind, Read},
    sync::atomic::{AtomicUsize, Ordering},
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use keyagent_common::{
    context::EMPTY,
    error::ErrorCode,
    frame::MAX_MESSAGE_BYTES,
    op::{Empty, Reload, Status},
};
use nix::sys::signal::Signal;

use crate::support::{Client, Daemon, Home, assert_no_failure, bounded, client, log};

/// Long enough for the daemon to take all that it will take before somebody reads.
const STALL: Duration = Duration::from_secs(1);

/// The daemon's own, for a frame that has begun.
const DEADLINE: Duration = Duration::from_secs(5);

fn reloads(count: u32) -> Vec<u8> {
    (0..count).flat_map(|id| client::request::<Reload>(id, &Empty {})).collect()
}

/// Writes everything from a thread of its own, and reads `count` replies, which must come in order, after a while.
fn read_late(mut client: Client, frames: &[u8], count: u32) {
    let mut writer = client.stream.try_clone().unwrap();
    scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut writer, frames).unwrap());
        sleep(STALL);
        for id in 0..count {
            let reply = client.expect();
            assert_eq!((reply.id, reply.code), (id, 0));
        }
    });
}

/// Two connections in a row, so one on each worker.
fn one_on_each_worker(daemon: &Daemon) -> [Client; 2] {
    [daemon.client(), daemon.client()]
}

#[test]
fn operations_on_the_agent_take_turns_with_other_connections() {
    const COUNT: u32 = 3000;
    let home = Home::initialized();
    let daemon = home.start();
    let begun = AtomicUsize::new(0);
    let left = AtomicUsize::new(2);
    let mut honest = daemon.client();
    scope(|scope| {
        for mut flooding in one_on_each_worker(&daemon) {
            let (begun, left) = (&begun, &left);
            scope.spawn(move || {
                flooding.send(&reloads(COUNT)).unwrap();
                for id in 0..COUNT {
                    assert_eq!(flooding.expect().id, id);
                    begun.fetch_add(usize::from(id == 0), Ordering::SeqCst);
                }
                left.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while begun.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
        let mut served = 0;
        while left.load(Ordering::SeqCst) == 2 {
            honest.encrypt(EMPTY, b"honest").unwrap();
            served += 1;
        }
        assert!(served > 20, "{served} requests beside {COUNT} on the same worker");
    });
    assert_no_failure(&daemon.terminate());
}

#[test]
fn a_stopping_daemon_does_not_finish_a_queue_of_operations_on_the_agent() {
    const COUNT: u32 = 9000;
    let home = Home::initialized();
    let daemon = home.start();
    let mut flooding = one_on_each_worker(&daemon);
    for client in &mut flooding {
        client.send(&reloads(COUNT)).unwrap();
        client.expect();
    }
    daemon.signal(Signal::SIGTERM);
    let readers = flooding.map(|mut client| {
        std::thread::spawn(move || std::iter::from_fn(|| client.reply().ok().flatten()).count())
    });
    let answered = 2 + readers.into_iter().map(|reader| reader.join().unwrap()).sum::<usize>();
    let finished = daemon.wait();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let recorded = log::count(&log::lines(&home), "reload");
    assert_eq!(recorded, answered, "every recorded reply arrived");
    assert!(recorded < 2 * COUNT as usize, "all of them were done");
}

#[test]
fn replies_of_connections_that_read_late_all_arrive() {
    let (connections, count) = (bounded(40, 256), bounded(80, 300));
    let home = Home::initialized();
    let daemon = home.start();
    let frames: Vec<u8> = (0..count).flat_map(|id| client::encrypt(id, &[5; 8000])).collect();
    let honest = 20;
    scope(|scope| {
        for _ in 0..connections {
            let client = daemon.client();
            let frames = &frames;
            scope.spawn(move || read_late(client, frames, count));
        }
        sleep(STALL / 2);
        for _ in 0..honest {
            // In several pieces, so that it may arrive in part.
            daemon.client().encrypt(EMPTY, &vec![1; 60_000]).unwrap();
        }
    });
    assert_no_failure(&daemon.terminate());
    assert_eq!(log::count(&log::lines(&home), "encrypt"), connections * count as usize + honest);
}

#[test]
fn requests_wait_whose_replies_are_much_larger() {
    const COUNT: u32 = 3000;
    let home = Home::initialized();
    let daemon = home.start();
    let frames: Vec<u8> = (0..COUNT).flat_map(|id| client::request::<Status>(id, &Empty {})).collect();
    scope(|scope| {
        for _ in 0..bounded(24, 256) {
            let client = daemon.client();
            let frames = &frames;
            scope.spawn(move || read_late(client, frames, COUNT));
        }
    });
    assert_no_failure(&daemon.terminate());
}

#[test]
fn half_frames_beyond_the_buffers_wait_in_the_socket() {
    let home = Home::initialized();
    let daemon = home.start();
    let whole = client::encrypt(7, &vec![5; 40_000]);
    let small = client::encrypt(8, &[5; 100]);
    let mut clients: Vec<Client> = (0..bounded(100, 300)).map(|_| daemon.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        // Some with whole frames before the half one, some with half a header.
        let half = [9, 10_000, 30_000][number % 3];
        client.send(&[&*small.repeat(number % 4), &whole[..half]].concat()).unwrap();
        for _ in 0..number % 4 {
            assert_eq!(client.expect().code, 0);
        }
    }
    let mut honest = daemon.client();
    for size in [10, 60_000, MAX_MESSAGE_BYTES] {
        honest.encrypt(EMPTY, &vec![1; size]).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let half = [9, 10_000, 30_000][number % 3];
        client.send(&[&whole[half..], &small].concat()).unwrap();
    }
    for client in &mut clients {
        let replies = [client.expect(), client.expect()];
        assert_eq!(replies.map(|reply| (reply.id, reply.code)), [(7, 0), (8, 0)]);
    }
    assert_no_failure(&daemon.terminate());
}

#[test]
fn half_a_frame_in_the_socket_ends_with_its_peer_and_with_the_daemon() {
    let home = Home::initialized();
    let daemon = home.start();
    let half = &client::encrypt(7, &vec![5; 40_000])[..20_000];
    let mut clients: Vec<Client> = (0..60).map(|_| daemon.client()).collect();
    for client in &mut clients {
        client.send(half).unwrap();
    }
    let begun = Instant::now();
    sleep(STALL / 4);
    // The last ones first: those before them hold the buffers.
    for client in clients.iter_mut().rev().step_by(2) {
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        client.expect_end();
    }
    assert!(begun.elapsed() < DEADLINE / 2, "noticed at the deadline only");
    daemon.signal(Signal::SIGTERM);
    for client in clients.iter_mut().rev().skip(1).step_by(2) {
        client.expect_end();
    }
    assert_eq!(daemon.wait().code, Some(0));
}

/// Takes a little of a reply now and then, until the daemon ends the connection; bytes of it.
fn read_slowly(mut client: Client) -> usize {
    let (mut taken, mut piece) = (0, vec![0; 20_000]);
    loop {
        sleep(Duration::from_millis(400));
        match client.stream.read(&mut piece) {
            Ok(0) => return taken,
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_large_buffer_is_not_kept_by_slow_readers_and_who_finds_none_is_told() {
    let home = Home::initialized();
    let daemon = home.start();
    let large = client::encrypt(9, &vec![5; MAX_MESSAGE_BYTES]);
    scope(|scope| {
        for _ in 0..2 {
            let mut client = daemon.client();
            client.send(&large).unwrap();
            // From here on it holds one of the two buffers.
            client.stream.read_exact(&mut [0]).unwrap();
            scope.spawn(move || {
                let taken = read_slowly(client);
                assert!(taken < MAX_MESSAGE_BYTES, "one deadline for the whole reply");
            });
        }
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let (mut client, large) = (daemon.client(), &large);
                scope.spawn(move || {
                    client.send(large).unwrap();
                    let reply = client.expect();
                    assert_eq!(reply.id, 9);
                    let refused = reply.success().err();
                    assert!(matches!(refused, None | Some(ErrorCode::Busy)), "{refused:?}");
                    // The rest of the frame was taken and thrown away: the connection is as good as before.
                    client.encrypt(EMPTY, b"after it").unwrap();
                    client
                })
            })
            .collect();
        for client in waiting {
            drop(client.join().unwrap());
        }
    });
    daemon.client().encrypt(EMPTY, &vec![5; MAX_MESSAGE_BYTES]).unwrap();
    assert_no_failure(&daemon.terminate());
}

#[test]
fn a_header_that_comes_byte_by_byte_has_one_deadline() {
    let home = Home::initialized();
    let daemon = home.start();
    let mut slow = daemon.client();
    let frame = client::encrypt(1, b"slow");
    let begun = Instant::now();
    // Twelve bytes of header, each well within the deadline of the one before.
    let ended = frame[..12].iter().position(|byte| {
        sleep(Duration::from_millis(1500));
        slow.send(&[*byte]).is_err()
    });
    assert!(ended.is_some(), "still open after {:?}", begun.elapsed());
    slow.expect_end();
    assert_no_failure(&daemon.terminate());
}
