//! The circuit as a gate: admission, and what the answers say.

use aplomb_admission::server::ServerToken;
use aplomb_admission::{Decision, End, Gate, Hints, PooledGate, Progress};
use aplomb_core::{CircuitCause, Outcome, Usage};
use tokio::time::Instant;

use super::Circuit;
use super::phase::Phase;
use crate::health::HealthSignal;
use crate::probes::Conclusion;
use crate::ramp::SlowStart;
use crate::{CompletedCall, OnOpen, OpenReason, Transition};

/// An admitted call.
#[derive(Debug)]
pub struct CircuitToken {
    epoch: u64,
    role: Role,
    admitted: Instant,
    content: Option<Instant>,
    server: Option<ServerToken>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Call,
    /// Admitted during the ramp, and not answered yet.
    DuringRamp,
    /// A probe that has not been answered yet.
    Probe(u64),
    /// A probe that passed at its first content.
    PassedProbe,
    /// A probe that failed at its first content, which came too late.
    FailedProbe,
}

impl Gate for Circuit {
    type Cost = ();
    type Token = CircuitToken;
    type Reason = OpenReason;
    type Event = Transition;

    #[inline]
    fn check(&mut self, (): &(), now: Instant) -> Decision<OpenReason> {
        match self.phase {
            Phase::Closed { slow_start: None, .. } => self.check_owned(now),
            _ => self.check_slow(now),
        }
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a token is large, and made in its place instead of being moved"
    )]
    fn admit(&mut self, (): &(), now: Instant) -> CircuitToken {
        let role = match &mut self.phase {
            Phase::HalfOpen(half_open) => Role::Probe(half_open.send(now)),
            Phase::Closed { slow_start: Some(slow_start), .. } => {
                slow_start.send();
                Role::DuringRamp
            }
            _ => Role::Call,
        };
        let server = self.admit_owned(now);
        CircuitToken { epoch: self.epoch, role, admitted: now, content: None, server }
    }

    fn on(&mut self, token: &mut CircuitToken, progress: Progress<'_>, now: Instant) {
        match progress {
            Progress::Sent => {
                token.admitted = now;
                self.sent_owned(token.server.as_mut(), now);
            }
            Progress::FirstByte => {
                self.first_byte(token, now);
                self.taken_owned(token.server.as_ref(), now);
            }
            Progress::Limits(_) | Progress::Usage(_) => {}
        }
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "the arguments are large, and read in place instead of being moved"
    )]
    fn end(&mut self, token: CircuitToken, end: End, now: Instant) {
        // By far the most frequent case: a success that no rule needs to know more about.
        let in_closed_circuit = matches!(self.phase, Phase::Closed { slow_start: None, .. });
        let is_success = matches!(&end, End::Judged { outcome, .. } if outcome.is_success());
        if is_success && in_closed_circuit && token.epoch == self.epoch && self.health.plain_success(now) {
            if token.content.is_none() {
                self.response_time.record(token.admitted, now);
            }
            return self.succeeded_owned(token.server.as_ref(), now);
        }
        let failed = end == End::Abandoned && self.is_failure(&token, now);
        self.end_slow(&token, end, now);
        self.end_owned(token.server.as_ref(), end, failed, now);
    }

    fn forecast(&mut self, _: &mut dyn Iterator<Item = &()>, _: Instant) -> Option<Instant> {
        None
    }

    fn hints(&self) -> Hints {
        Hints {
            next_wakeup: self.phase.next_change(),
            expected_latency: self.response_time.expected(),
            max_wait: match self.settings.on_open {
                OnOpen::FailFast => None,
                OnOpen::Park { max } => Some(max),
            },
        }
    }

    #[inline]
    fn next_event(&mut self) -> Option<Transition> {
        self.events.pop_front()
    }

    #[inline]
    fn pooled(&mut self) -> Option<&mut dyn PooledGate<(), OpenReason>> {
        None
    }
}

impl Circuit {
    #[inline(never)]
    fn check_slow(&mut self, now: Instant) -> Decision<OpenReason> {
        self.advance(now);
        match self.phase {
            Phase::Closed { slow_start: None, .. } | Phase::Follows { .. } => self.check_owned(now),
            Phase::Disabled => Decision::Admit,
            _ => self.decide(now),
        }
    }

    /// The decision about a call while not everyone is admitted.
    fn decide(&self, now: Instant) -> Decision<OpenReason> {
        let parks = matches!(self.settings.on_open, OnOpen::Park { .. });
        match (&self.phase, self.settings.on_open) {
            (Phase::Closed { slow_start, .. }, _) if slow_start.as_ref().is_none_or(SlowStart::has_place) => {
                Decision::Admit
            }
            (Phase::HalfOpen(half_open), _) if half_open.has_place() => Decision::Admit,
            (Phase::HalfOpen(_) | Phase::Closed { .. }, _) if parks => {
                Decision::WhenReleased(self.reason(now))
            }
            (Phase::Open { until, .. }, OnOpen::Park { max }) if *until - now <= max => {
                Decision::NotBefore(*until, self.reason(now))
            }
            _ => Decision::Reject(self.reason(now)),
        }
    }

    fn first_byte(&mut self, token: &mut CircuitToken, now: Instant) {
        self.advance(now);
        if token.content.is_none() {
            token.content = Some(now);
            self.response_time.record(token.admitted, now);
        }
        if !self.counts(token) {
            return;
        }
        let took = now.saturating_duration_since(token.admitted);
        match token.role {
            probe @ Role::Probe(_) => {
                self.release(token, now);
                let well = !self.health.first_content_is_slow(took);
                token.role = if well {
                    Role::PassedProbe
                } else {
                    Role::FailedProbe
                };
                self.probe_answered(probe, well, Outcome::success(), now);
            }
            Role::Call | Role::DuringRamp => {
                self.release(token, now);
                self.adjust_ramp(token.role, HealthSignal::Healthy);
                token.role = Role::Call;
                if !matches!(self.phase, Phase::Closed { .. }) {
                    return;
                }
                if let Some(cause) = self.health.first_content(took, now) {
                    self.open(cause, None, now);
                }
            }
            Role::PassedProbe | Role::FailedProbe => {}
        }
    }

    #[inline(never)]
    fn end_slow(&mut self, token: &CircuitToken, end: End, now: Instant) {
        self.advance(now);
        self.release(token, now);
        let (outcome, usage) = match end {
            End::Judged { outcome, usage } => {
                if outcome.is_success() && token.content.is_none() {
                    self.response_time.record(token.admitted, now);
                }
                (outcome, usage)
            }
            End::Abandoned if self.is_failure(token, now) => (Outcome::transient(), None),
            _ => return,
        };
        if self.counts(token) {
            self.record(token, outcome, usage, now);
        }
    }

    /// Returns whether the result of a call counts: that of its own epoch, or of a probe from which the circuit
    /// recovered.
    fn counts(&self, token: &CircuitToken) -> bool {
        match token.role {
            Role::FailedProbe => false,
            Role::PassedProbe if self.recovered_from == Some(token.epoch) => true,
            _ => token.epoch == self.epoch,
        }
    }

    /// Returns whether a call that was dropped counts as a failure.
    fn is_failure(&self, token: &CircuitToken, now: Instant) -> bool {
        let waited = || now.saturating_duration_since(token.admitted);
        token.content.is_none() && self.settings.on_abandoned.is_failure(waited)
    }

    /// Frees the place of a probe, or of a call on the ramp, if it belongs to this epoch.
    fn release(&mut self, token: &CircuitToken, now: Instant) {
        if token.role != Role::Call && token.epoch == self.epoch {
            match (&mut self.phase, token.role) {
                (Phase::HalfOpen(half_open), Role::Probe(number)) => half_open.release(number, now),
                (Phase::Closed { slow_start: Some(slow_start), .. }, Role::DuringRamp) => {
                    slow_start.release();
                }
                _ => {}
            }
        }
    }

    fn record(&mut self, token: &CircuitToken, outcome: Outcome, usage: Option<Usage>, now: Instant) {
        let call =
            CompletedCall { outcome, usage, admitted: token.admitted, content: token.content, at: now };
        let signal = HealthSignal::from(outcome);
        match &self.phase {
            Phase::Closed { .. } => {
                self.adjust_ramp(token.role, signal);
                if let Some(cause) = self.health.record(signal, &call) {
                    self.open(cause, Some(outcome), now);
                }
            }
            Phase::HalfOpen(_) => match signal {
                HealthSignal::Exhausted => self.open(CircuitCause::Exhausted, Some(outcome), now),
                HealthSignal::Unauthorized if self.outage.is_refused => {
                    self.open(CircuitCause::Unauthorized, Some(outcome), now);
                }
                HealthSignal::Failing | HealthSignal::Throttling => {
                    self.probe_answered(token.role, false, outcome, now);
                }
                HealthSignal::None => {}
                _ if token.role == Role::PassedProbe => {}
                HealthSignal::Healthy => {
                    self.probe_answered(token.role, !self.health.was_slow(&call), outcome, now);
                }
                // A server that answers is alive, even if it rejects the request.
                HealthSignal::Alive | HealthSignal::Unauthorized => {
                    self.probe_answered(token.role, true, outcome, now);
                }
            },
            Phase::Follows { .. } if signal == HealthSignal::Exhausted => {
                self.open(CircuitCause::Exhausted, Some(outcome), now);
            }
            Phase::Open { .. } | Phase::Follows { .. } | Phase::Isolated | Phase::Disabled => {}
        }
    }

    /// Moves the ramp after a call on it was answered.
    fn adjust_ramp(&mut self, role: Role, signal: HealthSignal) {
        if let (Role::DuringRamp, Phase::Closed { slow_start: Some(slow_start), .. }) =
            (role, &mut self.phase)
        {
            match signal {
                HealthSignal::Healthy | HealthSignal::Alive | HealthSignal::Unauthorized => slow_start.grow(),
                HealthSignal::Failing | HealthSignal::Throttling | HealthSignal::Exhausted => {
                    slow_start.shrink();
                }
                HealthSignal::None => {}
            }
        }
    }

    /// A probe was answered well or badly, or has failed after passing.
    fn probe_answered(&mut self, role: Role, well: bool, outcome: Outcome, now: Instant) {
        let Phase::HalfOpen(half_open) = &mut self.phase else {
            return;
        };
        let conclusion = match (well, role) {
            (true, _) => half_open.passed(),
            (false, Role::PassedProbe) => half_open.failed_after_passing(),
            (false, _) => half_open.failed(),
        };
        match conclusion {
            Conclusion::Undecided => {}
            Conclusion::StillFailing => self.open(CircuitCause::ProbeFailed, Some(outcome), now),
            Conclusion::Recovered => {
                let epoch = self.epoch;
                self.recover(now);
                self.recovered_from = Some(epoch);
            }
        }
    }
}
