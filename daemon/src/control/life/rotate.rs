//! `key_rotate` and `key_promote`: which version new data is sealed with.

use keyagent_common::{
    codec,
    error::ErrorCode,
    name::KeyName,
    op::{KeyRotateReply, KeyRotateRequest, KeyStanding, Takeover, VersionRequest, WatchSeverity},
    report::Report,
};
use keyagent_core::{
    audit::record::Details,
    change::{self, ChangeError, Promoted, Rotated, Rotation, VersionChange},
    keyring::{Brake, Reason, State},
    reply::{NoRoom, ReplyBuffer},
};

use super::{Done, Ring, for_version, moving, run, tell, version_reply};
use crate::{
    control::{
        Asked, MALFORMED,
        change::hold_in_engine,
        keys::{refused, some},
    },
    store::SystemEntropy,
    timers,
};

/// `key_rotate`
pub(in crate::control) fn rotate(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(request) = codec::decode::<KeyRotateRequest<'_>>(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let KeyRotateRequest { key, reason, takeover, lift, note } = request;
    let word = Reason::from_byte(reason).map(Reason::as_str);
    let details = Details { reason: word, note: some(note), ..Details::default() };
    let lift = brake_of(lift);
    let make = |keyring: &Ring, name: KeyName<'_>| {
        let reason = Reason::from_byte(reason).ok_or_else(|| {
            Report::new(ErrorCode::InvalidRequest, "there is no such reason for a rotation")
        })?;
        if !change::is_reason(note) {
            return Err(refused(&ChangeError::UnfitReason, key));
        }
        if lift.is_some() && asked.shared.held.brake(key) > lift {
            return Err(refused(&ChangeError::IsCompromised, key));
        }
        let takeover = match takeover {
            Takeover::Staged => change::Takeover::Staged,
            Takeover::Grace => change::Takeover::Grace,
            Takeover::RefuseOld => change::Takeover::RefuseOld,
        };
        let rotation = Rotation { reason, takeover, lift };
        let now = timers::now(asked.shared);
        let made = change::rotate(keyring, name, rotation, now, &mut SystemEntropy);
        let (draft, rotated) = made.map_err(|error| refused(&error, key))?;
        Ok((Some(draft), of_rotation(Some(asked), key, details, rotated)))
    };
    let answer = |rotated: &Rotated, generation, replies: &mut ReplyBuffer<'_>| {
        if lift.is_some() {
            let released = asked.shared.held.to_lift(key, lift == Some(Brake::Compromised));
            asked.shared.held.release(&released);
            hold_in_engine(asked.shared);
        }
        let severity =
            if reason == Reason::Compromise as u8 { WatchSeverity::Critical } else { WatchSeverity::Info };
        let how = if rotated.replaced.is_some() { "primary" } else { "staged" };
        tell(asked, key, severity, format!("version {} is {how}: {note}", rotated.version));
        replies.success(asked.id, &rotation_reply(rotated, generation))
    };
    run(asked, (key, details), make, answer, replies)
}

fn rotation_reply(rotated: &Rotated, generation: u64) -> KeyRotateReply {
    KeyRotateReply {
        version: rotated.version,
        key_id: rotated.key_id,
        replaced: rotated.replaced.map_or(0, |moved| moved.version),
        replaced_state: rotated.replaced.map_or(0, |moved| moved.to as u8),
        lifted: match rotated.lifted {
            None => KeyStanding::Active,
            Some(Brake::Disabled) => KeyStanding::Disabled,
            Some(Brake::Compromised) => KeyStanding::Compromised,
        },
        next_rotation_at: rotated.next_rotation_at,
        generation,
    }
}

fn brake_of(standing: KeyStanding) -> Option<Brake> {
    match standing {
        KeyStanding::Active => None,
        KeyStanding::Disabled => Some(Brake::Disabled),
        KeyStanding::Compromised => Some(Brake::Compromised),
    }
}

/// A rotation as the log tells it; without a caller it was the daemon itself.
pub(super) fn of_rotation<'a>(
    asked: Option<&'a Asked<'a>>,
    key: &'a str,
    details: Details<'a>,
    rotated: Rotated,
) -> Done<'a, Rotated> {
    let to = if rotated.replaced.is_some() { State::Primary } else { State::Staged };
    let details = Details {
        version: Some(rotated.version),
        to: Some(to.as_str()),
        replaced: rotated.replaced.map(|moved| (moved.version, moved.to.as_str())),
        brake: rotated.lifted.map(Brake::as_str),
        ..details
    };
    Done {
        caller: asked.map(|asked| asked.caller),
        operation: "key_rotate",
        key,
        key_id: Some(rotated.key_id),
        changed: None,
        details,
        result: rotated,
    }
}

/// `key_promote`
pub(in crate::control) fn promote(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(VersionRequest { key, version, reason }) = codec::decode(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let details = for_version(version, reason);
    let make = |keyring: &Ring, name: KeyName<'_>| {
        let version = if version == 0 { staged(keyring, name)? } else { version };
        let change = VersionChange { name, version, reason, now_unix: timers::now(asked.shared) };
        let made = change::promote(keyring, change).map_err(|error| refused(&error, key))?;
        let (draft, promoted) = made;
        let draft = Some(draft).filter(|_| promoted.promoted.is_change());
        Ok((draft, of_promotion(Some(asked), key, details, promoted)))
    };
    let answer = |promoted: &Promoted, generation, replies: &mut ReplyBuffer<'_>| {
        if promoted.promoted.is_change() {
            let message = format!("version {} is primary: {reason}", promoted.promoted.version);
            tell(asked, key, WatchSeverity::Info, message);
        }
        let replaced = promoted.replaced.map_or(0, |moved| moved.version);
        replies.success(asked.id, &version_reply(&promoted.promoted, replaced, generation))
    };
    run(asked, (key, details), make, answer, replies)
}

/// Number of the version that is staged.
fn staged(keyring: &Ring, name: KeyName<'_>) -> Result<u32, Report> {
    let key = keyring.find(name.as_str()).ok_or_else(|| refused(&ChangeError::NoSuchKey, name.as_str()))?;
    let staged = key.versions.iter().find(|version| version.state == State::Staged);
    staged.map(|version| version.number).ok_or_else(|| {
        Report::new(ErrorCode::WrongState, "no version of the key is staged")
            .fact("key", name.as_str())
            .fix(format!("keyagent keys rotate {} --stage", name.as_str()))
    })
}

/// A promotion as the log tells it; without a caller it was the daemon itself.
pub(super) fn of_promotion<'a>(
    asked: Option<&'a Asked<'a>>,
    key: &'a str,
    details: Details<'a>,
    promoted: Promoted,
) -> Done<'a, Promoted> {
    let replaced = promoted.replaced.map(|moved| (moved.version, moved.to.as_str()));
    Done {
        caller: asked.map(|asked| asked.caller),
        operation: "key_promote",
        key,
        key_id: promoted.promoted.key_id,
        changed: None,
        details: Details { replaced, ..moving(details, &promoted.promoted) },
        result: promoted,
    }
}
