//! After wrong master keys the next attempt of the same user has to wait, longer each time: whoever guesses gets
//! nowhere, and the log is not flooded.
//!
//! Per user, so that nobody can keep another from unlocking. Root, the owner and admins never wait: in an emergency
//! they must get in, and could restart the daemon anyway.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use keyagent_common::{error::ErrorCode, report::Report};
use keyagent_core::caller::Caller;

/// So many wrong keys cost nothing: people mistype.
const FREE: u32 = 2;
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(1);
/// Nothing is remembered longer than this after the last attempt.
const FORGOTTEN: Duration = Duration::from_hours(1);
/// Most users that are remembered. Beyond them everybody but the exempt waits as long as the slowest.
const MOST_USERS: usize = 1024;

/// How often it went wrong for whom, and until when they may not try.
#[derive(Default)]
pub(crate) struct BackOff(Mutex<BTreeMap<u32, State>>);

#[derive(Clone, Copy)]
struct State {
    failures: u32,
    until: Instant,
}

impl BackOff {
    /// Refuses an attempt that comes too early.
    pub(crate) fn check(&self, caller: &Caller<'_>) -> Result<(), Report> {
        if is_exempt(caller) { Ok(()) } else { self.check_at(caller.uid, Instant::now()) }
    }

    /// Notes how an attempt ended.
    pub(crate) fn note(&self, caller: &Caller<'_>, result: Result<(), &Report>) {
        if !is_exempt(caller) {
            self.note_at(caller.uid, result.map_err(|report| report.code), Instant::now());
        }
    }

    fn check_at(&self, uid: u32, now: Instant) -> Result<(), Report> {
        let users = self.users();
        let found = users.get(&uid).copied();
        let state = if found.is_none() && users.len() >= MOST_USERS {
            users.values().max_by_key(|state| state.until).copied()
        } else {
            found
        };
        let Some(State { failures, until }) = state else { return Ok(()) };
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            return Ok(());
        }
        let seconds = left.as_millis().div_ceil(1000);
        Err(Report::new(ErrorCode::Busy, format!("too many wrong keys: wait {seconds} s"))
            .why(format!("{failures} attempts to unlock failed"))
            .fix(format!("keyagent unlock          (in {seconds} s)")))
    }

    fn note_at(&self, uid: u32, result: Result<(), ErrorCode>, now: Instant) {
        let mut users = self.users();
        users.retain(|_, state| now.saturating_duration_since(state.until) < FORGOTTEN);
        match result {
            Ok(()) => {
                users.remove(&uid);
            }
            Err(ErrorCode::WrongMasterKey | ErrorCode::KeyMalformed) => {
                if users.len() >= MOST_USERS && !users.contains_key(&uid) {
                    return;
                }
                let state = users.entry(uid).or_insert(State { failures: 0, until: now });
                state.failures = state.failures.saturating_add(1);
                let doublings = state.failures.saturating_sub(FREE + 1).min(6);
                let wait = Duration::from_secs(1 << doublings).min(LONGEST);
                state.until = if state.failures > FREE { now + wait } else { now };
            }
            // Nobody guessed.
            Err(_) => {}
        }
    }

    fn users(&self) -> MutexGuard<'_, BTreeMap<u32, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_exempt(caller: &Caller<'_>) -> bool {
    caller.uid == 0 || caller.rights.is_admin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_key_waits_longer_and_the_right_one_ends_it() {
        let back_off = BackOff::default();
        let start = Instant::now();
        let wrong = |at| back_off.note_at(7, Err(ErrorCode::WrongMasterKey), at);
        let mut waits = Vec::new();
        for _ in 0..12 {
            wrong(start);
            let wait =
                (0..120).find(|second| back_off.check_at(7, start + Duration::from_secs(*second)).is_ok());
            waits.push(wait.unwrap());
        }
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        back_off.note_at(7, Err(ErrorCode::StoreFailed), start);
        assert!(back_off.check_at(7, start).is_err(), "another failure changes nothing");
        assert!(back_off.check_at(8, start).is_ok(), "others do not wait");
        back_off.note_at(8, Ok(()), start);
        assert!(back_off.check_at(7, start).is_err(), "nor do they end it");
        back_off.note_at(7, Ok(()), start);
        assert!(back_off.check_at(7, start).is_ok());
        wrong(start);
        assert!(back_off.check_at(7, start).is_ok(), "the count begins anew");
    }

    #[test]
    fn many_users_do_not_open_a_way_around() {
        let back_off = BackOff::default();
        let start = Instant::now();
        for uid in 0..5000 {
            for _ in 0..3 {
                back_off.note_at(uid, Err(ErrorCode::WrongMasterKey), start);
            }
        }
        assert_eq!(back_off.users().len(), MOST_USERS);
        assert!(back_off.check_at(4999, start).is_err(), "whoever is not remembered waits as well");
        let later = start + FORGOTTEN + Duration::from_secs(2);
        back_off.note_at(1, Ok(()), later);
        assert!(back_off.users().is_empty());
    }
}
