//! Asking without waiting.

use super::critical_section::CriticalSection;
use super::wait_queue::decide;
use super::{Permit, Queue, RejectReason, Rejected};
use crate::{Decision, Gate};

impl<G: Gate> Queue<G> {
    /// Asks to be admitted, and does not wait.
    ///
    /// # Errors
    ///
    /// [`Rejected`] with [`RejectReason::WaitTooLong`] if the caller would have to wait, and as
    /// [`acquire`](Queue::acquire) otherwise.
    pub fn try_acquire(&self, cost: &G::Cost) -> Result<Permit<G>, Rejected<G::Reason>> {
        let mut section = CriticalSection::enter(&self.0);
        let now = section.now;
        let state = section.state();
        let ahead = state.waiters.as_ref().map_or(0, |waiters| waiters.queue.len());
        if state.closed.is_some() || ahead > 0 {
            let reason = if state.closed.is_some() {
                RejectReason::Closed
            } else {
                RejectReason::WaitTooLong
            };
            section.leave();
            return Err(Rejected { place: Some(ahead), ..Rejected::at_once(reason) });
        }
        let (gate_reason, at) = match decide(&mut state.gate, cost, now) {
            Decision::Admit => {
                // Declared before what follows: if that panics, the permit gives back what was admitted.
                let permit = Permit::at_once(&self.0, state.gate.admit(cost, now), now);
                section.leave();
                return Ok(permit);
            }
            Decision::Reject(reason) => {
                section.leave();
                return Err(Rejected::by_gate(reason, 0));
            }
            Decision::NotBefore(at, reason) => (reason, Some(at)),
            Decision::WhenReleased(reason) => (reason, None),
        };
        section.leave();
        Err(Rejected {
            gate_reason: Some(gate_reason),
            retry_after: at.map(|at| at.saturating_duration_since(now)),
            place: Some(0),
            ..Rejected::at_once(RejectReason::WaitTooLong)
        })
    }
}
