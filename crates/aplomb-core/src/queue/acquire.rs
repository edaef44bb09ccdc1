//! Waiting for a permit.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::line::{Arrival, Settled, Ticket, here};
use super::{Permit, Shared, Turned, TurnedBecause, Wait};
use crate::Gate;

/// Waits in a [`Queue`](crate::Queue) to be let through.
///
/// Dropping it leaves the line; what had been admitted to it is given back.
#[must_use = "the place in line is taken when the future is polled"]
pub struct Acquire<G: Gate>(State<G>);

enum State<G: Gate> {
    Arriving(Arc<Shared<G>>, G::Ask, Wait),
    Waiting(Arc<Shared<G>>, Ticket),
    /// There is no queue for it.
    Turned(Turned<G::Why>),
    Done,
}

// Nothing is pinned: the ask is moved out when it is handed to the line.
impl<G: Gate> Unpin for Acquire<G> {}

impl<G: Gate> Acquire<G> {
    pub(super) fn new(shared: Arc<Shared<G>>, ask: G::Ask, wait: Wait) -> Self {
        Self(State::Arriving(shared, ask, wait))
    }

    /// Is turned away when it is polled, without having been in any line.
    pub(crate) fn turned_away(because: TurnedBecause) -> Self {
        Self(State::Turned(Turned::at_once(because)))
    }

    fn wait(&mut self, shared: Arc<Shared<G>>, ticket: Ticket) -> Poll<<Self as Future>::Output> {
        let nobody_rings = here().is_none() && shared.is_unset();
        self.0 = State::Waiting(shared, ticket);
        assert!(!nobody_rings, "a call has to wait for an instant, outside of a tokio runtime");
        Poll::Pending
    }
}

impl<G: Gate> Future for Acquire<G> {
    type Output = Result<Permit<G>, Turned<G::Why>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker();
        let settled =
            |shared, settled: Settled<G>| Poll::Ready(settled.map(|admitted| Permit::new(shared, admitted)));
        // `Arriving` becomes `Waiting` where the caller has to wait; everything else ends here.
        match std::mem::replace(&mut self.0, State::Done) {
            State::Arriving(shared, ask, wait) => {
                match shared.step(|line, now, _| line.arrive(ask, wait, waker, now)) {
                    Arrival::Settled(arrived) => settled(shared, arrived),
                    Arrival::Waits(ticket) => self.wait(shared, ticket),
                }
            }
            State::Waiting(shared, ticket) => {
                let (collected, _unneeded) = shared.step(|line, _, _| line.collect(ticket, waker));
                match collected {
                    Some(collected) => settled(shared, collected),
                    None => self.wait(shared, ticket),
                }
            }
            State::Turned(turned) => Poll::Ready(Err(turned)),
            State::Done => panic!("polled after it was ready"),
        }
    }
}

impl<G: Gate> Drop for Acquire<G> {
    fn drop(&mut self) {
        if let State::Waiting(shared, ticket) = &self.0 {
            let _unneeded = shared.step(|line, now, _| line.leave(*ticket, now));
        }
    }
}

impl<G: Gate> fmt::Debug for Acquire<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Arriving(..) => "Acquire(arriving)",
            State::Waiting(..) => "Acquire(waiting)",
            State::Turned(_) | State::Done => "Acquire(done)",
        })
    }
}
