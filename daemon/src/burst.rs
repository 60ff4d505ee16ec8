//! One burst: every complete frame of what was received, answered into one buffer, recorded in one group.
//!
//! Synchronous from the first byte to the [`Answer`]: no await, and no lock between decoding and effect
//! but the shared guard that keeps the engine in place.

mod entropy;
mod frames;
mod on_behalf;
mod refusals;
mod tally;
mod watching;

use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};

use keyagent_common::{error::ErrorCode, op::OperationCode};
use keyagent_core::{
    caller::Caller,
    engine::{self, Facts, Request},
    ops::{OperationError, Work},
    policy::Rights,
    reply::{NoRoom, ReplyBuffer},
};
use keyagent_sys::thread;

use crate::{
    alarm, clock,
    commit::{Answer, Pending},
    control::{self, Asked},
    metering::MeterOf,
    principal::Principal,
    state::{Counters, EngineState, Shared},
};

use entropy::BurstEntropy;
use frames::{Frame, frame_bytes_needed, next_frame};
use refusals::{BROKEN_FRAME, HELLO_REQUIRED, NO_BUFFER, UNKNOWN_OPERATION};

use watching::begin_watch;
pub(crate) use watching::{Watching, watched};

/// Most requests answered in one burst; announced as the limit of requests in flight.
pub(crate) const MAX_IN_FLIGHT: usize = engine::MAX_ITEMS;
/// Nonces and data keys are drawn in pieces of at most this many bytes.
pub(crate) const ENTROPY_BYTES: usize = 4096;

/// Who is at the other end, and what was said so far.
pub(crate) struct Speaker {
    /// As the kernel told at accept.
    pub(crate) principal: Arc<Principal>,
    /// What the policy gives it.
    pub(crate) rights: Rights,
    /// Which policy that was.
    pub(crate) policy_generation: u64,
    /// From `hello`.
    pub(crate) client: String,
    /// `hello` was answered.
    pub(crate) greeted: bool,
    /// Random per start of the daemon.
    pub(crate) instance: [u8; 16],
}

impl Speaker {
    /// Asks the policy again if there is another one; false if it gives nothing any more.
    fn is_still_welcome(&mut self, shared: &Shared) -> bool {
        let generation = shared.policy_in_use.generation();
        if generation == self.policy_generation {
            return true;
        }
        let Some(rights) = shared.policy().rights(&self.principal.subject()) else { return false };
        (self.rights, self.policy_generation) = (rights, generation);
        true
    }

    /// The caller as the core sees it.
    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller {
            uid: self.principal.uid,
            gid: self.principal.gid,
            pid: self.principal.pid,
            unit: self.principal.unit.as_deref(),
            socket: &self.principal.socket,
            client: &self.client,
            rights: &self.rights,
            on_behalf_of: None,
        }
    }
}

/// Scratch space of a worker for one burst.
pub(crate) struct Scratch<'s> {
    /// [`ENTROPY_BYTES`] of locked memory.
    pub(crate) stock: &'s mut [u8],
    /// Associated data; nothing secret.
    pub(crate) associated_data: &'s mut Vec<u8>,
    /// What the output is.
    pub(crate) room: Room,
}

/// Where the replies go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// A worker's output: nearly every reply fits.
    Ordinary,
    /// A large buffer: every reply fits.
    Large,
    /// A worker's output, since no large buffer was to be had: what needs one is refused.
    Starved,
}

/// What a burst came to.
pub(crate) struct Burst<'b> {
    /// To be sent.
    pub(crate) answer: Answer<'b>,
    /// Bytes of the input that were answered.
    pub(crate) consumed: usize,
    /// Why it ended.
    pub(crate) end: BurstEnd,
}

/// Why a burst ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BurstEnd {
    /// The next frame has this many bytes, and not all of them are there.
    NeedMore(usize),
    /// Send the answer, then go on with the rest of the input.
    Again,
    /// The reply to the first request may be too long for this output: it wants a large one. Nothing was done.
    NeedRoom,
    /// As [`Self::Again`], after an operation on the agent, which may have taken long: others have their turn first.
    OnTheAgent,
    /// One request waits for something to happen; the others wait behind it.
    Watching(Watching),
    /// The peer broke the protocol: send the answer, then close.
    Close,
}

/// Answers what `input` holds into `output`.
pub(crate) fn run<'b>(
    shared: &Shared,
    speaker: &mut Speaker,
    input: &[u8],
    output: &'b mut [u8],
    scratch: &mut Scratch<'_>,
) -> Burst<'b> {
    let replies = ReplyBuffer::new(output);
    if !speaker.is_still_welcome(shared) {
        let answer = Pending { replies, facts: Vec::new() }.commit(&shared.audit, &speaker.caller());
        return Burst { answer, consumed: 0, end: BurstEnd::Close };
    }
    // Neither is inlined, whatever the optimiser thinks: their frames too lie where the scrub reaches.
    let (burst, touched_keys) = match next_frame(input) {
        Ok(Some(frame)) if frame.is_on_the_agent() => (on_the_agent(shared, speaker, frame, replies), true),
        _ => on_data(shared, speaker, input, replies, scratch),
    };
    if touched_keys {
        thread::scrub_stack();
    }
    burst
}

/// Whether the next frame is a complete operation on the agent.
pub(crate) fn begins_on_the_agent(input: &[u8]) -> bool {
    matches!(next_frame(input), Ok(Some(frame)) if frame.is_on_the_agent())
}

/// Refuses one frame that found no buffer. Nothing of it was decoded, so there is nothing to record.
pub(crate) fn busy<'b>(
    shared: &Shared,
    speaker: &Speaker,
    request_id: u32,
    output: &'b mut [u8],
) -> Option<Answer<'b>> {
    let mut replies = ReplyBuffer::new(output);
    replies.error(request_id, ErrorCode::Busy, &NO_BUFFER).ok()?;
    Some(Pending { replies, facts: Vec::new() }.commit(&shared.audit, &speaker.caller()))
}

/// One operation that locks, unlocks or examines the engine: alone in its burst, without the guard.
#[inline(never)]
fn on_the_agent<'b>(
    shared: &Shared,
    speaker: &Speaker,
    frame: Frame<'_>,
    mut replies: ReplyBuffer<'b>,
) -> Burst<'b> {
    let consumed = frame.header.frame_bytes();
    Counters::add(&shared.counters.operations, 1);
    if frame.operation == Some(OperationCode::Watch)
        && let Some(watching) = begin_watch(shared, speaker, frame)
    {
        let answer = Pending { replies, facts: Vec::new() }.commit(&shared.audit, &speaker.caller());
        return Burst { answer, consumed, end: BurstEnd::Watching(watching) };
    }
    let id = frame.header.request_id;
    if let (Some(operation), true) = (frame.operation, frame.header.on_behalf_of) {
        let facts = on_behalf::refuse(operation, frame, OperationError::NotForOthers, &mut replies);
        return refuse_recorded(shared, speaker, (facts, consumed), replies);
    }
    let done = match frame.operation {
        Some(operation) if speaker.greeted || operation.before_hello() => {
            let caller = &speaker.caller();
            control::run(&Asked { shared, caller, operation, id, body: frame.body }, &mut replies)
        }
        _ => replies.error(id, ErrorCode::HelloRequired, &HELLO_REQUIRED),
    };
    let end = if done.is_ok() { BurstEnd::OnTheAgent } else { BurstEnd::Close };
    Burst {
        answer: Pending { replies, facts: Vec::new() }.commit(&shared.audit, &speaker.caller()),
        consumed,
        end,
    }
}

/// Ends a burst with one refusal, recorded as those of operations on data are.
fn refuse_recorded<'b>(
    shared: &Shared,
    speaker: &Speaker,
    (facts, consumed): (Facts<'_>, usize),
    replies: ReplyBuffer<'b>,
) -> Burst<'b> {
    let facts = vec![facts];
    tally::count(shared, speaker, &facts);
    let answer = Pending { replies, facts }.commit(&shared.audit, &speaker.caller());
    if !answer.is_recorded() {
        alarm::audit_unwritable(shared);
    }
    let end = if answer.is_complete() { BurstEnd::OnTheAgent } else { BurstEnd::Close };
    Burst { answer, consumed, end }
}

/// Everything up to the next operation on the agent, under one guard and in one audit group; and whether a
/// key was touched.
#[inline(never)]
fn on_data<'b>(
    shared: &Shared,
    speaker: &mut Speaker,
    input: &[u8],
    mut replies: ReplyBuffer<'b>,
    scratch: &mut Scratch<'_>,
) -> (Burst<'b>, bool) {
    let began = Instant::now();
    let guard = shared.engine.read().unwrap_or_else(PoisonError::into_inner);
    let mut entropy = BurstEntropy::new(scratch.stock, input);
    let (mut meter, maintenance) = (MeterOf(&shared.rates), shared.maintenance.is_on());
    let now_unix = clock::unix_seconds();
    let mut facts = Vec::with_capacity(entropy.frames.min(MAX_IN_FLIGHT));
    let mut consumed = 0;
    let end = loop {
        let rest = input.get(consumed..).unwrap_or_default();
        let frame = match next_frame(rest) {
            Ok(Some(frame)) => frame,
            Ok(None) => break BurstEnd::NeedMore(frame_bytes_needed(rest)),
            Err(_) => break refuse_broken_frame(&mut replies),
        };
        if frame.is_on_the_agent() || facts.len() >= MAX_IN_FLIGHT {
            break if consumed == 0 { BurstEnd::Close } else { BurstEnd::Again };
        }
        if replies.room() < frame.reply_bytes() {
            match scratch.room {
                _ if consumed > 0 => break BurstEnd::Again,
                Room::Ordinary => break BurstEnd::NeedRoom,
                Room::Large => break BurstEnd::Close,
                // Nothing of it is decoded, so there is nothing to record.
                Room::Starved => {
                    consumed += frame.header.frame_bytes();
                    let refused = replies.error(frame.header.request_id, ErrorCode::Busy, &NO_BUFFER);
                    if refused.is_err() {
                        break BurstEnd::Close;
                    }
                    continue;
                }
            }
        }
        consumed += frame.header.frame_bytes();
        Counters::add(&shared.counters.operations, 1);
        let mut work = Work {
            entropy: &mut entropy,
            associated_data: scratch.associated_data,
            meter: &mut meter,
            maintenance,
            now_unix,
        };
        match answer(&guard, speaker, frame, &mut work, &mut replies) {
            Ok(Some(fact)) => facts.push(fact),
            Ok(None) => {}
            Err(NoRoom) => break BurstEnd::Close,
        }
    };
    let alerts = tally::count(shared, speaker, &facts);
    let needed = shared.key_usage.count(&guard, &facts, now_unix);
    let (touched_keys, requests) = (!facts.is_empty(), tally::requests(&facts));
    Counters::add(&shared.counters.operations, requests.saturating_sub(facts.len()) as u64);
    let answer = Pending { replies, facts }.commit(&shared.audit, &speaker.caller());
    let end = if answer.is_complete() { end } else { BurstEnd::Close };
    drop(entropy);
    drop(guard);
    if answer.is_recorded() {
        // Before the answer leaves: no crash may make a count too low. Refused, nothing was used.
        needed.store(shared);
    }
    if touched_keys {
        shared.metrics.took(began.elapsed(), requests);
        shared.note_use();
    }
    if !answer.is_recorded() {
        alarm::audit_unwritable(shared);
    }
    for (subject, failures) in alerts {
        tally::tell_failures(shared, &subject, failures);
    }
    (Burst { answer, consumed, end }, touched_keys)
}

/// One request: the facts to record, if it was on data.
fn answer<'r>(
    engine: &'r EngineState,
    speaker: &mut Speaker,
    frame: Frame<'r>,
    work: &mut Work<'_>,
    replies: &mut ReplyBuffer<'_>,
) -> Result<Option<Facts<'r>>, NoRoom> {
    let id = frame.header.request_id;
    let Some(operation) = frame.operation else {
        replies.error(id, ErrorCode::UnknownOperation, &UNKNOWN_OPERATION)?;
        return Ok(None);
    };
    if operation == OperationCode::Hello {
        control::hello(speaker, id, frame.body, replies)?;
        return Ok(None);
    }
    if !speaker.greeted {
        replies.error(id, ErrorCode::HelloRequired, &HELLO_REQUIRED)?;
        return Ok(None);
    }
    if frame.header.on_behalf_of {
        return Ok(on_behalf::answer(engine, speaker, (operation, frame), work, replies));
    }
    let request = Request { operation, id, body: frame.body };
    Ok(match engine {
        EngineState::Unlocked(engine) => engine.handle(&speaker.caller(), request, work, replies),
        EngineState::Locked(engine) => Some(engine.handle(request, replies)),
    })
}

fn refuse_broken_frame(replies: &mut ReplyBuffer<'_>) -> BurstEnd {
    // No request id can be trusted: 0 stands for the connection. Without room the close says it all.
    let _ = replies.error(0, ErrorCode::Malformed, &BROKEN_FRAME);
    BurstEnd::Close
}
