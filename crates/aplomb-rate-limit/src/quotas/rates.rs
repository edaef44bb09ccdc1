//! How fast quotas flow back, as the server says: at once where it is slower, and when several readings agree where it
//! is faster.

use std::time::Duration;

use tokio::time::Instant;

use super::Quotas;
use crate::Quota;
use crate::active_quota::as_u32;
use crate::reported_limit::{ReportedLimit, Window};

impl Quotas {
    /// Adopts the reported limit: at once if it is lower, after several agreeing reports if it is higher, and
    /// never above the configured quota. `went` units have gone with the call that it was reported to.
    pub(super) fn adopt_rate(&mut self, index: usize, reported: ReportedLimit, went: u64, now: Instant) {
        let Some((limit, window)) = reported.limit.zip(self.believed_window(index, reported)) else {
            return;
        };
        if !self.set.quotas()[index].has_rate() {
            return self.found_rate(index, reported, Quota::new(self.dimension(index), limit, window), now);
        }
        let quota = &self.set.quotas()[index];
        let (id, current) = (quota.id(), quota.flow().interval());
        let as_reported = Quota::new(quota.quota().dimension(), limit, window);
        let configured = quota.as_configured().copied();
        let at_least = configured.as_ref().map_or(0, Quota::interval);
        let interval = as_reported.interval().max(at_least);
        if interval > at_least && configured.is_some() {
            let nanos = self.set.nanos(now);
            let trial = &mut self.server_mut().estimate_mut(id).trial;
            match trial.next(interval, went, nanos) {
                Step::None => {}
                Step::Ignore => return,
                Step::Begin => {
                    let more =
                        Quota::new(as_reported.dimension(), limit.saturating_mul(5).div_ceil(4), window);
                    return self.put_in_force(index, more, now);
                }
                Step::Drop => {
                    let configured = configured.unwrap_or(as_reported);
                    return self.put_in_force(index, configured, now);
                }
            }
        }
        let agreement = &mut self.server_mut().estimate_mut(id).rate;
        if interval > current {
            agreement.no_more();
            self.put_in_force(index, as_reported, now);
        } else if interval == current {
            agreement.no_more();
        } else if let Some(least) = agreement.more(limit) {
            let agreed = Quota::new(as_reported.dimension(), least, window);
            self.put_in_force(index, agreed, now);
        }
    }

    /// The window of a reported limit, as far as it is certain: one that follows from a reset, and is not the quota's, has
    /// to do so twice.
    fn believed_window(&mut self, index: usize, reported: ReportedLimit) -> Option<Duration> {
        let quota = &self.set.quotas()[index];
        let own = quota.quota().window();
        let (id, has_rate) = (quota.id(), quota.has_rate());
        let full = || self.server.as_ref()?.estimate(id)?.gauge.full();
        let follows = if has_rate {
            None
        } else {
            full().and_then(|full| reported.window_of(full))
        };
        match reported.window.or(follows) {
            Some(Window::Named(window)) => Some(window),
            Some(Window::Inferred(window)) if has_rate && window == own => Some(window),
            Some(Window::Inferred(window)) => {
                let before = self.server_mut().estimate_mut(id).inferred.replace(window);
                (before == Some(window)).then_some(window)
            }
            None => has_rate.then_some(own),
        }
    }

    /// The window of a limit without one was found.
    fn found_rate(&mut self, index: usize, reported: ReportedLimit, quota: Quota, now: Instant) {
        let nanos = self.set.nanos(now);
        let (active, bucket) = self.set.at_mut(index);
        let flying = bucket.unanswered;
        let limit = quota.amount();
        let left = reported.remaining.unwrap_or(limit);
        active.flows(quota.burst(as_u32(left.max(1))), bucket, nanos);
        bucket.owe(active.flow(), flying, nanos);
        self.announce(index);
    }

    fn put_in_force(&mut self, index: usize, as_reported: Quota, now: Instant) {
        let nanos = self.set.nanos(now);
        let (quota, bucket) = self.set.at_mut(index);
        let amount = as_u32(as_reported.amount());
        let in_force = match quota.as_configured() {
            Some(configured) if configured.interval() >= as_reported.interval() => *configured,
            Some(configured) => {
                as_reported.burst(configured.max_burst().min(amount)).settle(configured.settles())
            }
            None => as_reported.burst(quota.flow().burst().min(amount)),
        };
        let changes = quota.changes();
        quota.change(in_force, bucket, nanos);
        let quota = *quota;
        if quota.changes() != changes {
            let estimate = self.server_mut().estimate_mut(quota.id());
            estimate.tightened_until = quota.converted(estimate.tightened_until);
            self.announce(index);
        }
    }
}

/// Whether a reported rate that is stricter than the configured one is right: after a while without refusals a quarter
/// more goes, and if nothing of that is refused either, the report is dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trial {
    /// When the rate was adopted, or the last call was refused; 0 if not at all.
    since: u64,
    /// When the trial ends; 0 while there is none.
    ends: u64,
    /// The units that have gone in the trial.
    went: u64,
    /// How often a trial was refused.
    refused: u32,
    /// The interval that was dropped.
    dropped: u64,
}

/// The fate of a reported rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is believed.
    None,
    /// It is not believed, or is just being tried.
    Ignore,
    /// A quarter more may go.
    Begin,
    /// The configured rate is in force again.
    Drop,
}

const SECOND: u64 = 1_000_000_000;
/// A trial begins after so long without a refusal, and longer after each one that was refused.
const BEFORE: u64 = 10 * SECOND;
const LASTS: u64 = 5 * SECOND;

impl Trial {
    /// The server reports this interval again, with a call of `went` units.
    fn next(&mut self, interval: u64, went: u64, now: u64) -> Step {
        if self.dropped == interval {
            return Step::Ignore;
        }
        if self.since == 0 {
            self.since = now.max(1);
        }
        if self.ends == 0 {
            if now.saturating_sub(self.since) < BEFORE << self.refused.min(6) {
                return Step::None;
            }
            (self.ends, self.went) = (now + LASTS, 0);
            return Step::Begin;
        }
        self.went = self.went.saturating_add(went);
        if now < self.ends {
            return Step::Ignore;
        }
        let took = now - (self.ends - LASTS);
        self.ends = 0;
        self.since = now;
        // More than a tenth above the reported rate.
        if u128::from(self.went) * u128::from(interval) * 10 < u128::from(took) * 11 {
            return Step::None;
        }
        self.dropped = interval;
        Step::Drop
    }

    /// A call was refused.
    pub(super) fn refused(&mut self, now: u64) {
        if self.ends > 0 {
            self.refused = self.refused.saturating_add(1);
        }
        if self.dropped > 0 {
            // The report was right after all.
            self.refused = self.refused.saturating_add(1);
            self.dropped = 0;
        }
        (self.since, self.ends) = (now.max(1), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u64 = SECOND / 10;

    /// One call each `every`, from `from` until the first step of this kind.
    fn until(trial: &mut Trial, step: Step, from: u64, every: u64) -> Option<u64> {
        (1..1_000).map(|n| from + n * every).find(|now| trial.next(INTERVAL, 1, *now) == step)
    }

    #[test]
    fn a_rate_that_no_refusal_confirms_is_tried_and_dropped() {
        let mut trial = Trial::default();
        let begun = until(&mut trial, Step::Begin, 0, INTERVAL).unwrap();
        assert!((BEFORE..BEFORE + SECOND).contains(&begun));
        let dropped = until(&mut trial, Step::Drop, begun, INTERVAL * 4 / 5).unwrap();
        assert!((LASTS..LASTS + SECOND).contains(&(dropped - begun)));
        assert_eq!(trial.next(INTERVAL, 1, dropped + SECOND), Step::Ignore);
        assert_eq!(trial.next(2 * INTERVAL, 1, dropped + SECOND), Step::None, "another one");
    }

    #[test]
    fn a_trial_in_which_no_more_goes_shows_nothing() {
        let mut trial = Trial::default();
        let begun = until(&mut trial, Step::Begin, 0, INTERVAL).unwrap();
        assert_eq!(until(&mut trial, Step::Drop, begun, INTERVAL), None);
    }

    #[test]
    fn a_refused_trial_is_repeated_later_and_later() {
        let mut trial = Trial::default();
        let mut now = 0;
        for n in 0..4 {
            let begun = until(&mut trial, Step::Begin, now, INTERVAL).unwrap();
            assert!(begun - now >= (BEFORE << n), "{n}");
            now = begun + SECOND;
            trial.refused(now);
        }
    }
}
