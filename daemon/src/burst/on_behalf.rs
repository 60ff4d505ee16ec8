//! Requests on behalf of somebody else: by the word of a delegate, which can only narrow its own rights.

use keyagent_common::{
    codec,
    op::{OnBehalfOf, OperationCode},
};
use keyagent_core::{
    caller::{Asserted, Caller},
    engine::{Facts, OnBehalf, Request, error_reply},
    ops::{OperationError, Work},
    reply::ReplyBuffer,
};

use super::{Speaker, frames::Frame};
use crate::state::EngineState;

/// Answers a request that begins with whom it is for: their right is needed as well.
pub(super) fn answer<'r>(
    engine: &'r EngineState,
    speaker: &Speaker,
    (operation, frame): (OperationCode, Frame<'r>),
    work: &mut Work<'_>,
    replies: &mut ReplyBuffer<'_>,
) -> Option<Facts<'r>> {
    let Ok((OnBehalfOf { uid, gid, unit }, body)) = codec::decode_front(frame.body) else {
        return Some(refuse(operation, frame, OperationError::BadAssertion, replies));
    };
    let unit = Some(unit).filter(|unit| !unit.is_empty());
    let caller = Caller { on_behalf_of: Some(Asserted { uid, gid, unit }), ..speaker.caller() };
    let request = Request { operation, id: frame.header.request_id, body };
    match engine {
        EngineState::Unlocked(engine) => engine.handle(&caller, request, work, replies),
        EngineState::Locked(engine) => Some(engine.handle(request, replies)),
    }
}

/// Refuses a request because of whom it says it is for: the facts to record.
pub(super) fn refuse<'r>(
    operation: OperationCode,
    frame: Frame<'_>,
    failure: OperationError,
    replies: &mut ReplyBuffer<'_>,
) -> Facts<'r> {
    let (request_id, reply_start) = (frame.header.request_id, replies.len());
    // Without room the connection ends, and the record says why.
    let _ = replies.error(request_id, failure.code(), &error_reply(failure));
    // Where the assertion is missing, a key in the body must not be taken for a unit's name.
    let readable = Some(frame.body).filter(|_| !holds_a_key(operation));
    let named = readable.and_then(|body| codec::decode_front::<OnBehalfOf<'_>>(body).ok());
    let on_behalf_of = named.map(|(OnBehalfOf { uid, unit, .. }, _)| OnBehalf {
        uid,
        gid: None,
        unit: Some(unit).filter(|unit| !unit.is_empty()).map(Box::from),
    });
    let request = Request { operation, id: request_id, body: frame.body };
    Facts { failure: Some(failure), on_behalf_of, ..Facts::of(request, reply_start) }
}

/// Whether the body of a request has a master key or a backup key in it.
fn holds_a_key(operation: OperationCode) -> bool {
    matches!(
        operation,
        OperationCode::Unlock
            | OperationCode::MasterRotate
            | OperationCode::BackupCreate
            | OperationCode::BackupRestore
    )
}
