//! Who passes, and what the answers say.

use aplomb_core::{Decision, End, Gate, Outcome};
use tokio::time::Instant;

use super::Circuit;
use super::phase::Phase;
use crate::probes::Finding;
use crate::sign::Sign;
use crate::{Cause, OnOpen, Transition, Why};

/// What a circuit remembers of an admitted call.
#[derive(Debug)]
pub struct Slip {
    epoch: u64,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Call,
    /// Decides whether the circuit closes.
    Probe(u64),
    /// Has decided already, at its first content.
    Passed,
}

impl Gate for Circuit {
    type Ask = ();
    type Slip = Slip;
    type Why = Why;
    type Notice = Transition;

    fn check(&mut self, (): &(), now: Instant) -> Decision<Why> {
        self.pass(now);
        match (&self.phase, self.on_open) {
            (Phase::Closed { .. } | Phase::ForcedClosed, _) => Decision::Admit,
            (Phase::HalfOpen(trial), _) if trial.has_place() => Decision::Admit,
            (Phase::HalfOpen(_), OnOpen::Park { .. }) => Decision::WhenReleased(self.why(now)),
            (Phase::Open { until }, OnOpen::Park { max }) if *until - now <= max => {
                Decision::NotBefore(*until, self.why(now))
            }
            _ => Decision::Refuse(self.why(now)),
        }
    }

    fn admit(&mut self, (): &(), now: Instant) -> Slip {
        let role = match &mut self.phase {
            Phase::HalfOpen(trial) => Role::Probe(trial.send(now)),
            _ => Role::Call,
        };
        Slip { epoch: self.epoch, role }
    }

    fn content(&mut self, slip: &mut Slip, now: Instant) {
        self.pass(now);
        if let (Role::Probe(_), true) = (slip.role, self.concerns(slip)) {
            self.release(slip);
            self.judge(slip.role, Outcome::success(), now);
            slip.role = Role::Passed;
        }
    }

    fn end(&mut self, slip: Slip, end: End, now: Instant) {
        self.pass(now);
        self.release(&slip);
        if let (End::Judged { outcome, .. }, true) = (end, self.concerns(&slip)) {
            self.judge(slip.role, outcome, now);
        }
    }

    fn lapses(&self) -> Option<Instant> {
        match &self.phase {
            Phase::HalfOpen(trial) => trial.lapses(),
            _ => None,
        }
    }

    fn notice(&mut self) -> Option<Transition> {
        self.untold.pop_front()
    }
}

impl Circuit {
    /// Whether the result of a call moves anything.
    fn concerns(&self, slip: &Slip) -> bool {
        slip.epoch == self.epoch || slip.role == Role::Passed && self.recovered_from == Some(slip.epoch)
    }

    /// Frees the place of a probe of this half-open stretch.
    fn release(&mut self, slip: &Slip) {
        if let (Phase::HalfOpen(trial), Role::Probe(number)) = (&mut self.phase, slip.role)
            && slip.epoch == self.epoch
        {
            trial.release(number);
        }
    }

    fn judge(&mut self, role: Role, outcome: Outcome, now: Instant) {
        let sign = Sign::from(outcome);
        match &mut self.phase {
            Phase::Closed { .. } => {
                if let Some(cause) = self.health.record(sign, now) {
                    self.open(cause, outcome, now);
                }
            }
            Phase::HalfOpen(trial) => {
                let finding = match sign {
                    Sign::Exhausted => return self.open(Cause::Exhausted, outcome, now),
                    Sign::Unauthorized if self.outage.cause == Cause::Unauthorized => {
                        return self.open(Cause::Unauthorized, outcome, now);
                    }
                    Sign::Failing | Sign::Throttling if role == Role::Passed => trial.failed_after_all(),
                    Sign::Failing | Sign::Throttling => trial.failed(),
                    Sign::Nothing => return,
                    _ if role == Role::Passed => return,
                    // Whoever answers lives, also where it refuses a request for its own sake.
                    Sign::Healthy | Sign::Alive | Sign::Unauthorized => trial.passed(),
                };
                self.conclude(finding, outcome, now);
            }
            Phase::Open { .. } | Phase::ForcedOpen | Phase::ForcedClosed => {}
        }
    }

    fn conclude(&mut self, finding: Finding, last: Outcome, now: Instant) {
        match finding {
            Finding::Undecided => {}
            Finding::StillFailing => self.open(Cause::ProbeFailed, last, now),
            Finding::Recovered => {
                let epoch = self.epoch;
                self.close(Cause::ProbeSucceeded, now);
                self.recovered_from = Some(epoch);
            }
        }
    }
}
