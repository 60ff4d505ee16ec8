//! The rates of rules: a bucket for each rule and payer, in monotonic time.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use keyagent_core::policy::{Bucket, Meter, Payer, Rate};

/// Most buckets; full ones are dropped first, for a full one says nothing. Only what the policy names has one, so that
/// no caller can fill the room.
const MAX_BUCKETS: usize = 16_384;

/// All buckets.
pub(crate) struct Rates {
    started: Instant,
    buckets: Mutex<BTreeMap<(u16, Payer), (Bucket, Rate)>>,
}

impl Rates {
    /// Nobody has asked for anything yet.
    pub(crate) fn new(started: Instant) -> Self {
        Self { started, buckets: Mutex::default() }
    }

    /// Rules have other numbers now.
    pub(crate) fn forget(&self) {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn take_at(&self, rule: u16, rate: &Rate, payer: Payer, now: u64) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&(rule, payer)) {
            buckets.retain(|_, (bucket, rate)| !bucket.is_full(rate, now));
            if buckets.len() >= MAX_BUCKETS {
                // Nobody is served on credit.
                return false;
            }
        }
        let (bucket, _) = buckets.entry((rule, payer)).or_insert_with(|| (Bucket::full(rate, now), *rate));
        bucket.take(rate, now)
    }
}

/// The meter of one burst.
pub(crate) struct MeterOf<'s>(pub(crate) &'s Rates);

impl Meter for MeterOf<'_> {
    fn take(&mut self, rule: u16, rate: &Rate, payer: Payer) -> bool {
        let now = u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.take_at(rule, rate, payer, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_payer_has_a_rate_of_its_own_and_full_buckets_make_room() {
        let rates = Rates::new(Instant::now());
        let rate = Rate { count: 1, per_seconds: 1, burst: 2 };
        let take = |uid, now| rates.take_at(0, &rate, Payer::User(uid), now);
        assert_eq!([take(1, 0), take(1, 0), take(1, 0), take(2, 0)], [true, true, false, true]);
        assert!(take(1, 1000) && !take(1, 1000) && take(2, 1000));
        for uid in 3..=u32::try_from(MAX_BUCKETS).unwrap() {
            assert!(take(uid, 1000), "{uid}");
        }
        assert_eq!(rates.buckets.lock().unwrap().len(), MAX_BUCKETS);
        assert!(!take(70_000, 1000), "no room, and none of them is full");
        assert!(take(70_000, 60_000));
        assert_eq!(rates.buckets.lock().unwrap().len(), 1);
        rates.forget();
        assert!(take(1, 60_000) && take(1, 60_000) && !take(1, 60_000));
    }

    #[test]
    fn everybody_together_is_not_one_user_nor_a_delegate() {
        let rates = Rates::new(Instant::now());
        let rate = Rate { count: 1, per_seconds: 1, burst: 1 };
        for payer in [Payer::Everybody, Payer::User(0), Payer::Delegates(0), Payer::Delegates(1)] {
            assert!(rates.take_at(0, &rate, payer, 0) && !rates.take_at(0, &rate, payer, 0), "{payer:?}");
        }
    }
}
