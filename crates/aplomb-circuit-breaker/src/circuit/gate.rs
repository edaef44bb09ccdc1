//! Who passes, and what the answers say.

use std::time::Duration;

use aplomb_admission::{Decision, End, Gate};
use aplomb_core::{Outcome, Usage};
use tokio::time::Instant;

use super::Circuit;
use super::phase::Phase;
use crate::probes::Finding;
use crate::ramp::Climb;
use crate::sign::Sign;
use crate::{CompletedCall, OnOpen, OpenReason, Transition, TransitionCause};

/// What a circuit remembers of an admitted call.
#[derive(Debug)]
pub struct CircuitToken {
    epoch: u64,
    role: Role,
    admitted: Instant,
    content: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Call,
    /// One of those who are let in while the circuit recovers, and has not been answered.
    Climber,
    /// Decides whether the circuit closes.
    Probe(u64),
    /// Has passed already, at its first content.
    Passed,
    /// Has failed already: its first content came too late.
    Spent,
}

impl Gate for Circuit {
    type Ask = ();
    type Slip = CircuitToken;
    type Why = OpenReason;
    type Notice = Transition;

    #[inline]
    fn check(&mut self, (): &(), now: Instant) -> Decision<OpenReason> {
        self.pass(now);
        if matches!(self.phase, Phase::Closed { climb: None, .. } | Phase::Disabled) {
            return Decision::Admit;
        }
        self.decide(now)
    }

    #[inline]
    fn admit(&mut self, (): &(), now: Instant) -> CircuitToken {
        let role = match &mut self.phase {
            Phase::HalfOpen(trial) => Role::Probe(trial.send(now)),
            Phase::Closed { climb: Some(climb), .. } => {
                climb.send();
                Role::Climber
            }
            _ => Role::Call,
        };
        CircuitToken { epoch: self.epoch, role, admitted: now, content: None }
    }

    fn sent(&mut self, slip: &mut CircuitToken, now: Instant) {
        slip.admitted = now;
    }

    fn content(&mut self, slip: &mut CircuitToken, now: Instant) {
        self.pass(now);
        if slip.content.is_none() {
            slip.content = Some(now);
            self.pace.note(slip.admitted, now);
        }
        if !self.concerns(slip) {
            return;
        }
        let took = now.saturating_duration_since(slip.admitted);
        match slip.role {
            probe @ Role::Probe(_) => {
                self.release(slip, now);
                let well = !self.health.content_is_slow(took);
                slip.role = if well { Role::Passed } else { Role::Spent };
                self.answered(probe, well, Outcome::success(), now);
            }
            Role::Call | Role::Climber => {
                self.release(slip, now);
                self.climb_on(slip.role, Sign::Healthy);
                slip.role = Role::Call;
                if matches!(self.phase, Phase::Closed { .. })
                    && let Some(cause) = self.health.content(took, now)
                {
                    self.open(cause, None, now);
                }
            }
            Role::Passed | Role::Spent => {}
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what is handed over is read where it lies")]
    fn end(&mut self, slip: CircuitToken, end: End, now: Instant) {
        // By far the most frequent case: a success like any other.
        if let (End::Judged { outcome, .. }, Phase::Closed { climb: None, .. }) = (&end, &self.phase)
            && outcome.is_success()
            && slip.epoch == self.epoch
            && self.health.plain_success(now)
        {
            if slip.content.is_none() {
                self.pace.note(slip.admitted, now);
            }
            return;
        }
        self.end_any(&slip, end, now);
    }

    fn lapses(&self) -> Option<Instant> {
        self.phase.lapses()
    }

    fn answers_in(&self) -> Duration {
        self.pace.answers_in()
    }

    fn longest_wait(&self) -> Option<Duration> {
        match self.on_open {
            OnOpen::FailFast => None,
            OnOpen::Park { max } => Some(max),
        }
    }

    #[inline]
    fn notice(&mut self) -> Option<Transition> {
        self.untold.pop_front()
    }
}

impl Circuit {
    #[inline(never)]
    fn end_any(&mut self, slip: &CircuitToken, end: End, now: Instant) {
        self.pass(now);
        self.release(slip, now);
        let (outcome, usage) = match end {
            End::Judged { outcome, usage } => {
                if outcome.is_success() && slip.content.is_none() {
                    self.pace.note(slip.admitted, now);
                }
                (outcome, usage)
            }
            End::Abandoned if self.is_failure(slip, now) => (Outcome::transient(), None),
            _ => return,
        };
        if self.concerns(slip) {
            self.judge(slip, outcome, usage, now);
        }
    }

    /// Who passes where not everybody does.
    fn decide(&self, now: Instant) -> Decision<OpenReason> {
        let parks = matches!(self.on_open, OnOpen::Park { .. });
        match (&self.phase, self.on_open) {
            (Phase::Closed { climb, .. }, _) if climb.as_ref().is_none_or(Climb::has_place) => {
                Decision::Admit
            }
            (Phase::HalfOpen(trial), _) if trial.has_place() => Decision::Admit,
            (Phase::HalfOpen(_) | Phase::Closed { .. }, _) if parks => Decision::WhenReleased(self.why(now)),
            (Phase::Open { until }, OnOpen::Park { max }) if *until - now <= max => {
                Decision::NotBefore(*until, self.why(now))
            }
            _ => Decision::Refuse(self.why(now)),
        }
    }

    /// Whether the result of a call moves anything.
    fn concerns(&self, slip: &CircuitToken) -> bool {
        match slip.role {
            Role::Spent => false,
            Role::Passed if self.recovered_from == Some(slip.epoch) => true,
            _ => slip.epoch == self.epoch,
        }
    }

    /// Whether a call that nobody waited for counts as a failure.
    fn is_failure(&self, slip: &CircuitToken, now: Instant) -> bool {
        let waited = || now.saturating_duration_since(slip.admitted);
        slip.content.is_none() && self.abandoned.is_failure(waited)
    }

    /// Frees the place of a probe of this half-open stretch, or on this ramp.
    fn release(&mut self, slip: &CircuitToken, now: Instant) {
        if slip.role != Role::Call && slip.epoch == self.epoch {
            match (&mut self.phase, slip.role) {
                (Phase::HalfOpen(trial), Role::Probe(number)) => trial.release(number, now),
                (Phase::Closed { climb: Some(climb), .. }, Role::Climber) => climb.release(),
                _ => {}
            }
        }
    }

    fn judge(&mut self, slip: &CircuitToken, outcome: Outcome, usage: Option<Usage>, now: Instant) {
        let ended = CompletedCall { outcome, usage, admitted: slip.admitted, content: slip.content, at: now };
        let sign = Sign::from(outcome);
        match &self.phase {
            Phase::Closed { .. } => {
                self.climb_on(slip.role, sign);
                if let Some(cause) = self.health.record(sign, &ended) {
                    self.open(cause, Some(outcome), now);
                }
            }
            Phase::HalfOpen(_) => match sign {
                Sign::Exhausted => self.open(TransitionCause::Exhausted, Some(outcome), now),
                Sign::Unauthorized if self.outage.is_refused => {
                    self.open(TransitionCause::Unauthorized, Some(outcome), now);
                }
                Sign::Failing | Sign::Throttling => self.answered(slip.role, false, outcome, now),
                Sign::Nothing => {}
                _ if slip.role == Role::Passed => {}
                Sign::Healthy => self.answered(slip.role, !self.health.was_slow(&ended), outcome, now),
                // Whoever answers lives, also where it refuses a request for its own sake.
                Sign::Alive | Sign::Unauthorized => self.answered(slip.role, true, outcome, now),
            },
            Phase::Open { .. } | Phase::Isolated | Phase::Disabled => {}
        }
    }

    /// A call that was let in while the circuit recovers has been answered.
    fn climb_on(&mut self, role: Role, sign: Sign) {
        if let (Role::Climber, Phase::Closed { climb: Some(climb), .. }) = (role, &mut self.phase) {
            match sign {
                Sign::Healthy | Sign::Alive | Sign::Unauthorized => climb.grow(),
                Sign::Failing | Sign::Throttling | Sign::Exhausted => climb.shrink(),
                Sign::Nothing => {}
            }
        }
    }

    /// A probe has been answered: well or badly, or badly after all.
    fn answered(&mut self, role: Role, well: bool, outcome: Outcome, now: Instant) {
        let Phase::HalfOpen(trial) = &mut self.phase else {
            return;
        };
        let finding = match (well, role) {
            (true, _) => trial.passed(),
            (false, Role::Passed) => trial.failed_after_all(),
            (false, _) => trial.failed(),
        };
        match finding {
            Finding::Undecided => {}
            Finding::StillFailing => self.open(TransitionCause::ProbeFailed, Some(outcome), now),
            Finding::Recovered => {
                let epoch = self.epoch;
                self.recover(now);
                self.recovered_from = Some(epoch);
            }
        }
    }
}
