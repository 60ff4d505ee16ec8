//! A request on data, and what the audit log has to say about it.
//!
//! Must never hold what was sealed or opened, nor a context's values.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use keyagent_common::op::OperationCode;

use super::Batched;
use crate::{caller::Caller, ops::OperationError};

/// A request on data, as it came out of its frame.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    /// Which operation.
    pub operation: OperationCode,
    /// Chosen by the client.
    pub id: u32,
    /// The body.
    pub body: &'r [u8],
}

/// What the audit log has to say about a request that was answered.
#[derive(Debug, Clone)]
pub struct Facts<'r> {
    /// Which operation.
    pub operation: OperationCode,
    /// To answer again, should the log refuse.
    pub request_id: u32,
    /// Where its reply begins in the buffer.
    pub reply_start: usize,
    /// The key's name, if one was found.
    pub key: Option<&'r str>,
    /// Id and number of the version, if one was found: of the one that was used; the primary one of a look-up, and
    /// where it failed of a request that names only the key.
    pub version: Option<(&'r [u8; 32], u32)>,
    /// Every version of the key that opens data was used.
    pub is_look_up: bool,
    /// Bytes of payload in the request.
    pub bytes: u64,
    /// Context names with the keyed hashes of their values; empty if no key was found.
    pub context: Vec<(&'r str, [u8; 16])>,
    /// Why it failed, if it did.
    pub failure: Option<OperationError>,
    /// Name of the rule that allowed it, or whose obligation was not met; `None` for a role and for "denied".
    pub rule: Option<Arc<str>>,
    /// For whom it was asked, by the word of the caller.
    pub on_behalf_of: Option<OnBehalf>,
    /// Of a batch that was answered item by item; then `operation` is that of the items, `key`, `context` and `rule`
    /// are what all of them have in common, and there is no failure of the whole.
    pub batch: Option<Box<Batched<'r>>>,
}

impl Facts<'_> {
    /// Nothing is known yet but what was asked, and where its reply begins.
    pub fn of(request: Request<'_>, reply_start: usize) -> Self {
        Self {
            operation: request.operation,
            request_id: request.id,
            reply_start,
            key: None,
            version: None,
            is_look_up: false,
            bytes: 0,
            context: Vec::new(),
            failure: None,
            rule: None,
            on_behalf_of: None,
            batch: None,
        }
    }
}

/// For whom a delegate asked; its own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBehalf {
    /// User id.
    pub uid: u32,
    /// Group id, where it decided anything.
    pub gid: Option<u32>,
    /// Systemd system unit.
    pub unit: Option<Box<str>>,
}

impl OnBehalf {
    pub(super) fn of(caller: &Caller<'_>) -> Option<Self> {
        caller.on_behalf_of.map(|asserted| Self {
            uid: asserted.uid,
            gid: caller.named_group(),
            unit: asserted.unit.map(Box::from),
        })
    }
}
