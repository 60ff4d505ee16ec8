//! A token bucket in integers: time is an argument, in milliseconds of any clock that never goes back.

use super::Rate;

/// What is left of a rule's rate for one [`Payer`](super::Payer).
///
/// One request costs `per_seconds * 1000` drops; `count` drops flow in each millisecond; `burst` requests'
/// worth fit in. So `count` requests in `per_seconds` seconds, without a fraction lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    drops: u64,
    /// When `drops` was true, in milliseconds.
    at: u64,
}

impl Bucket {
    /// A full bucket.
    pub fn full(rate: &Rate, now_milliseconds: u64) -> Self {
        Self { drops: capacity(rate), at: now_milliseconds }
    }

    /// Pays for one request; whether there was enough. What is not there is not owed.
    pub fn take(&mut self, rate: &Rate, now_milliseconds: u64) -> bool {
        self.refill(rate, now_milliseconds);
        match self.drops.checked_sub(cost(rate)) {
            Some(left) => {
                self.drops = left;
                true
            }
            None => false,
        }
    }

    /// Whether it is full again at this time: then it need not be kept.
    pub fn is_full(&self, rate: &Rate, now_milliseconds: u64) -> bool {
        let mut then = *self;
        then.refill(rate, now_milliseconds);
        then.drops == capacity(rate)
    }

    fn refill(&mut self, rate: &Rate, now_milliseconds: u64) {
        // A clock that goes back gives nothing, and takes nothing.
        let elapsed = now_milliseconds.saturating_sub(self.at);
        let inflow = elapsed.saturating_mul(u64::from(rate.count));
        self.drops = self.drops.saturating_add(inflow).min(capacity(rate));
        self.at = self.at.max(now_milliseconds);
    }
}

fn cost(rate: &Rate) -> u64 {
    u64::from(rate.per_seconds).saturating_mul(1000)
}

fn capacity(rate: &Rate) -> u64 {
    cost(rate).saturating_mul(u64::from(rate.burst))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_then_a_steady_stream() {
        let rate = Rate { count: 2, per_seconds: 60, burst: 3 };
        let mut bucket = Bucket::full(&rate, 1_000);
        assert_eq!([(); 4].map(|()| bucket.take(&rate, 1_000)), [true, true, true, false]);
        assert!(!bucket.take(&rate, 30_999), "a millisecond too early");
        assert!(bucket.take(&rate, 31_000), "half of the time, one of two");
        assert!(!bucket.take(&rate, 31_000));
        assert!(!bucket.is_full(&rate, 31_000 + 89_999));
        assert!(bucket.is_full(&rate, 31_000 + 90_000));
    }

    #[test]
    fn a_long_pause_saves_up_one_burst_and_no_more() {
        let rate = Rate { count: 5, per_seconds: 1, burst: 2 };
        let mut bucket = Bucket::full(&rate, 0);
        let day = 86_400_000;
        assert_eq!([(); 3].map(|()| bucket.take(&rate, day)), [true, true, false]);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let rate = Rate { count: 1, per_seconds: 1, burst: 1 };
        let mut bucket = Bucket::full(&rate, 5_000);
        assert!(bucket.take(&rate, 5_000));
        assert!(!bucket.take(&rate, 0) && !bucket.take(&rate, 5_999) && bucket.take(&rate, 6_000));
    }

    #[test]
    fn extremes_neither_overflow_nor_open() {
        let rate = Rate { count: u32::MAX, per_seconds: u32::MAX, burst: u32::MAX };
        let mut bucket = Bucket::full(&rate, 0);
        assert!(bucket.take(&rate, u64::MAX) && bucket.take(&rate, u64::MAX));
        let nothing = Rate { count: 0, per_seconds: 1, burst: 0 };
        assert!(!Bucket::full(&nothing, 0).take(&nothing, u64::MAX));
    }

    proptest! {
        /// Never more than the burst and what flowed in; never less than asked for at leisure.
        #[test]
        fn never_more_than_the_rate(count in 1..50_u32, per_seconds in 1..100_u32, burst in 1..20_u32, pauses in proptest::collection::vec(0..3_000_u64, 1..300)) {
            let rate = Rate { count, per_seconds, burst };
            let mut bucket = Bucket::full(&rate, 0);
            let (mut now, mut taken) = (0, 0_u64);
            for pause in pauses {
                now += pause;
                taken += u64::from(bucket.take(&rate, now));
                let most = u64::from(burst) + now * u64::from(count) / (u64::from(per_seconds) * 1000);
                prop_assert!(taken <= most);
            }
            let leisure = u64::from(per_seconds) * 1000;
            prop_assert!(bucket.take(&rate, now + leisure), "after a whole period one is free");
        }
    }
}
