//! One quota's bucket: governor decides, the state is ours.
//!
//! governor's GCRA keeps one number per bucket, the theoretical arrival time: how far ahead of the
//! clock the bucket has been drawn. The number is kept here, in nanoseconds since an epoch, and a
//! `RateLimiter` is built around it for each decision, in which now is zero. So governor decides every
//! time, and how often it reads the clock does not matter; a refund is a subtraction and a debt an addition,
//! several buckets can propose before they commit together, and one reading of tokio's clock serves them all.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota as GovernorQuota, RateLimiter};

use crate::Quota;

/// How a bucket fills and how much it holds: a quota in the units of the bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    governor: GovernorQuota,
    /// How long one unit takes to flow back, in nanoseconds.
    interval: u64,
    burst: u32,
    /// The largest debt that one call can leave, in nanoseconds.
    max_debt: u64,
}

/// One call leaves a debt of at most an hour, or of a whole window: the usage that a server reports may be
/// nonsense.
const MIN_MAX_DEBT: u64 = 60 * 60 * 1_000_000_000;

impl Flow {
    pub(crate) fn of(quota: &Quota) -> Self {
        let (interval, burst) = (quota.interval(), quota.max_burst());
        let governor = GovernorQuota::with_period(Duration::from_nanos(interval))
            .expect("a quota's interval is at least a nanosecond")
            .allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN));
        let window = u64::try_from(quota.window().as_nanos()).unwrap_or(u64::MAX);
        let max_debt = MIN_MAX_DEBT.max(window).max(interval.saturating_mul(burst.into()));
        Self { governor, interval, burst, max_debt }
    }

    #[inline]
    pub(crate) const fn interval(&self) -> u64 {
        self.interval
    }

    #[inline]
    pub(crate) const fn burst(&self) -> u32 {
        self.burst
    }

    /// How long this many units take to flow back, in nanoseconds, up to the largest debt.
    #[inline]
    pub(crate) fn debt(&self, units: u64) -> u64 {
        self.interval.saturating_mul(units).min(self.max_debt)
    }
}

/// The state of one quota: four words, of which only the first counts when nothing is in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// The theoretical arrival time, in nanoseconds since the epoch.
    drawn_until: u64,
    /// The units drawn by calls that the server has not answered yet.
    pub(crate) unanswered: u64,
    /// The units drawn by all calls so far; it wraps.
    pub(crate) taken: u64,
    /// The value of `drawn_until` once the last cost that was checked is taken.
    proposed: u64,
}

/// The answer of a bucket to a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// There is enough; taking it draws the bucket until this time.
    Enough { drawn_until: u64 },
    /// There will be enough at this time.
    NotBefore(u64),
    /// There will never be enough: one call may cost at most this much.
    Above(u64),
}

/// Debts end here: 292 years in nanoseconds, with room above for one more burst.
const FURTHEST: u64 = u64::MAX / 2;

impl Bucket {
    /// A full bucket.
    pub(crate) const fn full() -> Self {
        Self { drawn_until: 0, unanswered: 0, taken: 0, proposed: 0 }
    }

    /// Returns whether there is enough for `cost` at `now`. Takes nothing.
    ///
    /// A cost above the burst waits until the bucket is full, and leaves a debt.
    #[inline]
    pub(crate) fn level(&self, flow: &Flow, cost: u64, now: u64) -> Level {
        let at_once = u32::try_from(cost).unwrap_or(u32::MAX).min(flow.burst);
        let Some(at_once) = NonZeroU32::new(at_once) else {
            return Level::Enough { drawn_until: self.drawn_until };
        };
        let debt = flow.debt(cost - u64::from(at_once.get()));
        let proposed = Cell::new(0);
        let store = Staged { drawn_for: self.drawn_until.saturating_sub(now), proposed: &proposed };
        let limiter = RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(flow.governor, store, Now);
        match limiter.check_n(at_once) {
            Ok(Ok(())) => {
                let drawn_until = now.saturating_add(proposed.get()).saturating_add(debt);
                Level::Enough { drawn_until: drawn_until.min(FURTHEST) }
            }
            Ok(Err(not_until)) => {
                let wait = u64::from(not_until.earliest_possible());
                Level::NotBefore(now.saturating_add(wait))
            }
            Err(governor::InsufficientCapacity(most)) => Level::Above(most.into()),
        }
    }

    /// Notes what [`level`](Bucket::level) would take.
    #[inline]
    pub(crate) const fn propose(&mut self, drawn_until: u64) {
        self.proposed = drawn_until;
    }

    /// Takes what was proposed last.
    #[inline]
    pub(crate) const fn commit(&mut self) {
        self.drawn_until = self.proposed;
    }

    /// Until when the bucket is drawn.
    #[inline]
    pub(crate) const fn drawn_until(&self) -> u64 {
        self.drawn_until
    }

    /// Gives back a cost that drew the bucket until `drawn_until` when it was taken.
    ///
    /// The part of it that has flowed back since is not given back again: the cost is the last part of what
    /// was drawn then, and only what is still to come of it is given back.
    pub(crate) fn refund(&mut self, flow: &Flow, cost: u64, drawn_until: u64, now: u64) {
        let cost = flow.interval.saturating_mul(cost);
        let to_come = drawn_until.saturating_sub(now);
        self.give_back(cost.min(to_come));
    }

    /// Adds a debt for units that were used but not taken. It is bounded, see [`Flow::debt`].
    pub(crate) fn owe(&mut self, flow: &Flow, units: u64, now: u64) {
        let debt = flow.debt(units);
        if debt > 0 {
            self.drawn_until = self.drawn_until.max(now).saturating_add(debt).min(FURTHEST);
        }
    }

    /// Adds what flows back in this many nanoseconds.
    pub(crate) const fn give_back(&mut self, nanos: u64) {
        self.drawn_until = self.drawn_until.saturating_sub(nanos);
    }

    /// Goes on under another interval: `converted` says when what is drawn until a time flows back now.
    pub(crate) fn convert(&mut self, converted: impl FnOnce(u64) -> u64) {
        self.drawn_until = converted(self.drawn_until).min(FURTHEST);
    }

    /// The earliest time at which `cost` can be taken once `ahead` has been taken before it.
    pub(crate) fn forecast(&self, flow: &Flow, ahead: u64, cost: u64, now: u64) -> u64 {
        let at_once = cost.min(u64::from(flow.burst));
        let drawn = flow.interval.saturating_mul(ahead.saturating_add(at_once));
        let tolerated = flow.interval * u64::from(flow.burst);
        self.drawn_until.max(now).saturating_add(drawn).saturating_sub(tolerated).max(now)
    }

    /// The units that have been drawn and have not flowed back at `now`.
    pub(crate) fn owed(&self, flow: &Flow, now: u64) -> u64 {
        self.drawn_until.saturating_sub(now).div_ceil(flow.interval)
    }

    /// The units that can be taken at `now`; negative where there is a debt.
    pub(crate) fn available(&self, flow: &Flow, now: u64) -> i64 {
        let owed = i64::try_from(self.owed(flow, now)).unwrap_or(i64::MAX);
        i64::from(flow.burst) - owed
    }
}

/// Hands governor the state, counted from now, and keeps its new state until that is committed.
struct Staged<'a> {
    drawn_for: u64,
    proposed: &'a Cell<u64>,
}

impl StateStore for Staged<'_> {
    type Key = NotKeyed;

    #[inline]
    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (decision, proposed) = decide(Some(Nanos::from(self.drawn_for)))?;
        self.proposed.set(proposed.into());
        Ok(decision)
    }
}

/// A clock that stands still.
struct Now;

impl Clock for Now {
    type Instant = Nanos;

    #[inline]
    fn now(&self) -> Nanos {
        Nanos::from(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dimension, Quota};
    use proptest::prelude::*;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    /// A bucket and its flow.
    struct Flowing {
        flow: Flow,
        bucket: Bucket,
    }

    impl Flowing {
        fn new(quota: Quota) -> Self {
            Self { flow: Flow::of(&quota), bucket: Bucket::full() }
        }

        fn level(&self, cost: u64, now: u64) -> Level {
            self.bucket.level(&self.flow, cost, now)
        }

        fn available(&self, now: u64) -> i64 {
            self.bucket.available(&self.flow, now)
        }

        fn refund(&mut self, cost: u64, drawn_until: u64, now: u64) {
            self.bucket.refund(&self.flow, cost, drawn_until, now);
        }
    }

    fn take(bucket: &mut Flowing, cost: u64, now: u64) -> Result<(), u64> {
        match bucket.level(cost, now) {
            Level::Enough { drawn_until } => {
                bucket.bucket.propose(drawn_until);
                bucket.bucket.commit();
                Ok(())
            }
            Level::NotBefore(at) => Err(at),
            Level::Above(_) => panic!("above capacity"),
        }
    }

    #[test]
    fn promise_17_exact_to_the_nanosecond() {
        let mut bucket = Flowing::new(Quota::requests_per_minute(600).burst(2));
        assert_eq!(take(&mut bucket, 1, 0), Ok(()));
        assert_eq!(take(&mut bucket, 1, 0), Ok(()));
        let hint = take(&mut bucket, 1, 0).unwrap_err();
        assert_eq!(hint, SECOND / 10);
        assert_eq!(take(&mut bucket, 1, hint - 1), Err(hint));
        assert_eq!(take(&mut bucket, 1, hint), Ok(()));
    }

    #[test]
    fn a_cost_above_the_burst_waits_for_a_full_bucket_and_leaves_a_debt() {
        let quota = Quota::new(Dimension::TOKENS, 100, Duration::from_secs(1)).burst(10);
        let mut bucket = Flowing::new(quota);
        assert_eq!(take(&mut bucket, 1, 0), Ok(()));
        // Full again after one interval of 10 ms; 50 cost 500 ms of flow, 100 of which were saved up.
        assert_eq!(take(&mut bucket, 50, 0), Err(SECOND / 100));
        assert_eq!(take(&mut bucket, 50, SECOND / 100), Ok(()));
        assert_eq!(bucket.available(SECOND / 100), -40);
        assert_eq!(take(&mut bucket, 1, SECOND / 100), Err(SECOND / 100 * 42));
    }

    #[test]
    fn a_refund_is_as_if_it_had_never_been_taken() {
        let mut bucket = Flowing::new(Quota::requests_per_second(10));
        let before = bucket.bucket.drawn_until.max(5 * SECOND);
        take(&mut bucket, 7, 5 * SECOND).unwrap();
        bucket.refund(7, bucket.bucket.drawn_until(), 5 * SECOND);
        assert_eq!(bucket.bucket.drawn_until, before);
    }

    #[test]
    fn a_late_refund_does_not_give_back_what_has_flowed_back() {
        let mut bucket = Flowing::new(Quota::requests_per_second(10));
        take(&mut bucket, 10, 0).unwrap();
        let first = bucket.bucket.drawn_until();
        // A second later all ten have flowed back; they are taken by others, and then given back.
        take(&mut bucket, 10, SECOND).unwrap();
        bucket.refund(10, first, SECOND);
        assert_eq!(bucket.available(SECOND), 0);
        // Half of a refund after half a second has not flowed back yet.
        let second = bucket.bucket.drawn_until();
        bucket.refund(10, second, SECOND * 3 / 2);
        assert_eq!(bucket.available(SECOND * 3 / 2), 10);
    }

    #[test]
    fn a_debt_is_paid_from_what_flows() {
        let mut bucket = Flowing::new(Quota::requests_per_second(10));
        bucket.bucket.owe(&bucket.flow, 25, SECOND);
        assert_eq!(bucket.available(SECOND), -15);
        assert_eq!(take(&mut bucket, 1, SECOND), Err(SECOND * 26 / 10));
    }

    #[test]
    fn one_a_day_with_the_largest_burst_does_not_overflow() {
        let mut bucket = Flowing::new(Quota::requests_per_day(1).burst(u32::MAX));
        let burst = u64::from(bucket.flow.burst());
        for now in [0, 1, SECOND, u64::MAX / 2] {
            let _ = take(&mut bucket, burst, now);
            let _ = bucket.level(burst, now);
        }
    }

    proptest! {
        /// Against arithmetic in cells: in any span the admitted cost is within burst + rate × span.
        #[test]
        fn promise_17_no_window_admits_more_than_burst_and_flow(
            amount in 1_u64..2_000, window_ms in 1_u64..120_000, burst in 1_u32..500,
            steps in prop::collection::vec((1_u64..400, 0_u64..200_000_000), 1..120),
        ) {
            let quota = Quota::new(Dimension::TOKENS, amount, Duration::from_millis(window_ms)).burst(burst);
            let mut bucket = Flowing::new(quota);
            let (mut now, mut admitted) = (0_u64, Vec::new());
            for (cost, pause) in steps {
                now += pause;
                if let Level::Enough { drawn_until } = bucket.level(cost, now) {
                    bucket.bucket.propose(drawn_until);
                bucket.bucket.commit();
                    // A cost beyond the burst is paid for by a longer wait after it.
                    admitted.push((now, cost.min(u64::from(burst)), cost));
                }
            }
            for (i, (start, ..)) in admitted.iter().enumerate() {
                let mut sum = 0_u128;
                for (end, at_once, cost) in &admitted[i..] {
                    let flowed = u128::from(end - start) * u128::from(amount) / (u128::from(window_ms) * 1_000_000);
                    prop_assert!(sum + u128::from(*at_once) <= u128::from(burst) + flowed + 1);
                    sum += u128::from(*cost);
                }
            }
        }

        #[test]
        fn promise_17_the_hint_is_the_first_moment_that_admits(
            amount in 1_u64..100_000, burst in 1_u32..1_000, drawn in 0_u64..10_000, cost in 1_u64..100,
        ) {
            let quota = Quota::new(Dimension::TOKENS, amount, Duration::from_secs(60)).burst(burst);
            let mut bucket = Flowing::new(quota);
            bucket.bucket.propose(drawn * quota.interval());
            bucket.bucket.commit();
            if let Level::NotBefore(hint) = bucket.level(cost, 0) {
                prop_assert_eq!(bucket.level(cost, hint - 1), Level::NotBefore(hint));
                let enough = matches!(bucket.level(cost, hint), Level::Enough { .. });
                prop_assert!(enough);
                prop_assert_eq!(bucket.bucket.forecast(&bucket.flow, 0, cost, 0), hint);
            }
        }
    }
}
