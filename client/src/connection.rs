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
    context::Context,
    envelope::{DATA_KEY_BYTES, Kind},
    error::ErrorCode,
    name::KeyName,
    op::{
        DataKey, DataKeyOpen, DataKeyOpenRequest, DataKeyRequest, Decrypt, DecryptRequest, Encrypt,
        EncryptRequest, ErrorReply, Hello, HelloReply, HelloRequest, Limits, Operation, OperationCode,
        PROTOCOL_VERSION,
    },
};
use secrecy::SecretBox;
use zeroize::Zeroizing;

use crate::{
    address::{Address, Attempt},
    channel::Channel,
    dial,
    error::{AgentError, Error},
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

/// A 32-byte data key; wiped when dropped.
pub type DataKeySecret = SecretBox<[u8; 32]>;

/// A new data key, plain and sealed.
pub struct DataKeyPair {
    /// The key. To be dropped after use and never stored.
    pub plain: DataKeySecret,
    /// The same, sealed; to be stored beside the data.
    pub envelope: [u8; DATA_KEY_BYTES],
    /// Version of the key that sealed it.
    pub version: u32,
}

/// A connection to the agent. Not to be used again in a forked child.
pub struct Connection {
    channel: Channel,
    peer: peer::Peer,
    server: Option<Server>,
    next_id: u32,
    broken: bool,
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
                    return Ok(Self { channel, peer, server: None, next_id: 1, broken: false });
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

    /// Seals a message of at most 1 MiB; the result is a kind-01 envelope.
    pub fn encrypt(
        &mut self,
        key: KeyName<'_>,
        context: Context<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let request = EncryptRequest { key: key.as_str(), context: context.as_bytes(), plaintext };
        Ok(self.call::<Encrypt>(&request)?.envelope.to_vec())
    }

    /// Opens a kind-01 envelope.
    pub fn decrypt(&mut self, context: Context<'_>, envelope: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let request = DecryptRequest { context: context.as_bytes(), envelope };
        Ok(Zeroizing::new(self.call::<Decrypt>(&request)?.plaintext.to_vec()))
    }

    /// Makes a data key, plain and sealed.
    pub fn data_key(
        &mut self,
        key: KeyName<'_>,
        context: Context<'_>,
        kind: Kind,
    ) -> Result<DataKeyPair, Error> {
        let request = DataKeyRequest { key: key.as_str(), context: context.as_bytes(), kind: kind as u8 };
        let reply = self.call::<DataKey>(&request)?;
        if reply.plain.is_empty() {
            return Err(sealed_only());
        }
        let version = reply.version;
        let parts = data_key_secret(reply.plain).zip(reply.envelope.try_into().ok());
        match parts {
            Some((plain, envelope)) => Ok(DataKeyPair { plain, envelope, version }),
            None => Err(self.channel.violation("a data key of the wrong length")),
        }
    }

    /// Opens a sealed data key of kind 02 or 03.
    pub fn data_key_open(&mut self, context: Context<'_>, envelope: &[u8]) -> Result<DataKeySecret, Error> {
        let request = DataKeyOpenRequest { context: context.as_bytes(), envelope };
        let plain = data_key_secret(self.call::<DataKeyOpen>(&request)?.plain);
        plain.ok_or_else(|| self.channel.violation("a data key of the wrong length"))
    }

    /// Waits until the daemon has closed the connection, at most as long as one operation may take.
    pub fn wait_for_end(&mut self) -> Result<(), Error> {
        let deadline = self.channel.deadline(Duration::ZERO);
        self.channel.wait_for_end(deadline)
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
        if std::mem::replace(&mut self.broken, true) {
            return Err(self.channel.closed());
        }
        let deadline = self.channel.deadline(waiting);
        self.channel.send(parts, deadline)?;
        Ok(deadline)
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
        let malformed = |error: codec::CodecError| Error::Protocol { path, what: error.to_string() };
        if code == 0 {
            let reply = codec::decode::<O::Reply<'_>>(body).map_err(malformed)?;
            self.broken = false;
            return Ok(reply);
        }
        let reply = codec::decode::<ErrorReply<'_>>(body).map_err(malformed)?;
        let error = AgentError {
            number: code,
            operation: O::CODE.name(),
            what: reply.what.to_owned(),
            why: reply.why.to_owned(),
            fix: reply.fix.to_owned(),
        };
        self.broken = O::CODE == OperationCode::Hello;
        Err(Error::Agent(error))
    }
}

/// A rule may give data keys in their sealed form only; there is nothing then to seal data with.
fn sealed_only() -> Error {
    Error::Agent(AgentError {
        number: ErrorCode::Denied as u16,
        operation: OperationCode::DataKey.name(),
        what: "the policy gives this caller sealed data keys only".to_owned(),
        why: "a rule with no_reveal never shows the key itself".to_owned(),
        fix: "keyagent policy explain".to_owned(),
    })
}

fn data_key_secret(bytes: &[u8]) -> Option<DataKeySecret> {
    let bytes: &[u8; 32] = bytes.try_into().ok()?;
    Some(DataKeySecret::init_with_mut(|place| place.copy_from_slice(bytes)))
}
