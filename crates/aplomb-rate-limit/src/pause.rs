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

/// After a pause the calls that may have gone double with every step, and after the last step
/// everybody may go: a server that has just asked for less is not answered with a burst.
const RAMP_STEP: Duration = Duration::from_millis(250);
const RAMP_STEPS: u32 = 8;

/// No pause is longer than this, whatever is set and whatever a server says: it can be added to any
/// time.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A state machine of its own, asked before the quotas: settling and refunds do not shorten it.
#[derive(Debug)]
pub(crate) struct Pause {
    longest: Duration,
    random: StdRng,
    /// The pause, or the ramp after it.
    now: Option<Ongoing>,
    /// How many pauses in a row the server asked for without naming a time.
    untold: u32,
}

#[derive(Clone, Copy, Debug)]
struct Ongoing {
    until: Instant,
    /// How many calls have gone since it ended.
    gone: u32,
}

impl Ongoing {
    /// The end of the ramp.
    fn over(&self) -> Instant {
        self.until + RAMP_STEP * RAMP_STEPS
    }
}

impl Pause {
    pub(crate) fn new(longest: Duration, seed: u64) -> Self {
        Self {
            longest: longest.min(LONGEST),
            random: StdRng::seed_from_u64(seed),
            now: None,
            untold: 0,
        }
    }

    pub(crate) const fn set_longest(&mut self, longest: Duration) {
        self.longest = if longest.as_secs() < LONGEST.as_secs() {
            longest
        } else {
            LONGEST
        };
    }

    /// When the next call may go, as far as the pause is concerned; `None` for now.
    pub(crate) fn not_before(&mut self, now: Instant) -> Option<Instant> {
        let ongoing = self.now?;
        let Ongoing { until, gone } = ongoing;
        // 1 goes when the pause ends, 2 more by the first step, 4 more by the second …
        let step = (gone + 1).ilog2();
        if step >= RAMP_STEPS || now >= ongoing.over() {
            self.now = None;
            return None;
        }
        Some(until + RAMP_STEP * step).filter(|at| *at > now)
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

    /// A call that went at `admitted` was throttled, and told to come back after `hint`.
    pub(crate) fn throttled(&mut self, admitted: Instant, hint: Option<Duration>, now: Instant) {
        // Nobody goes while a pause lasts, so a call that went before its end belongs to the burst that
        // caused it: it may tell of a longer wait, and is no new reason. When the ramp is over, it is.
        let known = self.now.is_some_and(|pause| admitted < pause.until && now < pause.over());
        let wait = match hint {
            Some(hint) => hint.min(self.longest),
            None if known => return,
            None => self.untold_wait(),
        };
        let until = now + wait;
        match &mut self.now {
            Some(pause) if known => {
                if until > pause.until {
                    pause.until = until;
                    pause.gone = 0;
                }
            }
            pause => *pause = Some(Ongoing { until, gone: 0 }),
        }
    }

    /// A call that went at `admitted` was answered: the server is itself again.
    pub(crate) fn answered(&mut self, admitted: Instant) {
        if self.now.is_none_or(|pause| admitted >= pause.until) {
            self.untold = 0;
        }
    }

    fn untold_wait(&mut self) -> Duration {
        let ceiling = FIRST_PAUSE.saturating_mul(1 << self.untold.min(16));
        // However short a pause is allowed to be: with none at all, calls would follow their refusals.
        let ceiling = ceiling.min(LONGEST_UNTOLD_PAUSE).min(self.longest.max(FIRST_PAUSE));
        self.untold += 1;
        self.random.random_range(ceiling / 2..=ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn pause() -> (Pause, Instant) {
        (Pause::new(120 * S, 3), Instant::now())
    }

    #[test]
    fn many_429s_of_one_burst_count_once_and_the_longest_hint_holds() {
        let (mut pause, start) = pause();
        for (ms, hint) in [(10, 2), (11, 2), (12, 5), (13, 1)] {
            let now = start + Duration::from_millis(ms);
            pause.throttled(start, Some(hint * S), now);
        }
        assert_eq!(pause.not_before(start + S), Some(start + Duration::from_millis(12) + 5 * S));
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
    fn it_ends_with_a_ramp() {
        let (mut pause, start) = pause();
        pause.throttled(start, Some(S), start);
        let mut gone = Vec::new();
        let mut now = start;
        for _ in 0..300 {
            if let Some(at) = pause.not_before(now) {
                now = at;
            }
            assert_eq!(pause.not_before(now), None);
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
                assert_eq!(pause.not_before(later), None);
            }
            pause.throttled(start, None, later);
            assert!(pause.until(later).is_some());
        }
    }

    #[test]
    fn extreme_settings_and_hints_do_not_panic() {
        let (mut pause, start) = pause();
        pause.set_longest(Duration::MAX);
        pause.throttled(start, Some(Duration::MAX), start);
        assert!(pause.not_before(start).is_some());
        let mut none = Pause::new(Duration::ZERO, 1);
        none.throttled(start, None, start);
        assert!(none.until(start).is_some(), "never without any pause");
    }

    #[test]
    fn a_pause_is_never_longer_than_allowed() {
        let (mut pause, start) = pause();
        pause.throttled(start, Some(Duration::MAX), start);
        assert_eq!(pause.until(start), Some(start + 120 * S));
    }
}
