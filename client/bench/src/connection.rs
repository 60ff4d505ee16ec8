//! A client as small as a client can be: prepared bytes out, counted bytes in.
//!
//! It must cost next to nothing, because it shares the core with what it measures.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use keyagent_common::{
    codec,
    context::EMPTY,
    frame::{HEADER_BYTES, Header, MAX_FRAME_BYTES},
    op::{DecryptRequest, EncryptReply, EncryptRequest, HelloRequest, OperationCode, PROTOCOL_VERSION},
};

use crate::Outcome;

/// A connection and room for replies.
pub(crate) struct Connection {
    stream: UnixStream,
    replies: Vec<u8>,
}

impl Connection {
    /// Connects and says nothing.
    pub(crate) fn open(socket: &Path) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::connect(socket)?, replies: vec![0; MAX_FRAME_BYTES + 1024] })
    }

    /// Connects and is greeted.
    pub(crate) fn greeted(socket: &Path) -> Outcome<Self> {
        let mut connection = Self::open(socket)?;
        connection.learn(&hello()?, 1)?;
        Ok(connection)
    }

    /// Sends frames once and finds out how many bytes their `count` replies have.
    pub(crate) fn learn(&mut self, frames: &[u8], count: usize) -> Outcome<usize> {
        self.stream.write_all(frames)?;
        let (mut filled, mut end) = (0, 0);
        for _ in 0..count {
            let header = loop {
                let rest = self.replies.get(end..filled).unwrap_or_default();
                match Header::parse(rest)? {
                    Some(header) if rest.len() >= header.frame_bytes() => break header,
                    _ => filled += self.read_behind(filled)?,
                }
            };
            if header.code != 0 {
                return Err(format!("the daemon answered with error {}", header.code).into());
            }
            end += header.frame_bytes();
        }
        Ok(end)
    }

    /// Sends bytes and waits for exactly `expected` bytes.
    pub(crate) fn exchange(&mut self, bytes: &[u8], expected: usize) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        let mut filled = 0;
        while filled < expected {
            filled += self.read_behind(filled)?;
        }
        Ok(())
    }

    /// The first reply of the last exchange.
    pub(crate) fn first_body(&self) -> Outcome<&[u8]> {
        let header = Header::parse(&self.replies)?.ok_or("no reply")?;
        Ok(self.replies.get(HEADER_BYTES..header.frame_bytes()).unwrap_or_default())
    }

    /// Keeps the connection and gives the room for replies up.
    pub(crate) fn into_stream(self) -> UnixStream {
        self.stream
    }

    fn read_behind(&mut self, filled: usize) -> io::Result<usize> {
        match self.stream.read(self.replies.get_mut(filled..).unwrap_or_default())? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}

/// The first frame of a connection.
pub(crate) fn hello() -> Outcome<Vec<u8>> {
    let request = HelloRequest {
        protocol_min: PROTOCOL_VERSION,
        protocol_max: PROTOCOL_VERSION,
        client: "keyagent-bench",
    };
    frame(1, OperationCode::Hello, &request)
}

/// `count` frames that ask to seal `plaintext`.
pub(crate) fn encrypt(plaintext: &[u8], count: u32) -> Outcome<Vec<u8>> {
    encrypt_under("default", plaintext, count)
}

/// The same under a key.
pub(crate) fn encrypt_under(key: &str, plaintext: &[u8], count: u32) -> Outcome<Vec<u8>> {
    let request = EncryptRequest { key, context: EMPTY, plaintext };
    let frames = (0..count).map(|number| frame(number + 2, OperationCode::Encrypt, &request));
    Ok(frames.collect::<Outcome<Vec<_>>>()?.concat())
}

/// A frame that asks to open what an encrypt reply holds.
pub(crate) fn decrypt(encrypt_reply: &[u8]) -> Outcome<Vec<u8>> {
    let EncryptReply { envelope, .. } = codec::decode(encrypt_reply)?;
    frame(2, OperationCode::Decrypt, &DecryptRequest { context: EMPTY, envelope })
}

fn frame<T: codec::Encode>(id: u32, operation: OperationCode, request: &T) -> Outcome<Vec<u8>> {
    Ok(codec::frame(id, operation as u16, request)?.to_vec())
}

/// Connects, makes some exchanges of request and expected reply bytes, and closes.
pub(crate) fn once(socket: &Path, exchanges: &[(&[u8], usize)], room: &mut [u8]) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    for (request, expected) in exchanges {
        stream.write_all(request)?;
        stream.read_exact(room.get_mut(..*expected).unwrap_or_default())?;
    }
    Ok(())
}
