//! All quotas of one key, and its pause, as one gate.

mod rest;

use std::convert::Infallible;
use std::time::Duration;

use aplomb_core::{Decision, End, Gate, Kind};
use smallvec::SmallVec;
use tokio::time::Instant;

pub use self::rest::QuotasAtRest;
use crate::bucket::{Bucket, Level};
use crate::pause::Pause;
use crate::{Charge, Dimension, Quota};

/// Quotas that admit all or nothing, and the pause a throttled response sets.
///
/// A pure state machine: it is used behind a [`Queue`](aplomb_core::Queue), by itself or joined with
/// other gates.
#[derive(Debug)]
pub struct Quotas {
    epoch: Instant,
    buckets: Vec<Bucket>,
    pause: Pause,
    in_flight: usize,
}

/// What an admitted call has drawn.
#[derive(Debug)]
pub struct Drawn {
    charge: Charge,
    at: Instant,
    /// Until when it drew each bucket.
    until: SmallVec<[u64; 4]>,
}

/// What a call waits for, or why it can never go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// A quota of this dimension is used up for now.
    Quota(Dimension),
    /// The server asked everybody to pause.
    Paused,
    /// The call costs more than the quota of this dimension ever holds.
    AboveCapacity {
        /// The dimension.
        dimension: Dimension,
        /// What the call costs.
        cost: u64,
        /// The most that one call may cost.
        capacity: u64,
    },
}

/// The longest that a throttled response pauses everybody.
pub(crate) const MAX_PAUSE: Duration = Duration::from_secs(120);

impl Quotas {
    /// Full buckets. With no quota at all only pauses hold calls back.
    ///
    /// The epoch is now. `seed` seeds the jitter of pauses that the server names no time for.
    pub fn new(quotas: impl IntoIterator<Item = Quota>, seed: u64) -> Self {
        Self {
            epoch: Instant::now(),
            buckets: quotas.into_iter().map(Bucket::new).collect(),
            pause: Pause::new(MAX_PAUSE, seed),
            in_flight: 0,
        }
    }

    /// Sets the longest that a throttled response pauses everybody: 120 s unless set.
    pub const fn set_max_pause(&mut self, longest: Duration) {
        self.pause.set_longest(longest);
    }

    /// How much each quota has left at `now`, negative where there is a debt.
    pub fn available(&self, now: Instant) -> impl Iterator<Item = (Quota, i64)> {
        let now = self.nanos(now);
        self.buckets.iter().map(move |bucket| (*bucket.quota(), bucket.available(now)))
    }

    /// How many calls have been admitted and have not ended.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Until when everybody pauses, if anybody does.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.pause.until(now)
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.epoch + Duration::from_nanos(nanos)
    }

    fn refund(&mut self, drawn: &Drawn, now: Instant) {
        let now = self.nanos(now);
        for (bucket, drawn_until) in self.buckets.iter_mut().zip(&drawn.until) {
            let cost = drawn.charge.of(bucket.quota().dimension());
            bucket.refund(cost, *drawn_until, now);
        }
    }
}

impl Gate for Quotas {
    type Ask = Charge;
    type Slip = Drawn;
    type Why = Limit;
    type Notice = Infallible;

    fn check(&mut self, charge: &Charge, now: Instant) -> Decision<Limit> {
        let nanos = self.nanos(now);
        let mut latest = None;
        for bucket in &self.buckets {
            let dimension = bucket.quota().dimension();
            let cost = charge.of(dimension);
            match bucket.level(cost, nanos) {
                Level::Enough { .. } => {}
                Level::NotBefore(at) => latest = latest.max(Some((at, dimension))),
                Level::Above(capacity) => {
                    return Decision::Refuse(Limit::AboveCapacity { dimension, cost, capacity });
                }
            }
        }
        let filled = latest.map(|(at, dimension)| (self.instant(at), Limit::Quota(dimension)));
        let resumed = self.pause.not_before(now).map(|at| (at, Limit::Paused));
        match filled.into_iter().chain(resumed).max_by_key(|(at, _)| *at) {
            None => Decision::Admit,
            Some((at, limit)) => Decision::NotBefore(at, limit),
        }
    }

    fn admit(&mut self, charge: &Charge, now: Instant) -> Drawn {
        let nanos = self.nanos(now);
        let until = self.buckets.iter_mut().map(|bucket| {
            let cost = charge.of(bucket.quota().dimension());
            if let Level::Enough { drawn_until } = bucket.level(cost, nanos) {
                bucket.commit(drawn_until);
            }
            bucket.drawn_until()
        });
        let until = until.collect();
        self.pause.gone();
        self.in_flight += 1;
        Drawn { charge: charge.clone(), at: now, until }
    }

    fn end(&mut self, drawn: Drawn, end: End, now: Instant) {
        self.in_flight -= 1;
        let End::Judged { outcome, .. } = end else {
            // Sent and abandoned counts with the peer; what was never sent does not.
            if end == End::Unsent {
                self.refund(&drawn, now);
            }
            return;
        };
        match outcome.kind() {
            Kind::Throttled if outcome.is_shared_throttle() => {
                self.pause.throttled(drawn.at, outcome.retry_after(), now);
            }
            Kind::Success => self.pause.answered(drawn.at),
            // Refused by a gate further in, before it was sent; or for reasons of money and keys,
            // which providers look at before they count.
            Kind::Local | Kind::Exhausted | Kind::Unauthorized => self.refund(&drawn, now),
            _ => {}
        }
    }

    fn forecast(&mut self, charges: &mut dyn Iterator<Item = &Charge>, now: Instant) -> Option<Instant> {
        // For each bucket: what is drawn before the last call that draws from it, and what that one draws.
        let mut drawn = vec![(0_u64, 0_u64); self.buckets.len()];
        for charge in charges {
            for ((ahead, last), bucket) in drawn.iter_mut().zip(&self.buckets) {
                let cost = charge.of(bucket.quota().dimension());
                if cost > 0 {
                    *ahead = ahead.saturating_add(std::mem::replace(last, cost));
                }
            }
        }
        let nanos = self.nanos(now);
        let filled = self.buckets.iter().zip(drawn).filter(|(_, (_, last))| *last > 0);
        let filled = filled.map(|(bucket, (ahead, last))| bucket.forecast(ahead, last, nanos)).max();
        let filled = filled.map(|at| self.instant(at));
        filled.max(self.pause.until(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aplomb_core::{Outcome, Scope};
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    fn requests_and_tokens() -> Quotas {
        let requests = Quota::requests_per_second(2);
        let tokens = Quota::new(Dimension::TOKENS, 100, S);
        Quotas::new([requests, tokens], 1)
    }

    fn judged(outcome: Outcome) -> End {
        End::Judged { outcome, usage: None }
    }

    #[test]
    fn when_one_dimension_refuses_nothing_is_taken_from_the_others() {
        let mut quotas = requests_and_tokens();
        let now = quotas.epoch;
        let all = Charge::request().input_tokens(100);
        assert_eq!(quotas.check(&all, now), Decision::Admit);
        quotas.admit(&all, now);
        let more = Charge::request().input_tokens(50);
        let half = Decision::NotBefore(now + S / 2, Limit::Quota(Dimension::TOKENS));
        assert_eq!(quotas.check(&more, now), half);
        let left: Vec<_> = quotas.available(now).map(|(_, left)| left).collect();
        assert_eq!(left, [1, 0]);
    }

    #[test]
    fn above_capacity_is_refused_at_once() {
        let mut quotas = requests_and_tokens();
        let huge = Charge::request().input_tokens(99).output_tokens(2);
        let limit = Limit::AboveCapacity { dimension: Dimension::TOKENS, cost: 101, capacity: 100 };
        assert_eq!(quotas.check(&huge, quotas.epoch), Decision::Refuse(limit));
    }

    #[test]
    fn a_throttle_of_the_account_pauses_and_one_of_the_request_does_not() {
        let mut quotas = Quotas::new([], 1);
        let now = quotas.epoch;
        let throttled = Outcome::throttled().with_retry_after(3 * S);
        let drawn = quotas.admit(&Charge::request(), now);
        quotas.end(drawn, judged(throttled.with_scope(Scope::Request)), now);
        assert_eq!(quotas.check(&Charge::request(), now), Decision::Admit);
        let drawn = quotas.admit(&Charge::request(), now);
        quotas.end(drawn, judged(throttled), now);
        let paused = Decision::NotBefore(now + 3 * S, Limit::Paused);
        assert_eq!(quotas.check(&Charge::request(), now), paused);
    }

    #[test]
    fn the_forecast_is_never_later_than_the_turn_that_comes() {
        // In debt, and behind a call that costs tokens, a call that costs none waits for its request only.
        let mut quotas = requests_and_tokens();
        let now = quotas.epoch;
        quotas.admit(&Charge::request().input_tokens(100), now);
        quotas.admit(&Charge::request(), now);
        let (tokens, free) = (Charge::request().input_tokens(30), Charge::request());
        assert_eq!(quotas.forecast(&mut [&free].into_iter(), now), Some(now + S / 2));
        // Behind 30 tokens, which flow back in 300 ms: the second request flows back after 1 s.
        assert_eq!(quotas.forecast(&mut [&tokens, &free].into_iter(), now), Some(now + S));
        let many = Charge::request().requests(0).input_tokens(100);
        assert_eq!(quotas.forecast(&mut [&many, &free].into_iter(), now), Some(now + S));
    }

    proptest! {
        /// A line of calls is let through one by one; nobody's turn comes before its forecast.
        #[test]
        fn nobody_goes_before_the_forecast(
            burst in 1_u32..120, drawn in 0_u64..100,
            costs in prop::collection::vec(0_u64..100, 1..12),
        ) {
            let quota = Quota::new(Dimension::TOKENS, 100, S).burst(burst);
            let mut quotas = Quotas::new([quota, Quota::requests_per_second(3)], 1);
            let mut now = quotas.epoch;
            let before = Charge::request().input_tokens(drawn);
            quotas.admit(&before, now);
            let line: Vec<_> = costs.iter().map(|cost| Charge::request().input_tokens(*cost)).collect();
            let forecasts: Vec<_> = (1..=line.len()).map(|n| quotas.forecast(&mut line[..n].iter(), now)).collect();
            for (charge, forecast) in line.iter().zip(forecasts) {
                while let Decision::NotBefore(at, _) = quotas.check(charge, now) {
                    now = at;
                }
                prop_assert!(forecast.is_none_or(|forecast| forecast <= now));
                quotas.admit(charge, now);
            }
        }

        /// Reserved = used + refunded + in flight, whatever becomes of the calls.
        #[test]
        fn what_is_not_refunded_stays_drawn(ends in prop::collection::vec(0_u8..5, 1..60)) {
            let quota = Quota::new(Dimension::TOKENS, 1_000, 60 * S);
            let mut quotas = Quotas::new([quota], 1);
            let now = quotas.epoch;
            let (mut kept, mut flying) = (0, Vec::new());
            for (i, end) in ends.into_iter().enumerate() {
                let cost = i as u64 % 20;
                let charge = Charge::request().output_tokens(cost);
                if quotas.check(&charge, now) != Decision::Admit {
                    continue;
                }
                let drawn = quotas.admit(&charge, now);
                match end {
                    0 => quotas.end(drawn, End::Unsent, now),
                    1 => quotas.end(drawn, judged(Outcome::local()), now),
                    2 => { kept += cost; quotas.end(drawn, End::Abandoned, now) }
                    3 => { kept += cost; quotas.end(drawn, judged(Outcome::transient()), now) }
                    _ => { kept += cost; flying.push(drawn) }
                }
            }
            let (_, left) = quotas.available(now).next().unwrap();
            prop_assert_eq!(left, 1_000 - i64::try_from(kept).unwrap());
            prop_assert_eq!(quotas.in_flight(), flying.len());
        }
    }
}
