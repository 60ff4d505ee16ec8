//! A connection to the agent: one request at a time, `hello` in the same write as the first.
//!
//! It must never send before [`crate::peer`] has agreed, and never use a connection again on which
//! something other than the expected reply arrived.

use std::{
    io::IoSlice,
    path::Path,
    time::{Duration, Instant},
};

use keyagent_common::{
    codec,
    frame::LENGTH_BYTES,
    op::{Hello, HelloReply, HelloRequest, Limits, Operation, OperationCode, PROTOCOL_VERSION},
};
use zeroize::Zeroizing;

use crate::{
    address::{Address, Attempt},
    answer::{self, DataOperation, Unusable},
    channel::Channel,
    dial,
    error::Error,
    peer,
};

const CLIENT_NAME: &str = concat!("keyagent/", env!("CARGO_PKG_VERSION"));

/// How a connection behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The longest time for one operation.
    pub timeout: Duration,
}

impl Default for Options {
    /// Five seconds.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5) }
    }
}

/// What the daemon said about itself in its reply to `hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Version of the daemon program.
    pub version: String,
    /// Protocol version that both speak.
    pub protocol: u16,
    /// Random per start of the daemon.
    pub instance: [u8; 16],
    /// Bits for optional features; unknown ones are to be ignored.
    pub features: u64,
    /// What it allows on this connection.
    pub limits: Limits,
}

/// One connection to the agent: it does not come back by itself, and a forked child cannot use it.
///
/// [`crate::Client`] is what most programs want: it opens connections as they are needed.
pub struct Connection {
    channel: Channel,
    peer: peer::Peer,
    server: Option<Server>,
    next_id: u32,
    broken: bool,
    /// The process that opened it.
    owner: u32,
}

impl Connection {
    /// Connects to the first place where somebody listens, if that somebody is trusted. Sends nothing yet.
    pub fn open(address: &Address, options: Options) -> Result<Self, Error> {
        let mut attempts = address.preface();
        for path in &address.places {
            match dial::dial(path, options.timeout) {
                Ok(stream) => {
                    let peer = peer::check(&stream, path)?;
                    let channel = Channel::new(stream, path.clone(), options.timeout);
                    let owner = std::process::id();
                    return Ok(Self { channel, peer, server: None, next_id: 1, broken: false, owner });
                }
                Err(found) => attempts.push(Attempt { place: address.label(path), found }),
            }
        }
        Err(Error::Unreachable { attempts })
    }

    /// The socket in use.
    pub fn socket(&self) -> &Path {
        self.channel.path()
    }

    /// The process that made the listening socket: the daemon, or who activates it.
    pub fn listener_pid(&self) -> u32 {
        self.peer.pid
    }

    /// The user whose process made the listening socket: the own one, root, or the service's.
    pub fn listener_uid(&self) -> u32 {
        self.peer.uid
    }

    /// How long each call from now on may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.channel.set_timeout(timeout);
    }

    /// Whether it can take a request: this process opened it, nothing failed on it, and the daemon has not closed it.
    pub fn is_usable(&self) -> bool {
        !self.broken && self.is_mine() && !self.channel.is_dead()
    }

    /// Whether it can take a request, as far as that can be told without asking the system for more than the pid.
    pub(crate) fn seems_usable(&self) -> bool {
        !self.broken && self.is_mine()
    }

    /// A forked child has the same socket as its parent: what it reads would be the parent's answers.
    fn is_mine(&self) -> bool {
        self.owner == std::process::id()
    }

    /// Greets the daemon if that has not happened yet.
    pub fn hello(&mut self) -> Result<&Server, Error> {
        if self.server.is_none() {
            let (id, frame) = self.hello_frame()?;
            let deadline = self.send(&mut [IoSlice::new(&frame)], Duration::ZERO)?;
            self.greet(id, deadline)?;
        }
        self.server.as_ref().ok_or_else(|| self.channel.closed())
    }

    /// Performs any operation. The reply borrows a buffer that is wiped when the connection is dropped.
    pub fn call<O: Operation>(&mut self, request: &O::Request<'_>) -> Result<O::Reply<'_>, Error> {
        self.call_that_waits::<O>(request, Duration::ZERO)
    }

    /// The same for an operation with which the daemon may wait for so long on purpose.
    pub(crate) fn call_that_waits<O: Operation>(
        &mut self,
        request: &O::Request<'_>,
        waiting: Duration,
    ) -> Result<O::Reply<'_>, Error> {
        if self.server.is_some() || O::CODE.before_hello() {
            let (id, frame) = self.request_frame(O::CODE, request)?;
            let deadline = self.send(&mut [IoSlice::new(&frame)], waiting)?;
            return self.reply::<O>(id, deadline);
        }
        let (hello_id, hello) = self.hello_frame()?;
        let (id, frame) = self.request_frame(O::CODE, request)?;
        let deadline = self.send(&mut [IoSlice::new(&hello), IoSlice::new(&frame)], waiting)?;
        drop(frame);
        self.greet(hello_id, deadline)?;
        self.reply::<O>(id, deadline)
    }

    /// Waits until the daemon has closed the connection, at most as long as one operation may take.
    pub fn wait_for_end(&mut self) -> Result<(), Error> {
        let deadline = self.channel.deadline(Duration::ZERO);
        self.channel.wait_for_end(deadline)
    }

    /// Performs an operation on data; what is secret in the answer is wiped when it is dropped.
    pub fn data<O: DataOperation>(&mut self, request: &O::Request<'_>) -> Result<O::Output, Error> {
        let taken = O::take(self.call::<O>(request)?);
        taken.map_err(|unusable| self.unusable(unusable))
    }

    /// Sends frames that have any ids and calls `take` with each reply and the place of its request, in the order in
    /// which replies come.
    pub(crate) fn exchange(
        &mut self,
        frames: &mut [Zeroizing<Vec<u8>>],
        take: impl FnMut(usize, u16, &[u8]),
    ) -> Result<(), Error> {
        let in_flight = self.hello()?.limits.in_flight;
        let first = self.next_id;
        for frame in frames.iter_mut() {
            let id = frame.get_mut(LENGTH_BYTES..).and_then(|rest| rest.first_chunk_mut::<4>());
            *id.ok_or(Error::TooLarge)? = self.next_id.to_le_bytes();
            self.next_id = self.next_id.wrapping_add(1);
        }
        self.begin()?;
        let in_flight = usize::try_from(in_flight).unwrap_or(usize::MAX);
        self.channel.pipeline(frames, first, in_flight, take)?;
        self.broken = false;
        Ok(())
    }

    /// The socket, its path and the next request id, for whoever speaks the protocol on it from here on.
    #[cfg(feature = "async")]
    pub(crate) fn into_parts(
        self,
    ) -> Result<(std::os::unix::net::UnixStream, std::path::PathBuf, u32), Error> {
        let next_id = self.next_id;
        self.channel.into_stream().map(|(stream, path)| (stream, path, next_id))
    }

    /// The error behind a reply that cannot be handed out.
    pub(crate) fn unusable(&mut self, unusable: Unusable) -> Error {
        self.broken |= matches!(unusable, Unusable::Violation(_));
        unusable.on(self.channel.path())
    }

    fn request_frame<T: codec::Encode>(
        &mut self,
        code: OperationCode,
        request: &T,
    ) -> Result<(u32, Zeroizing<Vec<u8>>), Error> {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let frame = codec::frame(id, code as u16, request).map_err(|_| Error::TooLarge)?;
        Ok((id, frame))
    }

    fn hello_frame(&mut self) -> Result<(u32, Zeroizing<Vec<u8>>), Error> {
        let request = HelloRequest {
            protocol_min: PROTOCOL_VERSION,
            protocol_max: PROTOCOL_VERSION,
            client: CLIENT_NAME,
        };
        self.request_frame(OperationCode::Hello, &request)
    }

    /// Sends within the time of one operation, whose end it returns.
    fn send(&mut self, parts: &mut [IoSlice<'_>], waiting: Duration) -> Result<Instant, Error> {
        self.begin()?;
        let deadline = self.channel.deadline(waiting);
        self.channel.send(parts, deadline)?;
        Ok(deadline)
    }

    /// Refuses to send where no answer could be told from another's; until the answer is there it is so.
    fn begin(&mut self) -> Result<(), Error> {
        if !self.is_mine() {
            return Err(Error::Forked { path: self.channel.path().clone() });
        }
        if std::mem::replace(&mut self.broken, true) {
            return Err(self.channel.closed());
        }
        Ok(())
    }

    fn greet(&mut self, id: u32, deadline: Instant) -> Result<(), Error> {
        let reply: HelloReply<'_> = self.reply::<Hello>(id, deadline)?;
        if reply.protocol != PROTOCOL_VERSION {
            return Err(Error::Versions {
                server: reply.server.to_owned(),
                server_protocol: (reply.protocol_min, reply.protocol_max),
            });
        }
        let server = Server {
            version: reply.server.to_owned(),
            protocol: reply.protocol,
            instance: reply.instance,
            features: reply.features,
            limits: reply.limits,
        };
        self.server = Some(server);
        Ok(())
    }

    /// The reply to a request. The connection stays usable when the whole reply was understood.
    fn reply<O: Operation>(&mut self, id: u32, deadline: Instant) -> Result<O::Reply<'_>, Error> {
        self.broken = true;
        let path = self.channel.path().clone();
        let (code, body) = self.channel.receive(id, deadline)?;
        if code == 0 {
            let reply = codec::decode::<O::Reply<'_>>(body)
                .map_err(|error| Error::Protocol { path, what: error.to_string() })?;
            self.broken = false;
            return Ok(reply);
        }
        let error = answer::refusal(O::CODE, code, body).map_err(|unusable| unusable.on(&path))?;
        self.broken = O::CODE == OperationCode::Hello;
        Err(Error::Agent(error))
    }
}
