//! `batch`: many requests of one operation, answered one by one; one record tells of all of them.
//!
//! Each item is resolved, authorised, metered and refused as if it had come alone. Must never begin a batch whose
//! replies may not fit: then nothing is done at all.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use keyagent_common::{
    codec,
    context::Context,
    frame::{HEADER_BYTES, Header, MAX_BODY_BYTES},
    op::{BatchRequest, OperationCode},
};

use super::{Attempt, Engine, Facts, OnBehalf, Request, error_reply};
use crate::{
    arena::Arena,
    audit::record::Outcome,
    caller::Caller,
    keyring::Key,
    ops::{self, OperationError, Work},
    reply::{NESTED_HEAD_BYTES, ReplyBuffer},
};

/// Most items of a batch.
pub const MAX_ITEMS: usize = 1024;
/// Most secrets that one batch may have opened: for so long nobody else is answered.
const MAX_RECORDS: usize = 4096;

/// What the audit log has to say about a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batched<'r> {
    /// What became of its items, as many as there were kinds, in the order in which each first came.
    pub outcomes: Vec<Outcome<'r>>,
}

impl Batched<'_> {
    /// How many items it had.
    pub fn items(&self) -> u64 {
        self.outcomes.iter().map(|outcome| outcome.count).sum()
    }
}

/// A batch whose items can be answered one by one.
struct Items<'r> {
    operation: OperationCode,
    frames: &'r [u8],
}

impl<'r> Items<'r> {
    /// Checks every frame: ids that count from 0, the one operation, no flag, nothing behind the last.
    fn read(body: &'r [u8]) -> Result<Self, OperationError> {
        let BatchRequest { operation, items } = codec::decode(body).map_err(|_| OperationError::Malformed)?;
        let known =
            OperationCode::from_number(operation).filter(|operation| *operation != OperationCode::Batch);
        let items = Self { operation: known.ok_or(OperationError::NotInBatch)?, frames: items };
        let (mut count, mut length) = (0, 0);
        for (place, (header, _)) in (0_u32..).zip(items.iter()) {
            if header.request_id != place || header.code != operation || header.on_behalf_of {
                return Err(OperationError::Malformed);
            }
            count += 1;
            length += header.frame_bytes();
        }
        if count == 0 || length != items.frames.len() {
            return Err(OperationError::Malformed);
        }
        if count > MAX_ITEMS || items.records() > MAX_RECORDS {
            return Err(OperationError::BatchTooLarge);
        }
        Ok(items)
    }

    /// Headers and bodies, up to the first bytes that are no complete frame.
    fn iter(&self) -> impl Iterator<Item = (Header, &'r [u8])> + use<'r> {
        frames(self.frames)
    }

    /// Most secrets that they have opened.
    fn records(&self) -> usize {
        let each = self.iter().map(|(_, body)| ops::records_at_most(self.operation, body));
        each.fold(0, usize::saturating_add)
    }

    /// Most bytes of the frame that answers them.
    fn reply_bytes(&self) -> usize {
        let each = self.iter().map(|(_, body)| ops::item_bytes_at_most(self.operation, body));
        each.fold(NESTED_HEAD_BYTES, usize::saturating_add)
    }
}

/// Complete frames at the front of some bytes.
fn frames(mut rest: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    core::iter::from_fn(move || {
        let header = Header::parse(rest.get(..HEADER_BYTES)?).ok()??;
        let (frame, behind) = rest.split_at_checked(header.frame_bytes())?;
        rest = behind;
        Some((header, frame.get(HEADER_BYTES..)?))
    })
}

/// What a batch needs: the operation and the bodies of its items, and room for the reply in bytes. `None` for one that
/// is refused as a whole, with an error of ordinary length.
pub fn batch_needs(body: &[u8]) -> Option<(OperationCode, impl Iterator<Item = &[u8]>, usize)> {
    let items = Items::read(body).ok()?;
    let reply_bytes = items.reply_bytes();
    let fits = reply_bytes <= HEADER_BYTES + MAX_BODY_BYTES;
    fits.then(|| (items.operation, items.iter().map(|(_, body)| body), reply_bytes))
}

impl<A: Arena> Engine<A> {
    /// Answers a batch with one frame, whatever becomes of it.
    pub(super) fn answer_batch<'r>(
        &'r self,
        caller: &Caller<'_>,
        request: Request<'r>,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Facts<'r> {
        let start = replies.len();
        let mut facts = match self.run_batch(caller, request, work, replies) {
            Ok(facts) => facts,
            Err(failure) => {
                replies.truncate(start);
                // As for any other request.
                let _ = replies.error(request.id, failure.code(), &error_reply(failure));
                Facts { bytes: 0, failure: Some(failure), ..Facts::of(request, start) }
            }
        };
        facts.on_behalf_of = OnBehalf::of(caller);
        facts
    }

    fn run_batch<'r>(
        &'r self,
        caller: &Caller<'_>,
        request: Request<'r>,
        work: &mut Work<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<Facts<'r>, OperationError> {
        let items = Items::read(request.body)?;
        let run = Self::runner(items.operation).ok_or(OperationError::NotInBatch)?;
        let needed = items.reply_bytes();
        if needed > HEADER_BYTES + MAX_BODY_BYTES || needed > replies.room() {
            return Err(OperationError::BatchTooLarge);
        }
        let mut summary = Summary::default();
        let mut facts = Facts::of(Request { operation: items.operation, ..request }, replies.len());
        let nested = replies.begin_nested(request.id).map_err(|_| OperationError::Internal)?;
        for (header, body) in items.iter() {
            let item = Request { operation: items.operation, id: header.request_id, body };
            let before = replies.len();
            let attempt = self.attempt(run, caller, item, work, replies);
            if replies.len() == before {
                return Err(OperationError::Internal);
            }
            summary.add(attempt);
        }
        replies.end_nested(nested).map_err(|_| OperationError::Internal)?;
        summary.tell(&mut facts);
        let shared = summary.shared.and_then(|first| first.subject);
        facts.context = self.context_hashes(shared);
        Ok(facts)
    }
}

/// What the items of a batch came to.
#[derive(Default)]
struct Summary<'r> {
    outcomes: Vec<Outcome<'r>>,
    /// What all items so far have in common.
    shared: Option<Shared<'r>>,
}

struct Shared<'r> {
    key: Option<&'r str>,
    rule: Option<Arc<str>>,
    subject: Option<(&'r Key, Context<'r>)>,
}

impl<'r> Summary<'r> {
    fn add(&mut self, Attempt { facts, subject }: Attempt<'r>) {
        let Facts { key, version, failure, rule, bytes, is_look_up, .. } = facts;
        let look_ups = u64::from(is_look_up);
        match &mut self.shared {
            None => self.shared = Some(Shared { key, rule: rule.clone(), subject }),
            Some(shared) => {
                shared.key = shared.key.filter(|shared| Some(*shared) == key);
                shared.rule = shared.rule.take().filter(|shared| Some(shared) == rule.as_ref());
                let same = |(a, b): (&Key, _)| {
                    subject.is_some_and(|(key, context)| core::ptr::eq(a, key) && b == context)
                };
                shared.subject = shared.subject.filter(|first| same(*first));
            }
        }
        let alike = |outcome: &&mut Outcome<'r>| {
            (outcome.key, outcome.version, outcome.failure) == (key, version, failure) && outcome.rule == rule
        };
        // The last one is like the one before it as a rule.
        match self.outcomes.iter_mut().rev().find(alike) {
            Some(outcome) => {
                outcome.count += 1;
                outcome.look_ups += look_ups;
                outcome.bytes = outcome.bytes.saturating_add(bytes);
            }
            None => self.outcomes.push(Outcome { key, version, failure, rule, count: 1, bytes, look_ups }),
        }
    }

    /// Puts what is common into the facts; a rule that all share is named there alone.
    fn tell(&mut self, facts: &mut Facts<'r>) {
        if let Some(shared) = &self.shared {
            facts.key = shared.key;
            facts.rule.clone_from(&shared.rule);
        }
        let mut outcomes = core::mem::take(&mut self.outcomes);
        if facts.rule.is_some() {
            for outcome in &mut outcomes {
                outcome.rule = None;
            }
        }
        facts.bytes = outcomes.iter().map(|outcome| outcome.bytes).fold(0, u64::saturating_add);
        facts.batch = Some(Box::new(Batched { outcomes }));
    }
}
