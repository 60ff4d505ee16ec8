//! Operations on the agent and on its keys: everything but operations on data.
//!
//! In this order: decoded, authorised, served or refused because the agent is locked, recorded, answered.
//! The record is in the log before the reply is written.

mod backup;
mod change;
mod engine;
mod examine;
mod keys;
mod life;
mod master;
mod oversight;

use keyagent_common::{
    codec,
    context::MAX_ENCODED_BYTES,
    error::ErrorCode,
    frame::{MAX_LENGTH, MAX_MESSAGE_BYTES},
    key_text::KEY_BYTES,
    op::{
        Empty, ErrorReply, FEATURE_BATCH, FEATURE_ON_BEHALF_OF, HelloReply, HelloRequest, Limits, LockReply,
        MAX_CLIENT_NAME_BYTES, OperationCode, PROTOCOL_VERSION, ReloadReply, UnlockReply, UnlockRequest,
    },
    report::Report,
};
use keyagent_core::{
    audit::record::{Details, Event},
    caller::Caller,
    reply::{NoRoom, ReplyBuffer},
};

use crate::{
    audit_log::{AuditUnwritable, Line},
    burst::{MAX_IN_FLIGHT, Speaker},
    commit::line_of,
    metrics::Outcome,
    state::{Counters, Shared},
};

pub(crate) use change::{Changed, NotChanged, Recorded, change};
pub(crate) use engine::{lock, reload};
pub(crate) use life::do_what_is_due;
pub(crate) use oversight::tell_events;

/// One request that is not on data.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) caller: &'a Caller<'a>,
    pub(crate) operation: OperationCode,
    pub(crate) id: u32,
    pub(crate) body: &'a [u8],
}

/// Answers it.
pub(crate) fn run(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let before = replies.len();
    let done = dispatch(asked, replies);
    // The code of the reply stands behind length and id.
    let code = replies.frames().get(before + 8..before + 10).and_then(|code| code.first_chunk::<2>());
    let code = code.map_or(0, |code| u16::from_le_bytes(*code));
    let outcome = match ErrorCode::from_number(code) {
        None => Outcome::Ok,
        Some(code) => Outcome::of(code),
    };
    if outcome == Outcome::Denied {
        Counters::add(&asked.shared.counters.denied, 1);
    }
    asked.shared.metrics.count(asked.operation, outcome);
    done
}

fn dispatch(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Asked { shared, caller, operation, id, body } = *asked;
    let empty = matches!(
        operation,
        OperationCode::Status
            | OperationCode::Health
            | OperationCode::Stop
            | OperationCode::Lock
            | OperationCode::Reload
    );
    if empty && codec::decode::<Empty>(body).is_err() {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    }
    if !caller.rights.may(operation) {
        return asked.refuse(ErrorCode::Denied, &DENIED, replies);
    }
    if needs_keys(operation) && shared.is_locked() {
        return asked.refuse(ErrorCode::Locked, &LOCKED, replies);
    }
    if asked.must_find_room()
        && let Err(error) = shared.audit.check()
    {
        return tell(replies, id, &engine::unwritable(&error));
    }
    match operation {
        OperationCode::Status => examine::status(asked, replies),
        OperationCode::Health => examine::health(asked, replies),
        OperationCode::Unlock => unlock(asked, replies),
        OperationCode::Lock => match engine::lock(shared, Some(caller), "request") {
            Ok((changed, unlockable_here)) => replies.success(id, &LockReply { changed, unlockable_here }),
            Err(report) => tell(replies, id, &report),
        },
        OperationCode::Reload => match engine::reload(shared, Some(caller), "request") {
            Ok(done) => {
                let engine::Reloaded { generation, policy, policy_changed } = done;
                replies.success(id, &ReloadReply { generation, policy, policy_changed })
            }
            Err(report) => tell(replies, id, &report),
        },
        OperationCode::Stop => match engine::stop(shared, caller) {
            Ok(()) => replies.success(id, &Empty {}),
            Err(report) => tell(replies, id, &report),
        },
        OperationCode::Maintenance => oversight::maintenance(asked, replies),
        OperationCode::AuditQuery => oversight::audit_query(asked, replies),
        OperationCode::Watch => oversight::watch(asked, replies),
        OperationCode::KeyCreate => keys::create(asked, replies),
        OperationCode::KeyList => keys::list(asked, replies),
        OperationCode::KeyDisable => keys::disable(asked, replies),
        OperationCode::KeyEnable => keys::enable(asked, replies),
        OperationCode::KeyShow => life::show(asked, replies),
        OperationCode::KeyConfigure => life::configure(asked, replies),
        OperationCode::KeyRotate => life::rotate(asked, replies),
        OperationCode::KeyPromote => life::promote(asked, replies),
        OperationCode::KeyRetire => life::retire(asked, replies),
        OperationCode::KeyReinstate => life::reinstate(asked, replies),
        OperationCode::KeyDestroy => life::destroy(asked, replies),
        OperationCode::BackupCreate => backup::create(asked, replies),
        OperationCode::BackupRestore => backup::restore(asked, replies),
        OperationCode::MasterRotate => master::rotate(asked, replies),
        OperationCode::Hello
        | OperationCode::Encrypt
        | OperationCode::Decrypt
        | OperationCode::DataKey
        | OperationCode::DataKeyOpen
        | OperationCode::Rewrap
        | OperationCode::Hmac
        | OperationCode::JwtSign
        | OperationCode::JwtVerify
        | OperationCode::Random
        | OperationCode::Batch => replies.error(id, ErrorCode::Internal, &MALFORMED),
    }
}

/// What a locked agent does not do (docs/PROTOCOL.md, section 5).
fn needs_keys(operation: OperationCode) -> bool {
    !matches!(
        operation,
        OperationCode::Hello
            | OperationCode::Status
            | OperationCode::Health
            | OperationCode::Unlock
            | OperationCode::Stop
            | OperationCode::AuditQuery
    )
}

impl Asked<'_> {
    /// Whether a log without room for requests refuses it before anything is done. An overseer's record fits in any
    /// case; without this, somebody else's changes of keys could fill the log for ever. `lock` always locks.
    fn must_find_room(&self) -> bool {
        let changes = matches!(
            self.operation,
            OperationCode::KeyCreate
                | OperationCode::KeyConfigure
                | OperationCode::KeyRotate
                | OperationCode::KeyPromote
                | OperationCode::KeyRetire
                | OperationCode::KeyReinstate
                | OperationCode::KeyDisable
                | OperationCode::KeyEnable
                | OperationCode::KeyDestroy
        );
        changes && !self.caller.rights.sees_everything()
    }

    /// Refuses, recorded like any attempt if the operation is one that is recorded.
    fn refuse(
        &self,
        code: ErrorCode,
        body: &ErrorReply<'_>,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<(), NoRoom> {
        let looks_only = matches!(self.operation, OperationCode::Status | OperationCode::Health);
        if !looks_only || code == ErrorCode::Denied {
            let details = Details { code: Some(code as u16), ..Details::default() };
            if let Err(error) = self.record(None, details, Some(body.what)) {
                return tell(replies, self.id, &engine::unwritable(&error));
            }
        }
        replies.error(self.id, code, body)
    }

    /// Records a failure, then tells it.
    fn failed(
        &self,
        key: Option<&str>,
        reason: &str,
        report: &Report,
        replies: &mut ReplyBuffer<'_>,
    ) -> Result<(), NoRoom> {
        let reason = Some(reason).filter(|reason| !reason.is_empty());
        let details = Details { code: Some(report.code as u16), reason, ..Details::default() };
        match self.record(key, details, Some(&report.what)) {
            Ok(()) => tell(replies, self.id, report),
            Err(error) => tell(replies, self.id, &engine::unwritable(&error)),
        }
    }

    fn record(
        &self,
        key: Option<&str>,
        details: Details<'_>,
        error: Option<&str>,
    ) -> Result<(), AuditUnwritable> {
        let event = Event::Operation { name: self.operation.name(), details };
        self.shared.audit.append(&[Line { key, error, ..line_of(self.caller, event) }])
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
        features: FEATURE_ON_BEHALF_OF | FEATURE_BATCH,
        limits,
    };
    replies.success(id, &reply)
}

fn unlock(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(UnlockRequest { master }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let given: Option<&[u8; KEY_BYTES]> = match master.try_into() {
        Ok(key) => Some(key),
        Err(_) if master.is_empty() => None,
        Err(_) => return asked.refuse(ErrorCode::InvalidRequest, &BAD_KEY_LENGTH, replies),
    };
    match engine::unlock(asked.shared, asked.caller, given) {
        Ok((changed, fingerprint)) => replies.success(asked.id, &UnlockReply { changed, fingerprint }),
        Err(report) => tell(replies, asked.id, &report),
    }
}

/// Answers with a report.
fn tell(replies: &mut ReplyBuffer<'_>, id: u32, report: &Report) -> Result<(), NoRoom> {
    let mut parts: Vec<String> =
        report.facts.iter().map(|(label, value)| format!("{label} {value}")).collect();
    parts.extend(Some(report.why.clone()).filter(|why| !why.is_empty()));
    let why = parts.join("; ");
    // The same failures are told at start, where they begin with what they prevent.
    let what = report.what.strip_prefix("refusing to start: ").unwrap_or(&report.what);
    replies.error(id, report.code, &ErrorReply { what, why: &why, fix: &report.fix })
}

/// The agent is locked.
pub(crate) fn locked() -> Report {
    Report::new(ErrorCode::Locked, LOCKED.what).why(LOCKED.why).fix(LOCKED.fix)
}

fn saturating_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

const LOCKED: ErrorReply<'static> =
    ErrorReply { what: "the agent is locked", why: "no key is in its memory", fix: "keyagent unlock" };
pub(crate) const DENIED: ErrorReply<'static> = ErrorReply {
    what: "not allowed",
    why: "the policy gives this caller no right to it",
    fix: "ask an administrator; as one of them: keyagent policy explain",
};
const MALFORMED: ErrorReply<'static> =
    ErrorReply { what: "the request does not follow the protocol", why: "its body does not decode", fix: "" };
const BAD_CLIENT_NAME: ErrorReply<'static> =
    ErrorReply { what: "not a valid client name", why: "it has 1 to 64 printable ASCII characters", fix: "" };
const BAD_KEY_LENGTH: ErrorReply<'static> = ErrorReply {
    what: "a master key has 32 bytes",
    why: "the request holds another number of them",
    fix: "",
};
