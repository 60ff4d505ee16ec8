//! The bare references: a blocking standard-library server that answers 100 bytes with the same 100 bytes.

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
};

/// Bytes of a request and of its reply.
pub(crate) const FRAME_BYTES: usize = 100;
/// Role: many requests on one connection.
pub(crate) const PERSISTENT: &str = "echo-persistent";
/// Role: one connection for each request, served by one thread.
pub(crate) const PER_REQUEST: &str = "echo-per-request";

/// Serves one connection after the other to its end.
pub(crate) fn serve_persistent(socket: &Path) -> io::Result<()> {
    for stream in UnixListener::bind(socket)?.incoming() {
        let mut stream = stream?;
        while echo_once(&mut stream)? {}
    }
    Ok(())
}

/// Serves one request of each connection, then closes it.
pub(crate) fn serve_per_request(socket: &Path) -> io::Result<()> {
    for stream in UnixListener::bind(socket)?.incoming() {
        echo_once(&mut stream?)?;
    }
    Ok(())
}

/// False at the end of the connection.
fn echo_once(stream: &mut UnixStream) -> io::Result<bool> {
    let mut frame = [0; FRAME_BYTES];
    let mut filled = 0;
    while let Some(rest) = frame.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest)? {
            0 => return Ok(false),
            count => filled += count,
        }
    }
    stream.write_all(&frame)?;
    Ok(true)
}
