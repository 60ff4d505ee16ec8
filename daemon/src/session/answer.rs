//! From input to replies: bursts, one turn at a time, in the worker's scratch or in a lease.

use std::{ops::Range, sync::atomic::Ordering};

use keyagent_common::frame::{HEADER_BYTES, Header};
use keyagent_sys::memory::LockedBuffer;

use super::{
    Ended, Received, Session,
    carry::{Carry, Homeless, Why},
    link::{Link, Unsent},
};
use crate::{
    buffers::{Lease, MEDIUM_FRAME, Reserve},
    burst::{self, Burst, BurstEnd, Room, Scratch},
    state::Shared,
    worker::WorkerScratch,
};

/// Then the other connections of the worker get their turn. One burst is 1024 requests at most.
const BURSTS_IN_A_TURN: usize = 2;

/// What became of some input.
struct Progress {
    consumed: usize,
    /// Most bytes of the output that were ever in use: they are wiped.
    written: usize,
    next: Next,
}

enum Next {
    /// This many bytes are needed for the next frame.
    Read(usize),
    /// There may be more to answer, when the others had their turn.
    Turn,
    /// The socket takes no more; the unsent range of the output.
    Write(Range<usize>),
    /// The next reply may need a large buffer.
    Grow,
    Close,
}

/// What lies in the worker's scratch.
#[derive(Clone, Copy)]
pub(super) struct Input {
    /// So much of it had been read before: the beginning of a header.
    pub(super) carried: usize,
    pub(super) length: usize,
    /// The rest of it was seen only, and still lies in the socket.
    pub(super) peeked: bool,
    /// The socket held no more.
    pub(super) drained: bool,
}

/// Room for replies that may be longer than a worker's output.
pub(super) enum LargeRoom {
    Found(Lease),
    /// None was free for a long time.
    Starved,
}

/// The output of a turn: the worker's, or a lease that replies have waited for.
enum Output<'o> {
    Worker(&'o mut LockedBuffer, Room),
    Large(Lease),
}

impl<'o> Output<'o> {
    fn choose(worker: &'o mut LockedBuffer, large: Option<LargeRoom>) -> Self {
        match large {
            None => Self::Worker(worker, Room::Ordinary),
            Some(LargeRoom::Starved) => Self::Worker(worker, Room::Starved),
            Some(LargeRoom::Found(lease)) => Self::Large(lease),
        }
    }

    fn room(&self) -> Room {
        match self {
            Self::Worker(_, room) => *room,
            Self::Large(_) => Room::Large,
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Worker(buffer, _) => buffer,
            Self::Large(lease) => lease,
        }
    }

    /// Takes what the socket did not take out of it, and wipes it; a lease is wiped when it is given back.
    fn finish(self, next: &Next, written: usize, reserve: &mut Reserve) -> Result<Option<Unsent>, Ended> {
        match self {
            Self::Worker(buffer, _) => {
                let unsent = match next {
                    Next::Write(range) => {
                        Unsent::keep(buffer.get(..range.end).ok_or(Ended)?, range.start, reserve)
                    }
                    _ => Ok(None),
                };
                buffer.wipe_range(0..written);
                unsent
            }
            Self::Large(lease) => Ok(match next {
                Next::Write(range) => Some(Unsent { lease, range: range.clone() }),
                _ => None,
            }),
        }
    }
}

impl Session {
    /// Answers what lies in the worker's scratch, then wipes it.
    pub(super) fn answer_scratch(
        &mut self,
        shared: &Shared,
        link: &mut Link<'_>,
        scratch: &mut WorkerScratch,
        got: Input,
        large: Option<LargeRoom>,
    ) -> Result<Received, Ended> {
        let WorkerScratch { input, output, stock, associated_data, reserve } = scratch;
        let mut output = Output::choose(output, large);
        let received = input.get(..got.length).ok_or(Ended)?;
        let mut workspace = Scratch { stock, associated_data, room: output.room() };
        let Progress { consumed, written, next } =
            self.answer(shared, link, received, output.bytes(), &mut workspace);
        let unsent = output.finish(&next, written, reserve);
        let result = match why(&next) {
            None => Err(Ended),
            Some(why) if got.peeked => self.leave_in_socket(link, input, got, consumed, why),
            Some(why) => {
                let rest = input.get(consumed..got.length).unwrap_or_default();
                Carry::from_scratch(&shared.buffers, reserve, rest, why).map(|kept| self.carry_on(kept))
            }
        };
        input.wipe_range(0..got.length);
        Ok(send_or(unsent?, result?))
    }

    /// Answers one frame, or waiting ones, in a lease.
    pub(super) fn answer_lease(
        &mut self,
        shared: &Shared,
        link: &mut Link<'_>,
        scratch: &mut WorkerScratch,
        (mut lease, mut range): (Lease, Range<usize>),
        large: Option<LargeRoom>,
    ) -> Result<Received, Ended> {
        let WorkerScratch { output, stock, associated_data, reserve, .. } = scratch;
        let mut workspace = Scratch { stock, associated_data, room: Room::Large };
        if let Some((input, large_output)) = lease.split_large() {
            let input_bytes = input.len();
            let received = input.get(range).ok_or(Ended)?;
            let progress = self.answer(shared, link, received, large_output, &mut workspace);
            self.pace.let_others();
            // Exactly one frame was read into a large buffer: nothing can be left of the input. Given back, the
            // buffer is wiped as a whole.
            return match progress.next {
                Next::Write(range) => {
                    let range = range.start + input_bytes..range.end + input_bytes;
                    Ok(Received::Send(Unsent { lease, range }))
                }
                Next::Read(_) | Next::Turn => Ok(Received::Done),
                Next::Grow | Next::Close => Err(Ended),
            };
        }
        let mut output = Output::choose(output, large);
        workspace.room = output.room();
        let received = lease.get(range.clone()).ok_or(Ended)?;
        let Progress { consumed, written, next } =
            self.answer(shared, link, received, output.bytes(), &mut workspace);
        let unsent = output.finish(&next, written, reserve);
        range.start += consumed;
        let why = why(&next).ok_or(Ended)?;
        let kept = Carry::from_lease(&shared.buffers, lease, range, why)?;
        Ok(send_or(unsent?, self.carry_on(kept)))
    }

    fn carry_on(&mut self, (carry, received): (Carry, Received)) -> Received {
        self.carry = carry;
        received
    }

    /// Without a buffer for what may be left, input was only looked at: takes away what is answered.
    fn leave_in_socket(
        &mut self,
        link: &mut Link<'_>,
        input: &mut [u8],
        got: Input,
        consumed: usize,
        why: Why,
    ) -> Result<Received, Ended> {
        let header = input.get(consumed..got.length).unwrap_or_default();
        let header = Header::parse(header.get(..HEADER_BYTES).unwrap_or(header)).ok().flatten();
        let mut begun = [0; HEADER_BYTES];
        let carried = if consumed == 0 { got.carried } else { 0 };
        begun.get_mut(..carried).ok_or(Ended)?.copy_from_slice(input.get(..carried).ok_or(Ended)?);
        // Frames are longer than the beginning of a header.
        link.take(input.get_mut(..consumed.saturating_sub(got.carried)).ok_or(Ended)?)?;
        let Why::Incomplete(needed) = why else {
            self.pace.more_is_there();
            if carried > 0 {
                self.carry = Carry::Begun(begun, carried);
            }
            return Ok(Received::Done);
        };
        if consumed == got.length {
            return Ok(Received::Done);
        }
        if let Some(header) = header.filter(|_| needed > MEDIUM_FRAME) {
            return Ok(Received::Wait(Homeless::in_socket(header, begun, carried)));
        }
        if got.drained {
            if link.hung_up {
                return Err(Ended);
            }
            self.pace.found_nothing();
        }
        self.carry = Carry::Begun(begun, carried);
        Ok(Received::Done)
    }

    /// One turn: bursts until the input is used up, others have waited long enough, or the socket takes no more.
    /// The output is left to the caller to wipe.
    fn answer(
        &mut self,
        shared: &Shared,
        link: &mut Link<'_>,
        input: &[u8],
        output: &mut [u8],
        scratch: &mut Scratch<'_>,
    ) -> Progress {
        let (mut consumed, mut written, mut bursts) = (0, 0, 0);
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            let Burst { answer, consumed: answered, end } =
                burst::run(shared, &mut self.speaker, rest, &mut *output, scratch);
            bursts += 1;
            consumed += answered;
            let length = answer.frames().len();
            written = length.max(written);
            let next = match (link.write(answer.frames()), end) {
                (Ok(sent), _) if sent < length => Next::Write(sent..length),
                (Err(Ended), _) | (Ok(_), BurstEnd::Close) => Next::Close,
                (Ok(_), BurstEnd::NeedMore(needed)) => Next::Read(needed),
                (Ok(_), BurstEnd::NeedRoom) => {
                    self.needs_room = true;
                    Next::Grow
                }
                (Ok(_), BurstEnd::Again) if answered == 0 => Next::Close,
                (Ok(_), BurstEnd::Again) if bursts < BURSTS_IN_A_TURN && link.has_room() => continue,
                (Ok(_), BurstEnd::Watching(watching)) => {
                    self.watching = Some(watching);
                    Next::Turn
                }
                (Ok(_), BurstEnd::Again | BurstEnd::OnTheAgent) => Next::Turn,
            };
            self.closing = end == BurstEnd::Close;
            if consumed > 0 {
                self.due = None;
            }
            if let Next::Turn = next {
                self.pace.let_others();
                let rest = input.get(consumed..).unwrap_or_default();
                // However many of them wait: a stopping daemon does one more at most.
                if shared.stopping.load(Ordering::Relaxed) && burst::begins_on_the_agent(rest) {
                    return Progress { consumed, written, next: Next::Close };
                }
            }
            return Progress { consumed, written, next };
        }
    }
}

fn why(next: &Next) -> Option<Why> {
    match next {
        Next::Read(needed) => Some(Why::Incomplete(*needed)),
        Next::Turn | Next::Write(_) | Next::Grow => Some(Why::Later),
        Next::Close => None,
    }
}

fn send_or(unsent: Option<Unsent>, otherwise: Received) -> Received {
    // What is unsent lets the rest of the input wait as it is: it needs no larger buffer yet.
    unsent.map_or(otherwise, Received::Send)
}
