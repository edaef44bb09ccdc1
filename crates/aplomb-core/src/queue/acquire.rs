//! Waiting for a permit.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::line::{Arrival, Settled, Ticket, here};
use super::{Permit, Shared, Turned, Wait};
use crate::Gate;

/// Waits in a [`Queue`](crate::Queue) to be let through.
///
/// Dropping it leaves the line; what had been admitted to it is given back.
#[must_use = "the place in line is taken when the future is polled"]
pub struct Acquire<G: Gate> {
    /// Moves on into the permit.
    shared: Option<Arc<Shared<G>>>,
    state: State<G>,
}

enum State<G: Gate> {
    Arriving(G::Ask, Wait),
    Waiting(Ticket),
    Done,
}

// Nothing is pinned: the ask is moved out when it is handed to the line.
impl<G: Gate> Unpin for Acquire<G> {}

impl<G: Gate> Acquire<G> {
    pub(super) fn new(shared: Arc<Shared<G>>, ask: G::Ask, wait: Wait) -> Self {
        Self { shared: Some(shared), state: State::Arriving(ask, wait) }
    }

    /// Settled, or waiting with a place in the line.
    fn poll_settled(&mut self, shared: &Arc<Shared<G>>, cx: &Context<'_>) -> Poll<Settled<G>> {
        let waker = cx.waker();
        // `Arriving` becomes `Waiting` where the caller has to wait; everything else ends here.
        match std::mem::replace(&mut self.state, State::Done) {
            State::Arriving(ask, wait) => {
                match shared.step(|line, now, _| line.arrive(ask, wait, waker, now)) {
                    Arrival::Settled(settled) => Poll::Ready(settled),
                    Arrival::Waits(ticket) => {
                        self.state = State::Waiting(ticket);
                        Poll::Pending
                    }
                }
            }
            State::Waiting(ticket) => {
                let (settled, _unneeded) = shared.step(|line, _, _| line.collect(ticket, waker));
                if settled.is_none() {
                    self.state = State::Waiting(ticket);
                }
                settled.map_or(Poll::Pending, Poll::Ready)
            }
            State::Done => panic!("polled after it was ready"),
        }
    }
}

impl<G: Gate> Future for Acquire<G> {
    type Output = Result<Permit<G>, Turned<G::Why>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(shared) = self.shared.take() else {
            panic!("polled after it was ready");
        };
        let polled = self.poll_settled(&shared, cx);
        let Poll::Ready(settled) = polled else {
            let nobody_rings = here().is_none() && shared.is_unset();
            self.shared = Some(shared);
            assert!(!nobody_rings, "a call has to wait for an instant, outside of a tokio runtime");
            return Poll::Pending;
        };
        Poll::Ready(settled.map(|admitted| Permit::new(shared, admitted)))
    }
}

impl<G: Gate> Drop for Acquire<G> {
    fn drop(&mut self) {
        if let (State::Waiting(ticket), Some(shared)) = (&self.state, &self.shared) {
            let ticket = *ticket;
            let _unneeded = shared.step(|line, now, _| line.leave(ticket, now));
        }
    }
}

impl<G: Gate> fmt::Debug for Acquire<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Arriving(..) => "Acquire(arriving)",
            State::Waiting(_) => "Acquire(waiting)",
            State::Done => "Acquire(done)",
        })
    }
}
