//! Finds the rate of a limit that nobody configured and the server does not report: from below.

use std::time::Duration;

use tokio::time::Instant;

use crate::active_quota::ActiveQuota;
use crate::bucket::{Bucket, Level};
use crate::cubic::Cubic;
use crate::{Dimension, Quota};

/// How many calls may be unanswered at first. Each answer allows one more, so they double with every round trip.
const FIRST_WINDOW: u32 = 4;

/// Refusals come fast: if none has come within this time, the calls that were sent have been accepted.
const FAST_REFUSAL: Duration = Duration::from_secs(1);

/// A server that has answered so many at once without reporting a limit gets calls as fast as they come.
const MAX_WINDOW: u32 = 256;

/// The lowest rate after the first refusal, in calls per second, unless the server names an earlier time.
const FIRST_RATE: f64 = 1.0;

/// Rates are between one call a minute and a million a second.
const MIN_RATE: f64 = 1.0 / 60.0;
const MAX_RATE: f64 = 1e6;

/// The estimate of a server's rate limit.
///
/// It starts with a window: a few unanswered calls, and more with every answer. The first refusal shows that there
/// is a limit, but not which: a rate climbs from far below and doubles every second. From the second
/// refusal on the limit is known: both times the server had nothing left, so what it accepted in between is
/// what flowed back meanwhile. The rate drops a little, returns to that, stays there, and probes beyond
/// ([`Cubic`]).
#[derive(Clone, Debug)]
pub(crate) struct RateEstimator {
    phase: Phase,
    epoch: Instant,
    /// When the server last had nothing left, what it has accepted since, and for how long no call had to wait.
    empty_at: Option<Instant>,
    accepted: u64,
    idle: Duration,
    /// When the last call was admitted, and whether the next one has had to wait.
    last: Option<Instant>,
    waited: bool,
}

#[derive(Clone, Debug)]
enum Phase {
    Window { size: u32, answers: u32, grown: Instant },
    Unlimited,
    Rate(Box<Rate>),
}

/// A window doubles with every round trip at first, and grows by half when it is larger: the excess is refused.
const fn answers_for_one_more(size: u32) -> u32 {
    if size < 8 { 1 } else { 2 }
}

/// Calls are admitted one by one at a rate that grows while they use it.
#[derive(Clone, Debug)]
struct Rate {
    curve: Curve,
    /// For how long calls have come as fast as they were admitted.
    used: Duration,
    quota: ActiveQuota,
    bucket: Bucket,
}

#[derive(Clone, Copy, Debug)]
enum Curve {
    /// Doubles, starting from this rate.
    Climb(f64),
    Cubic(Cubic),
}

impl Curve {
    fn rate(&self, used: Duration) -> f64 {
        let rate = match self {
            Self::Climb(first) => {
                let doubles_in = 1.0 / first;
                first * (used.as_secs_f64() / doubles_in).min(64.0).exp2()
            }
            Self::Cubic(cubic) => cubic.rate(used),
        };
        rate.clamp(MIN_RATE, MAX_RATE)
    }
}

/// When a call may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Now,
    At(Instant),
    WhenAnswered,
}

impl RateEstimator {
    pub(crate) const fn new(epoch: Instant) -> Self {
        Self {
            phase: Phase::Window { size: FIRST_WINDOW, answers: 0, grown: epoch },
            epoch,
            empty_at: None,
            accepted: 0,
            idle: Duration::ZERO,
            last: None,
            waited: false,
        }
    }

    /// Starts from a rate, in calls per second, that was found before.
    pub(crate) fn start_from(&mut self, rate: f64, now: Instant) {
        if rate.is_finite() && rate > 0.0 {
            let cubic = Cubic::below(rate.clamp(MIN_RATE, MAX_RATE), f64::INFINITY);
            self.set(Curve::Cubic(cubic), cubic.plateau(), now);
        }
    }

    /// The rate at which the server was found to refuse, in calls per second.
    pub(crate) fn rate(&self) -> Option<f64> {
        match &self.phase {
            Phase::Rate(rate) => match rate.curve {
                Curve::Cubic(cubic) => Some(cubic.most()),
                Curve::Climb(_) => None,
            },
            Phase::Window { .. } | Phase::Unlimited => None,
        }
    }

    /// Whether it knows no more than a new one, or has not been used for so long.
    pub(crate) fn is_fresh(&self, now: Instant, kept: Duration) -> bool {
        let is_new = matches!(self.phase, Phase::Window { size: FIRST_WINDOW, .. });
        is_new || self.last.max(self.empty_at).is_none_or(|used| now >= used + kept)
    }

    /// When waiting calls are to be checked again although nothing was answered.
    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        match self.phase {
            Phase::Window { grown, .. } => Some(grown + FAST_REFUSAL),
            _ => None,
        }
    }

    /// The server reports its limits, so there is nothing to find out.
    pub(crate) fn on_limits_reported(&mut self) {
        if matches!(self.phase, Phase::Window { .. }) {
            self.phase = Phase::Unlimited;
        }
    }

    /// The limits that the server reported have expired, so they have to be found out again.
    pub(crate) fn on_limits_expired(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Unlimited) {
            self.phase = Phase::Window { size: FIRST_WINDOW, answers: 0, grown: now };
        }
    }

    /// When a call may go, while so many others are unanswered.
    pub(crate) fn readiness(&mut self, cost: u64, unanswered: u32, now: Instant) -> Readiness {
        match &mut self.phase {
            _ if cost == 0 => Readiness::Now,
            Phase::Unlimited => Readiness::Now,
            Phase::Window { size, grown, .. } => {
                if unanswered >= *size && now >= *grown + FAST_REFUSAL {
                    *size += *size / answers_for_one_more(*size);
                    *grown = now;
                }
                if unanswered < *size {
                    Readiness::Now
                } else {
                    Readiness::WhenAnswered
                }
            }
            Phase::Rate(rate) => {
                // A call that counts as several waits for one, and leaves a debt.
                let at_once = cost.min(rate.quota.flow().burst().into());
                match rate.bucket.level(rate.quota.flow(), at_once, nanos(self.epoch, now)) {
                    Level::NotBefore(at) => {
                        self.waited = true;
                        Readiness::At(self.epoch + Duration::from_nanos(at))
                    }
                    Level::Enough { .. } | Level::Above(_) => Readiness::Now,
                }
            }
        }
    }

    /// A call was admitted while so many others are unanswered.
    pub(crate) fn on_admitted(&mut self, cost: u64, unanswered: u32, now: Instant) {
        if cost == 0 {
            return;
        }
        self.accepted = self.accepted.saturating_add(cost);
        let waited = std::mem::take(&mut self.waited);
        let since_last = self.last.replace(now).map_or(Duration::ZERO, |last| now - last);
        let nanos = nanos(self.epoch, now);
        match &mut self.phase {
            Phase::Unlimited => {}
            Phase::Window { grown, .. } => {
                if unanswered == 0 {
                    *grown = now;
                }
            }
            Phase::Rate(rate) => {
                if waited {
                    rate.used += since_last;
                    rate.adapt(nanos);
                } else {
                    self.idle += since_last;
                }
                rate.bucket.owe(rate.quota.flow(), cost, nanos);
            }
        }
    }

    /// The server accepted a call.
    pub(crate) fn on_accepted(&mut self, cost: u64) {
        if cost == 0 {
            return;
        }
        if let Phase::Window { size, answers, .. } = &mut self.phase {
            *answers += 1;
            if *answers >= answers_for_one_more(*size) {
                *answers = 0;
                *size += 1;
            }
            if *size > MAX_WINDOW {
                self.phase = Phase::Unlimited;
            }
        }
    }

    /// The server did not accept, or never saw, a call that was admitted.
    pub(crate) const fn on_not_accepted(&mut self, cost: u64) {
        self.accepted = self.accepted.saturating_sub(cost);
    }

    /// The server had nothing left, and may have said when it will again.
    pub(crate) fn on_refused(&mut self, hint: Option<Duration>, now: Instant) {
        #[expect(clippy::cast_precision_loss, reason = "a rate is not that exact")]
        let accepted = self.accepted as f64;
        let (curve, used) = match &self.phase {
            Phase::Window { .. } | Phase::Unlimited => {
                let hinted = hint.map_or(0.0, |hint| 1.0 / hint.as_secs_f64().max(1e-3));
                (Curve::Climb(hinted.clamp(FIRST_RATE, 10.0 * FIRST_RATE)), Duration::ZERO)
            }
            Phase::Rate(rate) => {
                let at = rate.curve.rate(rate.used);
                // If calls did not come as fast as they could, the server has saved up.
                let busy = self.idle <= rate.used / 4;
                let since = self.empty_at.map_or(rate.used, |empty| now.saturating_duration_since(empty));
                let measured = (accepted + 1.0) / since.as_secs_f64();
                let most = if busy { measured.min(at) } else { at };
                let most = most.max(MIN_RATE);
                (Curve::Cubic(Cubic::below(most, accepted)), Duration::ZERO)
            }
        };
        self.empty_at = Some(now);
        self.accepted = 0;
        self.idle = Duration::ZERO;
        self.last = None;
        self.waited = false;
        self.set(curve, used, now);
    }

    fn set(&mut self, curve: Curve, used: Duration, now: Instant) {
        let quota = ActiveQuota::learned(0, quota(curve.rate(used)));
        let mut bucket = Bucket::full();
        // No burst but the next call: the server has just had nothing left, or may not have more.
        bucket.owe(quota.flow(), u64::from(quota.flow().burst()) - 1, nanos(self.epoch, now));
        self.phase = Phase::Rate(Box::new(Rate { curve, used, quota, bucket }));
    }
}

impl Rate {
    /// Puts the current rate of the curve in force.
    fn adapt(&mut self, now: u64) {
        self.quota.change(quota(self.curve.rate(self.used)), &mut self.bucket, now);
    }
}

/// One by one at `rate`; above 50 a second as many at once as come within a tick of the timer.
fn quota(rate: f64) -> Quota {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 1001"
    )]
    let burst = if rate < 50.0 {
        1
    } else {
        1 + (rate * 0.001).ceil() as u32
    };
    Quota::new(Dimension::REQUESTS, 1, Duration::from_secs_f64(1.0 / rate)).burst(burst)
}

fn nanos(epoch: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// An estimator that has been refused twice, and found one a second.
    fn at_one_a_second() -> (RateEstimator, Instant) {
        let start = Instant::now();
        let mut estimator = RateEstimator::new(start);
        estimator.start_from(1.0, start);
        (estimator, start)
    }

    /// Admits the next call as soon as it may go.
    fn go(estimator: &mut RateEstimator, cost: u64, mut now: Instant) -> Instant {
        while let Readiness::At(at) = estimator.readiness(cost, 0, now) {
            now = at;
        }
        estimator.on_admitted(cost, 0, now);
        now
    }

    #[test]
    fn a_rate_that_is_not_used_does_not_grow() {
        let (mut estimator, mut now) = at_one_a_second();
        for _ in 0..1_000 {
            now = go(&mut estimator, 1, now + 2 * S);
        }
        let soon = go(&mut estimator, 1, now);
        assert!(soon - now >= S.mul_f64(0.99), "{:?}", soon - now);
    }

    #[test]
    fn a_rate_that_is_used_looks_beyond() {
        let (mut estimator, mut now) = at_one_a_second();
        for _ in 0..100 {
            now = go(&mut estimator, 1, now);
        }
        let soon = go(&mut estimator, 1, now);
        assert!(soon - now <= S.mul_f64(0.6), "{:?}", soon - now);
    }

    #[test]
    fn a_call_that_counts_as_several_leaves_a_debt_and_one_that_counts_as_none_passes() {
        let (mut estimator, now) = at_one_a_second();
        let now = go(&mut estimator, 5, now);
        assert_eq!(estimator.readiness(0, 1_000, now), Readiness::Now);
        let next = go(&mut estimator, 1, now);
        assert!(next - now >= S.mul_f64(4.9), "{:?}", next - now);
    }

    #[test]
    fn a_remembered_rate_that_makes_no_sense_is_ignored() {
        for rate in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            let mut estimator = RateEstimator::new(Instant::now());
            estimator.start_from(rate, Instant::now());
            assert_eq!(estimator.rate(), None, "{rate}");
        }
        let mut estimator = RateEstimator::new(Instant::now());
        estimator.start_from(f64::MIN_POSITIVE, Instant::now());
        assert!(estimator.rate().is_some_and(|rate| rate >= MIN_RATE));
    }

    #[test]
    fn refusals_without_end_end_at_the_slowest_rate() {
        let (mut estimator, mut now) = at_one_a_second();
        for _ in 0..200 {
            now = go(&mut estimator, 1, now + S);
            estimator.on_not_accepted(1);
            estimator.on_refused(None, now);
        }
        assert!(estimator.rate().is_some_and(|rate| rate >= MIN_RATE));
        assert!(go(&mut estimator, 1, now) - now <= 120 * S);
    }
}
