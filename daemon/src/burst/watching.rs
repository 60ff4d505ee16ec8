//! `watch`: a request that may wait for something to happen, and what it is told then.

use std::time::Duration;

use keyagent_common::{
    codec,
    error::ErrorCode,
    op::{MAX_WATCH_MILLISECONDS, OperationCode, WatchRequest},
};
use keyagent_core::{policy::Rights, reply::ReplyBuffer};

use super::{Speaker, frames::Frame};
use crate::{
    commit::{Answer, Pending},
    control,
    events::Events,
    state::Shared,
};

/// A `watch` that has nothing to tell yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watching {
    request_id: u32,
    after: u64,
    /// How long it may wait.
    pub(crate) wait: Duration,
}

impl Watching {
    /// Whether something has happened meanwhile that the watcher may know.
    pub(crate) fn has_news(&self, events: &Events, rights: &Rights) -> bool {
        !events.after(self.after, rights).events.is_empty()
    }
}

/// Answers a `watch` with what has happened, be it nothing. Not recorded: it changes and touches nothing.
pub(crate) fn watched<'b>(
    shared: &Shared,
    speaker: &Speaker,
    watching: Watching,
    output: &'b mut [u8],
) -> Option<Answer<'b>> {
    let mut replies = ReplyBuffer::new(output);
    // The right may have gone while it waited; with the last one the connection ends.
    let rights = shared.policy().rights(&speaker.principal.subject())?;
    let told = if rights.may(OperationCode::Watch) {
        control::tell_events(&shared.events.after(watching.after, &rights), watching.request_id, &mut replies)
    } else {
        replies.error(watching.request_id, ErrorCode::Denied, &control::DENIED)
    };
    told.ok()?;
    Some(Pending { replies, facts: Vec::new() }.commit(&shared.audit, &speaker.caller()))
}

/// Whether a `watch` has to wait; if not, it is answered like any other operation.
pub(super) fn begin_watch(shared: &Shared, speaker: &Speaker, frame: Frame<'_>) -> Option<Watching> {
    let WatchRequest { after, wait_milliseconds } = codec::decode(frame.body).ok()?;
    let wait = Duration::from_millis(wait_milliseconds.min(MAX_WATCH_MILLISECONDS).into());
    let watching = Watching { request_id: frame.header.request_id, after, wait };
    let present_end = after == u64::MAX;
    let waits = speaker.greeted
        && speaker.rights.may(OperationCode::Watch)
        && !frame.header.on_behalf_of
        && !shared.is_locked()
        && !present_end
        && !wait.is_zero()
        && !watching.has_news(&shared.events, &speaker.rights);
    waits.then_some(watching)
}
