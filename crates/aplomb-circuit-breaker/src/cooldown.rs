//! How long a circuit stays open.

use std::time::Duration;

use aplomb_core::{Exponential, Failed, Jitter, Outcome};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::TransitionCause;

/// How long a circuit stays open before it lets a probe through.
///
/// The first cooldown is short. Each time the circuit opens again the next is longer, up to a cap,
/// and spread, so that many processes do not ask again together. Only after lasting health does it
/// become shorter again: a step for each minute that the circuit has been closed.
///
/// A `retry_after` of the failure that opened the circuit lengthens the cooldown, by at most
/// [`max_hint`](Self::max_hint), and a little more than asked for, so that it is not the same instant
/// for all.
///
/// | | default | as in |
/// | --- | --- | --- |
/// | first cooldown | between 2.5 and 5 s | Polly (5 s) |
/// | growth, cap | doubles, 60 s | resilience4j (60 s) |
/// | shrinks | a step a minute | Envoy takes ejections back likewise |
/// | hints | believed up to 120 s | |
/// | account exhausted | its hint, up to an hour, where that is longer; without one 5 min | |
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

/// A hint of an exhausted account is often "tomorrow"; more often than daily it is topped up.
const MAX_EXHAUSTED: Duration = Duration::from_secs(60 * 60);

/// A hint is kept with so much more at most.
const MAX_SPREAD: Duration = Duration::from_secs(5);

impl Cooldown {
    /// Grows as `growth` says: its retry 0 is the first time that the circuit opens.
    pub const fn new(growth: Exponential) -> Self {
        Self {
            growth,
            eases_after: Duration::from_secs(60),
            max_hint: Duration::from_secs(120),
            exhausted: Duration::from_secs(5 * 60),
            unauthorized: Duration::from_secs(5 * 60),
        }
    }

    /// Sets how long the circuit must have been closed for the next cooldown to be a step shorter;
    /// twice as long for two steps, and so on. Zero forgets everything when the circuit closes.
    pub const fn eases_after(mut self, health: Duration) -> Self {
        self.eases_after = health;
        self
    }

    /// Sets up to what a server's hint is believed. Zero ignores hints. (Those of an exhausted account
    /// are believed up to an hour.)
    pub const fn max_hint(mut self, hint: Duration) -> Self {
        self.max_hint = hint;
        self
    }

    /// Sets for how long nothing is sent for an exhausted account that did not say when to come back.
    pub const fn exhausted(mut self, cooldown: Duration) -> Self {
        self.exhausted = cooldown;
        self
    }

    /// Sets for how long nothing is sent with a refused credential.
    pub const fn unauthorized(mut self, cooldown: Duration) -> Self {
        self.unauthorized = cooldown;
        self
    }

    /// How long to stay open. `random` is the only source of chance.
    pub(crate) fn after(
        &self,
        cause: TransitionCause,
        last: Option<Outcome>,
        strain: &mut Strain,
        random: &mut StdRng,
    ) -> Duration {
        let hint = last.and_then(|last| last.retry_after());
        let most = match cause {
            TransitionCause::Unauthorized => return self.unauthorized,
            TransitionCause::Exhausted => MAX_EXHAUSTED,
            _ => self.max_hint,
        };
        let grown = self.growth.wait(&strain.failed(last), random);
        strain.grow(grown, &self.growth);
        match hint.map(|hint| hint.min(most)) {
            // A hint only lengthens, so that a tiny one does not have the peer asked again and again.
            Some(hint) if hint > grown => spread(hint, random),
            None if cause == TransitionCause::Exhausted => self.exhausted,
            _ => grown,
        }
    }
}

/// Later than the hint, never earlier.
fn spread(hint: Duration, random: &mut StdRng) -> Duration {
    hint.saturating_add(random.random_range(Duration::ZERO..=(hint / 2).min(MAX_SPREAD)))
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

/// How often the circuit has opened of late.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Strain {
    opened: u32,
    previous: Option<Duration>,
}

impl Strain {
    fn failed(self, last: Option<Outcome>) -> Failed<'static> {
        Failed::new(self.opened, last.unwrap_or(Outcome::transient())).with_previous(self.previous)
    }

    fn grow(&mut self, cooldown: Duration, growth: &Exponential) {
        self.previous = Some(cooldown);
        // At the cap there is nothing to grow, and nothing more to be forgotten later.
        if growth.ceiling(self.opened) < growth.ceiling(self.opened.saturating_add(1)) {
            self.opened += 1;
        }
    }

    /// Whether the next cooldown is the first one, `closed_since` having been healthy.
    pub(crate) fn is_base(
        mut self,
        closed_since: Option<Instant>,
        now: Instant,
        cooldown: &Cooldown,
    ) -> bool {
        if let Some(since) = closed_since {
            self.ease(since, now, cooldown);
        }
        self.opened == 0
    }

    /// Takes back a step for each stretch of health.
    pub(crate) fn ease(&mut self, closed_since: Instant, now: Instant, cooldown: &Cooldown) {
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
        let (cooldown, mut strain, mut random) = (plain(), Strain::default(), random());
        let mut next = |strain: &mut _| {
            cooldown.after(TransitionCause::ProbeFailed, Some(Outcome::transient()), strain, &mut random)
        };
        let seconds: Vec<_> = (0..6).map(|_| next(&mut strain).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60]);
        let start = Instant::now();
        strain.ease(start, start + 59 * SECOND, &cooldown);
        assert_eq!(next(&mut strain), 60 * SECOND);
        strain.ease(start, start + 120 * SECOND, &cooldown);
        assert_eq!(next(&mut strain), 20 * SECOND);
        strain.ease(start, start + 3_600 * SECOND, &cooldown);
        assert_eq!(next(&mut strain), 5 * SECOND);
    }

    #[test]
    fn is_spread_below_the_cap_too() {
        let mut random = random();
        let mut sample = |opened| {
            let mut strain = Strain { opened, previous: None };
            Cooldown::default().after(
                TransitionCause::ConsecutiveFailures,
                Some(Outcome::transient()),
                &mut strain,
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
            plain().after(cause, Some(outcome), &mut Strain::default(), &mut random).as_secs_f64()
        };
        let failed = |hint| Outcome::transient().with_retry_after(hint);
        assert!((30.0..=35.0).contains(&after(TransitionCause::ConsecutiveFailures, failed(30 * SECOND))));
        assert!((5.0..=5.0).contains(&after(TransitionCause::ConsecutiveFailures, failed(SECOND))));
        assert!(
            (120.0..=125.0).contains(&after(TransitionCause::ConsecutiveFailures, failed(Duration::MAX)))
        );

        let exhausted = Outcome::exhausted();
        assert!((300.0..=300.0).contains(&after(TransitionCause::Exhausted, exhausted)));
        assert!(
            (60.0..=65.0)
                .contains(&after(TransitionCause::Exhausted, exhausted.with_retry_after(60 * SECOND)))
        );
        assert!((5.0..=5.0).contains(&after(TransitionCause::Exhausted, exhausted.with_retry_after(SECOND))));
        assert!(
            (3_600.0..=3_605.0)
                .contains(&after(TransitionCause::Exhausted, exhausted.with_retry_after(Duration::MAX)))
        );
        assert!((300.0..=300.0).contains(&after(TransitionCause::Unauthorized, Outcome::unauthorized())));
    }
}
