//! A bucket that refills continuously, exact to the nanosecond.

use std::time::Duration;

use tokio::time::Instant;

/// A minute in nanoseconds. The amount used is kept in units times this, so that refilling is integer arithmetic.
const WINDOW: u128 = 60_000_000_000;

/// A limit of some units per minute, at most `burst` of them at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    limit: u64,
    burst: u64,
    used: u128,
    at: Instant,
}

/// The state of a bucket, as headers report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    /// The time until the bucket is full, which providers call `reset`.
    pub(crate) full_in: Duration,
}

impl Bucket {
    pub(crate) fn new(limit: u64, burst: u64, now: Instant) -> Self {
        let limit = limit.max(1);
        Self { limit, burst: burst.clamp(1, limit), used: 0, at: now }
    }

    pub(crate) fn burst(&self) -> u64 {
        self.burst
    }

    pub(crate) fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        let gained = passed.as_nanos().saturating_mul(self.limit.into());
        self.used = self.used.saturating_sub(gained);
        self.at = self.at.max(now);
    }

    /// Returns how long until `cost` fits, zero if it does: `(used + requested − burst) × window / limit`, rounded up.
    pub(crate) fn delay(&self, cost: u64) -> Duration {
        let over = self.used.saturating_add(u128::from(cost) * WINDOW).saturating_sub(self.capacity());
        self.time_for(over)
    }

    /// Takes `cost` out, but no more than there is: a refused call that counts may cost more.
    pub(crate) fn charge(&mut self, cost: u64) {
        let charged = self.used.saturating_add(u128::from(cost) * WINDOW);
        self.used = charged.min(self.capacity().max(self.used));
    }

    /// Takes `cost` out after the fact, even if there is less: the debt is paid before anything else fits.
    pub(crate) fn owe(&mut self, cost: u64) {
        self.used = self.used.saturating_add(u128::from(cost) * WINDOW);
    }

    /// Puts `cost` back.
    pub(crate) fn give_back(&mut self, cost: u64) {
        self.used = self.used.saturating_sub(u128::from(cost) * WINDOW);
    }

    pub(crate) fn level(&self) -> Level {
        let remaining = self.capacity().saturating_sub(self.used) / WINDOW;
        Level {
            limit: self.limit,
            remaining: u64::try_from(remaining).unwrap_or(self.burst),
            full_in: self.time_for(self.used),
        }
    }

    fn capacity(&self) -> u128 {
        u128::from(self.burst) * WINDOW
    }

    fn time_for(&self, scaled: u128) -> Duration {
        let nanos = scaled.div_ceil(self.limit.into());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NANO: Duration = Duration::from_nanos(1);

    proptest! {
        #[test]
        fn what_fits_at_the_delay_does_not_fit_a_nanosecond_before(
            limit in 1..1_000_000_u64, burst in 1..1_000_000_u64, costs in prop::collection::vec(1..1_000_u64, 1..40),
        ) {
            let mut now = Instant::now();
            let mut bucket = Bucket::new(limit, burst, now);
            for cost in costs {
                let cost = cost.min(bucket.burst());
                let delay = bucket.delay(cost);
                if !delay.is_zero() {
                    bucket.refill(now + delay - NANO);
                    prop_assert!(!bucket.delay(cost).is_zero());
                }
                now += delay;
                bucket.refill(now);
                prop_assert!(bucket.delay(cost).is_zero());
                bucket.charge(cost);
            }
        }
    }

    #[test]
    fn the_formula_is_the_one_seen_in_the_wild() {
        // "Limit 30000, Used 14567, Requested 24754. Please try again in 18.642s."
        let mut bucket = Bucket::new(30_000, 30_000, Instant::now());
        bucket.charge(14_567);
        assert_eq!(bucket.delay(24_754), Duration::from_millis(18_642));
        // Limit 160000, remaining 159976, reset 9ms.
        let mut bucket = Bucket::new(160_000, 160_000, Instant::now());
        bucket.charge(24);
        let level = bucket.level();
        assert_eq!((level.remaining, level.full_in), (159_976, Duration::from_millis(9)));
    }

    #[test]
    fn delays_are_rounded_up_to_the_nanosecond() {
        let mut bucket = Bucket::new(7, 1, Instant::now());
        bucket.charge(1);
        assert_eq!(bucket.delay(1), Duration::from_nanos(8_571_428_572));
    }

    #[test]
    fn a_debt_is_paid_before_anything_fits() {
        let now = Instant::now();
        let mut bucket = Bucket::new(60, 10, now);
        bucket.charge(4);
        bucket.owe(9);
        assert_eq!((bucket.delay(1), bucket.level().remaining), (Duration::from_secs(4), 0));
        // Nothing makes a debt smaller but time and what is given back.
        bucket.charge(1);
        assert_eq!(bucket.delay(1), Duration::from_secs(4));
        bucket.give_back(2);
        assert_eq!(bucket.delay(1), Duration::from_secs(2));
        bucket.refill(now + Duration::from_secs(2));
        assert_eq!(bucket.delay(1), Duration::ZERO);
        bucket.give_back(100);
        assert_eq!(bucket.level().remaining, 10);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let now = Instant::now();
        let mut bucket = Bucket::new(u64::MAX, u64::MAX, now);
        bucket.charge(u64::MAX);
        bucket.owe(u64::MAX);
        bucket.give_back(u64::MAX);
        assert!(!bucket.delay(u64::MAX).is_zero());
        bucket.refill(now + Duration::from_secs(1 << 40));
        assert_eq!(bucket.level().remaining, u64::MAX);
    }
}
