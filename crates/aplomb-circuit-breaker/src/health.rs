//! What a closed circuit remembers of its calls.

use tokio::time::Instant;

use crate::sign::Sign;
use crate::window::Tally;
use crate::{Cause, Trip, Window};

/// How many refused credentials in a row open a circuit, unless told otherwise.
const UNAUTHORIZED: u32 = 3;

/// The calls of a closed circuit, counted as its [`Trip`] asks.
#[derive(Debug)]
pub(crate) struct Health {
    trip: Trip,
    failures: u32,
    refusals: u32,
    window: Option<Window>,
}

impl Health {
    pub(crate) fn new(trip: Trip) -> Self {
        let window = trip.share.as_ref().map(|share| share.window.clone());
        Self { trip, failures: 0, refusals: 0, window }
    }

    /// Counts an answer. Returns why the circuit has to open, if it has to.
    pub(crate) fn record(&mut self, sign: Sign, now: Instant) -> Option<Cause> {
        match sign {
            Sign::Nothing => None,
            Sign::Exhausted => Some(Cause::Exhausted),
            Sign::Unauthorized => {
                self.refusals = self.refusals.saturating_add(1);
                (self.refusals == self.trip.unauthorized.unwrap_or(UNAUTHORIZED))
                    .then_some(Cause::Unauthorized)
            }
            // The credential was accepted, whatever became of the request.
            Sign::Alive | Sign::Throttling => {
                self.refusals = 0;
                None
            }
            Sign::Healthy => {
                self.refusals = 0;
                self.failures = 0;
                self.window.iter_mut().for_each(|window| window.record(false, now));
                None
            }
            Sign::Failing => self.failed(now),
        }
    }

    fn failed(&mut self, now: Instant) -> Option<Cause> {
        self.failures = self.failures.saturating_add(1);
        self.window.iter_mut().for_each(|window| window.record(true, now));
        if self.trip.consecutive.is_some_and(|most| self.failures >= most) {
            return Some(Cause::ConsecutiveFailures);
        }
        let tally = self.tally(now);
        let share = self.trip.share.as_ref()?;
        (tally.calls() >= share.min_calls && tally.ratio() >= share.ratio).then_some(Cause::FailureRatio)
    }

    /// What the window holds; nothing where no rule asks for one.
    pub(crate) fn tally(&mut self, now: Instant) -> Tally {
        self.window.as_mut().map(|window| window.tally(now)).unwrap_or_default()
    }

    pub(crate) const fn failures_in_a_row(&self) -> u32 {
        self.failures
    }

    pub(crate) fn clear(&mut self) {
        self.failures = 0;
        self.refusals = 0;
        self.window.iter_mut().for_each(Window::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_interrupted_by_a_success_only() {
        let now = Instant::now();
        let mut health = Health::new(Trip::consecutive(3));
        for sign in [
            Sign::Failing,
            Sign::Failing,
            Sign::Alive,
            Sign::Throttling,
            Sign::Nothing,
        ] {
            assert_eq!(health.record(sign, now), None);
        }
        assert_eq!(health.record(Sign::Healthy, now), None);
        assert_eq!(health.record(Sign::Failing, now), None);
        assert_eq!(health.record(Sign::Failing, now), None);
        assert_eq!(health.record(Sign::Failing, now), Some(Cause::ConsecutiveFailures));
    }

    #[test]
    fn a_ratio_waits_for_enough_calls() {
        let now = Instant::now();
        let mut health = Health::new(Trip::ratio(0.1, Window::calls(100)).min_calls(30));
        for _ in 0..27 {
            assert_eq!(health.record(Sign::Healthy, now), None);
        }
        assert_eq!(health.record(Sign::Failing, now), None);
        assert_eq!(health.record(Sign::Failing, now), None);
        // 3 of 30 is 10 %.
        assert_eq!(health.record(Sign::Failing, now), Some(Cause::FailureRatio));
    }

    #[test]
    fn three_refused_credentials_in_a_row_open() {
        let now = Instant::now();
        let mut health = Health::new(Trip::default());
        for sign in [
            Sign::Unauthorized,
            Sign::Unauthorized,
            Sign::Alive,
            Sign::Unauthorized,
            Sign::Failing,
        ] {
            assert_eq!(health.record(sign, now), None);
        }
        assert_eq!(health.record(Sign::Unauthorized, now), None);
        assert_eq!(health.record(Sign::Unauthorized, now), Some(Cause::Unauthorized));
    }

    #[test]
    fn a_window_too_small_for_the_minimum_still_opens() {
        let now = Instant::now();
        for mut health in [
            Health::new(Trip::ratio(1.0, Window::calls(3))),
            Health::new(Trip::ratio(1.0, Window::calls(3)).min_calls(1_000)),
        ] {
            assert_eq!(health.record(Sign::Failing, now), None);
            assert_eq!(health.record(Sign::Failing, now), None);
            assert_eq!(health.record(Sign::Failing, now), Some(Cause::FailureRatio));
        }
    }
}
