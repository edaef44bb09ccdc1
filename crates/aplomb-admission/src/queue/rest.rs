//! A queue that nobody uses is put to rest, and made anew from what was kept.

use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use super::{Closing, Queue, QueueLimits};
use crate::Rests;

impl<G: Rests> Queue<G> {
    /// What is to be kept of the gate, if nobody uses the queue: nobody waits, no permit is out, and
    /// there is no other clone. Whoever holds one of these holds the queue's `Arc`.
    pub(crate) fn rest(&mut self, now: Instant) -> Option<G::Rest> {
        let state = Arc::get_mut(&mut self.0)?.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let now = state.line.tick(now);
        state.line.gate().rest(now)
    }

    /// Prepares a queue that has no clones yet: goes on from what was kept, under these bounds.
    pub(crate) fn resume(&mut self, rest: Option<G::Rest>, limits: QueueLimits, closed: Option<Closing>) {
        let Some(shared) = Arc::get_mut(&mut self.0) else {
            return;
        };
        let line = &mut shared.state.get_mut().unwrap_or_else(PoisonError::into_inner).line;
        line.set_limits(|_| limits);
        line.set_closed(closed);
        if let Some(rest) = rest {
            line.gate().resume(rest);
        }
    }
}
