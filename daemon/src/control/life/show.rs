//! `key_show`: not recorded, for no key is touched.

use std::sync::PoisonError;

use keyagent_common::{
    codec,
    error::ErrorCode,
    op::{KeyShowReply, KeyShowRequest, RotationPolicy, VersionUsage},
};
use keyagent_core::{
    change,
    keyring::{Key, Label, Version},
    reply::{NoRoom, ReplyBuffer},
};

use super::super::{
    Asked, LOCKED, MALFORMED,
    keys::{deny, entry, failed, is_allowed_on, parse, refused, shown},
};
use crate::state::{EngineState, Shared};

/// Everything that the caller may know of one key.
pub(in crate::control) fn show(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(KeyShowRequest { key: name }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    if !is_allowed_on(asked, name) {
        return deny(asked, name, replies);
    }
    let shared = asked.shared;
    let engine = shared.engine.read().unwrap_or_else(PoisonError::into_inner);
    let EngineState::Unlocked(unlocked) = &*engine else {
        return replies.error(asked.id, ErrorCode::Locked, &LOCKED);
    };
    let keyring = unlocked.keyring();
    let found = parse(name).and_then(|parsed| {
        keyring.find(parsed.as_str()).ok_or_else(|| refused(&change::ChangeError::NoSuchKey, name))
    });
    let key = match found {
        Ok(key) => key,
        Err(report) => {
            drop(engine);
            return failed(asked, name, keyagent_core::audit::record::Details::default(), &report, replies);
        }
    };
    let oversees = asked.caller.rights.sees_everything();
    let told = shown::versions(key).into_iter().filter(|_| oversees);
    let reply = KeyShowReply {
        key: entry(shared, key, oversees),
        policy: policy_of(key),
        purpose: key.label(Label::Purpose),
        owner: key.label(Label::Owner),
        url: key.label(Label::Url),
        usage: told.map(|version| usage_of(shared, key, version)).collect(),
        generation: keyring.generation(),
    };
    shown::tell(asked.id, &reply, replies)
}

fn policy_of(key: &Key) -> RotationPolicy {
    let policy = key.policy;
    RotationPolicy {
        enabled: policy.enabled,
        interval_days: policy.interval_days,
        grace_period_days: policy.grace_period_days,
        next_rotation_at: policy.next_rotation_at,
        last_rotation_at: policy.last_rotation_at,
        auto_retire: policy.auto_retire,
    }
}

/// How much a version was used.
fn usage_of(shared: &Shared, key: &Key, version: &Version) -> VersionUsage {
    let used = shared.key_usage.of(version);
    VersionUsage {
        number: version.number,
        encryptions: used.encryptions,
        decryptions: used.decryptions,
        encrypted_at: used.encrypted_at,
        decrypted_at: used.decrypted_at,
        exact: used.exact,
        grace_ends_at: change::grace_ends_at(key, version).unwrap_or_default(),
    }
}
