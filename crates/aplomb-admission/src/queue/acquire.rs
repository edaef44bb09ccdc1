//! Asking, and waiting for a permit.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::panicking;

use super::line::{Admitted, Arrival, Ticket};
use super::step::Step;
use super::{Permit, Queue, RejectReason, Rejected, Shared, Wait};
use crate::{Decision, Gate};

/// Why a caller can not go at once.
#[derive(Debug)]
#[must_use = "dropping it leaves the line"]
pub enum Stopped<G: Gate> {
    /// It is turned away.
    Rejected(Rejected<G::Reason>),
    /// It has taken a place in the line.
    Queued(Queued<G>),
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
        ask: G::Cost,
        wait: Wait,
        cx: &Context<'_>,
        permit: &mut Option<Permit<G>>,
    ) -> Option<Stopped<G>> {
        let mut step = Step::begin(&self.0);
        let now = step.now;
        // Nearly every call finds nobody before it, and may go or is refused.
        let decision = step.line().lone_decision(&ask, &wait, now);
        if let Some(Decision::Admit) = decision {
            let slip = step.line().gate().admit(&ask, now);
            let news = step.end_if_quiet();
            let admitted = Permit::new(Arc::clone(&self.0), Admitted::at_once(slip, now));
            // What has been admitted is given back where what follows unwinds. What was there before is not
            // dropped under the lock, which it asks for.
            if let Some(news) = news {
                let _before = permit.replace(admitted);
                news.follow_up();
            } else {
                *permit = Some(admitted);
            }
            return None;
        }
        if let Some(Decision::Reject(why)) = decision {
            step.conclude();
            return Some(Stopped::Rejected(Rejected::refused(why, 0)));
        }
        let _before = permit.take();
        let arrival = step.line().arrive(ask, wait, decision, cx.waker(), now);
        // So is a place in the line, which is left.
        let stopped = self.0.stopped(arrival, permit);
        step.conclude();
        if let Some(Stopped::Queued(place)) = &stopped {
            place.assert_somebody_rings();
        }
        stopped
    }
}

impl<G: Gate> Shared<G> {
    fn stopped(self: &Arc<Self>, arrival: Arrival<G>, permit: &mut Option<Permit<G>>) -> Option<Stopped<G>> {
        match arrival {
            Arrival::Settled(Ok(admitted)) => {
                *permit = Some(Permit::new(Arc::clone(self), admitted));
                None
            }
            Arrival::Settled(Err(turned)) => Some(Stopped::Rejected(turned)),
            Arrival::Waits(ticket) => {
                Some(Stopped::Queued(Queued { shared: Some(Arc::clone(self)), ticket }))
            }
        }
    }
}

/// A place in the line of a [`Queue`]: a future of the permit.
///
/// Dropping it leaves the line; what had been admitted to it is given back.
#[must_use = "dropping it leaves the line"]
pub struct Queued<G: Gate> {
    /// Nothing once the caller has collected what became of it.
    shared: Option<Arc<Shared<G>>>,
    ticket: Ticket,
}

impl<G: Gate> Queued<G> {
    fn assert_somebody_rings(&self) {
        let nobody_rings = self.shared.as_ref().is_some_and(|shared| shared.is_unset_for_good());
        assert!(
            !nobody_rings,
            "a call has to wait for an instant, outside of a tokio runtime with a timer"
        );
    }
}

impl<G: Gate> Future for Queued<G> {
    type Output = Result<Permit<G>, Rejected<G::Reason>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(shared) = self.shared.clone() else {
            panic!("polled after it was ready");
        };
        // Where the step unwinds the place is left there and then: who holds the future may keep it.
        let mut place = Self { shared: self.shared.take(), ticket: self.ticket };
        let (collected, _unneeded) = shared.step(|line, _| {
            let (settled, unneeded) = line.collect(place.ticket, cx.waker());
            let collected = settled.and_then(|settled| {
                // It has no place any more: what was admitted is the permit's to give back.
                let shared = place.shared.take()?;
                Some(settled.map(|admitted| Permit::new(shared, admitted)))
            });
            (collected, unneeded)
        });
        if let Some(collected) = collected {
            return Poll::Ready(collected);
        }
        place.assert_somebody_rings();
        self.shared = place.shared.take();
        Poll::Pending
    }
}

impl<G: Gate> Drop for Queued<G> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            // Declared before the lock, so that it is dropped after it.
            let _unneeded;
            let mut step = Step::begin(shared);
            let now = step.now;
            _unneeded = step.line().leave(self.ticket, now);
            // A gate that has just panicked may do so again when it is asked for the next.
            if !panicking() {
                step.conclude();
            }
        }
    }
}

/// Waits in a [`Queue`] to be let through.
///
/// Dropping it leaves the line; what had been admitted to it is given back.
#[must_use = "the place in line is taken when the future is polled"]
pub struct Acquire<G: Gate>(State<G>);

enum State<G: Gate> {
    Arriving(Queue<G>, G::Cost, Wait),
    Waiting(Queued<G>),
    /// There is no queue for it.
    Rejected(Rejected<G::Reason>),
    Done,
}

// Nothing is pinned: the ask is moved out when it is handed to the line.
impl<G: Gate> Unpin for Acquire<G> {}

impl<G: Gate> Acquire<G> {
    pub(super) fn new(queue: Queue<G>, ask: G::Cost, wait: Wait) -> Self {
        Self(State::Arriving(queue, ask, wait))
    }

    /// Is turned away when it is polled, without having been in any line.
    pub(crate) fn turned_away(because: RejectReason) -> Self {
        Self(State::Rejected(Rejected::at_once(because)))
    }
}

impl<G: Gate> Future for Acquire<G> {
    type Output = Result<Permit<G>, Rejected<G::Reason>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Waiting(place) = &mut self.0 {
            return Pin::new(place).poll(cx);
        }
        match std::mem::replace(&mut self.0, State::Done) {
            State::Arriving(queue, ask, wait) => {
                let mut permit = None;
                match (queue.ask(ask, wait, cx, &mut permit), permit) {
                    (Some(Stopped::Rejected(turned)), _) => Poll::Ready(Err(turned)),
                    (Some(Stopped::Queued(place)), _) => {
                        self.0 = State::Waiting(place);
                        Poll::Pending
                    }
                    (None, permit) => Poll::Ready(Ok(permit.expect("who is not stopped has a permit"))),
                }
            }
            State::Rejected(turned) => Poll::Ready(Err(turned)),
            State::Waiting(_) | State::Done => panic!("polled after it was ready"),
        }
    }
}

impl<G: Gate> fmt::Debug for Queued<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queued").field("waits", &self.shared.is_some()).finish_non_exhaustive()
    }
}

impl<G: Gate> fmt::Debug for Acquire<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Arriving(..) => "Acquire(arriving)",
            State::Waiting(_) => "Acquire(waiting)",
            State::Rejected(_) | State::Done => "Acquire(done)",
        })
    }
}
