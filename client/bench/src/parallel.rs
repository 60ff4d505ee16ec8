//! P7: 256 clients at once, beside 256 that have sent half a frame and wait.
//!
//! Each client asks at fixed times, and its time counts from when it should have asked: a daemon that stands still is
//! seen by everybody who would have come meanwhile.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    path::Path,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Outcome,
    connection::{self, Connection},
    rounds::SMALL,
    server::Daemon,
    table::verdict,
};

/// Clients, and as many again that are half open.
const CLIENTS: u32 = 256;
/// Requests of each.
const REQUESTS: u32 = 150;
/// Time between two requests of one client: 12 800 requests a second in all.
const PERIOD: Duration = Duration::from_millis(20);

/// What was found.
pub(crate) struct Parallel {
    /// Of all requests, in nanoseconds, ascending.
    times: Vec<u64>,
    /// Requests that were not answered as they should be.
    failures: u64,
    /// Half-open connections that the daemon still held at the end.
    held: usize,
}

/// Measures a daemon that has served before.
pub(crate) fn measure(daemon: &Daemon) -> Outcome<Parallel> {
    let request = connection::encrypt(&[7; SMALL], 1)?;
    let half_open = (0..CLIENTS).map(|_| half_open(&daemon.socket)).collect::<Outcome<Vec<_>>>()?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Connection::greeted(&daemon.socket)?;
        let reply_bytes = client.learn(&request, 1)?;
        clients.push((client, reply_bytes));
    }
    let barrier = Barrier::new(clients.len());
    let (barrier, request) = (&barrier, request.as_slice());
    let found = thread::scope(|scope| {
        let running: Vec<_> = (0..)
            .zip(clients)
            .map(|(number, (client, bytes))| {
                scope.spawn(move || ask(client, bytes, request, barrier, number))
            })
            .collect();
        running.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut parallel = Parallel { times: Vec::new(), failures: 0, held: 0 };
    for times in found {
        let times = times.map_err(|_| "a client ended early")?;
        parallel.failures += u64::from(REQUESTS) - times.len() as u64;
        parallel.times.extend(times);
    }
    parallel.times.sort_unstable();
    parallel.held = half_open.iter().filter(|stream| is_open(stream)).count();
    Ok(parallel)
}

/// The rows of the table.
pub(crate) fn rows(parallel: &Parallel) -> Vec<String> {
    let Parallel { times, failures, held } = parallel;
    let at = |permille: usize| {
        let nanos = times.get(times.len() * permille / 1000).copied().unwrap_or_default();
        Duration::from_nanos(nanos).as_secs_f64() * 1e3
    };
    let p99 = at(990);
    vec![
        format!(
            "| P7 | {CLIENTS} clients beside {CLIENTS} half open ({held} still held): failures of {} requests | 0 | {failures} | | {} |",
            CLIENTS * REQUESTS,
            verdict(*failures == 0)
        ),
        format!(
            "| P7 | p99 of a request, from when it should have been sent | <= 10 ms | {p99:.2} ms | p50 {:.2} ms | {} |",
            at(500),
            verdict(p99 <= 10.0)
        ),
    ]
}

/// Asks at its times; how long each answer took, in nanoseconds, until one fails.
fn ask(mut client: Connection, reply_bytes: usize, request: &[u8], start: &Barrier, number: u32) -> Vec<u64> {
    let mut times = Vec::new();
    start.wait();
    let begin = Instant::now() + PERIOD * number / CLIENTS;
    for turn in 0..REQUESTS {
        let due = begin + PERIOD * turn;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if client.exchange(request, reply_bytes).is_err() {
            break;
        }
        times.push(due.elapsed().as_nanos().try_into().unwrap_or(u64::MAX));
    }
    times
}

/// A connection that was greeted and has sent the first half of a header.
fn half_open(socket: &Path) -> Outcome<UnixStream> {
    let mut stream = Connection::greeted(socket)?.into_stream();
    stream.write_all(&[64, 0, 0, 0, 1, 0])?;
    Ok(stream)
}

fn is_open(stream: &UnixStream) -> bool {
    use std::io::Read;
    let mut stream = stream;
    stream.set_nonblocking(true).is_ok() && stream.read(&mut [0]).is_err()
}
