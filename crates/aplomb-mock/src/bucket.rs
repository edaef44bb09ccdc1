//! A bucket that refills continuously or in fixed windows, exact to the nanosecond.

use std::time::Duration;

use tokio::time::Instant;

/// A minute in nanoseconds. The amount used is kept in units times this, so that refilling is integer arithmetic.
const WINDOW: u128 = 60_000_000_000;

/// A limit of some units per minute or window.
#[derive(Debug)]
pub(crate) struct Bucket {
    limit: u64,
    /// The most units at once; `None` for the whole limit.
    burst: Option<u64>,
    used: u128,
    at: Instant,
    window: Option<Window>,
    /// The units per minute that other clients take.
    others: u64,
}

/// The window under way.
#[derive(Clone, Copy, Debug)]
struct Window {
    length: Duration,
    ends: Instant,
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
    /// A limit per minute that refills continuously, with at most `burst` units at once.
    pub(crate) fn continuous(limit: u64, burst: Option<u64>, now: Instant) -> Self {
        Self { limit: limit.max(1), burst, used: 0, at: now, window: None, others: 0 }
    }

    /// A limit per window. All of it is there at the start of each window, the first of which starts now.
    pub(crate) fn windowed(limit: u64, length: Duration, now: Instant) -> Self {
        let length = length.max(Duration::from_millis(1));
        let window = Window { length, ends: now + length };
        Self { window: Some(window), ..Self::continuous(limit, None, now) }
    }

    /// Lets other clients take this many units per minute, as long as there are any.
    pub(crate) fn shared_with(self, others: u64) -> Self {
        Self { others, ..self }
    }

    /// Changes the limit. The units used stay used.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit.max(1);
    }

    pub(crate) fn burst(&self) -> u64 {
        self.burst.map_or(self.limit, |burst| burst.clamp(1, self.limit))
    }

    /// The length of the windows, or a minute.
    pub(crate) fn period(&self) -> Duration {
        self.window.map_or(Duration::from_secs(60), |window| window.length)
    }

    pub(crate) fn refill(&mut self, now: Instant) {
        match &mut self.window {
            None => {
                let (gained, taken) = (passing(self.at, now, self.limit), passing(self.at, now, self.others));
                self.used = self.used.saturating_sub(gained.saturating_sub(taken));
                self.take(taken.saturating_sub(gained));
            }
            Some(window) => {
                if now >= window.ends {
                    let missed = now.duration_since(window.ends).as_nanos() / window.length.as_nanos();
                    let missed = u32::try_from(missed).unwrap_or(u32::MAX);
                    self.at = window.ends + window.length * missed;
                    window.ends = self.at + window.length;
                    self.used = 0;
                }
                self.take(passing(self.at, now, self.others));
            }
        }
        self.at = self.at.max(now);
    }

    /// Takes a scaled amount out, but no more than there is.
    fn take(&mut self, scaled: u128) {
        self.used = self.used.saturating_add(scaled).min(self.capacity().max(self.used));
    }

    /// Returns how long until `cost` fits, zero if it does: `(used + requested − burst) × window / limit`, rounded up; with
    /// fixed windows, until the next one.
    pub(crate) fn delay(&self, cost: u64) -> Duration {
        let over = self.used.saturating_add(u128::from(cost) * WINDOW).saturating_sub(self.capacity());
        if over == 0 {
            Duration::ZERO
        } else {
            self.time_for(over)
        }
    }

    /// Takes `cost` out, but no more than there is: a refused call that counts may cost more.
    pub(crate) fn charge(&mut self, cost: u64) {
        self.take(u128::from(cost) * WINDOW);
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
            remaining: u64::try_from(remaining).unwrap_or(self.limit),
            full_in: self.time_for(self.used),
        }
    }

    fn capacity(&self) -> u128 {
        u128::from(self.burst()) * WINDOW
    }

    /// The time until this much is refilled; with fixed windows, until the next one.
    fn time_for(&self, scaled: u128) -> Duration {
        if let Some(window) = &self.window {
            return window.ends.saturating_duration_since(self.at);
        }
        let nanos = scaled.div_ceil(self.limit.into());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The scaled amount that passes between two times, at a rate per minute.
fn passing(from: Instant, to: Instant, per_minute: u64) -> u128 {
    to.saturating_duration_since(from).as_nanos().saturating_mul(per_minute.into())
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
            let mut bucket = Bucket::continuous(limit, Some(burst), now);
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
        let mut bucket = Bucket::continuous(30_000, None, Instant::now());
        bucket.charge(14_567);
        assert_eq!(bucket.delay(24_754), Duration::from_millis(18_642));
        // Limit 160000, remaining 159976, reset 9ms.
        let mut bucket = Bucket::continuous(160_000, None, Instant::now());
        bucket.charge(24);
        let level = bucket.level();
        assert_eq!((level.remaining, level.full_in), (159_976, Duration::from_millis(9)));
    }

    #[test]
    fn delays_are_rounded_up_to_the_nanosecond() {
        let mut bucket = Bucket::continuous(7, Some(1), Instant::now());
        bucket.charge(1);
        assert_eq!(bucket.delay(1), Duration::from_nanos(8_571_428_572));
    }

    #[test]
    fn a_debt_is_paid_before_anything_fits() {
        let now = Instant::now();
        let mut bucket = Bucket::continuous(60, Some(10), now);
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
    fn a_window_gives_all_at_its_start_and_nothing_before() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut bucket = Bucket::windowed(5, 10 * second, now);
        bucket.refill(now + 3 * second);
        bucket.charge(5);
        assert_eq!((bucket.delay(1), bucket.level().remaining), (7 * second, 0));
        bucket.refill(now + 10 * second - NANO);
        assert_eq!((bucket.delay(1), bucket.level().full_in), (NANO, NANO));
        bucket.refill(now + 10 * second);
        assert_eq!(bucket.delay(5), Duration::ZERO);
        bucket.charge(2);
        // Windows without requests pass too.
        bucket.refill(now + 57 * second);
        assert_eq!((bucket.level().remaining, bucket.level().full_in), (5, 3 * second));
    }

    #[test]
    fn other_clients_take_their_share_but_no_more_than_there_is() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut bucket = Bucket::continuous(60, Some(10), now).shared_with(45);
        bucket.charge(10);
        bucket.refill(now + 8 * second);
        assert_eq!(bucket.level().remaining, 2);
        bucket.refill(now + 3_600 * second);
        assert_eq!(bucket.level().remaining, 10);
        let mut full = Bucket::continuous(60, Some(10), now).shared_with(120);
        full.refill(now + 3_600 * second);
        assert_eq!((full.level().remaining, full.delay(1)), (0, second));
        let mut window = Bucket::windowed(10, 10 * second, now).shared_with(30);
        window.refill(now + 4 * second);
        assert_eq!(window.level().remaining, 8);
        window.refill(now + 12 * second);
        assert_eq!(window.level().remaining, 9);
    }

    #[test]
    fn a_changed_limit_holds_from_then_on() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut bucket = Bucket::continuous(60, Some(1), now);
        bucket.charge(1);
        bucket.set_limit(600);
        assert_eq!(bucket.delay(1), second / 10);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let now = Instant::now();
        let mut bucket = Bucket::continuous(u64::MAX, None, now);
        bucket.charge(u64::MAX);
        bucket.owe(u64::MAX);
        bucket.give_back(u64::MAX);
        assert!(!bucket.delay(u64::MAX).is_zero());
        bucket.refill(now + Duration::from_secs(1 << 40));
        assert_eq!(bucket.level().remaining, u64::MAX);
    }
}
