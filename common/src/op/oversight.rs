//! Operations for whoever oversees the agent: `maintenance`, `audit_query`, `watch`.

use alloc::vec::Vec;

use super::{Operation, OperationCode};
use crate::codec::{BorrowDecode, Encode};

/// Most bytes of lines in one reply to `audit_query`.
pub const MAX_AUDIT_QUERY_BYTES: usize = 48 << 10;
/// Longest time that one `watch` waits, in milliseconds.
pub const MAX_WATCH_MILLISECONDS: u32 = 30_000;

/// `maintenance`: while it is on, nothing new is sealed and everything old opens. Outlives a restart.
#[derive(Debug)]
pub enum Maintenance {}

impl Operation for Maintenance {
    const CODE: OperationCode = OperationCode::Maintenance;
    type Request<'a> = MaintenanceRequest<'a>;
    type Reply<'a> = MaintenanceReply;
}

/// Begin or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct MaintenanceRequest<'a> {
    /// True begins it.
    pub on: bool,
    /// Why, for the record; at most 256 bytes.
    pub reason: &'a str,
}

/// What `maintenance` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct MaintenanceReply {
    /// False when it was so before.
    pub changed: bool,
}

/// `audit_query`: whole lines of the audit log; to filter and parse them is the client's work.
#[derive(Debug)]
pub enum AuditQuery {}

impl Operation for AuditQuery {
    const CODE: OperationCode = OperationCode::AuditQuery;
    type Request<'a> = AuditQueryRequest;
    type Reply<'a> = AuditQueryReply<'a>;
}

/// Which lines. Both ranges hold at once, ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct AuditQueryRequest {
    /// First number of a line.
    pub from_seq: u64,
    /// Last number of a line.
    pub to_seq: u64,
    /// Earliest time, in microseconds since 1970.
    pub from_micros: u64,
    /// Latest time, in microseconds since 1970.
    pub to_micros: u64,
    /// Most bytes of lines; at most [`MAX_AUDIT_QUERY_BYTES`] are given.
    pub max_bytes: u32,
}

/// Lines as they stand in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct AuditQueryReply<'a> {
    /// Number of the oldest line that is kept.
    pub first_seq: u64,
    /// Number of the newest line.
    pub last_seq: u64,
    /// Where to go on; 0 when the range is exhausted.
    pub next_seq: u64,
    /// The lines, each with its newline.
    pub lines: &'a [u8],
}

/// `watch`: waits for something to happen and tells it; called again and again with the last `next`.
#[derive(Debug)]
pub enum Watch {}

impl Operation for Watch {
    const CODE: OperationCode = OperationCode::Watch;
    type Request<'a> = WatchRequest;
    type Reply<'a> = WatchReply<'a>;
}

/// From where on, and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct WatchRequest {
    /// Only events behind this number; `u64::MAX` asks for the present end.
    pub after: u64,
    /// How long to wait where there is none; at most [`MAX_WATCH_MILLISECONDS`].
    pub wait_milliseconds: u32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct WatchReply<'a> {
    /// To be given as `after` next time.
    pub next: u64,
    /// Events behind `after` were dropped before they could be told.
    pub lost: bool,
    /// The events, oldest first; none when the time was over.
    pub events: Vec<WatchEvent<'a>>,
}

/// An event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct WatchEvent<'a> {
    /// Its number, counted since the start of the daemon.
    pub number: u64,
    /// When, in microseconds since 1970.
    pub unix_micros: u64,
    /// Stable word, such as `decryption_failures` or `lock`.
    pub kind: &'a str,
    /// How bad it is.
    pub severity: WatchSeverity,
    /// The key concerned; empty for none.
    pub key: &'a str,
    /// In words.
    pub message: &'a str,
}

/// How bad an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, BorrowDecode)]
pub enum WatchSeverity {
    /// A change of state that somebody wanted.
    Info,
    /// To be looked at.
    Warning,
    /// To be acted on.
    Critical,
}
