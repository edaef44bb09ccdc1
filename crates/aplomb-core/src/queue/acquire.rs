//! Asking, and waiting for a permit.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::line::{Admitted, Arrival, Ticket, here};
use super::{Permit, Queue, Shared, Turned, TurnedBecause, Wait};
use crate::{Decision, Gate};

/// Why a caller can not go at once.
#[derive(Debug)]
#[must_use = "dropping it leaves the line"]
pub enum Stopped<G: Gate> {
    /// It is turned away.
    Turned(Turned<G::Why>),
    /// It has taken a place in the line.
    Waits(InLine<G>),
}

impl<G: Gate> Queue<G> {
    /// Asks to be let through, and puts the `permit` where it is to be kept. What is returned says that
    /// there is none: where the caller has to wait, the task of `cx` is woken when there is news.
    ///
    /// The same as polling [`acquire`](Queue::acquire) for the first time, for who has no future to
    /// keep the ask in.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait for an instant outside of a tokio runtime with time enabled.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a permit is large, and made in its place instead of being moved"
    )]
    pub fn ask(
        &self,
        ask: G::Ask,
        wait: Wait,
        cx: &Context<'_>,
        permit: &mut Option<Permit<G>>,
    ) -> Option<Stopped<G>> {
        let (mut state, now) = self.0.begin();
        // Nearly every call finds nobody before it, and may go or is refused.
        let decision = state.line.lone_decision(&ask, &wait, now);
        if let Some(Decision::Admit) = decision {
            let slip = state.line.gate().admit(&ask, now);
            self.0.conclude(state, now);
            *permit = Some(Permit::new(Arc::clone(&self.0), Admitted::at_once(slip, now)));
            return None;
        }
        if let Some(Decision::Refuse(why)) = decision {
            self.0.conclude(state, now);
            return Some(Stopped::Turned(Turned::refused(why, 0)));
        }
        let arrival = state.line.arrive(ask, wait, decision, cx.waker(), now);
        self.0.conclude(state, now);
        self.0.stopped(arrival, permit)
    }
}

impl<G: Gate> Shared<G> {
    fn stopped(self: &Arc<Self>, arrival: Arrival<G>, permit: &mut Option<Permit<G>>) -> Option<Stopped<G>> {
        match arrival {
            Arrival::Settled(Ok(admitted)) => {
                *permit = Some(Permit::new(Arc::clone(self), admitted));
                None
            }
            Arrival::Settled(Err(turned)) => Some(Stopped::Turned(turned)),
            Arrival::Waits(ticket) => {
                let place = InLine { shared: Some(Arc::clone(self)), ticket };
                place.assert_somebody_rings();
                Some(Stopped::Waits(place))
            }
        }
    }
}

/// A place in the line of a [`Queue`]: a future of the permit.
///
/// Dropping it leaves the line; what had been admitted to it is given back.
#[must_use = "dropping it leaves the line"]
pub struct InLine<G: Gate> {
    /// Nothing once the caller has collected what became of it.
    shared: Option<Arc<Shared<G>>>,
    ticket: Ticket,
}

impl<G: Gate> InLine<G> {
    fn assert_somebody_rings(&self) {
        let unset = || self.shared.as_ref().is_some_and(|shared| shared.is_unset());
        let nobody_rings = here().is_none() && unset();
        assert!(!nobody_rings, "a call has to wait for an instant, outside of a tokio runtime");
    }
}

impl<G: Gate> Future for InLine<G> {
    type Output = Result<Permit<G>, Turned<G::Why>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(shared) = self.shared.take() else {
            panic!("polled after it was ready");
        };
        let (collected, _unneeded) = shared.step(|line, _| line.collect(self.ticket, cx.waker()));
        match collected {
            Some(Ok(admitted)) => Poll::Ready(Ok(Permit::new(shared, admitted))),
            Some(Err(turned)) => Poll::Ready(Err(turned)),
            None => {
                self.shared = Some(shared);
                self.assert_somebody_rings();
                Poll::Pending
            }
        }
    }
}

impl<G: Gate> Drop for InLine<G> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let _unneeded = shared.step(|line, now| line.leave(self.ticket, now));
        }
    }
}

/// Waits in a [`Queue`] to be let through.
///
/// Dropping it leaves the line; what had been admitted to it is given back.
#[must_use = "the place in line is taken when the future is polled"]
pub struct Acquire<G: Gate>(State<G>);

enum State<G: Gate> {
    Arriving(Queue<G>, G::Ask, Wait),
    Waiting(InLine<G>),
    /// There is no queue for it.
    Turned(Turned<G::Why>),
    Done,
}

// Nothing is pinned: the ask is moved out when it is handed to the line.
impl<G: Gate> Unpin for Acquire<G> {}

impl<G: Gate> Acquire<G> {
    pub(super) fn new(queue: Queue<G>, ask: G::Ask, wait: Wait) -> Self {
        Self(State::Arriving(queue, ask, wait))
    }

    /// Is turned away when it is polled, without having been in any line.
    pub(crate) fn turned_away(because: TurnedBecause) -> Self {
        Self(State::Turned(Turned::at_once(because)))
    }
}

impl<G: Gate> Future for Acquire<G> {
    type Output = Result<Permit<G>, Turned<G::Why>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Waiting(place) = &mut self.0 {
            return Pin::new(place).poll(cx);
        }
        match std::mem::replace(&mut self.0, State::Done) {
            State::Arriving(queue, ask, wait) => {
                let mut permit = None;
                match (queue.ask(ask, wait, cx, &mut permit), permit) {
                    (Some(Stopped::Turned(turned)), _) => Poll::Ready(Err(turned)),
                    (Some(Stopped::Waits(place)), _) => {
                        self.0 = State::Waiting(place);
                        Poll::Pending
                    }
                    (None, permit) => Poll::Ready(Ok(permit.expect("who is not stopped has a permit"))),
                }
            }
            State::Turned(turned) => Poll::Ready(Err(turned)),
            State::Waiting(_) | State::Done => panic!("polled after it was ready"),
        }
    }
}

impl<G: Gate> fmt::Debug for InLine<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InLine").field("waits", &self.shared.is_some()).finish_non_exhaustive()
    }
}

impl<G: Gate> fmt::Debug for Acquire<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Arriving(..) => "Acquire(arriving)",
            State::Waiting(_) => "Acquire(waiting)",
            State::Turned(_) | State::Done => "Acquire(done)",
        })
    }
}
