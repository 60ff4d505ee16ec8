//! A client that writes and reads frames as bytes: everything the protocol allows, and what it forbids.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use keyagent_common::{
    codec,
    context::EMPTY,
    error::ErrorCode,
    frame::{HEADER_BYTES, Header},
    op::{
        DataKey, DataKeyRequest, Decrypt, DecryptReply, DecryptRequest, Empty, Encrypt, EncryptReply,
        EncryptRequest, ErrorReply, Hello, HelloRequest, Lock, LockReply, OnBehalfOf, Operation, Status,
        StatusReply, Unlock, UnlockReply, UnlockRequest,
    },
};

/// A daemon that takes longer hangs.
const HANGS: Duration = Duration::from_secs(30);

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) id: u32,
    pub(crate) code: u16,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The body of a success, or the error.
    pub(crate) fn success(self) -> Result<Vec<u8>, ErrorCode> {
        if self.code == 0 { Ok(self.body) } else { Err(self.error()) }
    }

    /// The row of the error table; the texts beside it must decode.
    pub(crate) fn error(&self) -> ErrorCode {
        let texts = codec::decode::<ErrorReply<'_>>(&self.body).unwrap();
        assert!(!texts.what.is_empty());
        ErrorCode::from_number(self.code).unwrap()
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    next_id: u32,
}

/// Whether a daemon answers on this socket.
pub(crate) fn answers(socket: &Path) -> bool {
    let asked = Client::connect(socket).and_then(|mut client| {
        client.stream.write_all(&request::<Status>(1, &Empty {}))?;
        client.reply()
    });
    asked.is_ok_and(|reply| reply.is_some())
}

/// A request frame.
pub(crate) fn request<O: Operation>(id: u32, request: &O::Request<'_>) -> Vec<u8> {
    codec::frame(id, O::CODE as u16, request).unwrap().to_vec()
}

/// A request frame on behalf of somebody.
pub(crate) fn request_for<O: Operation>(id: u32, who: &OnBehalfOf<'_>, request: &O::Request<'_>) -> Vec<u8> {
    let mut bytes = codec::frame(id, O::CODE as u16, &(who, request)).unwrap().to_vec();
    // The flags stand behind length, id and code.
    bytes[10] = 1;
    bytes
}

/// A `hello` frame.
pub(crate) fn hello(id: u32) -> Vec<u8> {
    request::<Hello>(id, &HelloRequest { protocol_min: 1, protocol_max: 1, client: "e2e/1" })
}

/// An `encrypt` frame for the key `default`.
pub(crate) fn encrypt(id: u32, plaintext: &[u8]) -> Vec<u8> {
    request::<Encrypt>(id, &EncryptRequest { key: "default", context: EMPTY, plaintext })
}

impl Client {
    /// Connects, and says nothing yet.
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        Self::over(UnixStream::connect(socket)?)
    }

    /// Speaks through a connection that was made elsewhere.
    pub(crate) fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(HANGS))?;
        stream.set_write_timeout(Some(HANGS))?;
        Ok(Self { stream, next_id: 1 })
    }

    /// Connects and says hello.
    pub(crate) fn greeted(socket: &Path) -> Self {
        let mut client = Self::connect(socket).unwrap();
        client.send(&hello(0)).unwrap();
        assert_eq!(client.expect().code, 0);
        client
    }

    /// Writes bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one reply; `None` at the end of the connection. Half a reply is an error.
    pub(crate) fn reply(&mut self) -> io::Result<Option<Reply>> {
        let mut header = [0; HEADER_BYTES];
        loop {
            match self.stream.read(&mut header[..1]) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.stream.read_exact(&mut header[1..])?;
        let header = Header::parse(&header).unwrap().unwrap();
        let mut body = vec![0; header.body_bytes];
        self.stream.read_exact(&mut body)?;
        Ok(Some(Reply { id: header.request_id, code: header.code, body }))
    }

    /// Reads one reply, which must come.
    pub(crate) fn expect(&mut self) -> Reply {
        self.reply().unwrap().expect("the daemon closed the connection")
    }

    /// Asserts that the daemon ends the connection without another byte.
    pub(crate) fn expect_end(&mut self) {
        match self.reply() {
            Ok(None) => {}
            // What was not read yet when the daemon closed makes it a reset.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("expected the end of the connection, got {other:?}"),
        }
    }

    /// One request and its reply.
    pub(crate) fn ask<O: Operation>(&mut self, body: &O::Request<'_>) -> Reply {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&request::<O>(id, body)).unwrap();
        let reply = self.expect();
        assert_eq!(reply.id, id);
        reply
    }

    /// The same on behalf of somebody.
    pub(crate) fn ask_for<O: Operation>(&mut self, who: &OnBehalfOf<'_>, body: &O::Request<'_>) -> Reply {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&request_for::<O>(id, who, body)).unwrap();
        let reply = self.expect();
        assert_eq!(reply.id, id);
        reply
    }

    /// `encrypt` under `default`; the envelope.
    pub(crate) fn encrypt(&mut self, context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, ErrorCode> {
        self.encrypt_under("default", context, plaintext)
    }

    /// `encrypt` under a named key; the envelope.
    pub(crate) fn encrypt_under(
        &mut self,
        key: &str,
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, ErrorCode> {
        let body = self.ask::<Encrypt>(&EncryptRequest { key, context, plaintext }).success()?;
        Ok(codec::decode::<EncryptReply<'_>>(&body).unwrap().envelope.to_vec())
    }

    /// `decrypt`; the plaintext.
    pub(crate) fn decrypt(&mut self, context: &[u8], envelope: &[u8]) -> Result<Vec<u8>, ErrorCode> {
        let body = self.ask::<Decrypt>(&DecryptRequest { context, envelope }).success()?;
        Ok(codec::decode::<DecryptReply<'_>>(&body).unwrap().plaintext.to_vec())
    }

    /// `data_key` under `default`; the raw body of the reply.
    pub(crate) fn data_key(&mut self, kind: u8) -> Result<Vec<u8>, ErrorCode> {
        self.ask::<DataKey>(&DataKeyRequest { key: "default", context: EMPTY, kind }).success()
    }

    /// `lock`.
    pub(crate) fn lock(&mut self) -> Result<LockReply, ErrorCode> {
        let body = self.ask::<Lock>(&Empty {}).success()?;
        Ok(codec::decode(&body).unwrap())
    }

    /// `unlock`, with a key or by the daemon's own source.
    pub(crate) fn unlock(&mut self, master: &[u8]) -> Result<UnlockReply, ErrorCode> {
        let body = self.ask::<Unlock>(&UnlockRequest { master }).success()?;
        Ok(codec::decode(&body).unwrap())
    }

    /// One field of `status`.
    pub(crate) fn status(&mut self, name: &str) -> String {
        let body = self.ask::<Status>(&Empty {}).success().unwrap();
        let reply = codec::decode::<StatusReply<'_>>(&body).unwrap();
        let field = reply.fields.iter().find(|field| field.name == name);
        field.unwrap_or_else(|| panic!("no field {name}")).value.to_owned()
    }
}
