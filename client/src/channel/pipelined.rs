//! Many frames at once: written while replies are read, so that neither side ever waits for the other.
//!
//! It must never have more requests in flight than the daemon allows, nor take a reply for another's.

use std::{
    io::{ErrorKind, IoSlice, Write},
    os::fd::AsFd,
    time::Instant,
};

use keyagent_common::frame::Header;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use zeroize::Zeroizing;

use super::Channel;
use crate::error::Error;

/// Frames in one system call; the kernel takes no more.
const FRAMES_AT_ONCE: usize = 1024;

/// How far a pipeline has come.
struct Progress {
    /// Frames of which every byte was sent.
    sent: usize,
    /// Bytes of the next frame that were sent.
    within: usize,
    answered: Vec<bool>,
    left: usize,
    deadline: Instant,
}

impl Channel {
    /// Sends every frame, whose ids are `first` and those behind it, and gives each reply, in the order in which
    /// they come, with the place of its request. Each reply has the time of one operation, from the one before.
    pub(crate) fn pipeline(
        &mut self,
        frames: &[Zeroizing<Vec<u8>>],
        first: u32,
        in_flight: usize,
        mut take: impl FnMut(usize, u16, &[u8]),
    ) -> Result<(), Error> {
        self.set_nonblocking(true)?;
        let mut progress = Progress {
            sent: 0,
            within: 0,
            answered: vec![false; frames.len()],
            left: frames.len(),
            deadline: self.deadline(std::time::Duration::ZERO),
        };
        while progress.left > 0 {
            let answered = frames.len() - progress.left;
            let window = (answered + in_flight.max(1)).min(frames.len());
            self.send_some(frames.get(..window).unwrap_or_default(), &mut progress)?;
            self.wait(progress.sent < window, progress.deadline)?;
            while self.read_what_is_there()? {
                while let Some((header, body)) = self.next_frame()? {
                    let place = header.request_id.wrapping_sub(first) as usize;
                    // Each id once, and none before its request left.
                    let fresh = place < progress.sent
                        && progress
                            .answered
                            .get_mut(place)
                            .is_some_and(|done| !std::mem::replace(done, true));
                    if !fresh {
                        return Err(self.violation("a reply to a request that was not made"));
                    }
                    progress.left -= 1;
                    progress.deadline = self.deadline(std::time::Duration::ZERO);
                    take(place, header.code, self.buffer.get(body).unwrap_or_default());
                }
            }
        }
        self.set_nonblocking(false)
    }

    /// Sends as much as the kernel takes now.
    fn send_some(&mut self, frames: &[Zeroizing<Vec<u8>>], progress: &mut Progress) -> Result<(), Error> {
        while progress.sent < frames.len() {
            let waiting = frames.iter().skip(progress.sent).take(FRAMES_AT_ONCE);
            let mut slices: Vec<IoSlice<'_>> = waiting.map(|frame| IoSlice::new(frame)).collect();
            let mut rest = slices.as_mut_slice();
            IoSlice::advance_slices(&mut rest, progress.within);
            match self.stream.write_vectored(rest) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => progress.advance(frames, count),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    // What a daemon that closed still said can be read.
                    ErrorKind::WouldBlock | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                        return Ok(());
                    }
                    _ => return Err(self.failed(error)),
                },
            }
        }
        Ok(())
    }

    /// Waits until something can be read, or written if that is wanted.
    fn wait(&self, to_write: bool, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.timed_out());
        }
        let wanted = if to_write { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let limit = PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.stream.as_fd(), wanted)], limit) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(self.failed(error.into())),
        }
    }

    /// The next whole frame of what was read, and where its body stands; makes room for the rest of one.
    fn next_frame(&mut self) -> Result<Option<(Header, std::ops::Range<usize>)>, Error> {
        let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
        match Header::parse(unread).map_err(|error| self.violation(&error))? {
            Some(header) if header.on_behalf_of => Err(self.violation("a flag in a reply")),
            Some(header) if unread.len() >= header.frame_bytes() => {
                let body = self.start + keyagent_common::frame::HEADER_BYTES;
                self.start = body + header.body_bytes;
                Ok(Some((header, body..self.start)))
            }
            Some(header) => {
                self.make_room(header.frame_bytes());
                Ok(None)
            }
            None => {
                self.make_room(keyagent_common::frame::HEADER_BYTES);
                Ok(None)
            }
        }
    }
}

impl Progress {
    fn advance(&mut self, frames: &[Zeroizing<Vec<u8>>], count: usize) {
        self.within += count;
        while let Some(frame) = frames.get(self.sent).filter(|frame| self.within >= frame.len()) {
            self.within -= frame.len();
            self.sent += 1;
        }
    }
}
