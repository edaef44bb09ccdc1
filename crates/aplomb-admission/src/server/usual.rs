//! How many calls in a row are more than chance.

use std::time::Duration;

use tokio::time::Instant;

use super::ShutCause;

/// The share of calls that come to nothing among others that are accepted.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    good: f64,
    bad: f64,
}

/// So many calls are remembered; older ones count half.
const REMEMBERED: f64 = 128.0;

impl Share {
    fn good(&mut self) {
        self.good += 1.0;
        self.forget();
    }

    fn bad(&mut self, calls: f64) {
        self.bad += calls;
        self.forget();
    }

    fn forget(&mut self) {
        if self.good + self.bad > REMEMBERED {
            self.good /= 2.0;
            self.bad /= 2.0;
        }
    }

    /// The share, a little above what was seen; a quarter while nothing is known.
    fn cautious(self) -> f64 {
        (self.bad + 1.0) / (self.good + self.bad + 4.0)
    }

    fn seen(self) -> f64 {
        self.bad / (self.good + self.bad).max(1.0)
    }
}

/// The usual share of failures: a server that answers may fail or refuse some calls by chance, whatever its load.
///
/// A failure counts as usual when a later call is accepted. A refusal counts as usual only if it is *contradicted*: a
/// call that was sent after it, and before its hint, was accepted; and only while no brake holds calls back, or a limit
/// that we meet again and again would teach us that refusals are usual.
#[derive(Clone, Debug, Default)]
pub(super) struct Usual {
    failures: Share,
    refusals: Share,
    /// Calls that failed or were refused since the last was accepted.
    doubtful: f64,
    /// Refusals that may yet be contradicted: when each was received, and until when.
    doubted: Vec<(Instant, Instant)>,
}

/// A trial of what is usual counts as much as so many calls.
const TRIED: f64 = 64.0;

/// At most so many refusals wait to be contradicted.
const DOUBTED: usize = 64;

/// A run that is less likely than this is more than chance. A false alarm costs one failed call and a fifth of a second.
const FAILURE_CHANCE: f64 = 1e-4;
const REFUSAL_CHANCE: f64 = 1e-3;

/// The shortest and the longest run that may be more than chance.
const LEAST_FAILURES: u32 = 5;
const LEAST_REFUSALS: u32 = 3;
const MOST: u32 = 40;

impl Usual {
    /// So many calls were accepted, and nothing was refused.
    pub(super) fn after(accepted: u32) -> Self {
        let share = Share { good: accepted.into(), bad: 0.0 };
        Self { failures: share, refusals: share, ..Self::default() }
    }

    /// How many calls in a row are more than chance. `is_alone` says that no other is in flight, or was
    /// accepted of late.
    pub(super) fn need(&self, cause: ShutCause, is_alone: bool) -> u32 {
        // Nobody gets through as far as is known, and no refusal was ever chance.
        if cause == ShutCause::Throttles && is_alone && self.refusals.bad < 0.5 {
            return 1;
        }
        let (share, chance, least) = match cause {
            ShutCause::Failures => (self.failures, FAILURE_CHANCE, LEAST_FAILURES),
            ShutCause::Throttles => (self.refusals, REFUSAL_CHANCE, LEAST_REFUSALS),
        };
        let usual = share.cautious().clamp(0.03, 0.9);
        // In (5, 40) for failures, since at least 3 in 100 are taken to be usual.
        let run = (chance.ln() / usual.ln()).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and 88"
        )]
        (run as u32).clamp(least, MOST)
    }

    /// The share of calls that are refused by chance.
    pub(super) fn refused(&self) -> f64 {
        self.refusals.seen()
    }

    /// A call failed or was refused.
    pub(super) fn doubt(&mut self) {
        self.doubtful += 1.0;
    }

    /// A call was refused now; one that is sent until `until` and accepted contradicts it.
    pub(super) fn refused_until(&mut self, now: Instant, until: Duration) {
        if self.doubted.len() == DOUBTED {
            self.doubted.remove(0);
        }
        self.doubted.push((now, now + until));
    }

    /// A call that was sent at `sent` was accepted. `freely` says that no brake holds calls back.
    #[inline]
    pub(super) fn accepted(&mut self, sent: Instant, freely: bool) {
        self.failures.good();
        if self.doubtful > 0.0 {
            self.failures.bad(std::mem::take(&mut self.doubtful));
        }
        if freely {
            self.refusals.good();
            let Self { doubted, refusals, .. } = self;
            doubted.retain(|(at, until)| {
                let is_later = sent > *at;
                if is_later && sent < *until {
                    refusals.bad(1.0);
                }
                !is_later
            });
        }
    }

    /// The doubtful calls prove to be no chance: the server shuts. Returns how many they were.
    pub(super) fn take_doubtful(&mut self) -> f64 {
        std::mem::take(&mut self.doubtful)
    }

    /// This share is refused by chance: it was as large when fewer calls were sent.
    pub(super) fn refused_by_chance(&mut self, share: f64) {
        self.refusals = Share { good: (1.0 - share) * TRIED, bad: share * TRIED };
        self.doubted.clear();
    }

    /// So many failures were chance after all.
    pub(super) fn add_failures(&mut self, calls: f64) {
        self.failures.bad(calls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_server_that_never_failed_needs_the_shortest_run() {
        let (mut usual, now) = (Usual::default(), Instant::now());
        (0..100).for_each(|_| usual.accepted(now, true));
        assert_eq!(usual.need(ShutCause::Failures, false), 5);
        assert_eq!(usual.need(ShutCause::Throttles, false), 3);
    }

    #[test]
    fn a_server_that_answers_two_calls_of_five_needs_a_long_run() {
        let (mut usual, now) = (Usual::default(), Instant::now());
        for call in 0..500 {
            if call % 5 < 3 {
                usual.doubt();
            } else {
                usual.accepted(now, true);
            }
        }
        assert!((17..=21).contains(&usual.need(ShutCause::Failures, false)), "{usual:?}");
        // Failures are no refusals.
        assert_eq!(usual.need(ShutCause::Throttles, false), 3);
    }

    #[test]
    fn a_refusal_is_usual_only_if_a_call_before_its_hint_is_accepted_and_no_brake_holds_calls_back() {
        let now = Instant::now();
        for (accepted_at, freely, is_usual) in [
            (500, true, true),
            (500, false, false),
            (1_500, true, false),
            (0, true, false),
        ] {
            let mut usual = Usual::default();
            for second in 0..50 {
                let now = now + second * 1_000 * MS;
                usual.refused_until(now, 1_000 * MS);
                usual.accepted(now + accepted_at * MS, freely);
            }
            assert_eq!(usual.refused() > 0.3, is_usual, "{accepted_at} {freely}");
        }
    }

    #[test]
    fn what_is_doubted_is_bounded() {
        let (mut usual, now) = (Usual::default(), Instant::now());
        (0..1_000).for_each(|_| usual.refused_until(now, MS));
        assert_eq!(usual.doubted.len(), DOUBTED);
    }
}
