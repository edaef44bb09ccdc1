//! A circuit that follows a server: others decide when it opens and closes.

use aplomb_admission::Decision;
use aplomb_admission::server::{HeldBy, ServerEvent, ShutCause};
use aplomb_core::CircuitCause;
use tokio::time::Instant;

use super::Circuit;
use super::phase::Phase;
use crate::{OnOpen, OpenReason, later};

impl Circuit {
    /// Follows what became of the server: the circuit is open while nobody gets through because all calls fail.
    ///
    /// One that was opened for another reason, or by hand, stays as it is.
    pub fn follow(&mut self, event: &ServerEvent, now: Instant) {
        let follows = matches!(self.phase, Phase::Closed { .. } | Phase::Follows { .. });
        match *event {
            _ if !follows => {}
            ServerEvent::Shut { cause: ShutCause::Failures, until, last } => {
                let (cause, last) = (CircuitCause::NobodyGetsThrough, Some(last));
                self.begin_outage(cause, last, now);
                self.shift(Phase::Follows { until, probing: false }, cause, last, now);
            }
            ServerEvent::Probing { cause: ShutCause::Failures } => {
                if let Phase::Follows { until, probing: false } = self.phase {
                    let probing = Phase::Follows { until, probing: true };
                    self.shift(probing, CircuitCause::CooldownOver, None, now);
                }
            }
            ServerEvent::StillShut { cause: ShutCause::Failures, until, last } => {
                let still = Phase::Follows { until, probing: false };
                self.shift(still, CircuitCause::ProbeFailed, Some(last), now);
            }
            ServerEvent::Opened { cause: ShutCause::Failures, .. } => {
                self.close(CircuitCause::ProbeSucceeded, now);
            }
            ServerEvent::Shut { .. }
            | ServerEvent::Probing { .. }
            | ServerEvent::StillShut { .. }
            | ServerEvent::Opened { .. }
            | ServerEvent::Places { .. } => {}
        }
    }

    /// Opens as if it had tripped because nobody gets through: for a cooldown, after which its own probes decide.
    pub fn trip(&mut self, event: &ServerEvent, now: Instant) {
        if let (Phase::Closed { .. }, ServerEvent::Shut { cause: ShutCause::Failures, last, .. }) =
            (&self.phase, *event)
        {
            self.open(CircuitCause::NobodyGetsThrough, Some(last), now);
        }
    }

    /// The decision about a call that the server would hold back because all calls fail: it waits, or is rejected, as is
    /// [set](OnOpen).
    pub fn hold(&mut self, decision: Decision<HeldBy>, now: Instant) -> Decision<OpenReason> {
        let reason = self.reason(now);
        match (decision, self.settings.on_open) {
            (Decision::Admit, _) => Decision::Admit,
            (Decision::NotBefore(at, _), OnOpen::Park { max }) if at <= later(now, max) => {
                Decision::NotBefore(at, reason)
            }
            (Decision::WhenReleased(_), OnOpen::Park { .. }) => Decision::WhenReleased(reason),
            _ => Decision::Reject(reason),
        }
    }
}
