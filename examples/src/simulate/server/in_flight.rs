//! A request that was accepted and has not ended.

use std::sync::Arc;

use super::model::Arrival;
use super::service::Shared;

/// In flight until it is ended or, if its client goes away, dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    shared: Arc<Shared>,
    arrival: Arrival,
    place: usize,
    ended: bool,
}

impl InFlight {
    pub(crate) const fn new(shared: Arc<Shared>, arrival: Arrival, place: usize) -> Self {
        Self { shared, arrival, place, ended: false }
    }

    /// It ends; `answered` if its client has its whole answer.
    pub(crate) fn end(mut self, answered: bool) {
        self.ended = true;
        self.leave(answered);
    }

    fn leave(&self, answered: bool) {
        self.shared.with(|state, now| {
            state.model.leave(&self.arrival, answered, now);
            state.ledger.ended(self.place, now);
            if !answered {
                state.ledger.failed(self.place);
            }
        });
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.ended {
            self.leave(false);
        }
    }
}
