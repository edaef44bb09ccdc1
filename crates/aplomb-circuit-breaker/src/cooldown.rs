//! How long a circuit stays open.

use std::time::Duration;

use aplomb_core::{CircuitCause, Exponential, FailedAttempt, Jitter, Outcome};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::Instant;

/// How long a circuit stays open before it lets a probe through, if another rule has opened it than the
/// [default](crate::Trip::nobody_gets_through), or if it is set.
///
/// The first cooldown is short. Each time the circuit opens again, the next is longer, up to a cap, and jittered, so
/// that many processes do not return together. It becomes shorter again only after lasting health: by one step for
/// each minute that the circuit has been closed.
///
/// A `retry_after` of the failure that opened the circuit extends the cooldown up to
/// [`max_hint`](Self::max_hint), plus some jitter.
///
/// | | default | as in |
/// | --- | --- | --- |
/// | first cooldown | between 2.5 and 5 s | Polly (5 s) |
/// | growth, cap | doubles, 60 s | resilience4j (60 s) |
/// | shrinks | one step a minute | Envoy reverts ejections likewise |
/// | hints | believed up to 120 s | |
/// | account exhausted | its hint if that is longer, up to an hour; 5 min without a hint | |
/// | credential refused | 5 min | |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aplomb_circuit_breaker::Cooldown;
/// use aplomb_core::{Exponential, Jitter};
///
/// let growth = Exponential::new(Duration::from_secs(1)).jitter(Jitter::Equal);
/// let cooldown = Cooldown::new(growth).exhausted(Duration::from_secs(3_600));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Cooldown {
    growth: Exponential,
    eases_after: Duration,
    max_hint: Duration,
    exhausted: Duration,
    unauthorized: Duration,
}

/// The hint of an exhausted account is often "tomorrow", but accounts are topped up more often than daily.
const MAX_EXHAUSTED: Duration = Duration::from_secs(60 * 60);

/// The largest jitter on top of a hint.
const MAX_JITTER: Duration = Duration::from_secs(5);

impl Cooldown {
    /// Grows as `growth` says; its retry 0 is the first time the circuit opens.
    pub const fn new(growth: Exponential) -> Self {
        Self {
            growth,
            eases_after: Duration::from_secs(60),
            max_hint: Duration::from_secs(120),
            exhausted: Duration::from_secs(5 * 60),
            unauthorized: Duration::from_secs(5 * 60),
        }
    }

    /// Sets how long the circuit must have been closed for the next cooldown to be one step shorter; twice as long
    /// for two steps, and so on. Default: 1 minute. Zero resets it when the circuit closes.
    pub const fn eases_after(mut self, health: Duration) -> Self {
        self.eases_after = health;
        self
    }

    /// Sets the longest hint of a server to follow; longer ones are cut. Default: 120 s. Zero ignores hints. The
    /// limit for hints of an exhausted account is always an hour.
    pub const fn max_hint(mut self, hint: Duration) -> Self {
        self.max_hint = hint;
        self
    }

    /// Sets the cooldown for an exhausted account without a hint. Default: 5 minutes.
    pub const fn exhausted(mut self, cooldown: Duration) -> Self {
        self.exhausted = cooldown;
        self
    }

    /// Sets the cooldown for a refused credential. Default: 5 minutes.
    pub const fn unauthorized(mut self, cooldown: Duration) -> Self {
        self.unauthorized = cooldown;
        self
    }

    /// How long to stay open. `random` is the only source of randomness.
    pub(crate) fn after(
        &self,
        cause: CircuitCause,
        last: Option<Outcome>,
        level: &mut BackoffLevel,
        random: &mut StdRng,
    ) -> Duration {
        let hint = last.and_then(|last| last.retry_after());
        let max_hint = match cause {
            CircuitCause::Unauthorized => return self.unauthorized,
            CircuitCause::Exhausted => MAX_EXHAUSTED,
            _ => self.max_hint,
        };
        let grown = self.growth.wait(&level.failed(last), random);
        level.grow(grown, &self.growth);
        match hint.map(|hint| hint.min(max_hint)) {
            // A hint only extends, so that a tiny one does not cause rapid probing.
            Some(hint) if hint > grown => jittered(hint, random),
            None if cause == CircuitCause::Exhausted => self.exhausted,
            _ => grown,
        }
    }
}

/// Later than the hint, never earlier.
fn jittered(hint: Duration, random: &mut StdRng) -> Duration {
    hint.saturating_add(random.random_range(Duration::ZERO..=(hint / 2).min(MAX_JITTER)))
}

impl Default for Cooldown {
    fn default() -> Self {
        Self::new(Exponential::new(Duration::from_secs(5)).jitter(Jitter::Equal))
    }
}

impl From<Exponential> for Cooldown {
    fn from(growth: Exponential) -> Self {
        Self::new(growth)
    }
}

/// How many steps the cooldown has grown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BackoffLevel {
    opened: u32,
    previous: Option<Duration>,
}

impl BackoffLevel {
    fn failed(self, last: Option<Outcome>) -> FailedAttempt<'static> {
        FailedAttempt::new(self.opened, last.unwrap_or(Outcome::transient())).with_previous(self.previous)
    }

    fn grow(&mut self, cooldown: Duration, growth: &Exponential) {
        self.previous = Some(cooldown);
        // At the cap there is nothing to grow, and no further step to take back later.
        if growth.ceiling(self.opened) < growth.ceiling(self.opened.saturating_add(1)) {
            self.opened += 1;
        }
    }

    /// Whether the next cooldown is the first one, given health since `closed_since`.
    pub(crate) fn is_base(
        mut self,
        closed_since: Option<Instant>,
        now: Instant,
        cooldown: &Cooldown,
    ) -> bool {
        if let Some(since) = closed_since {
            self.step_down(since, now, cooldown);
        }
        self.opened == 0
    }

    /// Takes back a step for each period of health.
    pub(crate) fn step_down(&mut self, closed_since: Instant, now: Instant, cooldown: &Cooldown) {
        let health = now.saturating_duration_since(closed_since).as_nanos();
        let steps = health.checked_div(cooldown.eases_after.as_nanos()).unwrap_or(u128::MAX);
        self.opened = self.opened.saturating_sub(u32::try_from(steps).unwrap_or(u32::MAX));
        if self.opened == 0 {
            self.previous = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const SECOND: Duration = Duration::from_secs(1);

    fn plain() -> Cooldown {
        Cooldown::new(Exponential::new(5 * SECOND).jitter(Jitter::None))
    }

    fn random() -> StdRng {
        StdRng::seed_from_u64(1)
    }

    #[test]
    fn grows_to_the_cap_and_eases_after_lasting_health() {
        let (cooldown, mut level, mut random) = (plain(), BackoffLevel::default(), random());
        let mut next = |level: &mut _| {
            cooldown.after(CircuitCause::ProbeFailed, Some(Outcome::transient()), level, &mut random)
        };
        let seconds: Vec<_> = (0..6).map(|_| next(&mut level).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60]);
        let start = Instant::now();
        level.step_down(start, start + 59 * SECOND, &cooldown);
        assert_eq!(next(&mut level), 60 * SECOND);
        level.step_down(start, start + 120 * SECOND, &cooldown);
        assert_eq!(next(&mut level), 20 * SECOND);
        level.step_down(start, start + 3_600 * SECOND, &cooldown);
        assert_eq!(next(&mut level), 5 * SECOND);
    }

    #[test]
    fn is_spread_below_the_cap_too() {
        let mut random = random();
        let mut sample = |opened| {
            let mut level = BackoffLevel { opened, previous: None };
            Cooldown::default().after(
                CircuitCause::ConsecutiveFailures,
                Some(Outcome::transient()),
                &mut level,
                &mut random,
            )
        };
        for (opened, most) in [(0, 5 * SECOND), (9, 60 * SECOND)] {
            let all: Vec<_> = (0..1_000).map(|_| sample(opened)).collect();
            assert!(all.iter().all(|cooldown| (most / 2..=most).contains(cooldown)));
            assert!(all.iter().max() > all.iter().min().map(|min| *min + most / 3).as_ref());
        }
    }

    #[test]
    fn a_hint_lengthens_within_bounds() {
        let mut random = random();
        let mut after = |cause, outcome: Outcome| {
            plain()
                .after(cause, Some(outcome), &mut BackoffLevel::default(), &mut random)
                .as_secs_f64()
        };
        let failed = |hint| Outcome::transient().with_retry_after(hint);
        assert!((30.0..=35.0).contains(&after(CircuitCause::ConsecutiveFailures, failed(30 * SECOND))));
        assert!((5.0..=5.0).contains(&after(CircuitCause::ConsecutiveFailures, failed(SECOND))));
        assert!((120.0..=125.0).contains(&after(CircuitCause::ConsecutiveFailures, failed(Duration::MAX))));

        let exhausted = Outcome::exhausted();
        assert!((300.0..=300.0).contains(&after(CircuitCause::Exhausted, exhausted)));
        assert!(
            (60.0..=65.0).contains(&after(CircuitCause::Exhausted, exhausted.with_retry_after(60 * SECOND)))
        );
        assert!((5.0..=5.0).contains(&after(CircuitCause::Exhausted, exhausted.with_retry_after(SECOND))));
        assert!(
            (3_600.0..=3_605.0)
                .contains(&after(CircuitCause::Exhausted, exhausted.with_retry_after(Duration::MAX)))
        );
        assert!((300.0..=300.0).contains(&after(CircuitCause::Unauthorized, Outcome::unauthorized())));
    }
}
