//! The arithmetic of a budget: tokens, and a trickle. Lock-free; it is told the time.

use std::time::Duration;

use tokio::time::Instant;

#[cfg(aplomb_loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(aplomb_loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a budget allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    /// The tokens in a full purse.
    pub(crate) capacity: u32,
    /// What a retry costs after a throttle.
    pub(crate) throttled: u32,
    /// What a retry costs after any other failure.
    pub(crate) others: u32,
    /// The time between two retries that are allowed whatever is in the purse; `None` without a floor.
    pub(crate) floor: Option<Duration>,
}

/// The tokens left to a key.
#[derive(Debug)]
pub(crate) struct Purse {
    /// How many tokens are missing: none from a purse at rest, whose calls so write nothing.
    missing: AtomicU32,
    /// When the floor allows the next retry, in nanoseconds since `began`.
    floor: AtomicU64,
    began: Instant,
}

/// What a retry was paid with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paid {
    /// So many tokens, which are given back if the retry succeeds.
    Tokens(u32),
    /// The floor: nothing to give back.
    Floor,
}

impl Purse {
    /// A full purse of a budget that began at `began`: its floor has trickled since then.
    pub(crate) fn new(rates: &Rates, began: Instant) -> Self {
        let first = nanos(rates.floor.unwrap_or_default());
        Self { missing: AtomicU32::new(0), floor: AtomicU64::new(first), began }
    }

    /// Pays `cost`, or with the floor where the tokens do not suffice.
    pub(crate) fn pay(&self, cost: u32, rates: &Rates, now: Instant) -> Option<Paid> {
        // A cost above the capacity is the whole purse: it must not wait for what never comes.
        let price = cost.min(rates.capacity);
        let take = |missing: u32| {
            let missing = missing.checked_add(price).filter(|missing| *missing <= rates.capacity);
            missing.filter(|_| price > 0 || cost == 0)
        };
        if self.missing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            return Some(Paid::Tokens(price));
        }
        let interval = nanos(rates.floor?).max(1);
        let now = nanos(now.saturating_duration_since(self.began));
        let step = |next: u64| {
            let next = next.max(now.saturating_sub(kept(interval)));
            (next <= now).then(|| next.saturating_add(interval))
        };
        self.floor
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .ok()
            .map(|_| Paid::Floor)
    }

    /// Takes back a payment for a retry that was never sent, or turned out to be free.
    pub(crate) fn take_back(&self, paid: Paid, rates: &Rates) {
        match paid {
            Paid::Tokens(tokens) => self.put(tokens),
            Paid::Floor => {
                let interval = nanos(rates.floor.unwrap_or_default());
                let back = |next: u64| Some(next.saturating_sub(interval));
                // Never refused: the closure always has an answer.
                let _ = self.floor.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
            }
        }
    }

    /// Whether a purse made anew would be the same at `now`: full, and its floor untouched or saved up.
    pub(crate) fn is_as_new(&self, rates: &Rates, now: Instant) -> bool {
        let Some(interval) = rates.floor.map(nanos) else {
            return self.is_full();
        };
        let next = self.floor.load(Ordering::Relaxed);
        let now = nanos(now.saturating_duration_since(self.began));
        self.is_full() && (next == interval || next <= now.saturating_sub(kept(interval)))
    }

    /// Puts tokens back, at most until the purse is full.
    pub(crate) fn put(&self, tokens: u32) {
        if self.is_full() {
            return;
        }
        let put = |missing: u32| Some(missing.saturating_sub(tokens));
        // Never refused: the closure always has an answer.
        let _ = self.missing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, put);
    }

    /// Whether no token is missing.
    pub(crate) fn is_full(&self) -> bool {
        self.missing.load(Ordering::Relaxed) == 0
    }

    /// The tokens that are left.
    pub(crate) fn left(&self, rates: &Rates) -> u32 {
        rates.capacity.saturating_sub(self.missing.load(Ordering::Relaxed))
    }
}

/// How long what was not used of the floor is kept, beside the next retry: a second in all, or one
/// retry where they are rarer.
fn kept(interval: u64) -> u64 {
    nanos(Duration::from_secs(1)).saturating_sub(interval)
}

/// Nanoseconds that fit: 584 years of them.
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
        let purse = Purse::new(&rates, now);
        assert_eq!(purse.pay(14, &rates, now), Some(Paid::Tokens(10)));
        assert_eq!(purse.pay(14, &rates, now), None);
        purse.put(u32::MAX);
        assert_eq!(purse.left(&rates), 10);
        assert_eq!(purse.pay(u32::MAX, &rates, now), Some(Paid::Tokens(10)));
    }

    #[test]
    fn the_floor_trickles_and_keeps_a_second() {
        let rates = Rates { capacity: 0, others: 1, floor: Some(Duration::from_millis(100)), ..RATES };
        let now = Instant::now();
        let purse = Purse::new(&rates, now);
        let allowed = |at: u64| {
            let now = now + Duration::from_millis(at);
            (0..100).take_while(|_| purse.pay(1, &rates, now).is_some()).count()
        };
        // A purse without capacity pays nothing with tokens, also where the cost is cut to nothing.
        assert_eq!([0, 99, 100, 350, 400, 60_000, 60_000].map(allowed), [0, 0, 1, 2, 1, 10, 0]);
    }

    #[test]
    fn a_purse_is_as_new_when_its_floor_has_been_saved_up_again() {
        let rates = Rates { capacity: 0, others: 1, floor: Some(Duration::from_secs(60)), ..RATES };
        let began = Instant::now();
        let purse = Purse::new(&rates, began);
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!(purse.is_as_new(&rates, at(0)) && purse.is_as_new(&rates, at(100)));
        assert_eq!(purse.pay(1, &rates, at(100)), Some(Paid::Floor));
        assert!(!purse.is_as_new(&rates, at(159)) && purse.is_as_new(&rates, at(160)));
        purse.take_back(Paid::Floor, &rates);
        assert_eq!(purse.pay(1, &rates, at(100)), Some(Paid::Floor), "given back");
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Pay(u32),
        Put(u32),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1_u32..30).prop_map(Step::Pay),
            2 => (0_u32..30).prop_map(Step::Put),
            1 => (0_u64..3_000_000_000).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// An exact model: tokens in a number, the floor as retries counted in whole.
        #[test]
        fn never_more_than_the_tokens_and_the_floor(
            steps in prop::collection::vec(step(), 1..200), capacity in 0_u32..100,
            floor in prop::option::of(50_u64..5_000),
        ) {
            let rates = Rates { capacity, floor: floor.map(Duration::from_millis), ..RATES };
            let began = Instant::now();
            let purse = Purse::new(&rates, began);
            let (mut now, mut left) = (0_u64, capacity);
            let (mut returned, mut paid, mut by_floor) = (0_u64, 0_u64, 0_u64);
            for step in steps {
                match step {
                    Step::Pay(cost) => {
                        let price = cost.min(capacity);
                        match purse.pay(cost, &rates, began + Duration::from_nanos(now)) {
                            Some(Paid::Tokens(tokens)) => {
                                prop_assert_eq!(tokens, price);
                                prop_assert!(capacity > 0 && left >= price);
                                left -= price;
                                paid += u64::from(price);
                            }
                            Some(Paid::Floor) => {
                                prop_assert!(capacity == 0 || left < price);
                                by_floor += 1;
                            }
                            None => prop_assert!(capacity == 0 || left < price),
                        }
                    }
                    Step::Put(tokens) => {
                        let fits = tokens.min(capacity - left);
                        left += fits;
                        returned += u64::from(fits);
                        purse.put(tokens);
                    }
                    Step::Pass(nanos) => now += nanos,
                }
                prop_assert_eq!(purse.left(&rates), left);
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
            let purse = Arc::new(Purse::new(&RATES, now));
            let theirs = Arc::clone(&purse);
            let other = thread::spawn(move || theirs.pay(14, &RATES, now));
            let mine = purse.pay(14, &RATES, now);
            let paid = [mine, other.join().unwrap()].into_iter().flatten().count();
            assert_eq!((paid, purse.left(&RATES)), (1, 6));
        });
    }

    #[test]
    fn loom_no_token_is_made_or_lost() {
        let now = Instant::now();
        loom::model(move || {
            let purse = Arc::new(Purse::new(&RATES, now));
            assert!(purse.pay(14, &RATES, now).is_some());
            let theirs = Arc::clone(&purse);
            let other = thread::spawn(move || theirs.put(14));
            let paid = purse.pay(5, &RATES, now);
            other.join().unwrap();
            assert_eq!((paid, purse.left(&RATES)), (Some(Paid::Tokens(5)), 15));
        });
    }

    #[test]
    fn loom_the_floor_is_given_once() {
        let rates = Rates { capacity: 0, floor: Some(Duration::from_secs(1)), ..RATES };
        let began = Instant::now();
        loom::model(move || {
            let purse = Arc::new(Purse::new(&rates, began));
            let now = began + Duration::from_secs(1);
            let theirs = Arc::clone(&purse);
            let other = thread::spawn(move || theirs.pay(14, &rates, now));
            let mine = purse.pay(14, &rates, now);
            assert_eq!([mine, other.join().unwrap()].into_iter().flatten().count(), 1);
        });
    }
}
