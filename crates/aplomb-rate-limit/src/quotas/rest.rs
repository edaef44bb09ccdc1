//! What is kept of a key's quotas while nobody uses them.

mod level;

use std::sync::Arc;
use std::time::Duration;

use aplomb_admission::{Idle, Rests};
use smallvec::SmallVec;
use tokio::time::Instant;

use self::level::{Level, Since};
use super::peer::Beliefs;
use super::{Quotas, Setup};
use crate::Quota;
use crate::bucket::Bucket;
use crate::finder::Finder;
use crate::meter::Meter;
use crate::pause::Paused;

/// What is kept of [`Quotas`] at rest: a word and a half for each quota, and what is known of the server if
/// there is anything.
///
/// It is idle when every bucket is full, nothing is left of a pause, and what was learned has not been
/// used for an hour. Where there has to be room for another key, what was learned may go sooner.
#[derive(Clone, Debug)]
pub struct QuotasAtRest {
    epoch: Since,
    levels: SmallVec<[Level; 2]>,
    // For few keys at a time.
    known: Option<Box<Known>>,
}

/// What is known of a server.
#[derive(Clone, Debug)]
struct Known {
    pause: Option<Paused>,
    /// The quotas, where the server has told of others than were set, and what it said of them.
    setup: Option<(Arc<Setup>, Beliefs)>,
    finder: Option<Finder>,
    since: Instant,
}

/// What was learned is forgotten when nobody has used it for so long.
const KEPT: Duration = Duration::from_secs(60 * 60);

impl Quotas {
    fn known(&self, now: Instant) -> Option<Known> {
        let peer = self.peer.as_ref();
        let finder = peer.and_then(|peer| peer.finder.as_ref()).filter(|finder| !finder.is_fresh());
        let as_set = self.setup.meters.iter().all(|meter| !meter.is_told());
        let beliefs = || peer.map_or_else(Beliefs::new, |peer| peer.beliefs.clone());
        let known = Known {
            pause: peer.and_then(|peer| peer.pause.rest(now)),
            setup: (!as_set).then(|| (Arc::clone(&self.setup), beliefs())),
            finder: finder.cloned(),
            since: now,
        };
        (known.pause.is_some() || known.setup.is_some() || known.finder.is_some()).then_some(known)
    }
}

impl Rests for Quotas {
    type Rest = QuotasAtRest;

    fn rest(&self, now: Instant) -> Option<QuotasAtRest> {
        Some(QuotasAtRest {
            epoch: Since::from(self.setup.epoch),
            levels: self.metered().map(|(meter, bucket)| Level::of(meter, bucket)).collect(),
            known: self.known(now).map(Box::new),
        })
    }

    /// Goes on with the levels of what was kept. Quotas are taken for the same that count the same in the same
    /// window; the level of one that has no counterpart is dropped. Where the server has told of others, what is
    /// configured now is matched with them as in [`set_quotas`](Quotas::set_quotas), and put in force if it is
    /// not what was configured before.
    fn resume(&mut self, kept: QuotasAtRest) {
        let made = Arc::clone(&self.setup);
        let epoch = kept.epoch.instant();
        let mut changed = false;
        if let Some(known) = kept.known {
            let Known { pause, setup, finder, .. } = *known;
            if let Some((setup, beliefs)) = setup {
                changed = !setup.configured().eq(made.configured());
                self.buckets = setup.meters.iter().map(|_| Bucket::full()).collect();
                let (pacing, learning, seed) = (made.pacing, made.learning, made.seed);
                self.setup = Arc::new(Setup { pacing, learning, seed, ..(*setup).clone() });
                self.peer_mut(epoch).beliefs = beliefs;
            }
            if let Some(pause) = pause {
                self.peer_mut(epoch).pause.resume(pause);
            }
            if let Some(finder) = finder {
                self.peer_mut(epoch).finder = Some(finder);
            }
        }
        // The levels are counted from it.
        if self.setup.epoch != epoch {
            Arc::make_mut(&mut self.setup).epoch = epoch;
        }
        let mut levels = kept.levels;
        for (meter, bucket) in self.setup.meters.iter().zip(&mut self.buckets) {
            if let Some(index) = levels.iter().position(|level| level.is_of(meter)) {
                bucket.propose(levels.remove(index).drawn_until());
                bucket.commit();
            }
        }
        if changed {
            // The policy was asked just now.
            self.set_quotas(made.configured().copied(), made.epoch);
        }
        self.plan_lapse();
        self.look_for_a_limit();
    }
}

impl Setup {
    fn configured(&self) -> impl Iterator<Item = &Quota> {
        self.meters.iter().filter_map(Meter::as_configured)
    }
}

impl QuotasAtRest {
    /// All has flowed back.
    fn is_full(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.epoch.instant()).as_nanos();
        self.levels.iter().all(|level| u128::from(level.drawn_until()) <= elapsed)
    }
}

impl Idle for QuotasAtRest {
    fn is_idle(&self, now: Instant) -> bool {
        self.is_full(now) && self.known.is_idle(now)
    }

    fn is_spare(&self, now: Instant) -> bool {
        self.is_full(now) && self.known.is_spare(now)
    }
}

impl Idle for Known {
    fn is_idle(&self, now: Instant) -> bool {
        let learned = self.setup.is_some() || self.finder.is_some();
        self.pause.is_idle(now) && (!learned || now >= self.since + KEPT)
    }

    /// What was learned will be learned again; a pause is a debt.
    fn is_spare(&self, now: Instant) -> bool {
        self.pause.is_idle(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Charge, Dimension};
    use aplomb_admission::{Decision, End, Gate};
    use aplomb_core::Outcome;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    fn policy() -> Quotas {
        let tokens = Quota::new(Dimension::TOKENS, 100, 10 * S);
        Quotas::new([Quota::requests_per_second(3), tokens], 1)
    }

    fn policy_at(epoch: Instant) -> Quotas {
        let mut quotas = policy();
        Arc::make_mut(&mut quotas.setup).epoch = epoch;
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
            let mut now = awake.setup.epoch.max(resting.setup.epoch);
            resting = policy_at(awake.setup.epoch);
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
        let now = quotas.setup.epoch;
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
        let now = quotas.setup.epoch;
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
    fn two_quotas_are_kept_in_few_bytes() {
        assert!(size_of::<(u64, QuotasAtRest)>() <= 56);
    }

    #[test]
    fn what_was_learned_outlasts_a_rest_and_is_forgotten_after_an_hour() {
        use aplomb_core::Reading;

        let mut quotas = Quotas::new([], 1);
        let now = quotas.setup.epoch;
        assert!(quotas.rest(now).unwrap().is_idle(now));
        assert_eq!(quotas.check(&Charge::request(), now), Decision::Admit);
        let mut drawn = quotas.admit(&Charge::request(), now);
        let told = Reading::of(Dimension::REQUESTS).with_limit(60).with_remaining(0);
        quotas.heard(&mut drawn, &[told], now);
        quotas.end(drawn, End::Judged { outcome: Outcome::success(), usage: None }, now);
        let kept = quotas.rest(now).unwrap();
        assert!(!kept.is_idle(now + KEPT - Duration::from_nanos(1)));
        assert!(kept.is_idle(now + KEPT));
        let mut resumed = Quotas::new([], 2);
        resumed.resume(kept);
        assert_eq!(resumed.learned(), quotas.learned());
        let empty = Decision::NotBefore(now + S, crate::Limit::Quota(Dimension::REQUESTS));
        assert_eq!(resumed.check(&Charge::request(), now), empty);
    }
}
