//! The socket of a connection: reading, peeking, writing, and waiting for either direction.

use std::{
    future::poll_fn,
    ops::Range,
    os::fd::{AsRawFd, BorrowedFd},
    pin::pin,
    task::Poll,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, recv},
    unistd,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, timeout, timeout_at},
};

use super::{DEADLINE, Ended};
use crate::buffers::{Lease, Reserve};

/// So much may be written between two looks whether the socket is writable.
///
/// The kernel calls a socket writable while a quarter of its send buffer is in use at most, and counts up to
/// twice the bytes written. With 208 KiB, Linux's default, there is room for this and for one burst's replies;
/// where there is less, replies go out in pieces and wait in a buffer.
const LOOK_AFTER: usize = 48 << 10;
/// What the kernel counts for a write beside its bytes.
const WRITE_OVERHEAD: usize = 1 << 10;

/// Replies that the peer has not taken yet.
pub(super) struct Unsent {
    pub(super) lease: Lease,
    pub(super) range: Range<usize>,
}

impl Unsent {
    /// Moves what the socket did not take into the buffer that was set aside for it.
    pub(super) fn keep(frames: &[u8], sent: usize, reserve: &mut Reserve) -> Result<Option<Self>, Ended> {
        let rest = frames.get(sent..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let mut lease = reserve.take_unsent().ok_or(Ended)?;
        lease.get_mut(..rest.len()).ok_or(Ended)?.copy_from_slice(rest);
        Ok(Some(Self { lease, range: 0..rest.len() }))
    }
}

/// A socket, and whether the runtime watches it.
///
/// It is watched once there is something to wait for: a connection that brings its request along and is closed
/// after the reply never is.
pub(super) struct Link<'s> {
    socket: BorrowedFd<'s>,
    /// For input, and for nothing else: a registration for both directions would wake the worker twice a request.
    watched: Option<AsyncFd<BorrowedFd<'s>>>,
    /// Bytes written since the socket was found writable.
    written: usize,
    /// No more input will come.
    pub(super) hung_up: bool,
}

impl<'s> Link<'s> {
    pub(super) fn new(socket: BorrowedFd<'s>) -> Self {
        Self { socket, watched: None, written: 0, hung_up: false }
    }

    /// Returns once something may have come since the socket was found empty.
    pub(super) async fn wait_for_input(&mut self) -> Result<(), Ended> {
        if self.watched.is_none() {
            self.watched = Some(register(self.socket, Interest::READABLE).map_err(|_| Ended)?);
        }
        let watched = self.watched.as_ref().ok_or(Ended)?;
        let mut ready = watched.readable().await.map_err(|_| Ended)?;
        self.hung_up = ready.ready().is_read_closed();
        // Forgotten before it is read: whatever comes from now on raises a new event.
        ready.clear_ready();
        Ok(())
    }

    /// Waits for input, a hang-up (both: true) or something else, whichever comes first.
    pub(super) async fn stirs_before(&mut self, other: impl Future<Output = ()>) -> bool {
        let (mut input, mut other) = (pin!(self.wait_for_input()), pin!(other));
        poll_fn(|context| {
            if input.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            other.as_mut().poll(context).map(|()| false)
        })
        .await
    }

    /// Whether the peer has closed its end, or died: no reply can reach it any more.
    ///
    /// A peer that only has no more to ask still waits for its answer.
    pub(super) fn is_abandoned(&self) -> bool {
        // A hang-up is told whatever is asked for.
        let mut found = [PollFd::new(self.socket, PollFlags::empty())];
        let _ = poll(&mut found, PollTimeout::ZERO);
        let found = found.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        found.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)
    }

    /// Waits until the socket takes the replies of a burst, or ends the connection at the deadline.
    ///
    /// The deadline begins when there is something to answer: `expecting`, or once input has come.
    pub(super) async fn make_room(&mut self, expecting: bool) -> Result<(), Ended> {
        if self.written <= LOOK_AFTER {
            return Ok(());
        }
        let found = self.look();
        if found.contains(PollFlags::POLLOUT) {
            return Ok(());
        }
        if !expecting && found.is_empty() {
            self.wait_for_input().await?;
        }
        self.watched = None;
        let writing = register(self.socket, Interest::WRITABLE).map_err(|_| Ended)?;
        let _ready = timeout(DEADLINE, writing.writable()).await.map_err(|_| Ended)?.map_err(|_| Ended)?;
        self.written = 0;
        Ok(())
    }

    /// Whether the socket takes the replies of another burst right now.
    pub(super) fn has_room(&mut self) -> bool {
        self.written <= LOOK_AFTER || self.look().contains(PollFlags::POLLOUT)
    }

    fn look(&mut self) -> PollFlags {
        let mut found = [PollFd::new(self.socket, PollFlags::POLLIN | PollFlags::POLLOUT)];
        // Interrupted: there may be input.
        let found = match poll(&mut found, PollTimeout::ZERO) {
            Ok(_) => found.first().and_then(PollFd::revents),
            Err(_) => None,
        };
        let found = found.unwrap_or(PollFlags::POLLIN);
        if found.contains(PollFlags::POLLOUT) {
            self.written = 0;
        }
        found
    }

    /// Reads once: bytes read, and whether the socket is empty now.
    pub(super) fn read(&self, place: &mut [u8]) -> Result<(usize, bool), Errno> {
        let count = unistd::read(self.socket, place)?;
        Ok((count, count < place.len()))
    }

    /// The same, but what is read stays in the socket.
    pub(super) fn peek(&self, place: &mut [u8]) -> Result<(usize, bool), Errno> {
        let count = recv(self.socket.as_raw_fd(), place, MsgFlags::MSG_PEEK)?;
        Ok((count, count < place.len()))
    }

    /// Takes from the socket what was peeked at before, to the same place.
    pub(super) fn take(&self, place: &mut [u8]) -> Result<(), Ended> {
        let mut taken = 0;
        while let Some(rest) = place.get_mut(taken..).filter(|rest| !rest.is_empty()) {
            match unistd::read(self.socket, rest) {
                Ok(count @ 1..) => taken += count,
                Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => return Err(Ended),
            }
        }
        Ok(())
    }

    /// Writes until all is sent or the socket takes no more; bytes sent.
    pub(super) fn write(&mut self, frames: &[u8]) -> Result<usize, Ended> {
        let mut sent = 0;
        self.written = self.written.saturating_add(frames.len() + WRITE_OVERHEAD);
        while let Some(rest) = frames.get(sent..).filter(|rest| !rest.is_empty()) {
            match unistd::write(self.socket, rest) {
                Ok(0) | Err(Errno::EAGAIN) => {
                    self.written = usize::MAX;
                    break;
                }
                Ok(count) => sent += count,
                Err(Errno::EINTR) => {}
                Err(_) => return Err(Ended),
            }
        }
        Ok(sent)
    }

    /// Waits until the peer has taken everything, or ends the connection at the deadline.
    ///
    /// The socket is registered for writing only while something waits.
    pub(super) async fn send_the_rest(&mut self, mut unsent: Unsent) -> Result<(), Ended> {
        self.watched = None;
        let writing = register(self.socket, Interest::WRITABLE).map_err(|_| Ended)?;
        // For all of it: a peer that takes a little now and then must not keep the buffer.
        let due = Instant::now() + DEADLINE;
        while !unsent.range.is_empty() {
            let mut ready =
                timeout_at(due, writing.writable()).await.map_err(|_| Ended)?.map_err(|_| Ended)?;
            let rest = unsent.lease.get(unsent.range.clone()).ok_or(Ended)?;
            let sent = self.write(rest)?;
            if sent < rest.len() {
                ready.clear_ready();
            }
            unsent.range.start += sent;
        }
        Ok(())
    }
}

/// Registers a socket for one direction only.
#[expect(
    deprecated,
    reason = "its successor is unsafe because other types could name a descriptor they do not own; a BorrowedFd cannot"
)]
fn register(socket: BorrowedFd<'_>, interest: Interest) -> std::io::Result<AsyncFd<BorrowedFd<'_>>> {
    AsyncFd::with_interest(socket, interest)
}
