//! Reading the log page by page: the agent gives what fits into a reply and says where to go on.
//!
//! Lines that were added after the beginning are not read, so that every reading ends.

use keyagent_client::Connection;
use keyagent_common::{
    error::ErrorCode,
    op::{AuditQueryRequest, MAX_AUDIT_QUERY_BYTES},
    report::Report,
};

use crate::{audit_line::AuditLine, console::Console, failure::Failure};

/// Which lines; both ranges hold at once, ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from_seq: u64,
    pub(crate) to_seq: u64,
    /// Microseconds since 1970.
    pub(crate) from_micros: u64,
    pub(crate) to_micros: u64,
}

/// What the log held when the reading began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Number of the oldest line that is kept.
    pub(crate) first_seq: u64,
    /// Number of the newest line.
    pub(crate) last_seq: u64,
}

/// Visits every line, without its newline.
pub(crate) fn read(
    connection: &mut Connection,
    span: Span,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Extent, Failure> {
    let Span { mut from_seq, mut to_seq, from_micros, to_micros } = span;
    let max_bytes = u32::try_from(MAX_AUDIT_QUERY_BYTES).unwrap_or(u32::MAX);
    let mut extent = None;
    loop {
        let request = AuditQueryRequest { from_seq, to_seq, from_micros, to_micros, max_bytes };
        let reply = connection.audit_query(&request)?;
        let now = Extent { first_seq: reply.first_seq, last_seq: reply.last_seq };
        let first = *extent.get_or_insert(now);
        for line in reply.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            visit(line)?;
        }
        if reply.next_seq == 0 || reply.next_seq > first.last_seq {
            return Ok(first);
        }
        if reply.next_seq <= from_seq {
            return Err(Report::new(ErrorCode::Malformed, "the agent goes back in its own log").into());
        }
        from_seq = reply.next_seq;
        to_seq = to_seq.min(first.last_seq);
    }
}

/// A line, or words about what is none.
pub(crate) fn parse(console: &Console, raw: &[u8]) -> Option<AuditLine> {
    let line = AuditLine::parse(raw);
    if line.is_none() {
        console.say("a line of the log cannot be read; keyagent audit verify");
    }
    line
}
