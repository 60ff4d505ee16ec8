//! After wrong master keys the next attempt has to wait, longer each time: whoever guesses gets nowhere,
//! and the log is not flooded.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use keyagent_common::{error::ErrorCode, report::Report};

/// So many wrong keys cost nothing: people mistype.
const FREE: u32 = 2;
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(1);

/// How often it went wrong, and until when nobody may try.
#[derive(Default)]
pub(crate) struct BackOff(Mutex<State>);

#[derive(Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
}

impl BackOff {
    /// Refuses an attempt that comes too early.
    pub(crate) fn check(&self) -> Result<(), Report> {
        self.check_at(Instant::now())
    }

    /// Notes how an attempt ended.
    pub(crate) fn note(&self, result: Result<(), &Report>) {
        self.note_at(result.map_err(|report| report.code), Instant::now());
    }

    fn check_at(&self, now: Instant) -> Result<(), Report> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = state.until.map(|until| until.saturating_duration_since(now)) else { return Ok(()) };
        if left.is_zero() {
            return Ok(());
        }
        let seconds = left.as_millis().div_ceil(1000);
        Err(Report::new(ErrorCode::Busy, format!("too many wrong keys: wait {seconds} s"))
            .why(format!("{} attempts to unlock failed", state.failures))
            .fix(format!("keyagent unlock          (in {seconds} s)")))
    }

    fn note_at(&self, result: Result<(), ErrorCode>, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => *state = State::default(),
            Err(ErrorCode::WrongMasterKey | ErrorCode::KeyMalformed) => {
                state.failures = state.failures.saturating_add(1);
                let doublings = state.failures.saturating_sub(FREE + 1).min(6);
                let wait = Duration::from_secs(1 << doublings).min(LONGEST);
                state.until = (state.failures > FREE).then(|| now + wait);
            }
            // Nobody guessed.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_key_waits_longer_and_the_right_one_ends_it() {
        let back_off = BackOff::default();
        let start = Instant::now();
        let wrong = |at| back_off.note_at(Err(ErrorCode::WrongMasterKey), at);
        let mut waits = Vec::new();
        for _ in 0..12 {
            wrong(start);
            let wait = (0..120).find(|second| back_off.check_at(start + Duration::from_secs(*second)).is_ok());
            waits.push(wait.unwrap());
        }
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        back_off.note_at(Err(ErrorCode::StoreFailed), start);
        assert!(back_off.check_at(start).is_err(), "another failure changes nothing");
        back_off.note_at(Ok(()), start);
        assert!(back_off.check_at(start).is_ok());
        wrong(start);
        assert!(back_off.check_at(start).is_ok(), "the count begins anew");
    }
}
