//! P1 to P4 and P10: everything that goes through a socket, leg after leg, round after round.

use std::path::Path;

use crate::{
    Outcome,
    connection::{self, Connection},
    echo::FRAME_BYTES,
    measure::{Series, median_nanos},
};

/// Rounds, after one that is thrown away.
const ROUNDS: usize = 21;
/// Bytes of a small plaintext.
pub(crate) const SMALL: usize = 100;
/// Bytes of the largest plaintext.
pub(crate) const LARGE: usize = 1 << 20;
/// Requests in one write.
pub(crate) const DEPTH: u32 = 64;

/// Who listens where.
pub(crate) struct Sockets<'s> {
    pub(crate) persistent: &'s Path,
    pub(crate) per_request: &'s Path,
    pub(crate) audited: &'s Path,
    pub(crate) unaudited: &'s Path,
}

/// Median times of one call, round by round.
#[derive(Default)]
pub(crate) struct Rounds {
    /// 100 bytes there and back on one connection.
    pub(crate) echo: Series,
    /// Connect, 100 bytes there and back, close.
    pub(crate) echo_per_request: Series,
    /// 100 bytes, recorded.
    pub(crate) encrypt: Series,
    /// 100 bytes, recorded.
    pub(crate) decrypt: Series,
    /// 100 bytes, not recorded.
    pub(crate) encrypt_unaudited: Series,
    /// Connect, hello and encrypt in one write, close.
    pub(crate) connect: Series,
    /// Connect, hello, its reply, encrypt, its reply, close.
    pub(crate) connect_in_two: Series,
    /// 64 encrypts in one write, recorded.
    pub(crate) burst: Series,
    /// 64 encrypts in one write, not recorded.
    pub(crate) burst_unaudited: Series,
    /// 1 MiB, recorded.
    pub(crate) large: Series,
}

/// Prepared requests, the length of their replies, and a connection for them.
struct Leg {
    connection: Connection,
    request: Vec<u8>,
    reply_bytes: usize,
    calls: usize,
}

impl Leg {
    fn new(socket: &Path, request: Vec<u8>, count: u32, calls: usize) -> Outcome<Self> {
        let mut connection = Connection::greeted(socket)?;
        let reply_bytes = connection.learn(&request, usize::try_from(count)?)?;
        Ok(Self { connection, request, reply_bytes, calls })
    }

    fn time(&mut self) -> Outcome<f64> {
        let Self { connection, request, reply_bytes, calls } = self;
        median_nanos(*calls, || Ok(connection.exchange(request, *reply_bytes)?))
    }
}

/// Runs all rounds.
pub(crate) fn run(sockets: &Sockets<'_>) -> Outcome<Rounds> {
    let small = connection::encrypt(&[7; SMALL], 1)?;
    let burst = connection::encrypt(&[7; SMALL], DEPTH)?;
    let mut echo = Leg {
        connection: Connection::open(sockets.persistent)?,
        request: vec![7; FRAME_BYTES],
        reply_bytes: FRAME_BYTES,
        calls: 4000,
    };
    let mut encrypt = Leg::new(sockets.audited, small.clone(), 1, 4000)?;
    let opening = connection::decrypt(encrypt.connection.first_body()?)?;
    let mut decrypt = Leg::new(sockets.audited, opening, 1, 4000)?;
    let mut encrypt_unaudited = Leg::new(sockets.unaudited, small.clone(), 1, 4000)?;
    let mut bursts = Leg::new(sockets.audited, burst.clone(), DEPTH, 400)?;
    let mut bursts_unaudited = Leg::new(sockets.unaudited, burst, DEPTH, 400)?;
    let mut large = Leg::new(sockets.audited, connection::encrypt(&vec![7; LARGE], 1)?, 1, 60)?;
    let connecting = Connecting::new(sockets, small)?;
    let mut rounds = Rounds::default();
    for round in 0..=ROUNDS {
        if round == 1 {
            // The first round warmed everything up.
            rounds = Rounds::default();
        }
        rounds.echo.push(echo.time()?);
        rounds.encrypt.push(encrypt.time()?);
        rounds.decrypt.push(decrypt.time()?);
        rounds.encrypt_unaudited.push(encrypt_unaudited.time()?);
        rounds.echo_per_request.push(connecting.time_echo()?);
        rounds.connect.push(connecting.time_one_write()?);
        rounds.connect_in_two.push(connecting.time_two_writes()?);
        rounds.burst.push(bursts.time()?);
        rounds.burst_unaudited.push(bursts_unaudited.time()?);
        rounds.large.push(large.time()?);
    }
    Ok(rounds)
}

/// The legs that make a connection for each call.
struct Connecting<'s> {
    sockets: &'s Sockets<'s>,
    hello: Vec<u8>,
    hello_reply_bytes: usize,
    encrypt: Vec<u8>,
    encrypt_reply_bytes: usize,
    /// Both in one write.
    both: Vec<u8>,
}

/// Calls of each of these legs.
const CONNECTS: usize = 1000;

impl<'s> Connecting<'s> {
    fn new(sockets: &'s Sockets<'s>, encrypt: Vec<u8>) -> Outcome<Self> {
        let hello = connection::hello()?;
        let mut connection = Connection::open(sockets.audited)?;
        let hello_reply_bytes = connection.learn(&hello, 1)?;
        let encrypt_reply_bytes = connection.learn(&encrypt, 1)?;
        let both = [hello.as_slice(), encrypt.as_slice()].concat();
        Ok(Self { sockets, hello, hello_reply_bytes, encrypt, encrypt_reply_bytes, both })
    }

    fn time_echo(&self) -> Outcome<f64> {
        let mut room = [0; FRAME_BYTES];
        median_nanos(CONNECTS, || {
            Ok(connection::once(self.sockets.per_request, &[(&[7; FRAME_BYTES], FRAME_BYTES)], &mut room)?)
        })
    }

    fn time_one_write(&self) -> Outcome<f64> {
        let mut room = [0; 1024];
        let exchange: [(&[u8], usize); 1] = [(&self.both, self.hello_reply_bytes + self.encrypt_reply_bytes)];
        median_nanos(CONNECTS, || Ok(connection::once(self.sockets.audited, &exchange, &mut room)?))
    }

    fn time_two_writes(&self) -> Outcome<f64> {
        let mut room = [0; 1024];
        let exchanges: [(&[u8], usize); 2] =
            [(&self.hello, self.hello_reply_bytes), (&self.encrypt, self.encrypt_reply_bytes)];
        median_nanos(CONNECTS, || Ok(connection::once(self.sockets.audited, &exchanges, &mut room)?))
    }
}
