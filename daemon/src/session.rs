//! One connection: bytes in, bursts, bytes out, with a deadline wherever the peer could stall.
//!
//! An idle connection owns no buffer and sets no timer. Reads first and waits only when nothing is there. Must
//! never hold the worker's scratch across an await: whatever has to wait moves into a lease first. Two rules see
//! to it that there is one, so that no recorded reply and no received frame is lost for want of a buffer:
//!
//! - Nothing is answered unless a buffer is set aside for replies that the socket does not take. It is hardly ever
//!   used: input is left in the socket until the peer has taken most of the earlier replies, so that hundreds of
//!   connections that do not read cost no buffer at all.
//! - Nothing is read unless a buffer is set aside for input that cannot be answered at once. Where there is
//!   none, the worker only peeks, and takes from the socket what it has answered: it serves whole frames all the
//!   same, and half ones wait in the socket.
//!
//! A frame too large for the worker's scratch waits for one of the large buffers, and is refused with `BUSY`
//! where none comes; that is not recorded, for nothing was decoded. After an operation on the agent, and after
//! some bursts, the worker's other connections have their turn.

mod answer;
mod carry;
mod link;
mod pace;

use std::{
    cell::RefMut,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    pin::pin,
    rc::Rc,
    sync::atomic::Ordering,
    time::Duration,
};

use keyagent_common::frame::MAX_FRAME_BYTES;
use nix::errno::Errno;
use tokio::{
    task::yield_now,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    buffers::{LARGE_OUTPUT, MEDIUM_FRAME},
    burst::{self, Speaker, Watching},
    commit::Answer,
    state::Shared,
    worker::{Worker, WorkerScratch},
};
use answer::{Input, LargeRoom};
use carry::{Carry, Homeless};
use link::{Link, Unsent};
use pace::Pace;

/// A frame that has begun must be complete, and a reply taken, within this time.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
/// How long a frame waits for a large buffer. A client that gives up at [`DEADLINE`] still hears of it.
const BUFFER_DEADLINE: Duration = Duration::from_secs(4);

/// Why a connection ends without a word. Nothing of it is an error of the daemon.
struct Ended;

/// What is to be done next.
enum Received {
    Done,
    Send(Unsent),
    Wait(Homeless),
}

/// Serves a connection until the peer closes it, breaks the protocol or stalls.
pub(crate) async fn serve(worker: Rc<Worker>, socket: OwnedFd, speaker: Speaker) {
    let _registered = worker.register(socket.as_raw_fd());
    let mut session = Session {
        speaker,
        carry: Carry::Nothing,
        due: None,
        pace: Pace::default(),
        watching: None,
        needs_room: false,
        closing: false,
    };
    let mut link = Link::new(socket.as_fd());
    // Ends when the peer is gone; there is nobody left to tell why.
    while session.step(&worker, &mut link).await.is_ok() {}
}

struct Session {
    speaker: Speaker,
    carry: Carry,
    /// When the frame that has begun must be complete.
    due: Option<Instant>,
    pace: Pace,
    /// A request that waits for something to happen; nothing else is answered until then.
    watching: Option<Watching>,
    /// The next reply may be longer than a worker's output.
    needs_room: bool,
    /// The peer broke the protocol: the connection ends with the replies that are unsent.
    closing: bool,
}

impl Session {
    async fn step(&mut self, worker: &Worker, link: &mut Link<'_>) -> Result<(), Ended> {
        if let Some(watching) = self.watching.take() {
            return self.watch(worker, link, watching).await;
        }
        let large = if std::mem::take(&mut self.needs_room) { Some(large_room(worker).await?) } else { None };
        let received = match self.carry {
            Carry::Nothing => {
                self.due = None;
                self.receive(worker, link, large).await?
            }
            Carry::Waiting(..) => self.take_turn(worker, link, large).await?,
            Carry::Begun(..) | Carry::Frame { .. } | Carry::Refused(_) => {
                // From the frame's first byte on, however slowly the others come.
                let due = *self.due.get_or_insert_with(|| Instant::now() + DEADLINE);
                timeout_at(due, self.receive(worker, link, large)).await.map_err(|_| Ended)??
            }
        };
        match received {
            Received::Done => Ok(()),
            Received::Wait(homeless) => self.wait_for_buffer(worker, link, homeless).await,
            Received::Send(unsent) => {
                link.send_the_rest(unsent).await?;
                if self.closing { Err(Ended) } else { Ok(()) }
            }
        }
    }

    /// Waits for bytes and answers what is complete.
    async fn receive(
        &mut self,
        worker: &Worker,
        link: &mut Link<'_>,
        mut large: Option<LargeRoom>,
    ) -> Result<Received, Ended> {
        loop {
            self.pace.keep(link).await?;
            link.make_room(false).await?;
            let mut scratch = scratch(worker).await?;
            let peeked = !scratch.reserve.has_tail();
            let (count, drained) = match self.read(link, &mut scratch, peeked)? {
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
            let carried = match std::mem::replace(&mut self.carry, Carry::Nothing) {
                Carry::Nothing | Carry::Waiting(..) => 0,
                Carry::Begun(_, length) => length,
                Carry::Frame { lease, filled, needed } if filled + count < needed => {
                    self.carry = Carry::Frame { lease, filled: filled + count, needed };
                    continue;
                }
                Carry::Frame { lease, needed, .. } => {
                    let frame = (lease, 0..needed);
                    return self.answer_lease(&worker.shared, link, &mut scratch, frame, large.take());
                }
                Carry::Refused(left) => {
                    scratch.input.wipe_range(0..count);
                    if left == count {
                        return Ok(Received::Done);
                    }
                    self.carry = Carry::Refused(left - count);
                    continue;
                }
            };
            let input = Input { carried, length: carried + count, peeked, drained };
            return self.answer_scratch(&worker.shared, link, &mut scratch, input, large.take());
        }
    }

    /// Reads to where the next bytes belong; or only looks at them.
    fn read(
        &mut self,
        link: &Link<'_>,
        scratch: &mut WorkerScratch,
        peeked: bool,
    ) -> Result<Result<(usize, bool), Errno>, Ended> {
        let place = match &mut self.carry {
            Carry::Nothing | Carry::Waiting(..) => &mut scratch.input,
            Carry::Begun(bytes, length) => {
                let (begin, rest) = scratch.input.split_at_mut_checked(*length).ok_or(Ended)?;
                begin.copy_from_slice(bytes.get(..*length).ok_or(Ended)?);
                rest
            }
            Carry::Frame { lease, filled, needed } => {
                return Ok(link.read(lease.get_mut(*filled..*needed).ok_or(Ended)?));
            }
            Carry::Refused(left) => {
                let most = scratch.input.len().min(*left);
                return Ok(link.read(scratch.input.get_mut(..most).ok_or(Ended)?));
            }
        };
        Ok(if peeked { link.peek(place) } else { link.read(place) })
    }

    /// Answers frames that were received before, after the others had their turn.
    async fn take_turn(
        &mut self,
        worker: &Worker,
        link: &mut Link<'_>,
        large: Option<LargeRoom>,
    ) -> Result<Received, Ended> {
        yield_now().await;
        link.make_room(true).await?;
        let mut scratch = scratch(worker).await?;
        let Carry::Waiting(lease, range) = std::mem::replace(&mut self.carry, Carry::Nothing) else {
            return Ok(Received::Done);
        };
        self.answer_lease(&worker.shared, link, &mut scratch, (lease, range), large)
    }

    /// Waits for a buffer that is large enough for a frame; without one the frame is refused.
    async fn wait_for_buffer(
        &mut self,
        worker: &Worker,
        link: &mut Link<'_>,
        homeless: Homeless,
    ) -> Result<(), Ended> {
        let since = Instant::now();
        let needed = homeless.header.frame_bytes();
        let Ok(lease) = timeout(BUFFER_DEADLINE, worker.shared.buffers.lease(needed)).await else {
            return self.refuse(worker, link, homeless).await;
        };
        self.carry = homeless.settle(lease.ok_or(Ended)?)?;
        // The wait was ours, not the peer's.
        self.due = self.due.map(|due| due + since.elapsed());
        Ok(())
    }

    /// Refuses a frame before it has arrived; what is yet to come of it is thrown away.
    async fn refuse(
        &mut self,
        worker: &Worker,
        link: &mut Link<'_>,
        homeless: Homeless,
    ) -> Result<(), Ended> {
        let header = homeless.header;
        self.carry = Carry::Refused(header.frame_bytes() - homeless.begin().len());
        self.due = None;
        drop(homeless);
        self.say(worker, link, |shared, speaker, output| {
            burst::busy(shared, speaker, header.request_id, output)
        })
        .await
    }

    /// Waits until something happens, the time is over or the daemon ends; then answers. A peer that is gone meanwhile
    /// is not waited for: its seat is wanted.
    async fn watch(&mut self, worker: &Worker, link: &mut Link<'_>, watching: Watching) -> Result<(), Ended> {
        let shared = &worker.shared;
        let due = Instant::now() + watching.wait;
        loop {
            let mut changed = pin!(shared.events.changed.notified());
            // From here on no event goes unnoticed.
            changed.as_mut().enable();
            if shared.stopping.load(Ordering::Relaxed)
                || watching.has_news(&shared.events, &self.speaker.rights)
            {
                break;
            }
            match timeout_at(due, link.stirs_before(changed)).await {
                Err(_) => break,
                Ok(false) => {}
                Ok(true) if link.is_abandoned() => return Err(Ended),
                // What else came stays in the socket until the watch is answered.
                Ok(true) => self.pace.more_is_there(),
            }
        }
        self.say(worker, link, |shared, speaker, output| burst::watched(shared, speaker, watching, output))
            .await
    }

    /// Sends one reply that no burst made.
    async fn say(
        &mut self,
        worker: &Worker,
        link: &mut Link<'_>,
        make: impl for<'b> FnOnce(&Shared, &Speaker, &'b mut [u8]) -> Option<Answer<'b>>,
    ) -> Result<(), Ended> {
        link.make_room(true).await?;
        let unsent = {
            let mut scratch = scratch(worker).await?;
            let WorkerScratch { output, reserve, .. } = &mut *scratch;
            let answer = make(&worker.shared, &self.speaker, output).ok_or(Ended)?;
            let sent = link.write(answer.frames())?;
            Unsent::keep(answer.frames(), sent, reserve)?
        };
        match unsent {
            Some(unsent) => link.send_the_rest(unsent).await,
            None => Ok(()),
        }
    }
}

/// A large buffer for replies; none where none is free for a long time.
async fn large_room(worker: &Worker) -> Result<LargeRoom, Ended> {
    match timeout(BUFFER_DEADLINE, worker.shared.buffers.lease(MAX_FRAME_BYTES)).await {
        Ok(lease) => Ok(LargeRoom::Found(lease.ok_or(Ended)?)),
        Err(_) => Ok(LargeRoom::Starved),
    }
}

/// The worker's scratch, with a buffer set aside for replies that the socket does not take.
async fn scratch(worker: &Worker) -> Result<RefMut<'_, WorkerScratch>, Ended> {
    let buffers = &worker.shared.buffers;
    loop {
        {
            let mut scratch = worker.scratch.borrow_mut();
            if scratch.reserve.refill(buffers) {
                return Ok(scratch);
            }
        }
        let lease = timeout(DEADLINE, buffers.lease(MEDIUM_FRAME)).await.map_err(|_| Ended)?;
        worker.scratch.borrow_mut().reserve.set_aside(lease.ok_or(Ended)?);
    }
}

const _: () = assert!(MAX_FRAME_BYTES <= LARGE_OUTPUT);
