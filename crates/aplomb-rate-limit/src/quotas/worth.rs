//! How much would be lost with the quotas of a key.

use aplomb_admission::{Evictable, Worth};
use tokio::time::Instant;

use super::Quotas;
use crate::active_quota::ActiveQuota;

/// Quotas equal fresh ones when every bucket is full, and nothing is known of the server.
impl Evictable for Quotas {
    fn worth(&mut self, now: Instant) -> Worth {
        if self.in_flight > 0 {
            return Worth::IN_USE;
        }
        let nanos = self.set.nanos(now);
        if self.server.as_ref().is_some_and(|server| server.expires.is_some_and(|at| at <= nanos)) {
            self.expire(now);
        }
        let in_debt = self.set.iter().any(|(quota, bucket)| bucket.available(quota.flow(), nanos) < 0);
        let reported = self.set.quotas().iter().any(ActiveQuota::is_reported);
        let brakes = self.worth_of_brakes(now);
        if in_debt || reported {
            return Worth::HIGH;
        }
        let full = self.set.iter().all(|(_, bucket)| bucket.drawn_until() <= nanos);
        let quotas = if full { Worth::FRESH } else { Worth::MEDIUM };
        quotas.max(brakes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Charge, Dimension, Quota};
    use aplomb_admission::{Decision, End, Gate, Progress};
    use aplomb_core::{Outcome, Reading};

    const S: Duration = Duration::from_secs(1);

    fn call(quotas: &mut Quotas, tokens: u64, readings: &[Reading], outcome: Outcome, now: Instant) {
        let charge = Charge::request().input_tokens(tokens);
        assert_eq!(quotas.check(&charge, now), Decision::Admit);
        let mut reservation = quotas.admit(&charge, now);
        assert_eq!(quotas.worth(now), Worth::IN_USE);
        quotas.on(&mut reservation, Progress::Limits(readings), now);
        quotas.end(reservation, End::Judged { outcome, usage: None }, now);
    }

    fn configured() -> (Quotas, Instant) {
        let tokens = Quota::new(Dimension::TOKENS, 100, 10 * S).burst(50);
        let quotas = Quotas::new([Quota::requests_per_second(3), tokens]);
        let now = quotas.set.epoch();
        (quotas, now)
    }

    #[test]
    fn used_quotas_are_fresh_when_everything_has_flowed_back() {
        let (mut quotas, now) = configured();
        assert_eq!(quotas.worth(now), Worth::FRESH);
        call(&mut quotas, 50, &[], Outcome::success(), now);
        assert_eq!(quotas.worth(now), Worth::MEDIUM);
        assert_eq!(quotas.worth(now + 5 * S - Duration::from_nanos(1)), Worth::MEDIUM);
        assert_eq!(quotas.worth(now + 5 * S), Worth::FRESH);
        call(&mut quotas, 80, &[], Outcome::success(), now + 5 * S);
        assert_eq!(quotas.worth(now + 5 * S), Worth::HIGH, "a debt");
    }

    #[test]
    fn a_pause_is_worth_much_and_what_a_refusal_taught_for_ten_minutes() {
        let (mut quotas, now) = configured();
        call(&mut quotas, 0, &[], Outcome::throttled().with_retry_after(S), now);
        assert_eq!(quotas.worth(now + S), Worth::HIGH);
        call(&mut quotas, 0, &[], Outcome::success(), now + S);
        assert_eq!(quotas.worth(now + 60 * S), Worth::MEDIUM);
        assert_eq!(quotas.worth(now + 601 * S), Worth::FRESH);
    }

    #[test]
    fn what_was_learned_is_forgotten_after_an_hour() {
        let hour = Duration::from_secs(60 * 60);
        let mut quotas = Quotas::new([]);
        let now = quotas.set.epoch();
        assert_eq!(quotas.worth(now), Worth::FRESH);
        let reported = Reading::of(Dimension::REQUESTS).with_limit(60).with_remaining(0);
        call(&mut quotas, 0, &[reported], Outcome::success(), now);
        assert_eq!(quotas.worth(now + hour - S), Worth::HIGH);
        assert_eq!(quotas.worth(now + hour), Worth::FRESH);
    }
}
