//! Operations for whoever oversees the agent: maintenance, the audit log, watching.

use std::io;

use keyagent_common::{
    codec,
    error::ErrorCode,
    op::{
        AuditQueryReply, AuditQueryRequest, MAX_AUDIT_QUERY_BYTES, MAX_REASON_BYTES, MaintenanceReply,
        MaintenanceRequest, WatchEvent, WatchReply, WatchRequest, WatchSeverity,
    },
    report::Report,
};
use keyagent_core::{
    audit::record::Event,
    reply::{NoRoom, ReplyBuffer},
};

use super::{Asked, MALFORMED};
use crate::{audit_log::Wanted, commit::line_of, events::Seen, maintenance::NotSet, store};

/// `maintenance`
pub(super) fn maintenance(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(MaintenanceRequest { on, reason }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    if reason.len() > MAX_REASON_BYTES || reason.chars().any(char::is_control) {
        let report = Report::new(ErrorCode::InvalidRequest, "not a usable reason")
            .why("it has at most 256 bytes and no control characters");
        return asked.failed(None, "", &report, replies);
    }
    let event = Event::Maintenance { on, reason: Some(reason).filter(|reason| !reason.is_empty()) };
    let record = || asked.shared.audit.append(&[line_of(asked.caller, event)]);
    match asked.shared.maintenance.set(on, reason, record) {
        Ok(changed) => {
            let word = if on { "on" } else { "off" };
            if changed {
                let message =
                    format!("maintenance {word}{}{reason}", if reason.is_empty() { "" } else { ": " });
                asked.shared.events.push("maintenance", WatchSeverity::Warning, "", message);
            }
            replies.success(asked.id, &MaintenanceReply { changed })
        }
        Err(NotSet::Unrecorded(error)) => super::tell(replies, asked.id, &super::engine::unwritable(&error)),
        Err(NotSet::File(error)) => asked.failed(None, reason, &store::failed(&error), replies),
    }
}

/// `audit_query`: not recorded, or following the log would never end.
pub(super) fn audit_query(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(request) = codec::decode::<AuditQueryRequest>(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let AuditQueryRequest { from_seq, to_seq, from_micros, to_micros, max_bytes } = request;
    let most = usize::try_from(max_bytes).unwrap_or(usize::MAX).min(MAX_AUDIT_QUERY_BYTES);
    let wanted = Wanted { from_seq, to_seq, from_micros, to_micros };
    let usage = asked.shared.audit.usage();
    match asked.shared.audit.read_range(wanted, most) {
        Ok(found) => {
            let reply = AuditQueryReply {
                first_seq: usage.oldest_seq,
                last_seq: usage.last_seq,
                next_seq: found.next_seq,
                lines: &found.bytes,
            };
            replies.success(asked.id, &reply)
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let report = Report::new(ErrorCode::InvalidRequest, "max_bytes has no room for a line")
                .why("a line has at most 16 KiB");
            super::tell(replies, asked.id, &report)
        }
        Err(error) => {
            let report = Report::new(ErrorCode::StoreFailed, "the audit log cannot be read")
                .why(error.to_string())
                .fix("keyagent doctor");
            super::tell(replies, asked.id, &report)
        }
    }
}

/// `watch` that need not wait.
pub(super) fn watch(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(WatchRequest { after, .. }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    tell_events(&asked.shared.events.after(after, asked.caller.rights), asked.id, replies)
}

/// Tells events.
pub(crate) fn tell_events(seen: &Seen, id: u32, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
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
