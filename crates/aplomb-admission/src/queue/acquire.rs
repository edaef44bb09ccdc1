//! Asking, and waiting for a permit.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::panicking;

use super::critical_section::{CriticalSection, DeferredEffects, WakeList};
use super::wait_queue::{Arrival, Place, decide};
use super::{Permit, Queue, RejectReason, Rejected, Shared, State, Wait, Waiters};
use crate::{Closing, Decision, Gate};

/// A caller that cannot go at once.
#[derive(Debug)]
#[must_use = "dropping it leaves the queue"]
pub(crate) enum Stopped<G: Gate> {
    /// It is rejected.
    Rejected(Rejected<G::Reason>),
    /// It has taken a place in the queue.
    Queued(Queued<G>),
}

impl<G: Gate> Queue<G> {
    /// Asks to be admitted, and puts the permit into `permit`, where there is none yet. A caller that has to wait gets a place;
    /// the task of `cx` is woken when it is admitted or rejected.
    ///
    /// The same as polling [`acquire`](Queue::acquire) for the first time, without a future that holds the cost.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if the caller is rejected, or has to wait.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait for an instant outside of a tokio runtime with time enabled.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a permit is large, and made in its place instead of being moved"
    )]
    pub(crate) fn ask(
        &self,
        permit: &mut Option<Permit<G>>,
        cost: impl FnOnce() -> G::Cost,
        wait: Wait,
        cx: &Context<'_>,
    ) -> Result<(), Stopped<G>> {
        // Made here: it is not small either.
        let cost = cost();
        debug_assert!(permit.is_none(), "a permit must not be dropped under the lock");
        let mut section = CriticalSection::enter(&self.0);
        let now = section.now;
        let state = section.state();
        // Nearly every call finds nobody before it, and may go or is rejected.
        let is_alone = state.waiters.is_none()
            && state.closed.is_none()
            && wait.deadline.is_none_or(|deadline| deadline > now);
        if !is_alone {
            *permit = Some(self.ask_others(section, cost, wait, cx)?);
            return Ok(());
        }
        match decide(&mut state.gate, &cost, now) {
            Decision::Admit => {
                *permit = Some(Permit::at_once(&self.0, state.gate.admit(&cost, now), now));
                if let Some(effects) = section.leave_if_quiet() {
                    run_for(permit, effects);
                }
            }
            Decision::Reject(reason) => {
                section.leave();
                return Err(Stopped::Rejected(Rejected::by_gate(reason, 0)));
            }
            obstacle => *permit = Some(self.wait(section, (cost, wait), Some(obstacle), cx)?),
        }
        Ok(())
    }

    /// A caller finds others waiting or the queue closed, or comes too late.
    #[cold]
    fn ask_others(
        &self,
        mut section: CriticalSection<'_, G>,
        cost: G::Cost,
        wait: Wait,
        cx: &Context<'_>,
    ) -> Result<Permit<G>, Stopped<G>> {
        let now = section.now;
        let is_closed = match section.state().closed {
            None => false,
            // The call was admitted before the queue was closed, and is sent again.
            Some(Closing::Drain) => !wait.is_retry,
            Some(Closing::Fail) => true,
        };
        let is_late = wait.deadline.is_some_and(|deadline| deadline <= now);
        let reason = match (is_closed, is_late) {
            (true, _) => RejectReason::Closed,
            (false, true) => RejectReason::WaitTooLong,
            (false, false) => return self.wait(section, (cost, wait), None, cx),
        };
        let limits = self.0.settings.limits();
        let waiters = section.state().waiters.as_mut();
        let ahead = waiters.map_or(0, |waiters| waiters.queue.ahead_of_arrival(wait, limits, now));
        section.leave();
        Err(Stopped::Rejected(Rejected { place: Some(ahead), ..Rejected::at_once(reason) }))
    }

    /// A caller that may have to wait: `obstacle` is what the gate has said to it, if it is the first.
    #[inline(never)]
    fn wait(
        &self,
        mut section: CriticalSection<'_, G>,
        (cost, wait): (G::Cost, Wait),
        obstacle: Option<Decision<G::Reason>>,
        cx: &Context<'_>,
    ) -> Result<Permit<G>, Stopped<G>> {
        let (now, limits) = (section.now, self.0.settings.limits());
        let State { gate, waiters, .. } = section.state();
        let waiting = &mut waiters.get_or_insert_with(|| Box::new(Waiters::new())).queue;
        let arrival = match obstacle {
            Some(obstacle) => waiting.join_as_first(gate, limits, (cost, wait), obstacle, cx.waker(), now),
            None => waiting.arrive(gate, limits, (cost, wait), cx.waker(), now),
        };
        // If what follows panics, the permit gives back what was admitted, and the place is left.
        let result = match arrival {
            Arrival::Settled(Ok(admitted)) => Ok(Permit::new(Arc::clone(&self.0), admitted)),
            Arrival::Settled(Err(rejected)) => Err(Stopped::Rejected(rejected)),
            Arrival::Waits(place) => {
                Err(Stopped::Queued(Queued { shared: Some(Arc::clone(&self.0)), place }))
            }
        };
        if let Err(Stopped::Queued(queued)) = &result {
            section.leave_waiting(queued.place);
            queued.set_timer();
        } else {
            section.leave();
        }
        result
    }
}

/// Does what follows from an admission. If it panics, the permit gives back there and then what was admitted: whoever
/// holds its place may keep it.
#[cold]
fn run_for<G: Gate>(permit: &mut Option<Permit<G>>, effects: DeferredEffects<'_, G>) {
    let admitted = permit.take();
    effects.run();
    *permit = admitted;
}

/// A place in a [`Queue`]: a future of the permit.
///
/// Dropping it leaves the queue; whatever had been admitted to it is given back.
#[must_use = "dropping it leaves the queue"]
pub(crate) struct Queued<G: Gate> {
    /// `None` once the caller has collected what became of it.
    shared: Option<Arc<Shared<G>>>,
    place: Place,
}

impl<G: Gate> Queued<G> {
    /// Sets the queue's timer in this task, if that is left to it.
    fn set_timer(&self) {
        if let Some(shared) = &self.shared {
            if shared.needs_timer_here() {
                shared.set_timer_here();
            }
        }
    }
}

impl<G: Gate> Future for Queued<G> {
    type Output = Result<Permit<G>, Rejected<G::Reason>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(shared) = self.shared.clone() else {
            panic!("polled after it was ready");
        };
        // If the section unwinds, the place is left there and then: whoever holds the future may keep it.
        let mut queued = Self { shared: self.shared.take(), place: self.place };
        // Dropped after the lock.
        let _unneeded;
        let mut woken = WakeList::default();
        let mut section = CriticalSection::enter(&shared);
        let (settled, unneeded) = section.poll(queued.place, cx.waker(), &mut woken);
        _unneeded = unneeded;
        // It has no place any more: what was admitted is the permit's to give back.
        let collected = settled.map(|settled| {
            queued.shared = None;
            settled.map(|admitted| Permit::new(Arc::clone(&shared), admitted))
        });
        section.leave_waiting(queued.place);
        if let Some(collected) = collected {
            return Poll::Ready(collected);
        }
        queued.set_timer();
        // It may have been admitted while it was looked at.
        self.shared = queued.shared.take();
        Poll::Pending
    }
}

impl<G: Gate> Drop for Queued<G> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            // Declared before the lock, so that it is dropped after it.
            let _unneeded;
            let mut section = CriticalSection::enter(shared);
            let now = section.now;
            let State { gate, waiters, .. } = section.state();
            _unneeded = waiters.as_mut().and_then(|waiters| waiters.queue.leave(gate, self.place, now));
            // A gate that has just panicked may do so again when it is asked for the next.
            if !panicking() {
                section.leave();
            }
        }
    }
}

/// Waits in a [`Queue`] to be admitted.
///
/// Dropping it leaves the queue; whatever had been admitted to it is given back.
#[must_use = "the place in the queue is taken when the future is polled"]
pub struct Acquire<G: Gate>(AcquireState<G>);

enum AcquireState<G: Gate> {
    Arriving(Queue<G>, G::Cost, Wait),
    Waiting(Queued<G>),
    /// There is no queue for it.
    Rejected(Rejected<G::Reason>),
    Done,
}

// Nothing is pinned: the cost is moved out when it is passed to the queue.
impl<G: Gate> Unpin for Acquire<G> {}

impl<G: Gate> Acquire<G> {
    pub(super) fn new(queue: Queue<G>, cost: G::Cost, wait: Wait) -> Self {
        Self(AcquireState::Arriving(queue, cost, wait))
    }

    /// Is rejected when it is polled, without having been in any queue.
    pub(crate) fn rejected(reason: RejectReason) -> Self {
        Self(AcquireState::Rejected(Rejected::at_once(reason)))
    }
}

impl<G: Gate> Future for Acquire<G> {
    type Output = Result<Permit<G>, Rejected<G::Reason>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let AcquireState::Waiting(queued) = &mut self.0 {
            return Pin::new(queued).poll(cx);
        }
        match std::mem::replace(&mut self.0, AcquireState::Done) {
            AcquireState::Arriving(queue, cost, wait) => {
                let mut permit = None;
                match queue.ask(&mut permit, || cost, wait, cx) {
                    Ok(()) => Poll::Ready(Ok(permit.expect("a caller that is not stopped is admitted"))),
                    Err(Stopped::Rejected(rejected)) => Poll::Ready(Err(rejected)),
                    Err(Stopped::Queued(queued)) => {
                        self.0 = AcquireState::Waiting(queued);
                        Poll::Pending
                    }
                }
            }
            AcquireState::Rejected(rejected) => Poll::Ready(Err(rejected)),
            AcquireState::Waiting(_) | AcquireState::Done => panic!("polled after it was ready"),
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
            AcquireState::Arriving(..) => "Acquire(arriving)",
            AcquireState::Waiting(_) => "Acquire(waiting)",
            AcquireState::Rejected(_) | AcquireState::Done => "Acquire(done)",
        })
    }
}
