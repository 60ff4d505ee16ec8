//! What overseers ask: the log, events, keys and brakes, as methods of a connection.
//!
//! Only shapes and times are settled here; who may do it, the daemon decides.

use std::time::Duration;

use keyagent_common::{
    name::KeyName,
    op::{
        AuditQuery, AuditQueryReply, AuditQueryRequest, Empty, KeyCreate, KeyCreateReply, KeyCreateRequest,
        KeyDisable, KeyDisableRequest, KeyEnable, KeyEnableRequest, KeyList, KeyListReply, KeyListRequest,
        KeysChangedReply, MAX_WATCH_MILLISECONDS, Maintenance, MaintenanceRequest, Reload, ReloadReply,
        Watch, WatchReply, WatchRequest,
    },
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

    /// Makes a key of class 01 with one random version. A note has at most 1024 bytes.
    pub fn key_create(&mut self, key: KeyName<'_>, note: &str) -> Result<KeyCreateReply, Error> {
        self.call::<KeyCreate>(&KeyCreateRequest { key: key.as_str(), class: 1, note })
    }

    /// The keys whose names stand behind `after`; the daemon may give fewer than `limit`.
    pub fn key_list(&mut self, after: &str, limit: u32) -> Result<KeyListReply<'_>, Error> {
        self.call::<KeyList>(&KeyListRequest { after, limit })
    }

    /// Refuses a key, or every key, from now on.
    pub fn key_disable(
        &mut self,
        key: Option<KeyName<'_>>,
        compromised: bool,
        reason: &str,
    ) -> Result<KeysChangedReply, Error> {
        let key = key.as_ref().map_or("", |key| key.as_str());
        self.call::<KeyDisable>(&KeyDisableRequest { key, version: 0, compromised, reason })
    }

    /// Serves a key, or every key, again.
    pub fn key_enable(
        &mut self,
        key: Option<KeyName<'_>>,
        lift_compromised: bool,
        reason: &str,
    ) -> Result<KeysChangedReply, Error> {
        let key = key.as_ref().map_or("", |key| key.as_str());
        self.call::<KeyEnable>(&KeyEnableRequest { key, version: 0, lift_compromised, reason })
    }
}
