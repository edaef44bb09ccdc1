//! One throttled response pauses every caller.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::time::Instant;

/// The length of a pause for which the server names no time: it doubles each time, and half of it is random.
const FIRST_UNHINTED_PAUSE: Duration = Duration::from_secs(1);
const MAX_UNHINTED_PAUSE: Duration = Duration::from_secs(60);

/// After a pause the number of calls that may have gone doubles with every step of the ramp, and after the last
/// step all may go: a server that has just asked for less does not get a burst.
const RAMP_STEPS: u32 = 8;

/// Calls do not wait for a pause that is longer than the longest allowed. After at most this time one call goes
/// to see whether it is over: an account may have been topped up.
const MAX_EXHAUSTED: Duration = Duration::from_secs(60 * 60);

/// No pause is longer than this, whatever is set and whatever a server says, so that it can be added to any
/// time.
const MAX_PAUSE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The pause of all callers, and the ramp after it.
///
/// It is checked apart from the quotas: settling and refunds do not shorten it.
#[derive(Clone, Debug)]
pub(crate) struct Pause {
    settings: PauseSettings,
    seed: u64,
    /// The pause, or the ramp after it.
    current: Option<Current>,
    /// How many pauses in a row the server asked for without naming a time.
    unhinted: u32,
}

/// How long pauses may be, and how they end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PauseSettings {
    longest: Duration,
    ramp: Duration,
}

impl PauseSettings {
    /// At most 120 s, followed by a ramp of 2 s.
    pub(crate) const fn new() -> Self {
        Self { longest: Duration::from_secs(120), ramp: Duration::from_secs(2) }
    }

    pub(crate) const fn longest(&self) -> Duration {
        self.longest
    }

    pub(crate) fn set_longest(&mut self, longest: Duration) {
        self.longest = longest.min(MAX_PAUSE);
    }

    pub(crate) fn set_ramp(&mut self, ramp: Duration) {
        self.ramp = ramp.min(MAX_PAUSE);
    }
}

#[derive(Clone, Copy, Debug)]
struct Current {
    until: Instant,
    /// Whether it is too long to be waited for.
    exhausted: bool,
    /// How many calls have gone since it ended.
    admitted: u32,
    /// Whether [`take_end`](Pause::take_end) has returned true.
    end_taken: bool,
}

impl Current {
    const fn new(until: Instant, exhausted: bool) -> Self {
        Self { until, exhausted, admitted: 0, end_taken: false }
    }

    /// The end of the ramp.
    fn ramp_end(&self, ramp: Duration) -> Instant {
        self.until + ramp
    }
}

/// Whether a pause lets a call go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PauseState {
    Go,
    NotBefore(Instant),
    /// It lasts for so long that calls do not wait for it.
    Exhausted(Duration),
}

impl Pause {
    pub(crate) const fn new(settings: PauseSettings, seed: u64) -> Self {
        Self { settings, seed, current: None, unhinted: 0 }
    }

    /// Seeds the length of pauses for which the server names no time.
    pub(crate) const fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    pub(crate) const fn set_settings(&mut self, settings: PauseSettings) {
        self.settings = settings;
    }

    /// Whether the next call may go.
    pub(crate) fn check(&mut self, now: Instant) -> PauseState {
        let Some(Current { until, exhausted, admitted, .. }) = self.current else {
            return PauseState::Go;
        };
        if exhausted && now < until {
            return PauseState::Exhausted(until - now);
        }
        // 1 goes when the pause ends, 2 more by the first step, 4 more by the second …
        let step = (admitted + 1).ilog2();
        if step >= RAMP_STEPS || now >= until + self.settings.ramp {
            self.current = None;
            return PauseState::Go;
        }
        let at = until + self.settings.ramp / RAMP_STEPS * step;
        if at > now {
            PauseState::NotBefore(at)
        } else {
            PauseState::Go
        }
    }

    /// Returns true once when the pause is over.
    pub(crate) fn take_end(&mut self, now: Instant) -> bool {
        match &mut self.current {
            Some(pause) if now >= pause.until => !std::mem::replace(&mut pause.end_taken, true),
            _ => false,
        }
    }

    /// The end of the pause, while it lasts.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        self.current.map(|pause| pause.until).filter(|until| *until > now)
    }

    /// A call was admitted.
    pub(crate) const fn on_admitted(&mut self) {
        if let Some(pause) = &mut self.current {
            pause.admitted += 1;
        }
    }

    /// A call that was admitted at `admitted` was throttled, and told to come back after `hint`. Returns whether
    /// a pause begins: not where it is one more answer to a burst that has caused one already.
    pub(crate) fn on_throttled(&mut self, admitted: Instant, hint: Option<Duration>, now: Instant) -> bool {
        // No call goes while a pause lasts, so a call that went before its end belongs to the burst that
        // caused it: it may name a longer wait, but is no reason for another pause. After the ramp it is.
        let ramp = self.settings.ramp;
        let known = self.current.is_some_and(|pause| admitted < pause.until && now < pause.ramp_end(ramp));
        let (wait, exhausted) = match hint {
            Some(hint) if hint > self.settings.longest => (hint.min(MAX_EXHAUSTED), true),
            Some(hint) => (hint, false),
            None if known => return false,
            None => (self.unhinted_wait(), false),
        };
        let until = now + wait;
        match &mut self.current {
            Some(pause) if known => {
                if until > pause.until {
                    *pause = Current::new(until, exhausted);
                }
            }
            pause => *pause = Some(Current::new(until, exhausted)),
        }
        !known
    }

    /// A call that was admitted at `admitted` was answered: the server has recovered.
    pub(crate) fn on_success(&mut self, admitted: Instant) {
        if self.current.is_none_or(|pause| admitted >= pause.until) {
            self.unhinted = 0;
        }
    }

    /// Whether the pause and its ramp are over.
    pub(crate) fn is_ramp_over(&self, now: Instant) -> bool {
        self.current.is_none_or(|pause| now >= pause.ramp_end(self.settings.ramp))
    }

    /// Whether the next pause will be longer than the first, if the server names no time. That is forgotten when nothing
    /// has happened for as long as the longest of these pauses.
    pub(crate) fn has_grown(&self, now: Instant) -> bool {
        self.unhinted > 0 && self.current.is_none_or(|pause| now < pause.until + MAX_UNHINTED_PAUSE)
    }

    fn unhinted_wait(&mut self) -> Duration {
        let ceiling = FIRST_UNHINTED_PAUSE.saturating_mul(1 << self.unhinted.min(16));
        // However short a pause is allowed to be: with none at all, calls would follow their refusals.
        let longest = self.settings.longest.max(FIRST_UNHINTED_PAUSE);
        let ceiling = ceiling.min(MAX_UNHINTED_PAUSE).min(longest);
        self.unhinted += 1;
        // A generator takes 300 bytes, and a pause is kept for every key that has had one.
        let mut random = StdRng::seed_from_u64(self.seed);
        self.seed = random.next_u64();
        random.random_range(ceiling / 2..=ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    const RAMP_STEP: Duration = Duration::from_millis(250);

    fn pause() -> (Pause, Instant) {
        (Pause::new(PauseSettings::new(), 3), Instant::now())
    }

    fn at_most(longest: Duration) -> PauseSettings {
        let mut settings = PauseSettings::new();
        settings.set_longest(longest);
        settings
    }

    #[test]
    fn promise_23_many_429s_of_one_burst_count_once_and_the_longest_hint_holds() {
        let (mut pause, start) = pause();
        for (ms, hint) in [(10, 2), (11, 2), (12, 5), (13, 1)] {
            let now = start + Duration::from_millis(ms);
            assert_eq!(pause.on_throttled(start, Some(hint * S), now), ms == 10);
        }
        assert_eq!(pause.check(start + S), PauseState::NotBefore(start + Duration::from_millis(12) + 5 * S));
    }

    #[test]
    fn without_a_hint_pauses_grow_once_per_burst() {
        let (mut pause, mut now) = pause();
        for ceiling in [1, 2, 4, 8, 16, 32, 60, 60] {
            let admitted = now;
            for _ in 0..50 {
                pause.on_throttled(admitted, None, now);
                now += Duration::from_millis(1);
            }
            let until = pause.until(now).unwrap();
            let length = until - admitted;
            assert!(length >= ceiling * S / 2 && length <= ceiling * S, "{length:?} of {ceiling}");
            now = until;
        }
        pause.on_success(now);
        pause.on_throttled(now, None, now);
        assert!(pause.until(now).unwrap() - now <= S);
    }

    #[test]
    fn promise_23_it_ends_with_a_ramp() {
        let (mut pause, start) = pause();
        pause.on_throttled(start, Some(S), start);
        let mut gone = Vec::new();
        let mut now = start;
        for _ in 0..300 {
            if let PauseState::NotBefore(at) = pause.check(now) {
                now = at;
            }
            assert_eq!(pause.check(now), PauseState::Go);
            pause.on_admitted();
            gone.push(now - start);
        }
        assert_eq!(gone[0], S);
        assert_eq!((gone[1], gone[2]), (S + RAMP_STEP, S + RAMP_STEP));
        assert_eq!((gone[3], gone[6], gone[7]), (S + 2 * RAMP_STEP, S + 2 * RAMP_STEP, S + 3 * RAMP_STEP));
        assert!(gone[299] <= S + RAMP_STEP * RAMP_STEPS);
    }

    #[test]
    fn an_old_refusal_begins_a_pause_when_the_ramp_is_over_whether_or_not_a_call_asked_meanwhile() {
        for asked in [false, true] {
            let (mut pause, start) = pause();
            pause.on_throttled(start, Some(S), start);
            let later = start + 60 * S;
            if asked {
                assert_eq!(pause.check(later), PauseState::Go);
            }
            pause.on_throttled(start, None, later);
            assert!(pause.until(later).is_some());
        }
    }

    #[test]
    fn the_end_is_taken_once() {
        let (mut pause, start) = pause();
        assert!(!pause.take_end(start));
        for _ in 0..2 {
            let now = start + 60 * S;
            pause.on_throttled(now, Some(S), now);
            assert!(!pause.take_end(now));
            assert!(pause.take_end(now + S));
            assert!(!pause.take_end(now + 2 * S));
            pause = Pause::new(PauseSettings::new(), 3);
        }
    }

    #[test]
    fn extreme_settings_and_hints_do_not_panic() {
        let (mut pause, start) = pause();
        let mut settings = at_most(Duration::MAX);
        settings.set_ramp(Duration::MAX);
        pause.set_settings(settings);
        pause.on_throttled(start, Some(Duration::MAX), start);
        assert_ne!(pause.check(start), PauseState::Go);
        let mut none = Pause::new(at_most(Duration::ZERO), 1);
        none.on_throttled(start, None, start);
        assert!(none.until(start).is_some(), "never without any pause");
    }

    #[test]
    fn promise_23_a_pause_longer_than_the_longest_allowed_is_not_waited_for() {
        let (mut pause, start) = pause();
        pause.on_throttled(start, Some(120 * S), start);
        assert_eq!(pause.check(start), PauseState::NotBefore(start + 120 * S));
        pause.on_throttled(start, Some(121 * S), start);
        assert_eq!(pause.check(start + S), PauseState::Exhausted(120 * S));
        // A day is looked at again after an hour, by one call alone.
        pause.on_throttled(start, Some(Duration::MAX), start);
        let over = start + 3_600 * S;
        assert_eq!(pause.check(start), PauseState::Exhausted(3_600 * S));
        assert_eq!(pause.check(over), PauseState::Go);
        pause.on_admitted();
        assert_eq!(pause.check(over), PauseState::NotBefore(over + RAMP_STEP));
    }

    #[test]
    fn without_a_ramp_all_calls_go_when_the_pause_ends() {
        let (mut pause, start) = pause();
        let mut settings = PauseSettings::new();
        settings.set_ramp(Duration::ZERO);
        pause.set_settings(settings);
        pause.on_throttled(start, Some(S), start);
        for _ in 0..300 {
            assert_eq!(pause.check(start + S), PauseState::Go);
            pause.on_admitted();
        }
    }
}
