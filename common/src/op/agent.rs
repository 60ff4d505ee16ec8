//! Operations on the agent itself: `hello`, `status`, `health`, `stop`, `lock`, `unlock`, `reload`.

use alloc::vec::Vec;

use super::{Empty, Operation, OperationCode};
use crate::codec::{BorrowDecode, Encode};

/// The protocol version this crate speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// Bit of [`HelloReply::features`]: requests may begin with an [`OnBehalfOf`].
pub const FEATURE_ON_BEHALF_OF: u64 = 1;
/// Bit of [`HelloReply::features`]: `batch` is there, with as many items at most as may be in flight.
pub const FEATURE_BATCH: u64 = 1 << 1;
/// Longest client name of `hello`, in bytes.
pub const MAX_CLIENT_NAME_BYTES: usize = 64;

/// `hello`: the first request of a connection.
#[derive(Debug)]
pub enum Hello {}

impl Operation for Hello {
    const CODE: OperationCode = OperationCode::Hello;
    type Request<'a> = HelloRequest<'a>;
    type Reply<'a> = HelloReply<'a>;
}

/// What the client speaks and calls itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct HelloRequest<'a> {
    /// Lowest protocol version the client speaks.
    pub protocol_min: u16,
    /// Highest protocol version the client speaks.
    pub protocol_max: u16,
    /// Name and version of the client program, for the audit log only; 1 to 64 printable ASCII characters.
    pub client: &'a str,
}

/// What the daemon speaks and allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct HelloReply<'a> {
    /// The version both speak from here on.
    pub protocol: u16,
    /// Lowest version the daemon speaks.
    pub protocol_min: u16,
    /// Highest version the daemon speaks.
    pub protocol_max: u16,
    /// Version of the daemon program.
    pub server: &'a str,
    /// Random per start of the daemon.
    pub instance: [u8; 16],
    /// Bits for optional features, such as [`FEATURE_ON_BEHALF_OF`]; unknown ones are to be ignored.
    pub features: u64,
    /// What the daemon allows on this connection.
    pub limits: Limits,
}

/// Limits that hold on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Limits {
    /// Largest value of a frame's length field, in bytes.
    pub frame_length: u32,
    /// Largest plaintext of one message, in bytes.
    pub message: u32,
    /// Largest encoded context, in bytes.
    pub context: u32,
    /// Most requests in flight on one connection.
    pub in_flight: u32,
}

/// What stands before the body of a request whose frame says so (docs/PROTOCOL.md, section 2): for whom a
/// bridge asks. The bridge's word; both its own right and that of the named caller are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct OnBehalfOf<'a> {
    /// User id of the original caller.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
    /// Its systemd unit; empty for none.
    pub unit: &'a str,
}

/// `status`: never resets an idle timer, answers locked or not.
#[derive(Debug)]
pub enum Status {}

impl Operation for Status {
    const CODE: OperationCode = OperationCode::Status;
    type Request<'a> = Empty;
    type Reply<'a> = StatusReply<'a>;
}

/// Names and values; unknown names are to be ignored, so that every version can read every other.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct StatusReply<'a> {
    /// The fields listed in docs/PROTOCOL.md, in no promised order.
    pub fields: Vec<Field<'a>>,
}

/// One fact of [`StatusReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Field<'a> {
    /// Stable name.
    pub name: &'a str,
    /// Value as text.
    pub value: &'a str,
}

/// `health`: opens the stored canary and checks what the daemon stands on.
#[derive(Debug)]
pub enum Health {}

impl Operation for Health {
    const CODE: OperationCode = OperationCode::Health;
    type Request<'a> = Empty;
    type Reply<'a> = HealthReply<'a>;
}

/// The outcome of every check.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct HealthReply<'a> {
    /// `healthy`, `degraded`, `locked` or `unhealthy`.
    pub status: &'a str,
    /// The first failure in words; empty when there is none.
    pub error: &'a str,
    /// Every check by name.
    pub checks: Vec<Check<'a>>,
}

/// One check of [`HealthReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Check<'a> {
    /// `canary`, `store`, `audit`, `memory` or `clock`.
    pub name: &'a str,
    /// How it went.
    pub result: CheckResult,
    /// What was seen.
    pub message: &'a str,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, BorrowDecode)]
pub enum CheckResult {
    /// As it should be.
    Ok,
    /// Works, but less than promised.
    Warning,
    /// Does not work.
    Failed,
}

/// `stop`: requests in flight are finished, keys wiped, the socket removed.
#[derive(Debug)]
pub enum Stop {}

impl Operation for Stop {
    const CODE: OperationCode = OperationCode::Stop;
    type Request<'a> = Empty;
    type Reply<'a> = Empty;
}

/// `lock`: every key leaves memory before the reply is sent.
#[derive(Debug)]
pub enum Lock {}

impl Operation for Lock {
    const CODE: OperationCode = OperationCode::Lock;
    type Request<'a> = Empty;
    type Reply<'a> = LockReply;
}

/// What `lock` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct LockReply {
    /// False when it was locked before.
    pub changed: bool,
    /// Whether `unlock` without a key can read the master key's source again.
    pub unlockable_here: bool,
}

/// `unlock`: opens the keyring again.
#[derive(Debug)]
pub enum Unlock {}

impl Operation for Unlock {
    const CODE: OperationCode = OperationCode::Unlock;
    type Request<'a> = UnlockRequest<'a>;
    type Reply<'a> = UnlockReply;
}

/// Where the master key comes from.
#[derive(Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct UnlockRequest<'a> {
    /// Empty: the daemon reads its own source again. Else exactly 32 bytes.
    pub master: &'a [u8],
}

impl core::fmt::Debug for UnlockRequest<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "UnlockRequest({} bytes)", self.master.len())
    }
}

/// What `unlock` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct UnlockReply {
    /// False when it was unlocked before.
    pub changed: bool,
    /// Fingerprint of the master key in use.
    pub fingerprint: [u8; 16],
}

/// `reload`: reads the keyring again; what failed leaves the old state in use.
#[derive(Debug)]
pub enum Reload {}

impl Operation for Reload {
    const CODE: OperationCode = OperationCode::Reload;
    type Request<'a> = Empty;
    type Reply<'a> = ReloadReply;
}

/// What `reload` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct ReloadReply {
    /// Generation of the keyring now in use.
    pub generation: u64,
    /// SHA-256 of the effective policy now in use.
    pub policy: [u8; 32],
    /// Whether the policy is another one than before.
    pub policy_changed: bool,
}
