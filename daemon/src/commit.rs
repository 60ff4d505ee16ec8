//! `Pending` -> audited -> `Answer`: only an [`Answer`] can be written to a socket.

use keyagent_common::{
    error::ErrorCode,
    frame::{HEADER_BYTES, Header},
    op::ErrorReply,
};
use keyagent_core::{
    audit::record::{self, Details, Event, OnBehalfOf, Outcome, Peer, Via},
    caller::Caller,
    engine::Facts,
    reply::{NoRoom, ReplyBuffer},
};

use crate::audit_log::{AuditLog, AuditUnwritable, Line, Manner};

/// Replies that may not leave yet, and what has to be recorded first.
#[must_use]
pub(crate) struct Pending<'b, 'r> {
    pub(crate) replies: ReplyBuffer<'b>,
    pub(crate) facts: Vec<Facts<'r>>,
}

/// Replies whose records are in the log. Made by [`Pending::commit`] alone.
#[must_use]
pub(crate) struct Answer<'b> {
    replies: ReplyBuffer<'b>,
    complete: bool,
    recorded: bool,
}

impl Answer<'_> {
    /// The frames to send.
    pub(crate) fn frames(&self) -> &[u8] {
        self.replies.frames()
    }

    /// Whether every request has its reply here; if not, the connection must end behind it.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether the log took the records; if not, every request that is recorded was refused.
    pub(crate) fn is_recorded(&self) -> bool {
        self.recorded
    }
}

impl<'b> Pending<'b, '_> {
    /// Records everything in one group; where the log refuses, every audited reply becomes that error.
    pub(crate) fn commit(mut self, log: &AuditLog, caller: &Caller<'_>) -> Answer<'b> {
        let (recorded, complete) = match self.record(log, caller) {
            Ok(()) => (true, true),
            Err(error) => {
                log.complain(&error);
                (false, self.refuse_all(if error.is_budget() { &BUDGET_USED_UP } else { &REFUSAL }).is_ok())
            }
        };
        Answer { replies: self.replies, complete, recorded }
    }

    fn record(&self, log: &AuditLog, caller: &Caller<'_>) -> Result<(), AuditUnwritable> {
        if cfg!(feature = "benchmark-without-audit") {
            return Ok(());
        }
        log.append_each(self.facts.iter().flat_map(|facts| lines(facts, caller)))
    }

    /// Rewrites the buffer: audited replies are wiped and answered with an error, others are kept, in order.
    fn refuse_all(&mut self, refusal: &ErrorReply<'_>) -> Result<(), NoRoom> {
        let frames = self.take_unaudited()?;
        for Taken { request_id, unaudited } in &frames {
            match unaudited {
                Some(frame) => self.replies.raw(frame)?,
                None => self.replies.error(*request_id, ErrorCode::AuditUnwritable, refusal)?,
            }
        }
        Ok(())
    }

    /// Empties the buffer. In order of the replies; frames of requests that are not audited are kept
    /// (such as `hello`'s; these hold no secret).
    ///
    /// [`NoRoom`] if a request had no reply to begin with.
    fn take_unaudited(&mut self) -> Result<Vec<Taken>, NoRoom> {
        let mut taken = Vec::new();
        let mut audited = self.facts.iter().map(|facts| facts.reply_start).peekable();
        let (frames, mut start) = (self.replies.frames(), 0);
        while let Some(rest) = frames.get(start..)
            && let Ok(Some(header)) = Header::parse(rest.get(..HEADER_BYTES).unwrap_or_default())
        {
            let is_audited = audited.next_if_eq(&start).is_some();
            let frame = rest.get(..header.frame_bytes()).filter(|_| !is_audited);
            taken.push(Taken { request_id: header.request_id, unaudited: frame.map(<[u8]>::to_vec) });
            start += header.frame_bytes();
        }
        let unanswered = audited.next().is_some();
        self.replies.truncate(0);
        if unanswered { Err(NoRoom) } else { Ok(taken) }
    }
}

/// A reply that was taken out of the buffer.
struct Taken {
    request_id: u32,
    /// The frame, if its request was none that is recorded.
    unaudited: Option<Vec<u8>>,
}

/// Short, so that it fits where nearly any reply stood before.
const REFUSAL: ErrorReply<'static> = ErrorReply {
    what: "the audit log cannot be written, so nothing was done",
    why: "",
    fix: "keyagent doctor",
};
/// The same where only the budget is in the way.
const BUDGET_USED_UP: ErrorReply<'static> =
    ErrorReply { what: "the audit log's budget is used up, so nothing was done", ..REFUSAL };

/// One line; of a batch as many as its outcomes take, each of them complete in itself.
fn lines<'a>(facts: &'a Facts<'_>, caller: &'a Caller<'_>) -> impl Iterator<Item = Line<'a>> {
    let single = facts.batch.is_none().then(|| line(facts, caller));
    let outcomes = facts.batch.as_ref().map_or(&[][..], |batch| &batch.outcomes);
    single.into_iter().chain(record::pages(outcomes).map(|page| line_of_items(facts, page, caller)))
}

/// What became of some items of a batch. It fails where none of them succeeded.
fn line_of_items<'a>(facts: &'a Facts<'_>, outcomes: &'a [Outcome<'a>], caller: &'a Caller<'_>) -> Line<'a> {
    let failed = outcomes.iter().all(|outcome| outcome.failure.is_some());
    let failure = outcomes.first().filter(|_| failed).and_then(|outcome| outcome.failure);
    let single = outcomes.first().filter(|_| outcomes.len() == 1);
    let total = |of: fn(&Outcome<'_>) -> u64| outcomes.iter().map(of).fold(0, u64::saturating_add);
    let details = Details {
        key_id: single.and_then(|outcome| outcome.version.map(|(id, _)| id)),
        version: single.and_then(|outcome| outcome.version.map(|(_, number)| number)),
        bytes: Some(total(|outcome| outcome.bytes)),
        count: Some(total(|outcome| outcome.count)),
        code: failure.map(|failure| failure.code() as u16),
        context: &facts.context,
        outcomes,
        ..Details::default()
    };
    Line {
        event: Event::Operation { name: facts.operation.name(), details },
        error: failure.map(keyagent_core::ops::OperationError::what),
        ..line(facts, caller)
    }
}

fn line<'a>(facts: &'a Facts<'_>, caller: &'a Caller<'_>) -> Line<'a> {
    let details = Details {
        key_id: facts.version.map(|(id, _)| id),
        version: facts.version.map(|(_, number)| number),
        bytes: Some(facts.bytes),
        count: None,
        code: facts.failure.map(|failure| failure.code() as u16),
        reason: None,
        context: &facts.context,
        ..Details::default()
    };
    Line {
        event: Event::Operation { name: facts.operation.name(), details },
        key: facts.key,
        peer: Some(peer(caller)),
        via: via(facts, caller),
        client: Some(caller.client),
        error: facts.failure.map(keyagent_core::ops::OperationError::what),
        manner: if caller.rights.sees_everything() { Manner::Request } else { Manner::Plain },
    }
}

/// Through what it came, and by which right.
fn via<'a>(facts: &'a Facts<'_>, caller: &'a Caller<'_>) -> Via<'a> {
    Via {
        unit: caller.unit,
        socket: Some(caller.socket),
        on_behalf_of: facts.on_behalf_of.as_ref().map(|named| OnBehalfOf {
            uid: named.uid,
            gid: named.gid,
            unit: named.unit.as_deref(),
        }),
        rule: facts.rule.as_deref(),
    }
}

/// A line about what a caller asked for, beside operations on data. What an overseer does, such as a brake, is
/// recorded however full others made the log.
pub(crate) fn line_of<'a>(caller: &'a Caller<'_>, event: Event<'a>) -> Line<'a> {
    Line {
        peer: Some(peer(caller)),
        via: Via { unit: caller.unit, socket: Some(caller.socket), ..Via::default() },
        client: Some(caller.client),
        manner: if caller.rights.sees_everything() { Manner::Needed } else { Manner::Plain },
        ..Line::own(event)
    }
}

/// The caller as the log writes it.
pub(crate) fn peer(caller: &Caller<'_>) -> Peer {
    Peer { uid: caller.uid, gid: caller.gid, pid: u32::try_from(caller.pid).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use keyagent_common::op::{Empty, OperationCode};
    use keyagent_core::{
        engine::{LockedEngine, Request},
        ops::OperationError,
    };

    use super::*;

    fn refused(room: usize, requests: usize) -> (Vec<(u32, u16)>, bool) {
        let mut bytes = vec![0; room];
        let mut replies = ReplyBuffer::new(&mut bytes);
        // An unaudited reply with the id of an audited one, as a client may choose it.
        replies.success(0, &Empty {}).unwrap();
        let facts = (0..requests).map(|id| {
            let request =
                Request { operation: OperationCode::Decrypt, id: u32::try_from(id).unwrap(), body: &[] };
            LockedEngine.handle(request, &mut replies)
        });
        let facts = facts.collect();
        let mut pending = Pending { replies, facts };
        let complete = pending.refuse_all(&REFUSAL).is_ok();
        let mut frames = pending.replies.frames();
        let mut seen = Vec::new();
        while let Ok(Some(header)) = Header::parse(frames.get(..HEADER_BYTES).unwrap_or_default()) {
            seen.push((header.request_id, header.code));
            frames = &frames[header.frame_bytes()..];
        }
        (seen, complete)
    }

    #[test]
    fn what_could_not_be_recorded_is_refused_in_order_and_the_rest_is_kept() {
        let code = ErrorCode::AuditUnwritable as u16;
        let (seen, complete) = refused(4096, 3);
        assert_eq!((seen, complete), (vec![(0, 0), (0, code), (1, code), (2, code)], true));
        assert_ne!(code, OperationError::Locked.code() as u16);
    }

    #[test]
    fn without_room_for_every_refusal_the_answer_is_not_complete() {
        let (seen, complete) = refused(12 + 70 * 3, 3);
        assert!(!complete && seen.len() < 4, "{seen:?}");
    }
}
