//! `Pending` -> audited -> `Answer`: only an [`Answer`] can be written to a socket.

use keyagent_common::{
    error::ErrorCode,
    frame::{HEADER_BYTES, Header},
    op::ErrorReply,
};
use keyagent_core::{
    audit::record::{Details, Event, Peer},
    caller::Caller,
    engine::Facts,
    reply::ReplyBuffer,
};

use crate::audit_log::{AuditLog, AuditUnwritable, Line};

/// Replies that may not leave yet, and what has to be recorded first.
#[must_use]
pub(crate) struct Pending<'b, 'r> {
    pub(crate) replies: ReplyBuffer<'b>,
    pub(crate) facts: Vec<Facts<'r>>,
}

/// Replies whose records are in the log. Made by [`Pending::commit`] alone.
#[must_use]
pub(crate) struct Answer<'b>(ReplyBuffer<'b>);

impl Answer<'_> {
    /// The frames to send.
    pub(crate) fn frames(&self) -> &[u8] {
        self.0.frames()
    }
}

impl<'b> Pending<'b, '_> {
    /// Records everything in one group; where the log refuses, every audited reply becomes that error.
    pub(crate) fn commit(mut self, log: &AuditLog, caller: &Caller<'_>) -> Answer<'b> {
        if let Err(error) = self.record(log, caller) {
            crate::report::warn(&error);
            self.refuse_all();
        }
        Answer(self.replies)
    }

    fn record(&self, log: &AuditLog, caller: &Caller<'_>) -> Result<(), AuditUnwritable> {
        if cfg!(feature = "benchmark-without-audit") {
            return Ok(());
        }
        log.append_each(self.facts.iter().map(|facts| line(facts, caller)))
    }

    /// Rewrites the buffer: audited replies are wiped and answered with an error, others are kept.
    fn refuse_all(&mut self) {
        let kept = unaudited_frames(self.replies.frames(), &self.facts);
        self.replies.truncate(0);
        for frame in kept {
            let copied = self.replies.raw(&frame);
            debug_assert!(copied.is_ok(), "frames that fitted before fit again");
        }
        let body = ErrorReply {
            what: "the audit log cannot be written, so nothing was done",
            why: "every operation is recorded before its answer leaves",
            fix: "keyagent doctor; free space or rights on the folder of the audit log",
        };
        for facts in &self.facts {
            if self.replies.error(facts.request_id, ErrorCode::AuditUnwritable, &body).is_err() {
                // No room for another refusal: the client sees the connection end without an answer.
                break;
            }
        }
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
    };
    Line {
        event: Event::Operation { name: facts.operation.name(), details },
        key: facts.key,
        peer: Some(peer(caller)),
        client: Some(caller.client),
        error: facts.failure.map(keyagent_core::ops::OperationError::what),
    }
}

/// The caller as the log writes it.
pub(crate) fn peer(caller: &Caller<'_>) -> Peer {
    Peer { uid: caller.uid, gid: caller.gid, pid: u32::try_from(caller.pid).unwrap_or_default() }
}

/// Frames of requests that touch no key, such as `hello`. They hold no secret.
fn unaudited_frames(mut frames: &[u8], facts: &[Facts<'_>]) -> Vec<Vec<u8>> {
    let mut kept = Vec::new();
    while let Ok(Some(header)) = Header::parse(frames.get(..HEADER_BYTES).unwrap_or_default()) {
        let Some((frame, rest)) = frames.split_at_checked(header.frame_bytes()) else { break };
        if !facts.iter().any(|facts| facts.request_id == header.request_id) {
            kept.push(frame.to_vec());
        }
        frames = rest;
    }
    kept
}
