//! What is kept of a key's quotas while nobody uses them.

use aplomb_core::{Idle, Rests};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::Quotas;
use crate::pause::Paused;

/// What is kept of [`Quotas`] at rest: one word for each quota, and the pause if there is one.
///
/// It is idle when every bucket is full and nothing is left of a pause.
#[derive(Clone, Debug)]
pub struct QuotasAtRest {
    epoch: Instant,
    /// Until when each bucket is drawn.
    drawn_until: SmallVec<[u64; 2]>,
    // For few keys at a time.
    pause: Option<Box<Paused>>,
}

impl Rests for Quotas {
    type Rest = QuotasAtRest;

    fn rest(&self, now: Instant) -> Option<QuotasAtRest> {
        Some(QuotasAtRest {
            epoch: self.epoch,
            drawn_until: self.buckets.iter().map(crate::bucket::Bucket::drawn_until).collect(),
            pause: self.pause.rest(now).map(Box::new),
        })
    }

    /// Goes on with the levels of what was kept. Quotas are taken for the same in their order; the level
    /// of one that has no counterpart is dropped.
    fn resume(&mut self, kept: QuotasAtRest) {
        // The levels are counted from it.
        self.epoch = kept.epoch;
        for (bucket, drawn_until) in self.buckets.iter_mut().zip(kept.drawn_until) {
            bucket.commit(drawn_until);
        }
        if let Some(pause) = kept.pause {
            self.pause.resume(*pause);
        }
    }
}

impl Idle for QuotasAtRest {
    fn is_idle(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        self.drawn_until.iter().all(|until| u128::from(*until) <= elapsed) && self.pause.is_idle(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Charge, Dimension, Quota};
    use aplomb_core::{Decision, End, Gate, Outcome};
    use proptest::prelude::*;
    use std::time::Duration;

    const S: Duration = Duration::from_secs(1);

    fn policy() -> Quotas {
        let tokens = Quota::new(Dimension::TOKENS, 100, 10 * S);
        Quotas::new([Quota::requests_per_second(3), tokens], 1)
    }

    proptest! {
        /// Put to rest between any two calls, and forgotten where that is idle, quotas decide as ones
        /// that were awake all the time.
        #[test]
        fn a_rest_makes_no_difference(
            steps in prop::collection::vec((0_u64..70, 0_u64..1_500, 0_u8..6, any::<bool>()), 1..60),
        ) {
            let (mut awake, mut resting) = (policy(), policy());
            let mut now = awake.epoch.max(resting.epoch);
            resting.epoch = awake.epoch;
            for (tokens, pause, end, rests) in steps {
                now += Duration::from_millis(pause);
                if rests {
                    let kept = resting.rest(now).unwrap();
                    resting = policy();
                    resting.epoch = now;
                    if !kept.is_idle(now) {
                        resting.resume(kept);
                    }
                }
                let charge = Charge::request().input_tokens(tokens);
                let decision = awake.check(&charge, now);
                prop_assert_eq!(resting.check(&charge, now), decision);
                if decision == Decision::Admit {
                    let slips = (awake.admit(&charge, now), resting.admit(&charge, now));
                    let outcome = match end {
                        0 => Outcome::throttled().with_retry_after(S * 2),
                        1 => Outcome::local(),
                        _ => Outcome::success(),
                    };
                    let end = End::Judged { outcome, usage: None };
                    awake.end(slips.0, end, now);
                    resting.end(slips.1, end, now);
                }
                prop_assert_eq!(
                    resting.available(now).map(|(_, left)| left).collect::<Vec<_>>(),
                    awake.available(now).map(|(_, left)| left).collect::<Vec<_>>()
                );
            }
        }
    }

    #[test]
    fn it_is_idle_when_all_has_flowed_back_and_the_pause_is_over() {
        let mut quotas = policy();
        let now = quotas.epoch;
        assert!(quotas.rest(now).unwrap().is_idle(now));
        let charge = Charge::request().input_tokens(50);
        let drawn = quotas.admit(&charge, now);
        let kept = quotas.rest(now).unwrap();
        assert!(!kept.is_idle(now + 5 * S - Duration::from_nanos(1)));
        assert!(kept.is_idle(now + 5 * S));
        let outcome = Outcome::throttled().with_retry_after(30 * S);
        quotas.end(drawn, End::Judged { outcome, usage: None }, now);
        let kept = quotas.rest(now).unwrap();
        assert!(!kept.is_idle(now + 30 * S), "it ends with a ramp");
        assert!(kept.is_idle(now + 33 * S));
    }

    #[test]
    fn two_quotas_are_kept_in_few_bytes() {
        assert!(size_of::<(u64, QuotasAtRest)>() <= 56);
    }
}
