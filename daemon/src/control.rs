//! Operations on the agent: `hello`, `status`, `health`, `lock`, `unlock`, `reload`, `stop`.
//!
//! Those that change something take the engine exclusively; their record is in the log before the
//! reply is written.

mod engine;
mod examine;

use keyagent_common::{
    codec,
    context::MAX_ENCODED_BYTES,
    error::ErrorCode,
    frame::{MAX_LENGTH, MAX_MESSAGE_BYTES},
    key_text::KEY_BYTES,
    op::{
        Empty, ErrorReply, HelloReply, HelloRequest, Limits, LockReply, MAX_CLIENT_NAME_BYTES, OperationCode,
        PROTOCOL_VERSION, ReloadReply, UnlockReply, UnlockRequest, WatchEvent, WatchReply,
    },
    report::Report,
};
use keyagent_core::{
    caller::Caller,
    reply::{NoRoom, ReplyBuffer},
};

use crate::{
    burst::{MAX_IN_FLIGHT, Speaker},
    events::Seen,
    state::Shared,
};

pub(crate) use engine::reload;

/// Answers one operation that needs the engine for itself.
pub(crate) fn run(
    shared: &Shared,
    caller: &Caller<'_>,
    operation: OperationCode,
    id: u32,
    body: &[u8],
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    match operation {
        OperationCode::Unlock => unlock(shared, caller, id, body, replies),
        _ if codec::decode::<Empty>(body).is_err() => {
            refuse_recorded(shared, caller, operation, id, ErrorCode::Malformed, &MALFORMED, replies)
        }
        OperationCode::Status => examine::status(shared, id, replies),
        OperationCode::Health => examine::health(shared, id, replies),
        OperationCode::Lock => match engine::lock(shared, Some(caller), "request") {
            Ok((changed, unlockable_here)) => replies.success(id, &LockReply { changed, unlockable_here }),
            Err(report) => refuse(replies, id, &report),
        },
        OperationCode::Reload => match engine::reload(shared, Some(caller), "request") {
            Ok(generation) => replies.success(id, &ReloadReply { generation, policy: [0; 32], policy_changed: false }),
            Err(report) => refuse(replies, id, &report),
        },
        OperationCode::Stop => match engine::stop(shared, caller) {
            Ok(()) => replies.success(id, &Empty {}),
            Err(report) => refuse(replies, id, &report),
        },
        OperationCode::Maintenance
        | OperationCode::AuditQuery
        | OperationCode::Watch
        | OperationCode::KeyCreate
        | OperationCode::KeyList
        | OperationCode::KeyDisable
        | OperationCode::KeyEnable
        | OperationCode::Hello
        | OperationCode::Encrypt
        | OperationCode::Decrypt
        | OperationCode::DataKey
        | OperationCode::DataKeyOpen => replies.error(id, ErrorCode::Internal, &MALFORMED),
    }
}

/// Greets a client, or says why it cannot be served.
pub(crate) fn hello(
    speaker: &mut Speaker,
    id: u32,
    body: &[u8],
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    let Ok(request) = codec::decode::<HelloRequest<'_>>(body) else {
        return replies.error(id, ErrorCode::Malformed, &MALFORMED);
    };
    let name_length = request.client.len();
    let printable = request.client.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    if name_length == 0 || name_length > MAX_CLIENT_NAME_BYTES || !printable {
        return replies.error(id, ErrorCode::InvalidRequest, &BAD_CLIENT_NAME);
    }
    if request.protocol_min > PROTOCOL_VERSION || request.protocol_max < PROTOCOL_VERSION {
        let what = format!(
            "client and agent speak no common protocol version: {} to {} there, {PROTOCOL_VERSION} here",
            request.protocol_min, request.protocol_max
        );
        let fix = "install the same version of both, then restart the agent: keyagent stop; keyagent start";
        return replies.error(id, ErrorCode::ProtocolMismatch, &ErrorReply { what: &what, why: "", fix });
    }
    speaker.client.clear();
    speaker.client.push_str(request.client);
    speaker.greeted = true;
    let limits = Limits {
        frame_length: saturating_u32(MAX_LENGTH),
        message: saturating_u32(MAX_MESSAGE_BYTES),
        context: saturating_u32(MAX_ENCODED_BYTES),
        in_flight: saturating_u32(MAX_IN_FLIGHT),
    };
    let reply = HelloReply {
        protocol: PROTOCOL_VERSION,
        protocol_min: PROTOCOL_VERSION,
        protocol_max: PROTOCOL_VERSION,
        server: concat!("keyagentd/", env!("CARGO_PKG_VERSION")),
        instance: speaker.instance,
        features: 0,
        limits,
    };
    replies.success(id, &reply)
}

/// Whether somebody may watch what happens.
pub(crate) fn may_watch(_shared: &Shared, _speaker: &Speaker) -> bool {
    true
}

/// Tells events.
pub(crate) fn tell(seen: &Seen, id: u32, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let events = seen.events.iter().map(|event| WatchEvent {
        number: event.number,
        unix_micros: event.unix_micros,
        kind: event.kind,
        severity: event.severity,
        key: &event.key,
        message: &event.message,
    });
    let events = events.collect();
    replies.success(id, &WatchReply { next: seen.next, lost: seen.lost, events })
}

fn unlock(
    shared: &Shared,
    caller: &Caller<'_>,
    id: u32,
    body: &[u8],
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    let refused = |code, why, replies: &mut ReplyBuffer<'_>| {
        refuse_recorded(shared, caller, OperationCode::Unlock, id, code, why, replies)
    };
    let Ok(UnlockRequest { master }) = codec::decode(body) else {
        return refused(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let given: Option<&[u8; KEY_BYTES]> = match master.try_into() {
        Ok(key) => Some(key),
        Err(_) if master.is_empty() => None,
        Err(_) => return refused(ErrorCode::InvalidRequest, &BAD_KEY_LENGTH, replies),
    };
    match engine::unlock(shared, caller, given) {
        Ok((changed, fingerprint)) => replies.success(id, &UnlockReply { changed, fingerprint }),
        Err(report) => refuse(replies, id, &report),
    }
}

/// A request that did not get as far as its operation: recorded like any attempt, if the operation is.
fn refuse_recorded(
    shared: &Shared,
    caller: &Caller<'_>,
    operation: OperationCode,
    id: u32,
    code: ErrorCode,
    body: &ErrorReply<'_>,
    replies: &mut ReplyBuffer<'_>,
) -> Result<(), NoRoom> {
    let recorded = !matches!(operation, OperationCode::Status | OperationCode::Health);
    match recorded.then(|| engine::record_refusal(shared, caller, operation, code, body.what)) {
        Some(Err(report)) => refuse(replies, id, &report),
        _ => replies.error(id, code, body),
    }
}

fn refuse(replies: &mut ReplyBuffer<'_>, id: u32, report: &Report) -> Result<(), NoRoom> {
    let mut parts: Vec<String> =
        report.facts.iter().map(|(label, value)| format!("{label} {value}")).collect();
    parts.push(report.why.clone());
    let why = parts.join("; ");
    // The same failures are told at start, where they begin with what they prevent.
    let what = report.what.strip_prefix("refusing to start: ").unwrap_or(&report.what);
    replies.error(id, report.code, &ErrorReply { what, why: &why, fix: &report.fix })
}

fn saturating_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

const MALFORMED: ErrorReply<'static> =
    ErrorReply { what: "the request does not follow the protocol", why: "its body does not decode", fix: "" };
const BAD_CLIENT_NAME: ErrorReply<'static> =
    ErrorReply { what: "not a valid client name", why: "it has 1 to 64 printable ASCII characters", fix: "" };
const BAD_KEY_LENGTH: ErrorReply<'static> = ErrorReply {
    what: "a master key has 32 bytes",
    why: "the request holds another number of them",
    fix: "",
};
