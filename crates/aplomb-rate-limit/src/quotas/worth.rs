//! What is lost with the quotas of a key.

use std::time::Duration;

use aplomb_admission::{Evictable, Worth};
use tokio::time::Instant;

use super::Quotas;
use crate::active_quota::ActiveQuota;
use crate::pause::{MAX_UNHINTED_PAUSE, Pause};

/// How long what was learned is kept after its last use.
const KEPT: Duration = Duration::from_secs(60 * 60);

impl Quotas {
    /// Whether everything that was drawn has flowed back.
    fn is_full(&self, now: Instant) -> bool {
        let nanos = self.set.nanos(now);
        self.set.iter().all(|(_, bucket)| bucket.drawn_until() <= nanos)
    }

    /// Whether the server was used within this time.
    fn was_used_within(&self, time: Duration, now: Instant) -> bool {
        let used = self.server.as_ref().and_then(|server| server.last_used);
        used.is_some_and(|used| now.saturating_duration_since(used) < time)
    }

    /// Whether it knows anything of the server's limits.
    fn has_learned(&self) -> bool {
        let estimator = self.server.as_ref().and_then(|server| server.estimator.as_ref());
        let reported = self.set.quotas().iter().any(ActiveQuota::is_reported);
        reported || estimator.is_some_and(|estimator| !estimator.is_fresh())
    }
}

impl Evictable for Quotas {
    fn worth(&mut self, now: Instant) -> Worth {
        let pause = self.server.as_ref().map(|server| &server.pause);
        if pause.is_some_and(|pause| !pause.is_ramp_over(now))
            || self.available(now).any(|(_, left)| left < 0)
            || self.has_learned() && self.was_used_within(KEPT, now)
        {
            return Worth::HIGH;
        }
        // How long pauses have grown is forgotten when nobody has called for as long as the longest.
        let has_grown = pause.is_some_and(Pause::has_grown);
        if !self.is_full(now) || has_grown && self.was_used_within(MAX_UNHINTED_PAUSE, now) {
            return Worth::MEDIUM;
        }
        Worth::FRESH
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Charge, Dimension, Quota};
    use aplomb_admission::{Decision, End, Gate, Progress};
    use aplomb_core::{Outcome, Reading};

    const S: Duration = Duration::from_secs(1);
    const NANOSECOND: Duration = Duration::from_nanos(1);

    fn quotas() -> Quotas {
        let tokens = Quota::new(Dimension::TOKENS, 100, 10 * S);
        Quotas::new([Quota::requests_per_second(3), tokens], 1)
    }

    #[test]
    fn it_equals_a_fresh_one_when_all_has_flowed_back_and_the_pause_is_over() {
        let mut quotas = quotas();
        let now = quotas.set.epoch();
        assert_eq!(quotas.worth(now), Worth::FRESH);
        let charge = Charge::request().input_tokens(50);
        assert_eq!(quotas.check(&charge, now), Decision::Admit);
        let reservation = quotas.admit(&charge, now);
        assert_eq!(quotas.worth(now + 5 * S - NANOSECOND), Worth::MEDIUM);
        assert_eq!(quotas.worth(now + 5 * S), Worth::FRESH);
        let outcome = Outcome::throttled().with_retry_after(30 * S);
        quotas.end(reservation, End::Judged { outcome, usage: None }, now);
        assert_eq!(quotas.worth(now + 30 * S), Worth::HIGH, "it ends with a ramp");
        assert_ne!(quotas.worth(now + 40 * S - NANOSECOND), Worth::FRESH, "and then there is nothing left");
        assert_eq!(quotas.worth(now + 40 * S), Worth::FRESH);
    }

    #[test]
    fn a_debt_is_worth_more_than_what_was_drawn() {
        let mut quotas = quotas();
        let now = quotas.set.epoch();
        let charge = Charge::request().input_tokens(100);
        assert_eq!(quotas.check(&charge, now), Decision::Admit);
        let reservation = quotas.admit(&charge, now);
        assert_eq!(quotas.worth(now), Worth::MEDIUM);
        quotas.settle(reservation, &Charge::request().input_tokens(150), now);
        assert_eq!(quotas.worth(now), Worth::HIGH);
    }

    #[test]
    fn what_was_learned_is_kept_for_an_hour() {
        let mut quotas = Quotas::new([], 1);
        let now = quotas.set.epoch();
        assert_eq!(quotas.worth(now), Worth::FRESH);
        assert_eq!(quotas.check(&Charge::request(), now), Decision::Admit);
        let mut reservation = quotas.admit(&Charge::request(), now);
        let told = Reading::of(Dimension::REQUESTS).with_limit(60).with_remaining(0);
        quotas.on(&mut reservation, Progress::Limits(&[told]), now);
        quotas.end(reservation, End::Judged { outcome: Outcome::success(), usage: None }, now);
        assert_eq!(quotas.worth(now + KEPT - NANOSECOND), Worth::HIGH);
        assert_eq!(quotas.worth(now + KEPT), Worth::FRESH);
    }
}
