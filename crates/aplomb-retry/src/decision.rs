//! The decision whether to retry, and after which delay. Pure: no clock, no runtime.

use std::time::Duration;

use aplomb_core::{Backoff, FailedAttempt, Outcome, Pacing, StopReason};
use rand::{Rng, RngExt};

/// The limits that are configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) max_retries: u32,
    /// How often a request is sent again after an attempt whose answer never came.
    pub(crate) max_unanswered: u32,
    pub(crate) max_retry_after: Duration,
    pub(crate) max_hint_jitter: Duration,
    pub(crate) throttled: Throttled,
    /// For so long after its beginning a call is sent again without counting, after failures that a queue further in
    /// paces.
    pub(crate) max_paced: Duration,
}

/// The conditions of a decision, apart from the failure.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions {
    /// The time to the deadline.
    pub(crate) left: Option<Duration>,
    /// Why the request is not sent again, whatever happened.
    pub(crate) no_retry: Option<StopReason>,
    /// True if the request is sent again only if the server has not begun to act on it.
    pub(crate) only_unprocessed: bool,
    /// The time since the call began.
    pub(crate) elapsed: Duration,
    /// The number of attempts so far.
    pub(crate) attempts: u32,
    /// The number of attempts before this one whose answer never came.
    pub(crate) unanswered: u32,
}

/// So many attempts of a call may fail because of a connection that was of no use, without being counted.
const FREE: u32 = 32;

impl Rules {
    /// Returns whether the wait after `outcome` takes place in a queue further in.
    pub(crate) fn is_requeued(&self, outcome: Outcome) -> bool {
        match outcome.pacing() {
            Pacing::InQueue => true,
            Pacing::Alone => false,
            Pacing::Unknown => self.throttled == Throttled::Requeue && outcome.is_shared_throttle(),
        }
    }

    /// Returns whether the next attempt counts as a retry. It does not if a queue further in says when it may go: then the
    /// call is sent again only to see whether the server lets anybody through. Nor if it was never begun.
    pub(crate) fn counts(&self, outcome: Outcome, elapsed: Duration, attempts: u32) -> bool {
        let is_paced = outcome.pacing() == Pacing::InQueue && elapsed < self.max_paced;
        !is_paced && !is_free(outcome, attempts)
    }
}

/// Returns whether the next attempt costs nothing and goes at once: a pool may hold many connections that are dead.
pub(crate) const fn is_free(outcome: Outcome, attempts: u32) -> bool {
    outcome.is_never_begun() && attempts <= FREE
}

/// The place where a throttled call waits before its retry.
///
/// A call is throttled if the server rejected it because all requests of the account, or to the server, come
/// too fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Throttled {
    /// In the retry layer, as after any other failure. The default.
    #[default]
    Sleep,
    /// In the queue of a rate limit further in, which holds calls back while nobody gets through. The retry goes there when
    /// the server's hint is over, without one at once the first time and after the backoff from then on, and keeps the
    /// place of the call's first arrival.
    Requeue,
}

/// Returns the delay before the next attempt, counted from the failure, or why there is none.
pub(crate) fn decide(
    rules: &Rules,
    failed: &FailedAttempt<'_>,
    conditions: &Conditions,
    backoff: &(impl Backoff + ?Sized),
    random: &mut dyn Rng,
) -> Result<Duration, StopReason> {
    let outcome = failed.outcome();
    let hint = outcome.retry_after();
    if !outcome.is_retryable() {
        return Err(StopReason::NotRetryable);
    }
    if let Some(no_retry) = conditions.no_retry {
        return Err(no_retry);
    }
    if conditions.only_unprocessed && !outcome.is_unprocessed() {
        return Err(StopReason::NotRepeatable);
    }
    if outcome.is_unanswered() && conditions.unanswered >= rules.max_unanswered {
        return Err(StopReason::NotRepeatable);
    }
    if failed.retry() >= rules.max_retries && rules.counts(outcome, conditions.elapsed, conditions.attempts) {
        return Err(StopReason::MaxRetries);
    }
    if hint.is_some_and(|hint| hint > rules.max_retry_after) {
        return Err(StopReason::RetryAfterTooLong);
    }
    // An attempt that starts at the deadline cannot end before it.
    if conditions.left.is_some_and(|left| hint.unwrap_or_default() >= left) {
        return Err(StopReason::Deadline);
    }
    if is_free(outcome, conditions.attempts) {
        return Ok(Duration::ZERO);
    }
    let left = conditions.left.unwrap_or(Duration::MAX);
    let is_requeued = rules.is_requeued(outcome);
    if let Some(hint) = hint.filter(|_| is_requeued || outcome.pacing() == Pacing::Alone) {
        // It is this call's own: whoever else has to wait does so in the queue.
        return Ok(from_hint(hint, Duration::ZERO, MAX_JITTER.min(hint / 10), left, random));
    }
    // A queue that is known to hold everybody back, or may do so: if it lets the call go, that is not tried twice.
    if is_requeued && (outcome.pacing() == Pacing::InQueue || failed.retry() == 0) {
        return Ok(Duration::ZERO);
    }
    let delay = backoff.delay(failed, random).ok_or(StopReason::BackoffEnded)?;
    match hint {
        Some(hint) => Ok(from_hint(hint, delay, rules.max_hint_jitter, left, random)),
        None if conditions.left.is_some_and(|left| delay >= left) => Err(StopReason::Deadline),
        None => Ok(delay),
    }
}

/// The longest jitter above a hint that concerns one call alone.
const MAX_JITTER: Duration = Duration::from_millis(200);

/// `max(delay, hint) + U(0, min(hint / 2, max_jitter))`, before the deadline but never below the hint.
///
/// If the deadline cuts the jitter short, the rest of it is still uniform: callers with the same deadline do
/// not come back together just before it.
fn from_hint(
    hint: Duration,
    delay: Duration,
    most: Duration,
    left: Duration,
    random: &mut dyn Rng,
) -> Duration {
    let longer = delay.max(hint);
    let earliest = if longer < left { longer } else { hint };
    let latest = earliest.saturating_add(most.min(hint / 2)).min(left);
    random.random_range(earliest..=latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aplomb_core::Exponential;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const RULES: Rules = Rules {
        max_retries: 4,
        max_unanswered: u32::MAX,
        max_retry_after: Duration::from_secs(120),
        max_hint_jitter: Duration::from_secs(5),
        throttled: Throttled::Sleep,
        max_paced: Duration::from_secs(600),
    };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn left(left: Option<Duration>) -> Conditions {
        Conditions { left, ..Conditions::default() }
    }

    fn decided(outcome: Outcome, time: Option<Duration>, backoff: Duration) -> Result<Duration, StopReason> {
        let mut random = StdRng::seed_from_u64(3);
        decide(&RULES, &FailedAttempt::new(0, outcome), &left(time), &backoff, &mut random)
    }

    #[test]
    fn each_reason_to_stop_has_its_word() {
        let transient = Outcome::transient();
        let hinted = |seconds| transient.with_retry_after(secs(seconds));
        let stop = Err;
        assert_eq!(decided(Outcome::permanent(), None, secs(1)), stop(StopReason::NotRetryable));
        assert_eq!(decided(Outcome::local(), None, secs(1)), stop(StopReason::NotRetryable));
        assert_eq!(decided(transient.forbid_retry(), None, secs(1)), stop(StopReason::NotRetryable));
        assert_eq!(decided(hinted(121), None, secs(1)), stop(StopReason::RetryAfterTooLong));
        assert!(decided(hinted(120), None, secs(1)).is_ok());
        assert_eq!(decided(hinted(10), Some(secs(10)), secs(1)), stop(StopReason::Deadline));
        assert_eq!(decided(transient, Some(secs(10)), secs(10)), stop(StopReason::Deadline));
        assert_eq!(decided(transient, Some(secs(10)), secs(9)), Ok(secs(9)));
        let mut random = StdRng::seed_from_u64(3);
        let mut decide = |outcome, retry, conditions: &Conditions| {
            decide(&RULES, &FailedAttempt::new(retry, outcome), conditions, &secs(1), &mut random)
        };
        let free = Conditions::default();
        assert_eq!(decide(transient, 3, &free), Ok(secs(1)));
        assert_eq!(decide(transient, 4, &free), stop(StopReason::MaxRetries));
        assert_eq!(decide(transient, u32::MAX, &free), stop(StopReason::MaxRetries));
        let no_retry = Conditions { no_retry: Some(StopReason::Nested), ..free };
        assert_eq!(decide(transient, 0, &no_retry), stop(StopReason::Nested));
        assert_eq!(decide(Outcome::permanent(), 0, &no_retry), stop(StopReason::NotRetryable));
        let careful = Conditions { only_unprocessed: true, ..free };
        assert_eq!(decide(transient, 0, &careful), stop(StopReason::NotRepeatable));
        assert_eq!(decide(transient.mark_unprocessed(), 0, &careful), Ok(secs(1)));
        assert_eq!(decide(Outcome::throttled(), 0, &careful), Ok(secs(1)));
    }

    #[test]
    fn what_was_never_begun_is_sent_again_at_once_and_not_counted() {
        let mut random = StdRng::seed_from_u64(3);
        let mut decide = |attempts, only_unprocessed| {
            let conditions = Conditions { only_unprocessed, attempts, ..Conditions::default() };
            let failed = FailedAttempt::new(attempts - 1, Outcome::never_begun());
            decide(&RULES, &failed, &conditions, &secs(1), &mut random)
        };
        for attempts in [1, 6, FREE] {
            assert_eq!(decide(attempts, true), Ok(Duration::ZERO));
        }
        assert_eq!(decide(FREE + 1, false), Err(StopReason::MaxRetries));
        assert!(RULES.counts(Outcome::transient().mark_unprocessed(), Duration::ZERO, 1));
    }

    #[test]
    fn an_answer_that_never_came_is_asked_for_again_only_so_often() {
        let rules = Rules { max_unanswered: 1, ..RULES };
        let mut random = StdRng::seed_from_u64(3);
        let mut decide = |outcome, unanswered| {
            let conditions = Conditions { unanswered, ..Conditions::default() };
            decide(&rules, &FailedAttempt::new(unanswered, outcome), &conditions, &secs(1), &mut random)
        };
        let unanswered = Outcome::transient().mark_unanswered();
        assert_eq!(decide(unanswered, 0), Ok(secs(1)));
        assert_eq!(decide(unanswered, 1), Err(StopReason::NotRepeatable));
        assert_eq!(decide(Outcome::transient(), 1), Ok(secs(1)));
        assert_eq!(decide(Outcome::transient().mark_unprocessed(), 1), Ok(secs(1)));
    }

    #[test]
    fn the_jitter_above_a_hint_is_uniform() {
        let mut random = StdRng::seed_from_u64(11);
        // (hint, backoff, left, from, to): half the hint; at most 5 s; above a longer backoff; clipped.
        for (hint, backoff, left, from, to) in [
            (4, 1, 1_000, 4.0, 6.0),
            (60, 1, 1_000, 60.0, 65.0),
            (4, 10, 1_000, 10.0, 12.0),
            (4, 1, 5, 4.0, 5.0),
            (4, 10, 5, 4.0, 5.0),
        ] {
            let many = 10_000;
            let mut sample: Vec<f64> = (0..many)
                .map(|_| from_hint(secs(hint), secs(backoff), secs(5), secs(left), &mut random).as_secs_f64())
                .collect();
            sample.sort_by(f64::total_cmp);
            // Kolmogorov and Smirnov: 1.95 / √n is the bound at a level of 0.1 %.
            for (i, delay) in (0_u32..).zip(&sample) {
                let expected = f64::from(i) / f64::from(many);
                assert!(((delay - from) / (to - from) - expected).abs() < 0.0195, "hint {hint}, {delay}");
            }
        }
    }

    #[test]
    fn a_throttle_without_a_hint_waits_further_in() {
        let rules = Rules { throttled: Throttled::Requeue, ..RULES };
        let mut random = StdRng::seed_from_u64(3);
        let mut decide_at = |retry, outcome, time| {
            decide(&rules, &FailedAttempt::new(retry, outcome), &left(time), &secs(7), &mut random)
        };
        assert_eq!(decide_at(0, Outcome::throttled(), None), Ok(Duration::ZERO));
        assert_eq!(decide_at(1, Outcome::throttled(), None), Ok(secs(7)), "the queue let it go");
        let mut decide = |outcome, time| decide_at(0, outcome, time);
        // Its own hint it waits for itself: others may get through.
        let hinted = Outcome::throttled().with_retry_after(secs(20));
        assert!(decide(hinted, None).is_ok_and(|delay| delay >= secs(20) && delay <= secs(21)));
        // Everything else is as ever.
        assert_eq!(decide(hinted, Some(secs(20))), Err(StopReason::Deadline));
        let about_the_request = Outcome::throttled().with_scope(aplomb_core::Scope::Request);
        assert_eq!(decide(about_the_request, None), Ok(secs(7)));
        assert_eq!(decide(Outcome::transient(), None), Ok(secs(7)));
    }

    fn any_duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            (0_u64..400_000).prop_map(Duration::from_millis),
            (any::<u64>(), 0_u32..1_000_000_000).prop_map(|(s, ns)| Duration::new(s, ns)),
        ]
    }

    proptest! {
        #[test]
        fn never_before_the_hint_never_past_the_deadline_never_above_the_cap(
            retry in 0_u32..4, seed: u64,
            hint in prop::option::of(any_duration()), time in prop::option::of(any_duration()),
        ) {
            let backoff = Exponential::default();
            let outcome = hint.map_or(Outcome::transient(), |hint| Outcome::transient().with_retry_after(hint));
            let mut random = StdRng::seed_from_u64(seed);
            match decide(&RULES, &FailedAttempt::new(retry, outcome), &left(time), &backoff, &mut random) {
                Ok(wait) => {
                    prop_assert!(wait >= hint.unwrap_or_default());
                    prop_assert!(wait <= time.unwrap_or(Duration::MAX));
                    prop_assert!(hint.unwrap_or_default() <= RULES.max_retry_after);
                    let most = backoff.ceiling(retry).max(hint.unwrap_or_default())
                        + (hint.unwrap_or_default() / 2).min(RULES.max_hint_jitter);
                    prop_assert!(wait <= most);
                }
                Err(StopReason::RetryAfterTooLong) => prop_assert!(hint > Some(RULES.max_retry_after)),
                Err(stopped) => {
                    prop_assert_eq!(stopped, StopReason::Deadline);
                    let earliest = hint.unwrap_or_else(|| backoff.ceiling(retry));
                    prop_assert!(time.is_some_and(|left| left <= earliest));
                }
            }
        }
    }
}
