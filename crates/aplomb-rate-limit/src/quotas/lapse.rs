//! What the server said holds for an hour, unless it says so again.
//!
//! A limit that is nonsense, or of another time, would else hold for good: where it refuses or delays
//! every call, no answer comes that could correct it.

use std::sync::Arc;

use tokio::time::Instant;

use super::Quotas;
use crate::Dimension;

/// How long what no reading confirms still holds, in nanoseconds.
const CONFIRMED_FOR: u64 = 60 * 60 * 1_000_000_000;

impl Quotas {
    /// A reading has just been about the quota in this place.
    pub(super) fn confirm(&mut self, index: usize, now: Instant) {
        let nanos = self.nanos(now);
        let id = self.setup.meters[index].id();
        self.peer_mut(now).belief(id).confirmed = nanos;
        self.plan_lapse();
    }

    /// Notes when the first of what the server said will lapse.
    pub(super) fn plan_lapse(&mut self) {
        let Some(peer) = &mut self.peer else { return };
        let told = self.setup.meters.iter().filter_map(|meter| {
            let belief = peer.known_belief(meter.id())?;
            let lapses = belief.confirmed.saturating_add(CONFIRMED_FOR);
            let holds = meter.is_told() || belief.tightened_until > lapses;
            holds.then_some(lapses)
        });
        peer.lapse = told.min();
    }

    /// Lets go what has not been confirmed: what was configured is in force again, and quotas that
    /// nobody configured are forgotten.
    pub(super) fn lapse(&mut self, now: Instant) {
        let nanos = self.nanos(now);
        for index in (0..self.buckets.len()).rev() {
            let meter = &self.setup.meters[index];
            let belief = self.peer.as_ref().and_then(|peer| peer.known_belief(meter.id()));
            if belief.is_none_or(|belief| nanos < belief.confirmed.saturating_add(CONFIRMED_FOR)) {
                continue;
            }
            if let Some(configured) = meter.as_configured().copied() {
                self.give_back(index, u64::MAX, now);
                let meter = &mut Arc::make_mut(&mut self.setup).meters[index];
                meter.change(configured, &mut self.buckets[index], nanos);
            } else {
                let forgotten = Arc::make_mut(&mut self.setup).meters.remove(index);
                self.buckets.remove(index);
                if forgotten.quota().dimension() == Dimension::REQUESTS
                    && let Some(finder) = self.peer.as_mut().and_then(|peer| peer.finder.as_mut())
                {
                    finder.not_told_any_more(now);
                }
            }
        }
        self.forget_beliefs();
        self.plan_lapse();
    }

    /// Forgets what was said of quotas that are not there any more.
    pub(super) fn forget_beliefs(&mut self) {
        if let Some(peer) = &mut self.peer {
            let meters = &self.setup.meters;
            peer.forget(|id| meters.iter().all(|meter| meter.id() != id));
        }
    }
}
