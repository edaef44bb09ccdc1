//! The brakes that hold a call back.

use tokio::time::Instant;

use super::Trouble;
use crate::Decision;
use crate::server::memory::ServerMemory;
use crate::server::overload::Overload;
use crate::server::{HeldBy, ShutCause};

impl Trouble {
    /// Decides about a call while nobody gets through.
    pub(in crate::server) fn check_shut(&self, memory: &mut ServerMemory, now: Instant) -> Decision<HeldBy> {
        let Some(shut) = &self.shut else {
            return Decision::Admit;
        };
        let presumed = memory.next_presumed();
        // A probe that hangs holds up no other.
        let hangs = shut.cause == ShutCause::Failures && presumed.is_none();
        let probing = memory.unproven() > 0 && !hangs;
        let due = shut.not_before(now);
        if shut.is_released() || (due.is_none() && !probing) {
            return Decision::Admit;
        }
        let held = HeldBy::Shut {
            cause: shut.cause,
            since: shut.since,
            probe_at: shut.probe_at,
            probing,
            last: shut.last,
        };
        // The probe in flight may be presumed to be accepted before the next is due.
        let next = if probing {
            due.into_iter().chain(presumed).min()
        } else {
            due
        };
        match next {
            _ if shut.too_long => Decision::Reject(held),
            Some(at) => Decision::NotBefore(at, held),
            None => Decision::WhenReleased(held),
        }
    }

    /// Decides whether there is a place for a call.
    pub(in crate::server) fn check_places(
        &self,
        memory: &ServerMemory,
        overload: &mut Overload,
        now: Instant,
    ) -> Decision<HeldBy> {
        let Some(places) = &self.places else {
            return Decision::Admit;
        };
        let in_flight = memory.in_flight().saturating_add(overload.abandoned(now));
        if places.has_room(in_flight) {
            return Decision::Admit;
        }
        let held = HeldBy::Places { limit: places.limit(), in_flight: memory.in_flight() };
        match overload.next_abandoned() {
            Some(at) => Decision::NotBefore(at, held),
            None => Decision::WhenReleased(held),
        }
    }

    /// Decides whether a call keeps the pace.
    pub(in crate::server) fn check_pace(&self, tokens: u64, now: Instant) -> Decision<HeldBy> {
        let Some(pace) = &self.pace else {
            return Decision::Admit;
        };
        match pace.not_before(tokens, now) {
            Some(at) => Decision::NotBefore(at, HeldBy::Pace { rate: pace.rate() }),
            None => Decision::Admit,
        }
    }
}
