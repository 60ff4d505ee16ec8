//! What overseers ask: the log, events and which keys there are, as methods of a connection.
//!
//! Only shapes and times are settled here; who may do it, the daemon decides.

use std::time::Duration;

use keyagent_common::op::{
    AuditQuery, AuditQueryReply, AuditQueryRequest, Empty, KeyList, KeyListReply, KeyListRequest,
    MAX_WATCH_MILLISECONDS, Maintenance, MaintenanceRequest, Reload, ReloadReply, Watch, WatchReply,
    WatchRequest,
};

use crate::{Connection, Error};

impl Connection {
    /// Lets the daemon read configuration, policy and keyring again (docs/PROTOCOL.md, section 5).
    pub fn reload(&mut self) -> Result<ReloadReply, Error> {
        self.call::<Reload>(&Empty {})
    }

    /// Begins or ends maintenance; false if it was so before. A reason has at most 256 bytes.
    pub fn maintenance(&mut self, on: bool, reason: &str) -> Result<bool, Error> {
        Ok(self.call::<Maintenance>(&MaintenanceRequest { on, reason })?.changed)
    }

    /// A page of the audit log: whole lines as they stand there.
    pub fn audit_query(&mut self, request: &AuditQueryRequest) -> Result<AuditQueryReply<'_>, Error> {
        self.call::<AuditQuery>(request)
    }

    /// Events behind a number, `u64::MAX` for the present end; waits at most 30 seconds where there is none.
    pub fn watch(&mut self, after: u64, wait: Duration) -> Result<WatchReply<'_>, Error> {
        let most = Duration::from_millis(MAX_WATCH_MILLISECONDS.into());
        let wait = wait.min(most);
        let wait_milliseconds = u32::try_from(wait.as_millis()).unwrap_or(MAX_WATCH_MILLISECONDS);
        self.call_that_waits::<Watch>(&WatchRequest { after, wait_milliseconds }, wait)
    }

    /// The keys whose names stand behind `after`; the daemon may give fewer than `limit`.
    pub fn key_list(&mut self, after: &str, limit: u32) -> Result<KeyListReply<'_>, Error> {
        self.call::<KeyList>(&KeyListRequest { after, limit })
    }
}
