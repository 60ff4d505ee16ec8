//! `key_destroy`: secrets removed for ever, of one version or of a whole key.

use keyagent_common::{
    codec,
    error::ErrorCode,
    name::KeyName,
    op::{KeyDestroyReply, KeyDestroyRequest, NeededVersion, WatchSeverity},
};
use keyagent_core::{
    audit::record::Details,
    change::{self, ChangeError, Moved, StillNeeded, VersionChange},
    keyring::{Draft, Key, State, Version},
    reply::{NoRoom, ReplyBuffer},
};
use keyagent_sys::memory::LockedArena;

use super::{Done, Ring, for_version, of, run, tell};
use crate::{
    clock,
    control::{Asked, MALFORMED, keys::refused},
    timers,
};

/// `key_destroy`
pub(in crate::control) fn destroy(asked: &Asked<'_>, replies: &mut ReplyBuffer<'_>) -> Result<(), NoRoom> {
    let Ok(request) = codec::decode::<KeyDestroyRequest<'_>>(asked.body) else {
        return asked.refuse(ErrorCode::Malformed, &MALFORMED, replies);
    };
    let KeyDestroyRequest { key, version, force, reason } = request;
    let details = Details { force, ..for_version(version, reason) };
    let make = |keyring: &Ring, name: KeyName<'_>| {
        let now_unix = timers::now(asked.shared);
        let clock_unix = clock::unix_seconds();
        let needed_by = |_: &Key, version: &Version| asked.shared.key_usage.still_needs(version, clock_unix);
        let (draft, gone) = if version == 0 {
            Gone::whole(keyring, name, (reason, force, now_unix), &needed_by)
        } else {
            Gone::one(keyring, VersionChange { name, version, reason, now_unix }, force, &needed_by)
        }
        .map_err(|error| match refused(&error, key) {
            report if report.code == ErrorCode::StillNeeded && version == 0 => report
                .fix(format!("if nothing of it is needed: keyagent keys destroy {key} --whole-key --force")),
            report => report,
        })?;
        let draft = Some(draft).filter(|_| !gone.moved.is_empty());
        let count = Some(gone.moved.len() as u64).filter(|_| version == 0);
        let (from, key_id) = match (version, gone.moved.first()) {
            (1.., Some(moved)) => (Some(moved.from.as_str()), moved.key_id),
            _ => (None, None),
        };
        let details = Details { count, from, to: Some(State::Destroyed.as_str()), ..details };
        Ok((draft, Done { key_id, ..of(asked, key, details, gone) }))
    };
    let answer = |gone: &Gone, generation, replies: &mut ReplyBuffer<'_>| {
        let destroyed: Vec<u32> = gone.moved.iter().map(|moved| moved.version).collect();
        if !destroyed.is_empty() {
            let message = format!("{} versions are destroyed: {reason}", destroyed.len());
            tell(asked, key, WatchSeverity::Critical, message);
        }
        let needed = gone.needed.iter().map(|(version, why)| NeededVersion { version: *version, why });
        let needed = needed.collect();
        let from_master = gone.from_master;
        replies.success(asked.id, &KeyDestroyReply { destroyed, needed, from_master, generation })
    };
    run(asked, (key, details), make, answer, replies)
}

/// What was destroyed.
struct Gone {
    moved: Vec<Moved>,
    needed: Vec<(u32, String)>,
    from_master: bool,
}

impl Gone {
    fn one(
        keyring: &Ring,
        change: VersionChange<'_>,
        force: bool,
        needed_by: StillNeeded<'_>,
    ) -> Result<(Draft<LockedArena>, Self), ChangeError> {
        let (draft, destroyed) = change::destroy(keyring, change, needed_by, force)?;
        let change::Destroyed { moved, needed, from_master } = destroyed;
        let needed = needed.map(|why| (moved.version, why)).into_iter().collect();
        let moved = Some(moved).filter(Moved::is_change).into_iter().collect();
        Ok((draft, Self { moved, needed, from_master }))
    }

    fn whole(
        keyring: &Ring,
        name: KeyName<'_>,
        (reason, force, now_unix): (&str, bool, u64),
        needed_by: StillNeeded<'_>,
    ) -> Result<(Draft<LockedArena>, Self), ChangeError> {
        let (draft, gone) = change::destroy_key(keyring, name, reason, needed_by, force, now_unix)?;
        let change::KeyDestroyed { moved, needed } = gone;
        Ok((draft, Self { moved, needed, from_master: false }))
    }
}
