//! Finds the rate of a limit that nobody knows and the server does not tell: from below, and holds it.

use std::time::Duration;

use tokio::time::Instant;

use crate::bucket::{Bucket, Level};
use crate::cubic::Cubic;
use crate::meter::Meter;
use crate::{Dimension, Quota};

/// How many calls may be unanswered at first; one more with every answer, so twice as many with every
/// round.
const FIRST_WINDOW: u32 = 4;

/// Refusals come fast: where none has come within this time, those who were sent have been taken.
const FAST_REFUSAL: Duration = Duration::from_secs(1);

/// A server that has answered so many at once without a word of limits is asked as fast as calls come.
const WIDE_OPEN: u32 = 256;

/// How fast calls go at least, per second, after the first refusal: faster only if the server says
/// that it is back sooner.
const FIRST_RATE: f64 = 1.0;

/// No rate is below one call a minute, and none above a million a second.
const SLOWEST: f64 = 1.0 / 60.0;
const FASTEST: f64 = 1e6;

/// What has been found out so far.
///
/// It starts with a window: a few calls, and more with every answer. The first refusal tells that there
/// is a limit, and not which: a rate climbs from far below, doubling every second. From the second
/// refusal on the limit is known: both times the server had nothing left, so what it took in between is
/// what flowed meanwhile. The rate goes down a little, back to that, stays there, and looks beyond
/// ([`Cubic`]).
#[derive(Clone, Debug)]
pub(crate) struct Finder {
    phase: Phase,
    epoch: Instant,
    /// When the server had nothing left, what it has taken since, and how long nobody wanted more.
    empty_at: Option<Instant>,
    taken: u64,
    idle: Duration,
    /// When the last call went, and whether the next one was made to wait.
    last: Option<Instant>,
    waited: bool,
}

#[derive(Clone, Debug)]
enum Phase {
    Window { size: u32, took: u32, grown: Instant },
    Open,
    Rate(Box<Rate>),
}

/// A window doubles with every round at first, and grows by half when it is not small any more: what it
/// grows by too much is refused.
const fn answers_for_one_more(size: u32) -> u32 {
    if size < 8 { 1 } else { 2 }
}

/// Calls go one by one at a rate that grows while they use it.
#[derive(Clone, Debug)]
struct Rate {
    curve: Curve,
    /// How long calls have come as fast as they were let.
    used: Duration,
    meter: Meter,
    bucket: Bucket,
}

#[derive(Clone, Copy, Debug)]
enum Curve {
    /// From this rate, doubling.
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
        rate.clamp(SLOWEST, FASTEST)
    }
}

/// What the finder says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Now,
    NotBefore(Instant),
    WhenAnswered,
}

impl Finder {
    pub(crate) const fn new(epoch: Instant) -> Self {
        Self {
            phase: Phase::Window { size: FIRST_WINDOW, took: 0, grown: epoch },
            epoch,
            empty_at: None,
            taken: 0,
            idle: Duration::ZERO,
            last: None,
            waited: false,
        }
    }

    /// Starts from a rate, in calls per second, that was found before.
    pub(crate) fn start_from(&mut self, rate: f64, now: Instant) {
        if rate.is_finite() && rate > 0.0 {
            let cubic = Cubic::below(rate.clamp(SLOWEST, FASTEST), f64::INFINITY);
            self.set(Curve::Cubic(cubic), cubic.plateau(), now);
        }
    }

    /// The rate that the server was found to take, in calls per second.
    pub(crate) fn found(&self) -> Option<f64> {
        match &self.phase {
            Phase::Rate(rate) => match rate.curve {
                Curve::Cubic(cubic) => Some(cubic.most()),
                Curve::Climb(_) => None,
            },
            Phase::Window { .. } | Phase::Open => None,
        }
    }

    /// Whether a new one would know as much.
    pub(crate) const fn is_fresh(&self) -> bool {
        matches!(self.phase, Phase::Window { size: FIRST_WINDOW, .. })
    }

    /// When it looks again by itself at who waits for an answer.
    pub(crate) fn lapses(&self) -> Option<Instant> {
        match self.phase {
            Phase::Window { grown, .. } => Some(grown + FAST_REFUSAL),
            _ => None,
        }
    }

    /// The server tells of its limits: nothing has to be found out.
    pub(crate) fn told(&mut self) {
        if matches!(self.phase, Phase::Window { .. }) {
            self.phase = Phase::Open;
        }
    }

    /// The server has not told of its limits for long: they have to be found out again.
    pub(crate) fn not_told_any_more(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Open) {
            self.phase = Phase::Window { size: FIRST_WINDOW, took: 0, grown: now };
        }
    }

    /// Whether a call may go, of which so many others are not answered yet.
    pub(crate) fn turn(&mut self, cost: u64, unanswered: u32, now: Instant) -> Turn {
        match &mut self.phase {
            _ if cost == 0 => Turn::Now,
            Phase::Open => Turn::Now,
            Phase::Window { size, grown, .. } => {
                if unanswered >= *size && now >= *grown + FAST_REFUSAL {
                    *size += *size / answers_for_one_more(*size);
                    *grown = now;
                }
                if unanswered < *size {
                    Turn::Now
                } else {
                    Turn::WhenAnswered
                }
            }
            Phase::Rate(rate) => {
                // A call that counts as several waits for one, and leaves a debt.
                let at_once = cost.min(rate.meter.burst().into());
                match rate.bucket.level(&rate.meter, at_once, nanos(self.epoch, now)) {
                    Level::NotBefore(at) => {
                        self.waited = true;
                        Turn::NotBefore(self.epoch + Duration::from_nanos(at))
                    }
                    Level::Enough { .. } | Level::Above(_) => Turn::Now,
                }
            }
        }
    }

    /// A call goes, and none is unanswered but so many others.
    pub(crate) fn gone(&mut self, cost: u64, unanswered: u32, now: Instant) {
        if cost == 0 {
            return;
        }
        self.taken = self.taken.saturating_add(cost);
        let waited = std::mem::take(&mut self.waited);
        let since_last = self.last.replace(now).map_or(Duration::ZERO, |last| now - last);
        let nanos = nanos(self.epoch, now);
        match &mut self.phase {
            Phase::Open => {}
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
                rate.bucket.owe(&rate.meter, cost, nanos);
            }
        }
    }

    /// The server took a call.
    pub(crate) fn took(&mut self, cost: u64) {
        if let Phase::Window { size, took, .. } = &mut self.phase
            && cost > 0
        {
            *took += 1;
            if *took >= answers_for_one_more(*size) {
                *took = 0;
                *size += 1;
            }
            if *size > WIDE_OPEN {
                self.phase = Phase::Open;
            }
        }
    }

    /// The server did not take, or never saw, a call that went.
    pub(crate) const fn did_not_take(&mut self, cost: u64) {
        self.taken = self.taken.saturating_sub(cost);
    }

    /// The server had nothing left, and said when it has again.
    pub(crate) fn refused(&mut self, hint: Option<Duration>, now: Instant) {
        #[expect(clippy::cast_precision_loss, reason = "a rate is not that exact")]
        let taken = self.taken as f64;
        let (curve, used) = match &self.phase {
            Phase::Window { .. } | Phase::Open => {
                let told = hint.map_or(0.0, |hint| 1.0 / hint.as_secs_f64().max(1e-3));
                (Curve::Climb(told.clamp(FIRST_RATE, 10.0 * FIRST_RATE)), Duration::ZERO)
            }
            Phase::Rate(rate) => {
                let at = rate.curve.rate(rate.used);
                // Where calls did not come as fast as they could, the server has saved up.
                let busy = self.idle <= rate.used / 4;
                let since = self.empty_at.map_or(rate.used, |empty| now.saturating_duration_since(empty));
                let measured = (taken + 1.0) / since.as_secs_f64();
                let most = if busy { measured.min(at) } else { at };
                let most = most.max(SLOWEST);
                (Curve::Cubic(Cubic::below(most, taken)), Duration::ZERO)
            }
        };
        self.empty_at = Some(now);
        self.taken = 0;
        self.idle = Duration::ZERO;
        self.last = None;
        self.waited = false;
        self.set(curve, used, now);
    }

    fn set(&mut self, curve: Curve, used: Duration, now: Instant) {
        let meter = Meter::learned(0, quota(curve.rate(used)));
        let mut bucket = Bucket::full();
        // No burst but the next call: the server has just had nothing left, or may not have more.
        bucket.owe(&meter, u64::from(meter.burst()) - 1, nanos(self.epoch, now));
        self.phase = Phase::Rate(Box::new(Rate { curve, used, meter, bucket }));
    }
}

impl Rate {
    /// Puts the rate of now in force.
    fn adapt(&mut self, now: u64) {
        self.meter.change(quota(self.curve.rate(self.used)), &mut self.bucket, now);
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

    /// A finder that has been refused twice, and found one a second.
    fn at_one_a_second() -> (Finder, Instant) {
        let start = Instant::now();
        let mut finder = Finder::new(start);
        finder.start_from(1.0, start);
        (finder, start)
    }

    /// Takes the next turn as soon as it comes.
    fn go(finder: &mut Finder, cost: u64, mut now: Instant) -> Instant {
        while let Turn::NotBefore(at) = finder.turn(cost, 0, now) {
            now = at;
        }
        finder.gone(cost, 0, now);
        now
    }

    #[test]
    fn a_rate_that_is_not_used_does_not_grow() {
        let (mut finder, mut now) = at_one_a_second();
        for _ in 0..1_000 {
            now = go(&mut finder, 1, now + 2 * S);
        }
        let soon = go(&mut finder, 1, now);
        assert!(soon - now >= S.mul_f64(0.99), "{:?}", soon - now);
    }

    #[test]
    fn a_rate_that_is_used_looks_beyond() {
        let (mut finder, mut now) = at_one_a_second();
        for _ in 0..100 {
            now = go(&mut finder, 1, now);
        }
        let soon = go(&mut finder, 1, now);
        assert!(soon - now <= S.mul_f64(0.6), "{:?}", soon - now);
    }

    #[test]
    fn a_call_that_counts_as_several_leaves_a_debt_and_one_that_counts_as_none_passes() {
        let (mut finder, now) = at_one_a_second();
        let now = go(&mut finder, 5, now);
        assert_eq!(finder.turn(0, 1_000, now), Turn::Now);
        let next = go(&mut finder, 1, now);
        assert!(next - now >= S.mul_f64(4.9), "{:?}", next - now);
    }

    #[test]
    fn what_is_remembered_and_makes_no_sense_is_ignored() {
        for rate in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            let mut finder = Finder::new(Instant::now());
            finder.start_from(rate, Instant::now());
            assert_eq!(finder.found(), None, "{rate}");
        }
        let mut finder = Finder::new(Instant::now());
        finder.start_from(f64::MIN_POSITIVE, Instant::now());
        assert!(finder.found().is_some_and(|rate| rate >= SLOWEST));
    }

    #[test]
    fn refusals_without_end_end_at_the_slowest_rate() {
        let (mut finder, mut now) = at_one_a_second();
        for _ in 0..200 {
            now = go(&mut finder, 1, now + S);
            finder.did_not_take(1);
            finder.refused(None, now);
        }
        assert!(finder.found().is_some_and(|rate| rate >= SLOWEST));
        assert!(go(&mut finder, 1, now) - now <= 120 * S);
    }
}
