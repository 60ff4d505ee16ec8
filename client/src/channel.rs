//! Frames over a connected socket, with a deadline for every operation.
//!
//! Whatever was received is wiped when the channel is dropped. A length is checked before room is made
//! for it, and a frame that answers something else ends the connection.

mod pipelined;

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::PathBuf,
    time::{Duration, Instant},
};

use keyagent_common::frame::Header;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use zeroize::Zeroizing;

use crate::error::Error;

const FIRST_BUFFER_BYTES: usize = 8 << 10;
/// A timeout this near to the wanted one is not set again.
const CLOSE_ENOUGH: Duration = Duration::from_millis(20);

/// A connected socket and what was read from it.
pub(crate) struct Channel {
    stream: UnixStream,
    path: PathBuf,
    timeout: Duration,
    read_timeout: Option<Duration>,
    buffer: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
}

impl Channel {
    pub(crate) fn new(stream: UnixStream, path: PathBuf, timeout: Duration) -> Self {
        let buffer = Zeroizing::new(vec![0; FIRST_BUFFER_BYTES]);
        Self { stream, path, timeout, read_timeout: None, buffer, start: 0, end: 0 }
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The socket without the buffer, in which nothing may be unread.
    #[cfg(feature = "async")]
    pub(crate) fn into_stream(self) -> Result<(UnixStream, PathBuf), Error> {
        if self.start == self.end {
            Ok((self.stream, self.path))
        } else {
            Err(self.violation("bytes nobody asked for"))
        }
    }

    /// How long an operation that begins from now on may take.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Whether the daemon has closed a connection on which nothing is awaited, or said what nobody asked.
    pub(crate) fn is_dead(&self) -> bool {
        let mut asked = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        self.start != self.end || poll(&mut asked, PollTimeout::ZERO) != Ok(0)
    }

    /// The end of an operation that begins now; the daemon may wait on purpose for `waiting` of it.
    pub(crate) fn deadline(&self, waiting: Duration) -> Instant {
        Instant::now() + self.timeout + waiting
    }

    /// Sends the parts in one write where the kernel takes them at once.
    ///
    /// A closed connection is no error here: the daemon may have said why before it closed.
    pub(crate) fn send(&mut self, mut parts: &mut [IoSlice<'_>], deadline: Instant) -> Result<(), Error> {
        while !parts.is_empty() {
            match self.stream.write_vectored(parts) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => IoSlice::advance_slices(&mut parts, count),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock if Instant::now() < deadline => {}
                    ErrorKind::WouldBlock => return Err(self.timed_out()),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => return Ok(()),
                    _ => return Err(self.failed(error)),
                },
            }
        }
        Ok(())
    }

    /// Receives the frame that answers `request_id`: its code and its body.
    pub(crate) fn receive(&mut self, request_id: u32, deadline: Instant) -> Result<(u16, &[u8]), Error> {
        let header = loop {
            let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
            match Header::parse(unread).map_err(|error| self.violation(&error))? {
                Some(header) if unread.len() >= header.frame_bytes() => break header,
                Some(header) => self.make_room(header.frame_bytes()),
                None => self.make_room(keyagent_common::frame::HEADER_BYTES),
            }
            self.read_some(deadline)?;
        };
        if header.on_behalf_of {
            return Err(self.violation("a flag in a reply"));
        }
        if header.request_id != request_id {
            return Err(self.violation("a reply to a request that was not made"));
        }
        let body = self.start + keyagent_common::frame::HEADER_BYTES;
        self.start = body + header.body_bytes;
        Ok((header.code, self.buffer.get(body..self.start).unwrap_or_default()))
    }

    /// Waits until the daemon has closed the connection.
    pub(crate) fn wait_for_end(&mut self, deadline: Instant) -> Result<(), Error> {
        loop {
            (self.start, self.end) = (0, 0);
            match self.read_some(deadline) {
                Ok(()) => {}
                Err(Error::Closed { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes room for a whole frame of this many bytes at `start`.
    fn make_room(&mut self, frame_bytes: usize) {
        if self.start + frame_bytes <= self.buffer.len() {
            return;
        }
        let unread = self.start..self.end;
        if frame_bytes <= self.buffer.len() {
            self.buffer.copy_within(unread, 0);
        } else {
            let mut larger = Zeroizing::new(vec![0; frame_bytes]);
            let old = self.buffer.get(unread).unwrap_or_default();
            for (to, from) in larger.iter_mut().zip(old) {
                *to = *from;
            }
            self.buffer = larger;
        }
        self.end -= self.start;
        self.start = 0;
    }

    fn read_some(&mut self, deadline: Instant) -> Result<(), Error> {
        loop {
            self.set_read_timeout(deadline)?;
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => {
                    self.end += count;
                    return Ok(());
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::WouldBlock => {}
                    ErrorKind::ConnectionReset => return Err(self.closed()),
                    _ => return Err(self.failed(error)),
                },
            }
        }
    }

    fn set_read_timeout(&mut self, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.timed_out());
        }
        if self.read_timeout.is_some_and(|set| set.abs_diff(left) < CLOSE_ENOUGH) {
            return Ok(());
        }
        self.read_timeout = Some(left);
        self.stream.set_read_timeout(Some(left)).map_err(|source| self.failed(source))
    }

    /// Reads without waiting; false if nothing was there.
    fn read_what_is_there(&mut self) -> Result<bool, Error> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        loop {
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => {
                    self.end += count;
                    return Ok(true);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => return Ok(false),
                    ErrorKind::ConnectionReset => return Err(self.closed()),
                    _ => return Err(self.failed(error)),
                },
            }
        }
    }

    fn set_nonblocking(&self, on: bool) -> Result<(), Error> {
        self.stream.set_nonblocking(on).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Transport { path: self.path.clone(), source }
    }

    pub(crate) fn closed(&self) -> Error {
        Error::Closed { path: self.path.clone() }
    }

    fn timed_out(&self) -> Error {
        Error::Timeout { path: self.path.clone(), waited: self.timeout }
    }

    pub(crate) fn violation(&self, what: &(impl ToString + ?Sized)) -> Error {
        Error::Protocol { path: self.path.clone(), what: what.to_string() }
    }
}
