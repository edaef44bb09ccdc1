//! The server of an endpoint, as its circuit, its retry and its observers see it.

use aplomb_admission::Decision;
use aplomb_admission::server::{HeldBy, ServerEvent, ServerToken, ShutCause};
use aplomb_core::{Event, Outcome};
use aplomb_rate_limit::{PoolMember, Quotas, RateLimitReason, throttle_event};
use tokio::time::Instant;

use super::gates::{EndpointGates, EndpointRejection, GateEvent, TokenOf, UNLIMITED};
use crate::context::CallContext;

impl EndpointGates {
    /// Passes on what has become of the server.
    pub(super) fn follow(&mut self, now: Instant) {
        while let Some(event) = self.server.next_event() {
            if self.own_recovery && matches!(event, ServerEvent::Shut { cause: ShutCause::Failures, .. }) {
                self.circuit.trip(&event, now);
                self.server.open(now);
                continue;
            }
            self.circuit.follow(&event, now);
            let event = match event {
                ServerEvent::Places { from, to, cause } => {
                    let limit = |places: Option<u32>| places.map_or(UNLIMITED, |places| places as usize);
                    Some(Event::concurrency_changed(limit(from), limit(to), cause))
                }
                event => throttle_event(&event, now),
            };
            self.events.extend(event.map(GateEvent::Server));
        }
    }

    pub(super) fn check_server(&mut self, tokens: u64, now: Instant) -> Decision<EndpointRejection> {
        let decision = self.server.check(tokens, now);
        let held = match decision {
            Decision::Admit => return Decision::Admit,
            Decision::NotBefore(_, held) | Decision::WhenReleased(held) | Decision::Reject(held) => held,
        };
        match held {
            HeldBy::Shut { cause: ShutCause::Failures, .. } => {
                self.circuit.hold(decision, now).map(EndpointRejection::Circuit)
            }
            HeldBy::Shut { cause: ShutCause::Throttles, .. } | HeldBy::Pace { .. } => {
                RateLimitReason::held(decision, now).map(EndpointRejection::Quota)
            }
            HeldBy::SlowStart { .. } | HeldBy::Places { .. } => decision.map(EndpointRejection::Server),
        }
    }

    /// An attempt failed that may be made again.
    #[cold]
    pub(super) fn failed(
        &mut self,
        server: &ServerToken,
        call: &CallContext,
        outcome: &Outcome,
        reservation: &TokenOf<Quotas>,
        was_shut: Option<ShutCause>,
        now: Instant,
    ) {
        let shut = self.server.is_shut();
        if shut == Some(ShutCause::Throttles) && was_shut.is_none() {
            self.quotas.on_refused(reservation, outcome, now);
        }
        // A pool holds its members back by itself.
        let is_pooled = self.pool.as_ref().is_some_and(PoolMember::is_shut) && outcome.is_shared_throttle();
        let probed = server.is_probe() && shut == Some(ShutCause::Failures);
        call.failed(*outcome, shut.is_some() || is_pooled, probed, now);
    }
}
