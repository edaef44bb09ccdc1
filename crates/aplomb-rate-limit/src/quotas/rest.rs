//! Quotas whose key nobody uses.

use std::time::Duration;

use aplomb_admission::{Idle, Rests};
use tokio::time::Instant;

use super::Quotas;
use crate::pause::MAX_UNHINTED_PAUSE;

/// The [`Quotas`] of a key that nobody uses.
///
/// They are idle when every bucket is full, nothing is left of a pause, and what was learned has not been
/// used for an hour.
#[derive(Clone, Debug)]
pub struct QuotasAtRest {
    quotas: Quotas,
    since: Instant,
}

/// What was learned is kept so long after its last use.
const KEPT: Duration = Duration::from_secs(60 * 60);

impl Rests for Quotas {
    type Rest = QuotasAtRest;

    fn rest(&self, now: Instant) -> Option<QuotasAtRest> {
        Some(QuotasAtRest { quotas: self.clone(), since: now })
    }

    /// Goes on with what was kept, under the settings and quotas of `self`.
    fn resume(&mut self, kept: QuotasAtRest) {
        let made = std::mem::replace(self, kept.quotas);
        let now = made.set.epoch();
        *self.set.settings_mut() = *made.set.settings();
        let same = self.set.configured().eq(made.set.configured());
        if !same {
            self.set_quotas(made.set.configured().copied(), now);
        }
        self.set_up_estimator();
    }
}

impl Quotas {
    /// Whether everything that was drawn has flowed back, and no pause is left.
    fn owes_nothing(&self, now: Instant) -> bool {
        let nanos = self.set.nanos(now);
        let full = self.set.iter().all(|(_, bucket)| bucket.drawn_until() <= nanos);
        full && self.server.as_ref().is_none_or(|server| server.pause.is_ramp_over(now))
    }

    /// Whether it knows anything of the server's limits.
    fn has_learned(&self) -> bool {
        let estimator = self.server.as_ref().and_then(|server| server.estimator.as_ref());
        let reported = self.set.quotas().iter().any(|quota| quota.is_reported());
        reported || estimator.is_some_and(|estimator| !estimator.is_fresh())
    }
}

impl Idle for QuotasAtRest {
    fn is_idle(&self, now: Instant) -> bool {
        let learned = self.quotas.has_learned();
        self.is_spare(now) && (!learned || now >= self.since + KEPT)
    }

    fn is_spare(&self, now: Instant) -> bool {
        // How long pauses have grown is forgotten when nobody has called for as long as the longest.
        let grown = self.quotas.server.as_ref().is_some_and(|server| server.pause.has_grown());
        self.quotas.owes_nothing(now) && (!grown || now >= self.since + MAX_UNHINTED_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::RateLimitReason;
    use super::*;
    use crate::{Charge, Dimension, Quota};
    use aplomb_admission::{Decision, End, Gate, Progress};
    use aplomb_core::Outcome;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    fn policy() -> Quotas {
        let tokens = Quota::new(Dimension::TOKENS, 100, 10 * S);
        Quotas::new([Quota::requests_per_second(3), tokens], 1)
    }

    fn policy_at(epoch: Instant) -> Quotas {
        let mut quotas = policy();
        quotas.set.set_epoch(epoch);
        quotas
    }

    proptest! {
        /// Put to rest between any two calls, and forgotten where that is idle, quotas decide as ones
        /// that were awake all the time.
        #[test]
        fn a_rest_makes_no_difference(
            steps in prop::collection::vec((0_u64..70, 0_u64..1_500, 0_u8..6, any::<bool>()), 1..60),
        ) {
            let (mut awake, mut resting) = (policy(), policy());
            let mut now = awake.set.epoch().max(resting.set.epoch());
            resting = policy_at(awake.set.epoch());
            for (tokens, pause, end, rests) in steps {
                now += Duration::from_millis(pause);
                if rests {
                    let kept = resting.rest(now).unwrap();
                    resting = policy_at(now);
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
        let now = quotas.set.epoch();
        assert!(quotas.rest(now).unwrap().is_idle(now));
        let charge = Charge::request().input_tokens(50);
        assert_eq!(quotas.check(&charge, now), Decision::Admit);
        let drawn = quotas.admit(&charge, now);
        let kept = quotas.rest(now).unwrap();
        assert!(!kept.is_idle(now + 5 * S - Duration::from_nanos(1)));
        assert!(kept.is_idle(now + 5 * S));
        let outcome = Outcome::throttled().with_retry_after(30 * S);
        quotas.end(drawn, End::Judged { outcome, usage: None }, now);
        let kept = quotas.rest(now).unwrap();
        assert!(!kept.is_idle(now + 30 * S), "it ends with a ramp");
        assert!(!kept.is_idle(now + 40 * S - Duration::from_nanos(1)), "and then there is nothing left");
        assert!(kept.is_idle(now + 40 * S));
    }

    /// One is empty and the others are full, whatever the order in which they were and are set.
    #[test]
    fn a_level_is_of_its_quota_wherever_that_stands() {
        let a_day = Duration::from_secs(24 * 60 * 60);
        let of = |dimension, window| Quota::new(dimension, 10, window).burst(10);
        let empty = of(Dimension::REQUESTS, a_day);
        let others = [of(Dimension::REQUESTS, 60 * S), of(Dimension::TOKENS, a_day)];
        let mut quotas = Quotas::new([empty], 1);
        let now = quotas.set.epoch();
        for _ in 0..10 {
            assert_eq!(quotas.check(&Charge::request(), now), Decision::Admit);
            let drawn = quotas.admit(&Charge::request(), now);
            quotas.end(drawn, End::Judged { outcome: Outcome::success(), usage: None }, now);
        }
        let kept = quotas.rest(now).unwrap();
        let left = |quotas: &Quotas| quotas.available(now).map(|(_, left)| left).collect::<Vec<_>>();
        let resumed = |set: &[Quota], kept: QuotasAtRest| {
            let mut quotas = Quotas::new(set.iter().copied(), 1);
            quotas.resume(kept);
            quotas
        };
        let more = resumed(&[others[0], empty, others[1]], kept);
        assert_eq!(left(&more), [10, 0, 10]);
        let turned = resumed(&[others[1], others[0], empty], more.rest(now).unwrap());
        assert_eq!(left(&turned), [10, 10, 0]);
        let fewer = resumed(&others, turned.rest(now).unwrap());
        assert_eq!(left(&fewer), [10, 10], "nothing is left of one that is not there any more");
    }

    #[test]
    fn what_was_learned_outlasts_a_rest_and_is_forgotten_after_an_hour() {
        use aplomb_core::Reading;

        let mut quotas = Quotas::new([], 1);
        let now = quotas.set.epoch();
        assert!(quotas.rest(now).unwrap().is_idle(now));
        assert_eq!(quotas.check(&Charge::request(), now), Decision::Admit);
        let mut drawn = quotas.admit(&Charge::request(), now);
        let told = Reading::of(Dimension::REQUESTS).with_limit(60).with_remaining(0);
        quotas.on(&mut drawn, Progress::Limits(&[told]), now);
        quotas.end(drawn, End::Judged { outcome: Outcome::success(), usage: None }, now);
        let kept = quotas.rest(now).unwrap();
        assert!(!kept.is_idle(now + KEPT - Duration::from_nanos(1)));
        assert!(kept.is_idle(now + KEPT));
        let mut resumed = Quotas::new([], 2);
        resumed.resume(kept);
        assert_eq!(resumed.learned(), quotas.learned());
        let empty = Decision::NotBefore(now + S, RateLimitReason::Quota(Dimension::REQUESTS));
        assert_eq!(resumed.check(&Charge::request(), now), empty);
    }
}
