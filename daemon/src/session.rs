//! One connection: bytes in, bursts, bytes out, with a deadline wherever the peer could stall.
//!
//! An idle connection owns no buffer and sets no timer. Must never hold the worker's scratch across an
//! await: whatever has to wait moves into a lease first. Reads first and waits only when nothing is there.

use std::{
    ops::Range,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use keyagent_common::frame::{HEADER_BYTES, MAX_FRAME_BYTES};
use nix::{errno::Errno, unistd};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::yield_now,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    buffers::{Buffers, Lease},
    burst::{self, Burst, BurstEnd, Scratch, Speaker},
    state::Shared,
    worker::Worker,
};

/// A frame that has begun must be complete, and a reply taken, within this time.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// Why a connection ends without a word. Nothing of it is an error of the daemon.
struct Ended;

/// Serves a connection until the peer closes it, breaks the protocol or stalls.
pub(crate) async fn serve(worker: Rc<Worker>, socket: OwnedFd, speaker: Speaker) {
    let _registered = worker.register(socket.as_raw_fd());
    let mut session = Session { speaker, carry: Carry::Nothing, due: None, pace: Pace::default() };
    let mut link = Link { socket: socket.as_fd(), watched: None };
    // Ends when the peer is gone; there is nobody left to tell why.
    while session.step(&worker, &mut link).await.is_ok() {}
}

/// Input that waits for the rest of its frame.
enum Carry {
    Nothing,
    /// Part of a frame header: holds no payload, so it needs no locked memory.
    Header([u8; HEADER_BYTES], usize),
    /// Part of a frame, or frames that wait until the peer takes earlier replies.
    Frame {
        lease: Lease,
        filled: usize,
        needed: usize,
    },
}

/// Replies that the peer has not taken yet.
struct Unsent {
    lease: Lease,
    range: Range<usize>,
}

/// What became of some input.
struct Progress {
    consumed: usize,
    /// Most bytes of the output that were ever in use: the caller wipes them.
    written: usize,
    next: Next,
}

enum Next {
    /// This many bytes are needed for the next frame.
    Read(usize),
    /// The socket takes no more; the unsent range of the output.
    Write(Range<usize>),
    Close,
}

struct Session {
    speaker: Speaker,
    carry: Carry,
    /// When the frame that has begun must be complete.
    due: Option<Instant>,
    pace: Pace,
}

impl Session {
    async fn step(&mut self, worker: &Worker, link: &mut Link<'_>) -> Result<(), Ended> {
        let received = if let Carry::Nothing = self.carry {
            self.due = None;
            self.receive(worker, link).await?
        } else {
            // From the frame's first byte on, however slowly the others come.
            let due = *self.due.get_or_insert_with(|| Instant::now() + DEADLINE);
            timeout_at(due, self.receive(worker, link)).await.map_err(|_| Ended)??
        };
        match received {
            Received::Done => Ok(()),
            Received::Wait { tail, needed } => {
                self.wait_for_buffer(&worker.shared.buffers, tail, needed).await
            }
            Received::Send(unsent) => {
                send_the_rest(link, unsent).await?;
                self.answer_waiting(worker, link).await
            }
        }
    }

    /// Waits for bytes and answers what is complete.
    async fn receive(&mut self, worker: &Worker, link: &mut Link<'_>) -> Result<Received, Ended> {
        loop {
            self.pace.keep(link).await?;
            let socket = link.socket;
            let mut scratch = worker.scratch.borrow_mut();
            let scratch = &mut *scratch;
            let outcome = match &mut self.carry {
                Carry::Nothing => read(socket, &mut scratch.input),
                Carry::Header(bytes, length) => {
                    let (begin, rest) = scratch.input.split_at_mut_checked(*length).ok_or(Ended)?;
                    begin.copy_from_slice(bytes.get(..*length).ok_or(Ended)?);
                    read(socket, rest)
                }
                Carry::Frame { lease, filled, needed } => {
                    read(socket, lease.get_mut(*filled..*needed).ok_or(Ended)?)
                }
            };
            let (count, drained) = match outcome {
                Ok((0, _)) => return Err(Ended),
                Ok(outcome) => outcome,
                Err(Errno::EAGAIN) => {
                    self.pace.found_nothing();
                    continue;
                }
                Err(Errno::EINTR) => continue,
                Err(_) => return Err(Ended),
            };
            self.pace.found_something(drained);
            match std::mem::replace(&mut self.carry, Carry::Nothing) {
                Carry::Nothing => return self.answer_scratch(&worker.shared, socket, scratch, count),
                Carry::Header(_, length) => {
                    return self.answer_scratch(&worker.shared, socket, scratch, length + count);
                }
                Carry::Frame { lease, filled, needed } if filled + count < needed => {
                    self.carry = Carry::Frame { lease, filled: filled + count, needed };
                    // The deadline runs on from the frame's first byte.
                }
                Carry::Frame { lease, filled, .. } => {
                    return self.answer_lease(&worker.shared, socket, scratch, lease, filled + count);
                }
            }
        }
    }

    /// Answers `length` bytes in the worker's scratch, then wipes them.
    fn answer_scratch(
        &mut self,
        shared: &Shared,
        socket: BorrowedFd<'_>,
        scratch: &mut crate::worker::WorkerScratch,
        length: usize,
    ) -> Result<Received, Ended> {
        let crate::worker::WorkerScratch { input, output, stock, associated_data } = scratch;
        let received = input.get(..length).ok_or(Ended)?;
        let progress = self.answer(shared, socket, received, output, &mut Scratch { stock, associated_data });
        let rest = input.get(progress.consumed..length).ok_or(Ended)?;
        if progress.consumed > 0 {
            self.due = None;
        }
        let result = self.keep_from_scratch(&shared.buffers, rest, output, progress.next);
        output.wipe_range(0..progress.written);
        input.wipe_range(0..length);
        result
    }

    fn keep_from_scratch(
        &mut self,
        buffers: &Buffers,
        rest: &[u8],
        output: &[u8],
        next: Next,
    ) -> Result<Received, Ended> {
        let (needed, unsent) = match next {
            Next::Close => return Err(Ended),
            Next::Read(needed) => (needed, None),
            Next::Write(range) => {
                let unsent = output.get(range).ok_or(Ended)?;
                let mut lease = buffers.try_lease(unsent.len()).ok_or(Ended)?;
                let length = unsent.len();
                lease.get_mut(..length).ok_or(Ended)?.copy_from_slice(unsent);
                (rest.len(), Some(Unsent { lease, range: 0..length }))
            }
        };
        let kept = self.keep(buffers, rest, needed)?;
        Ok(match (unsent, kept) {
            (Some(unsent), _) => Received::Send(unsent),
            (None, Some((tail, needed))) => Received::Wait { tail, needed },
            (None, None) => Received::Done,
        })
    }

    /// Carries the unanswered rest of the scratch; a tail whose own buffer is not free yet comes back.
    fn keep(
        &mut self,
        buffers: &Buffers,
        rest: &[u8],
        needed: usize,
    ) -> Result<Option<(Unsent, usize)>, Ended> {
        if rest.is_empty() {
            self.carry = Carry::Nothing;
            return Ok(None);
        }
        if rest.len() < HEADER_BYTES {
            let mut bytes = [0; HEADER_BYTES];
            bytes.get_mut(..rest.len()).ok_or(Ended)?.copy_from_slice(rest);
            self.carry = Carry::Header(bytes, rest.len());
            return Ok(None);
        }
        let needed = needed.max(rest.len());
        let direct = buffers.try_lease(needed);
        let waits = direct.is_none();
        let mut lease = direct.or_else(|| buffers.try_lease(rest.len())).ok_or(Ended)?;
        lease.get_mut(..rest.len()).ok_or(Ended)?.copy_from_slice(rest);
        if waits {
            return Ok(Some((Unsent { lease, range: 0..rest.len() }, needed)));
        }
        self.carry = Carry::Frame { lease, filled: rest.len(), needed };
        Ok(None)
    }

    /// Waits for a buffer that is large enough for a frame whose beginning lies in a smaller one.
    async fn wait_for_buffer(&mut self, buffers: &Buffers, tail: Unsent, needed: usize) -> Result<(), Ended> {
        let mut lease = timeout(DEADLINE, buffers.lease(needed)).await.map_err(|_| Ended)?.ok_or(Ended)?;
        let begin = tail.lease.get(tail.range).ok_or(Ended)?;
        lease.get_mut(..begin.len()).ok_or(Ended)?.copy_from_slice(begin);
        self.carry = Carry::Frame { filled: begin.len(), lease, needed };
        // The wait was ours, not the peer's.
        self.due = None;
        Ok(())
    }

    /// Answers one frame, or waiting ones, in a lease.
    fn answer_lease(
        &mut self,
        shared: &Shared,
        socket: BorrowedFd<'_>,
        scratch: &mut crate::worker::WorkerScratch,
        mut lease: Lease,
        filled: usize,
    ) -> Result<Received, Ended> {
        let crate::worker::WorkerScratch { output, stock, associated_data, .. } = scratch;
        let mut workspace = Scratch { stock, associated_data };
        if let Some((input, large_output)) = lease.split_large() {
            let input_bytes = input.len();
            let received = input.get(..filled).ok_or(Ended)?;
            let progress = self.answer(shared, socket, received, large_output, &mut workspace);
            // Exactly one frame was read into a large buffer: nothing can be left of the input. Given back, the
            // buffer is wiped as a whole.
            return match progress.next {
                Next::Write(range) => {
                    let range = range.start + input_bytes..range.end + input_bytes;
                    Ok(Received::Send(Unsent { lease, range }))
                }
                Next::Read(_) => Ok(Received::Done),
                Next::Close => Err(Ended),
            };
        }
        let received = lease.get(..filled).ok_or(Ended)?;
        let progress = self.answer(shared, socket, received, output, &mut workspace);
        let rest = lease.get(progress.consumed..filled).ok_or(Ended)?;
        if progress.consumed > 0 {
            self.due = None;
        }
        let result = self.keep_from_scratch(&shared.buffers, rest, output, progress.next);
        output.wipe_range(0..progress.written);
        result
    }

    /// Bursts until the input is used up or the socket takes no more. The output is left to the caller to wipe.
    fn answer(
        &mut self,
        shared: &Shared,
        socket: BorrowedFd<'_>,
        input: &[u8],
        output: &mut [u8],
        scratch: &mut Scratch<'_>,
    ) -> Progress {
        let (mut consumed, mut written) = (0, 0);
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            let Burst { answer, consumed: answered, end } =
                burst::run(shared, &mut self.speaker, rest, &mut *output, scratch);
            consumed += answered;
            let length = answer.frames().len();
            written = length.max(written);
            let sent = write_all(socket, answer.frames());
            let next = match (sent, end) {
                (Err(_), _) => Next::Close,
                (Ok(sent), BurstEnd::Close) if sent == length => Next::Close,
                (Ok(sent), BurstEnd::NeedMore(needed)) if sent == length => Next::Read(needed),
                (Ok(sent), BurstEnd::Again) if sent == length && answered == 0 => Next::Close,
                (Ok(sent), BurstEnd::Again) if sent == length => continue,
                (Ok(sent), _) => Next::Write(sent..length),
            };
            return Progress { consumed, written, next };
        }
    }

    /// After the peer took its replies: the frames that had to wait.
    async fn answer_waiting(&mut self, worker: &Worker, link: &mut Link<'_>) -> Result<(), Ended> {
        loop {
            let socket = link.socket;
            let received = match std::mem::replace(&mut self.carry, Carry::Nothing) {
                Carry::Frame { lease, filled, needed } if filled == needed => {
                    let mut scratch = worker.scratch.borrow_mut();
                    self.answer_lease(&worker.shared, socket, &mut scratch, lease, filled)?
                }
                other => {
                    self.carry = other;
                    return Ok(());
                }
            };
            match received {
                Received::Done => return Ok(()),
                Received::Wait { tail, needed } => {
                    return self.wait_for_buffer(&worker.shared.buffers, tail, needed).await;
                }
                Received::Send(unsent) => send_the_rest(link, unsent).await?,
            }
        }
    }
}

enum Received {
    Done,
    Send(Unsent),
    Wait { tail: Unsent, needed: usize },
}

/// A socket, and whether the runtime watches it.
///
/// It is watched once there is something to wait for: a connection that brings its request along and is closed
/// after the reply never is.
struct Link<'s> {
    socket: BorrowedFd<'s>,
    /// For input, and for nothing else: a registration for both directions would wake the worker twice a request.
    watched: Option<AsyncFd<BorrowedFd<'s>>>,
}

impl Link<'_> {
    /// Returns once something may have come since the socket was found empty.
    async fn wait_for_input(&mut self) -> Result<(), Ended> {
        if self.watched.is_none() {
            self.watched = Some(register(self.socket, Interest::READABLE).map_err(|_| Ended)?);
        }
        let watched = self.watched.as_ref().ok_or(Ended)?;
        // Forgotten before it is read: whatever comes from now on raises a new event.
        watched.readable().await.map_err(|_| Ended)?.clear_ready();
        Ok(())
    }
}

/// Whether to read at once or to wait first.
///
/// A client on the same core runs as soon as its reply is written, so its next request is there before the
/// worker could go to sleep. After a few wrong guesses in a row the next one is put off, twice as long each time: a
/// client on another core, which is never that fast, costs next to nothing.
#[derive(Default)]
struct Pace {
    /// The socket was found empty.
    empty: bool,
    /// It was, and is read once more all the same.
    guessing: bool,
    /// Reads since the last wait.
    in_a_row: u8,
    /// Waits before the next guess.
    holds_back: u8,
    /// Wrong guesses since the last right one.
    wrong: u8,
}

impl Pace {
    /// Then the other connections of the worker get their turn.
    const MOST_IN_A_ROW: u8 = 32;
    /// As many wrong guesses cost nothing but themselves: about half are right when a client is fast.
    const FREE_OF_CHARGE: u8 = 3;
    /// So many more double the wait.
    const DOUBLINGS: u8 = 6;

    /// Waits if nothing can be there.
    async fn keep(&mut self, link: &mut Link<'_>) -> Result<(), Ended> {
        if self.empty {
            link.wait_for_input().await?;
        } else if self.in_a_row >= Self::MOST_IN_A_ROW {
            yield_now().await;
        } else {
            return Ok(());
        }
        (self.empty, self.guessing, self.in_a_row) = (false, false, 0);
        Ok(())
    }

    fn found_nothing(&mut self) {
        if self.guessing {
            if self.wrong >= Self::FREE_OF_CHARGE {
                self.holds_back = 1 << (self.wrong - Self::FREE_OF_CHARGE);
            }
            self.wrong = (self.wrong + 1).min(Self::FREE_OF_CHARGE + Self::DOUBLINGS);
        }
        (self.empty, self.guessing) = (true, false);
    }

    /// `drained`: the read took less than there was room for, so the socket is empty now.
    fn found_something(&mut self, drained: bool) {
        if self.guessing {
            self.wrong = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.guessing = drained && self.holds_back == 0 && self.in_a_row < Self::MOST_IN_A_ROW;
        self.empty = drained && !self.guessing;
        self.holds_back = self.holds_back.saturating_sub(1);
    }
}

/// Reads once: bytes read, and whether the socket is empty now.
fn read(socket: BorrowedFd<'_>, place: &mut [u8]) -> Result<(usize, bool), Errno> {
    let count = unistd::read(socket, place)?;
    Ok((count, count < place.len()))
}

/// Writes until all is sent or the socket takes no more; bytes sent.
fn write_all(socket: BorrowedFd<'_>, frames: &[u8]) -> Result<usize, Errno> {
    let mut sent = 0;
    while let Some(rest) = frames.get(sent..).filter(|rest| !rest.is_empty()) {
        match unistd::write(socket, rest) {
            Ok(0) | Err(Errno::EAGAIN) => break,
            Ok(count) => sent += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(sent)
}

/// Waits until the peer has taken everything, or ends the connection at the deadline.
///
/// The socket is registered for writing only while something waits.
async fn send_the_rest(link: &mut Link<'_>, mut unsent: Unsent) -> Result<(), Ended> {
    link.watched = None;
    let writing = register(link.socket, Interest::WRITABLE).map_err(|_| Ended)?;
    // For all of it: a peer that takes a little now and then must not keep the buffer.
    let due = Instant::now() + DEADLINE;
    while !unsent.range.is_empty() {
        let mut ready = timeout_at(due, writing.writable()).await.map_err(|_| Ended)?.map_err(|_| Ended)?;
        let rest = unsent.lease.get(unsent.range.clone()).ok_or(Ended)?;
        let sent = write_all(link.socket, rest).map_err(|_| Ended)?;
        if sent < rest.len() {
            ready.clear_ready();
        }
        unsent.range.start += sent;
    }
    Ok(())
}

/// Registers a socket for one direction only.
#[expect(
    deprecated,
    reason = "its successor is unsafe because other types could name a descriptor they do not own; a BorrowedFd cannot"
)]
fn register(socket: BorrowedFd<'_>, interest: Interest) -> std::io::Result<AsyncFd<BorrowedFd<'_>>> {
    AsyncFd::with_interest(socket, interest)
}

const _: () = assert!(MAX_FRAME_BYTES <= crate::buffers::LARGE_OUTPUT);
