//! Operations on the agent and on its keys, as a test asks for them.

use std::{fs, path::PathBuf};

use keyagent_common::{
    codec,
    error::ErrorCode,
    op::{
        CheckResult, Empty, Health, HealthReply, KeyCreate, KeyCreateReply, KeyCreateRequest, KeyDisable,
        KeyDisableRequest, KeyEnable, KeyEnableRequest, KeyList, KeyListReply, KeyListRequest, KeyStanding,
        KeysChangedReply, Maintenance, MaintenanceReply, MaintenanceRequest, Reload, ReloadReply, Watch,
        WatchReply, WatchRequest,
    },
};

use super::{Client, Home, client::Reply};

/// Keys that seal messages.
pub(crate) const MESSAGE: u8 = 1;

/// What `health` says.
#[derive(Debug)]
pub(crate) struct Healthy {
    pub(crate) status: String,
    pub(crate) error: String,
    checks: Vec<(String, CheckResult, String)>,
}

impl Healthy {
    /// Result and words of one check.
    pub(crate) fn check(&self, name: &str) -> (CheckResult, &str) {
        let found = self.checks.iter().find(|(check, ..)| check == name);
        found.map(|(_, result, words)| (*result, words.as_str())).unwrap()
    }
}

/// One event, and where to go on.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) next: u64,
    pub(crate) lost: bool,
    /// Kind, key, message.
    pub(crate) events: Vec<(String, String, String)>,
}

impl Watched {
    /// Of the body of a reply.
    pub(crate) fn decode(body: &[u8]) -> Self {
        let reply = codec::decode::<WatchReply<'_>>(body).unwrap();
        let told = reply.events.iter();
        let events = told.map(|event| (event.kind.into(), event.key.into(), event.message.into())).collect();
        Self { next: reply.next, lost: reply.lost, events }
    }

    /// How many events of a kind concern a key.
    pub(crate) fn count(&self, kind: &str, key: &str) -> usize {
        self.events.iter().filter(|(found, of, _)| found == kind && of == key).count()
    }
}

/// What, why and fix of a refusal.
pub(crate) fn words(reply: &Reply) -> String {
    let texts = codec::decode::<keyagent_common::op::ErrorReply<'_>>(&reply.body).unwrap();
    format!("{} | {} | {}", texts.what, texts.why, texts.fix)
}

impl Client {
    /// `key_create`
    pub(crate) fn create_key(&mut self, key: &str) -> Result<KeyCreateReply, ErrorCode> {
        let request = KeyCreateRequest { key, class: MESSAGE, note: "" };
        let body = self.ask::<KeyCreate>(&request).success()?;
        Ok(codec::decode(&body).unwrap())
    }

    /// `key_disable`, with the brake `disabled`.
    pub(crate) fn disable(&mut self, key: &str) -> Result<KeysChangedReply, ErrorCode> {
        self.brake(key, false).success().map(|body| codec::decode(&body).unwrap())
    }

    /// `key_disable`
    pub(crate) fn brake(&mut self, key: &str, compromised: bool) -> Reply {
        self.ask::<KeyDisable>(&KeyDisableRequest { version: 0, key, compromised, reason: "a test" })
    }

    /// `key_enable`
    pub(crate) fn enable(
        &mut self,
        key: &str,
        lift_compromised: bool,
    ) -> Result<KeysChangedReply, ErrorCode> {
        let request = KeyEnableRequest { version: 0, key, lift_compromised, reason: "tested" };
        let body = self.ask::<KeyEnable>(&request).success()?;
        Ok(codec::decode(&body).unwrap())
    }

    /// `key_list`: name, standing and when a rotation is due (0: never) of every key.
    pub(crate) fn keys(&mut self) -> Vec<(String, KeyStanding, u64)> {
        let body = self.ask::<KeyList>(&KeyListRequest { after: "", limit: 256 }).success().unwrap();
        let reply = codec::decode::<KeyListReply<'_>>(&body).unwrap();
        reply.keys.iter().map(|key| (key.name.to_owned(), key.standing, key.due_at)).collect()
    }

    /// `maintenance`; whether that changed anything.
    pub(crate) fn maintenance(&mut self, on: bool) -> Result<bool, ErrorCode> {
        let body = self.ask::<Maintenance>(&MaintenanceRequest { on, reason: "a test" }).success()?;
        Ok(codec::decode::<MaintenanceReply>(&body).unwrap().changed)
    }

    /// `reload`
    pub(crate) fn reload(&mut self) -> Result<ReloadReply, ErrorCode> {
        let body = self.ask::<Reload>(&Empty {}).success()?;
        Ok(codec::decode(&body).unwrap())
    }

    /// `health`
    pub(crate) fn health(&mut self) -> Healthy {
        let body = self.ask::<Health>(&Empty {}).success().unwrap();
        let HealthReply { status, error, checks } = codec::decode(&body).unwrap();
        let checks = checks.iter().map(|check| (check.name.into(), check.result, check.message.into()));
        Healthy { status: status.into(), error: error.into(), checks: checks.collect() }
    }

    /// `watch`
    pub(crate) fn watch(&mut self, after: u64, wait_milliseconds: u32) -> Result<Watched, ErrorCode> {
        let body = self.ask::<Watch>(&WatchRequest { after, wait_milliseconds }).success()?;
        Ok(Watched::decode(&body))
    }
}

impl Home {
    /// Writes a configuration, to be named with `--config`.
    pub(crate) fn configure(&self, text: &str) -> PathBuf {
        let path = self.join("config.toml");
        fs::write(&path, text).unwrap();
        super::chmod(&path, 0o600);
        path
    }
}
