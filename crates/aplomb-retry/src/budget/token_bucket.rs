//! The arithmetic of a budget: tokens, and a minimum rate beside them. Lock-free; the time is passed in.

use std::time::Duration;

use tokio::time::Instant;

#[cfg(aplomb_loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(aplomb_loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The costs and the capacity of a budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    /// The tokens in a full bucket.
    pub(crate) capacity: u32,
    /// The cost of a retry after a throttle.
    pub(crate) throttled: u32,
    /// The cost of a retry after any other failure.
    pub(crate) others: u32,
    /// The time between two retries that are allowed even without tokens (the floor); `None` for no floor.
    pub(crate) floor: Option<Duration>,
}

/// A bucket of tokens.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// How many tokens are missing. While none is, successful calls write nothing.
    missing: AtomicU32,
    /// When the floor allows its next retry, in nanoseconds since `began`.
    floor: AtomicU64,
    began: Instant,
}

/// How a retry was paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payment {
    /// With tokens, which are returned if the retry succeeds.
    Tokens(u32),
    /// By the floor.
    Floor,
}

impl TokenBucket {
    /// A full bucket of a budget that began at `began`.
    pub(crate) fn new(rates: &Rates, began: Instant) -> Self {
        let first = nanos(rates.floor.unwrap_or_default());
        Self { missing: AtomicU32::new(0), floor: AtomicU64::new(first), began }
    }

    /// Pays `cost` with tokens, or by the floor if there are not enough.
    pub(crate) fn pay(&self, cost: u32, rates: &Rates, now: Instant) -> Option<Payment> {
        // A cost above the capacity is the whole bucket: otherwise it could never be paid.
        let price = cost.min(rates.capacity);
        let take = |missing: u32| {
            let missing = missing.checked_add(price).filter(|missing| *missing <= rates.capacity);
            missing.filter(|_| price > 0 || cost == 0)
        };
        if self.missing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            return Some(Payment::Tokens(price));
        }
        let interval = nanos(rates.floor?).max(1);
        let now = nanos(now.saturating_duration_since(self.began));
        let step = |next: u64| {
            let next = next.max(now.saturating_sub(saved(interval)));
            (next <= now).then(|| next.saturating_add(interval))
        };
        self.floor
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .ok()
            .map(|_| Payment::Floor)
    }

    /// Returns the payment for a retry that was never sent, or turned out to be free.
    pub(crate) fn refund(&self, payment: Payment, rates: &Rates) {
        match payment {
            Payment::Tokens(tokens) => self.add(tokens),
            Payment::Floor => {
                let interval = nanos(rates.floor.unwrap_or_default());
                let back = |next: u64| Some(next.saturating_sub(interval));
                let _always_ok = self.floor.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
            }
        }
    }

    /// Returns whether this bucket equals a fresh one at `now`: it is full, and its floor is unused or saved up.
    pub(crate) fn is_as_new(&self, rates: &Rates, now: Instant) -> bool {
        let Some(interval) = rates.floor.map(nanos) else {
            return self.is_full();
        };
        let next = self.floor.load(Ordering::Relaxed);
        let now = nanos(now.saturating_duration_since(self.began));
        self.is_full() && (next == interval || next <= now.saturating_sub(saved(interval)))
    }

    /// Adds tokens, until the bucket is full.
    pub(crate) fn add(&self, tokens: u32) {
        if self.is_full() {
            return;
        }
        let add = |missing: u32| Some(missing.saturating_sub(tokens));
        let _always_ok = self.missing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Returns whether no token is missing.
    pub(crate) fn is_full(&self) -> bool {
        self.missing.load(Ordering::Relaxed) == 0
    }

    /// The tokens that are left.
    pub(crate) fn left(&self, rates: &Rates) -> u32 {
        rates.capacity.saturating_sub(self.missing.load(Ordering::Relaxed))
    }
}

/// How long unused retries of the floor are saved up, apart from the next one: one second in all, or one retry
/// if they are rarer.
fn saved(interval: u64) -> u64 {
    nanos(Duration::from_secs(1)).saturating_sub(interval)
}

/// Saturates after 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(aplomb_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATES: Rates = Rates { capacity: 500, throttled: 5, others: 14, floor: None };

    #[test]
    fn a_cost_above_the_capacity_takes_all_and_never_waits_for_more() {
        let rates = Rates { capacity: 10, ..RATES };
        let now = Instant::now();
        let bucket = TokenBucket::new(&rates, now);
        assert_eq!(bucket.pay(14, &rates, now), Some(Payment::Tokens(10)));
        assert_eq!(bucket.pay(14, &rates, now), None);
        bucket.add(u32::MAX);
        assert_eq!(bucket.left(&rates), 10);
        assert_eq!(bucket.pay(u32::MAX, &rates, now), Some(Payment::Tokens(10)));
    }

    #[test]
    fn the_floor_saves_up_one_second() {
        let rates = Rates { capacity: 0, others: 1, floor: Some(Duration::from_millis(100)), ..RATES };
        let now = Instant::now();
        let bucket = TokenBucket::new(&rates, now);
        let allowed = |at: u64| {
            let now = now + Duration::from_millis(at);
            (0..100).take_while(|_| bucket.pay(1, &rates, now).is_some()).count()
        };
        // An empty bucket pays nothing with tokens, even if the cost is cut to zero.
        assert_eq!([0, 99, 100, 350, 400, 60_000, 60_000].map(allowed), [0, 0, 1, 2, 1, 10, 0]);
    }

    #[test]
    fn a_bucket_is_as_new_when_its_floor_is_saved_up_again() {
        let rates = Rates { capacity: 0, others: 1, floor: Some(Duration::from_secs(60)), ..RATES };
        let began = Instant::now();
        let bucket = TokenBucket::new(&rates, began);
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!(bucket.is_as_new(&rates, at(0)) && bucket.is_as_new(&rates, at(100)));
        assert_eq!(bucket.pay(1, &rates, at(100)), Some(Payment::Floor));
        assert!(!bucket.is_as_new(&rates, at(159)) && bucket.is_as_new(&rates, at(160)));
        bucket.refund(Payment::Floor, &rates);
        assert_eq!(bucket.pay(1, &rates, at(100)), Some(Payment::Floor), "given back");
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Pay(u32),
        Add(u32),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1_u32..30).prop_map(Step::Pay),
            2 => (0_u32..30).prop_map(Step::Add),
            1 => (0_u64..3_000_000_000).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// An exact model: a number of tokens, and retries by the floor counted in whole.
        #[test]
        fn never_more_than_the_tokens_and_the_floor(
            steps in prop::collection::vec(step(), 1..200), capacity in 0_u32..100,
            floor in prop::option::of(50_u64..5_000),
        ) {
            let rates = Rates { capacity, floor: floor.map(Duration::from_millis), ..RATES };
            let began = Instant::now();
            let bucket = TokenBucket::new(&rates, began);
            let (mut now, mut left) = (0_u64, capacity);
            let (mut returned, mut paid, mut by_floor) = (0_u64, 0_u64, 0_u64);
            for step in steps {
                match step {
                    Step::Pay(cost) => {
                        let price = cost.min(capacity);
                        match bucket.pay(cost, &rates, began + Duration::from_nanos(now)) {
                            Some(Payment::Tokens(tokens)) => {
                                prop_assert_eq!(tokens, price);
                                prop_assert!(capacity > 0 && left >= price);
                                left -= price;
                                paid += u64::from(price);
                            }
                            Some(Payment::Floor) => {
                                prop_assert!(capacity == 0 || left < price);
                                by_floor += 1;
                            }
                            None => prop_assert!(capacity == 0 || left < price),
                        }
                    }
                    Step::Add(tokens) => {
                        let fits = tokens.min(capacity - left);
                        left += fits;
                        returned += u64::from(fits);
                        bucket.add(tokens);
                    }
                    Step::Pass(nanos) => now += nanos,
                }
                prop_assert_eq!(bucket.left(&rates), left);
                prop_assert!(paid <= u64::from(capacity) + returned);
                let trickled = floor.map_or(0, |millis| now / (millis * 1_000_000));
                prop_assert!(by_floor <= trickled);
            }
        }
    }
}

#[cfg(all(test, aplomb_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    const RATES: Rates = Rates { capacity: 20, throttled: 5, others: 14, floor: None };

    #[test]
    fn loom_of_two_retries_that_both_nearly_fit_one_is_refused() {
        let now = Instant::now();
        loom::model(move || {
            let bucket = Arc::new(TokenBucket::new(&RATES, now));
            let theirs = Arc::clone(&bucket);
            let other = thread::spawn(move || theirs.pay(14, &RATES, now));
            let mine = bucket.pay(14, &RATES, now);
            let paid = [mine, other.join().unwrap()].into_iter().flatten().count();
            assert_eq!((paid, bucket.left(&RATES)), (1, 6));
        });
    }

    #[test]
    fn loom_no_token_is_made_or_lost() {
        let now = Instant::now();
        loom::model(move || {
            let bucket = Arc::new(TokenBucket::new(&RATES, now));
            assert!(bucket.pay(14, &RATES, now).is_some());
            let theirs = Arc::clone(&bucket);
            let other = thread::spawn(move || theirs.add(14));
            let paid = bucket.pay(5, &RATES, now);
            other.join().unwrap();
            assert_eq!((paid, bucket.left(&RATES)), (Some(Payment::Tokens(5)), 15));
        });
    }

    #[test]
    fn loom_the_floor_is_given_once() {
        let rates = Rates { capacity: 0, floor: Some(Duration::from_secs(1)), ..RATES };
        let began = Instant::now();
        loom::model(move || {
            let bucket = Arc::new(TokenBucket::new(&rates, began));
            let now = began + Duration::from_secs(1);
            let theirs = Arc::clone(&bucket);
            let other = thread::spawn(move || theirs.pay(14, &rates, now));
            let mine = bucket.pay(14, &rates, now);
            assert_eq!([mine, other.join().unwrap()].into_iter().flatten().count(), 1);
        });
    }
}
