//! One throttled response pauses every caller.

mod rest;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

pub(crate) use self::rest::Paused;

/// How long a server that names no time is given: twice as long each time, half of it at random.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_UNTOLD_PAUSE: Duration = Duration::from_secs(60);

/// After a pause the calls that may have gone double with every step of the ramp, and after the last
/// step everybody may go: a server that has just asked for less is not answered with a burst.
const RAMP_STEPS: u32 = 8;

/// What lasts longer than a pause may is not waited for. After so long at the latest one call goes to
/// see whether it is over: an account may have been topped up.
const LONGEST_EXHAUSTED: Duration = Duration::from_secs(60 * 60);

/// No pause is longer than this, whatever is set and whatever a server says: it can be added to any
/// time.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A state machine of its own, asked before the quotas: settling and refunds do not shorten it.
#[derive(Debug)]
pub(crate) struct Pause {
    pacing: Pacing,
    random: StdRng,
    /// The pause, or the ramp after it.
    now: Option<Ongoing>,
    /// How many pauses in a row the server asked for without naming a time.
    untold: u32,
}

/// How long pauses may be, and how they end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacing {
    longest: Duration,
    ramp: Duration,
}

impl Pacing {
    /// At most 120 s, and then a ramp of 2 s.
    pub(crate) const fn new() -> Self {
        Self { longest: Duration::from_secs(120), ramp: Duration::from_secs(2) }
    }

    pub(crate) const fn longest(&self) -> Duration {
        self.longest
    }

    pub(crate) fn set_longest(&mut self, longest: Duration) {
        self.longest = longest.min(LONGEST);
    }

    pub(crate) fn set_ramp(&mut self, ramp: Duration) {
        self.ramp = ramp.min(LONGEST);
    }
}

#[derive(Clone, Copy, Debug)]
struct Ongoing {
    until: Instant,
    /// It is too long to be waited for.
    exhausted: bool,
    /// How many calls have gone since it ended.
    gone: u32,
}

impl Ongoing {
    /// The end of the ramp.
    fn over(&self, ramp: Duration) -> Instant {
        self.until + ramp
    }
}

/// What a pause says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stance {
    Go,
    NotBefore(Instant),
    /// It will not be over for so long: that is not waited for.
    Exhausted(Duration),
}

impl Pause {
    pub(crate) fn new(pacing: Pacing, seed: u64) -> Self {
        Self { pacing, random: StdRng::seed_from_u64(seed), now: None, untold: 0 }
    }

    /// Draws from `seed` from now on.
    pub(crate) fn set_seed(&mut self, seed: u64) {
        self.random = StdRng::seed_from_u64(seed);
    }

    pub(crate) const fn set_pacing(&mut self, pacing: Pacing) {
        self.pacing = pacing;
    }

    /// When the next call may go, as far as the pause is concerned.
    pub(crate) fn stance(&mut self, now: Instant) -> Stance {
        let Some(Ongoing { until, exhausted, gone }) = self.now else {
            return Stance::Go;
        };
        if exhausted && now < until {
            return Stance::Exhausted(until - now);
        }
        // 1 goes when the pause ends, 2 more by the first step, 4 more by the second …
        let step = (gone + 1).ilog2();
        if step >= RAMP_STEPS || now >= until + self.pacing.ramp {
            self.now = None;
            return Stance::Go;
        }
        let at = until + self.pacing.ramp / RAMP_STEPS * step;
        if at > now {
            Stance::NotBefore(at)
        } else {
            Stance::Go
        }
    }

    /// The end of the pause, while it lasts.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        self.now.map(|pause| pause.until).filter(|until| *until > now)
    }

    /// A call goes.
    pub(crate) const fn gone(&mut self) {
        if let Some(pause) = &mut self.now {
            pause.gone += 1;
        }
    }

    /// A call that went at `admitted` was throttled, and told to come back after `hint`. Says whether
    /// that is news, and not one more answer to a burst that has been paused for already.
    pub(crate) fn throttled(&mut self, admitted: Instant, hint: Option<Duration>, now: Instant) -> bool {
        // Nobody goes while a pause lasts, so a call that went before its end belongs to the burst that
        // caused it: it may tell of a longer wait, and is no new reason. When the ramp is over, it is.
        let ramp = self.pacing.ramp;
        let known = self.now.is_some_and(|pause| admitted < pause.until && now < pause.over(ramp));
        let (wait, exhausted) = match hint {
            Some(hint) if hint > self.pacing.longest => (hint.min(LONGEST_EXHAUSTED), true),
            Some(hint) => (hint, false),
            None if known => return false,
            None => (self.untold_wait(), false),
        };
        let until = now + wait;
        match &mut self.now {
            Some(pause) if known => {
                if until > pause.until {
                    *pause = Ongoing { until, exhausted, gone: 0 };
                }
            }
            pause => *pause = Some(Ongoing { until, exhausted, gone: 0 }),
        }
        !known
    }

    /// A call that went at `admitted` was answered: the server is itself again.
    pub(crate) fn answered(&mut self, admitted: Instant) {
        if self.now.is_none_or(|pause| admitted >= pause.until) {
            self.untold = 0;
        }
    }

    /// Nothing is remembered that a new one would not know.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.untold == 0 && self.now.is_none_or(|pause| now >= pause.over(self.pacing.ramp))
    }

    fn untold_wait(&mut self) -> Duration {
        let ceiling = FIRST_PAUSE.saturating_mul(1 << self.untold.min(16));
        // However short a pause is allowed to be: with none at all, calls would follow their refusals.
        let ceiling = ceiling.min(LONGEST_UNTOLD_PAUSE).min(self.pacing.longest.max(FIRST_PAUSE));
        self.untold += 1;
        self.random.random_range(ceiling / 2..=ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    const RAMP_STEP: Duration = Duration::from_millis(250);

    fn pause() -> (Pause, Instant) {
        (Pause::new(Pacing::new(), 3), Instant::now())
    }

    fn at_most(longest: Duration) -> Pacing {
        let mut pacing = Pacing::new();
        pacing.set_longest(longest);
        pacing
    }

    #[test]
    fn promise_23_many_429s_of_one_burst_count_once_and_the_longest_hint_holds() {
        let (mut pause, start) = pause();
        for (ms, hint) in [(10, 2), (11, 2), (12, 5), (13, 1)] {
            let now = start + Duration::from_millis(ms);
            assert_eq!(pause.throttled(start, Some(hint * S), now), ms == 10);
        }
        assert_eq!(pause.stance(start + S), Stance::NotBefore(start + Duration::from_millis(12) + 5 * S));
    }

    #[test]
    fn without_a_hint_pauses_grow_once_per_burst() {
        let (mut pause, mut now) = pause();
        for ceiling in [1, 2, 4, 8, 16, 32, 60, 60] {
            let admitted = now;
            for _ in 0..50 {
                pause.throttled(admitted, None, now);
                now += Duration::from_millis(1);
            }
            let until = pause.until(now).unwrap();
            let length = until - admitted;
            assert!(length >= ceiling * S / 2 && length <= ceiling * S, "{length:?} of {ceiling}");
            now = until;
        }
        pause.answered(now);
        pause.throttled(now, None, now);
        assert!(pause.until(now).unwrap() - now <= S);
    }

    #[test]
    fn promise_23_it_ends_with_a_ramp() {
        let (mut pause, start) = pause();
        pause.throttled(start, Some(S), start);
        let mut gone = Vec::new();
        let mut now = start;
        for _ in 0..300 {
            if let Stance::NotBefore(at) = pause.stance(now) {
                now = at;
            }
            assert_eq!(pause.stance(now), Stance::Go);
            pause.gone();
            gone.push(now - start);
        }
        assert_eq!(gone[0], S);
        assert_eq!((gone[1], gone[2]), (S + RAMP_STEP, S + RAMP_STEP));
        assert_eq!((gone[3], gone[6], gone[7]), (S + 2 * RAMP_STEP, S + 2 * RAMP_STEP, S + 3 * RAMP_STEP));
        assert!(gone[299] <= S + RAMP_STEP * RAMP_STEPS);
    }

    #[test]
    fn old_refusals_are_news_when_the_ramp_is_over_whoever_asked_meanwhile() {
        for asked in [false, true] {
            let (mut pause, start) = pause();
            pause.throttled(start, Some(S), start);
            let later = start + 60 * S;
            if asked {
                assert_eq!(pause.stance(later), Stance::Go);
            }
            pause.throttled(start, None, later);
            assert!(pause.until(later).is_some());
        }
    }

    #[test]
    fn extreme_settings_and_hints_do_not_panic() {
        let (mut pause, start) = pause();
        let mut pacing = at_most(Duration::MAX);
        pacing.set_ramp(Duration::MAX);
        pause.set_pacing(pacing);
        pause.throttled(start, Some(Duration::MAX), start);
        assert_ne!(pause.stance(start), Stance::Go);
        let mut none = Pause::new(at_most(Duration::ZERO), 1);
        none.throttled(start, None, start);
        assert!(none.until(start).is_some(), "never without any pause");
    }

    #[test]
    fn promise_23_what_is_longer_than_a_pause_may_be_is_not_waited_for() {
        let (mut pause, start) = pause();
        pause.throttled(start, Some(120 * S), start);
        assert_eq!(pause.stance(start), Stance::NotBefore(start + 120 * S));
        pause.throttled(start, Some(121 * S), start);
        assert_eq!(pause.stance(start + S), Stance::Exhausted(120 * S));
        // A day is looked at again after an hour, by one call alone.
        pause.throttled(start, Some(Duration::MAX), start);
        let over = start + 3_600 * S;
        assert_eq!(pause.stance(start), Stance::Exhausted(3_600 * S));
        assert_eq!(pause.stance(over), Stance::Go);
        pause.gone();
        assert_eq!(pause.stance(over), Stance::NotBefore(over + RAMP_STEP));
    }

    #[test]
    fn without_a_ramp_everybody_goes_when_it_ends() {
        let (mut pause, start) = pause();
        let mut pacing = Pacing::new();
        pacing.set_ramp(Duration::ZERO);
        pause.set_pacing(pacing);
        pause.throttled(start, Some(S), start);
        for _ in 0..300 {
            assert_eq!(pause.stance(start + S), Stance::Go);
            pause.gone();
        }
    }
}
