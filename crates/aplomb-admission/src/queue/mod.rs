//! The queue does all the waiting there is.

mod acquire;
mod alarm;
mod limits;
mod line;
mod permit;
mod rest;
mod step;

use std::fmt;
use std::sync::{Arc, PoisonError, Weak};
#[cfg(not(aplomb_loom))]
use std::sync::{Mutex, MutexGuard};
use std::task::{Wake, Waker};
use std::time::Duration;

#[cfg(aplomb_loom)]
use loom::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

pub use self::acquire::{Acquire, Queued, Stopped};
use self::alarm::{Alarm, Setting};
pub use self::limits::{Closing, QueueLimits, RejectReason, Rejected, Wait};
use self::line::{Line, TICK, here};
pub use self::permit::Permit;
use self::step::{Step, Woken};
use crate::Gate;
use aplomb_core::Observe;

/// Callers before a [`Gate`]: in order, with one timer, bounds and deadlines.
///
/// Callers are served by priority and order of arrival, and nobody overtakes the one at the head: a
/// stream of small requests does not starve a large one. One timer serves the whole queue, in the
/// runtime in which the caller at the head waits, and fires on its own as long as that runtime is driven:
/// a caller that waits without being polled is let through in its turn and does not stop the line.
///
/// But it has been let through from then on, and holds what the gate gave it until it is polled, and its
/// call made, or dropped. Those behind it have to wait for that where the gate lets through only so many
/// at a time: for a slot of a concurrency limit without end, for the place of a circuit breaker's probe
/// until its lease is over.
///
/// Clones share the gate and the line.
pub struct Queue<G: Gate>(Arc<Shared<G>>);

struct Shared<G: Gate> {
    state: Mutex<Waiting<G>>,
    observer: Box<dyn Observe<G::Event> + Send + Sync>,
}

struct Waiting<G: Gate> {
    line: Line<G>,
    alarm: Alarm,
    /// There should be an alarm, and there is no timer here to set it in.
    unset: bool,
}

impl<G: Gate> Waiting<G> {
    /// Nobody waits: there is nothing to look at, and no alarm to set or to clear.
    #[inline]
    fn is_quiet(&self) -> bool {
        self.line.is_empty() && self.alarm.is_unset() && !self.unset
    }
}

impl<G: Gate> Queue<G> {
    /// A queue before `gate`. `observer` is told the gate's notices, outside of the lock.
    pub fn new(
        gate: G,
        limits: QueueLimits,
        observer: impl Observe<G::Event> + Send + Sync + 'static,
    ) -> Self {
        let line = Line::new(gate, limits, Instant::now());
        Self(Arc::new(Shared {
            state: Mutex::new(Waiting { line, alarm: Alarm::unset(), unset: false }),
            observer: Box::new(observer),
        }))
    }

    /// Asks to be let through, and waits for it in line.
    ///
    /// The place is taken when the future is first polled. Dropping the future leaves the line
    /// without a trace: what had been admitted to it is given back.
    ///
    /// # Errors
    ///
    /// [`Rejected`] where the gate refuses, where the wait can not end in time, and where the queue is
    /// full or closed; at once where that is known at once.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait for an instant outside of a tokio runtime with time enabled.
    pub fn acquire(&self, ask: G::Cost, wait: Wait) -> Acquire<G> {
        Acquire::new(self.clone(), ask, wait)
    }

    /// Looks at the gate, or changes it, under the queue's lock; then lets through whom that admits.
    ///
    /// `change` must be short: everybody waits for it.
    pub fn with<T>(&self, change: impl FnOnce(&mut G, Instant) -> T) -> T {
        self.0.step(|line, now| change(line.gate(), now))
    }

    /// Changes the bounds. Those who wait keep the ones they came under.
    pub fn set_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        self.0.step(|line, _| line.set_limits(change));
    }

    /// How many callers wait.
    pub fn waiting(&self) -> usize {
        self.0.lock().line.waiting()
    }

    /// How long the caller that has waited longest has been waiting; `None` where nobody waits.
    ///
    /// Looks at everybody who waits: it is made for display, not for every call.
    pub fn oldest_wait(&self) -> Option<Duration> {
        let mut state = self.0.lock();
        let now = state.line.tick(Instant::now());
        state.line.oldest().map(|since| now.saturating_duration_since(since))
    }

    /// Refuses new callers from now on. Those who were let through end as they would have.
    pub fn close(&self, closing: Closing) {
        let mut woken = Woken::default();
        self.0.step(|line, now| line.close(closing, now, &mut woken.0));
    }
}

impl<G: Gate> Shared<G> {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Waiting<G>> {
        // A gate that panicked has been left as it was; the others' calls must still end.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step under the lock, after which the line is looked at again; whoever that concerns is
    /// woken and told when the lock is released.
    fn step<T>(self: &Arc<Self>, act: impl FnOnce(&mut Line<G>, Instant) -> T) -> T {
        // Declared before the lock, so that it is dropped after it: a permit asks for the lock again.
        let result;
        let mut step = Step::begin(self);
        let now = step.now;
        result = act(step.line(), now);
        step.conclude();
        result
    }

    /// Lets through whom the gate admits, and sets the alarm for the next look.
    fn look(self: &Arc<Self>, state: &mut Waiting<G>, mut now: Instant, woken: &mut Vec<Waker>) {
        state.unset = false;
        loop {
            let Some(at) = state.line.advance(now, woken) else {
                return state.alarm.clear();
            };
            // A gate that names an instant which has passed breaks its promise; it is asked again with
            // the timer's next tick rather than for ever under the lock.
            let at = if at > now { at } else { now + TICK };
            let home = state.line.home();
            if state.alarm.is_set_for(at, home) {
                return;
            }
            match state.alarm.set(at, home, self) {
                Setting::Set => return,
                // The timer has seen that instant pass.
                Setting::Due => now = state.line.tick(Instant::now()).max(at),
                Setting::Elsewhere => {
                    // The caller at the head waits in a runtime that somebody drives, which this one may
                    // not be: it is woken, and sets the alarm there when it is polled.
                    state.unset = true;
                    woken.extend(state.line.head().cloned());
                    return;
                }
            }
        }
    }

    /// Whether the line has to be looked at again at an instant, and nothing will do so: the head waits
    /// here, where there is no timer.
    fn is_unset_for_good(&self) -> bool {
        let state = self.lock();
        state.unset && state.line.home() == here()
    }
}

/// Has the queue ask again when it is woken. It does not keep the queue alive.
struct Again<G: Gate>(Weak<Shared<G>>);

impl<G: Gate> Wake for Again<G> {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.step(|_, _| ());
        }
    }
}

impl<G: Gate> alarm::Ring for Shared<G> {
    fn ring(self: Arc<Self>, at: Instant) {
        if Instant::now() >= at {
            return self.step(|_, _| ());
        }
        // A timer never fires early, but for the last time when its runtime shuts down: no other can
        // be set there, so whoever is at the head sets one when it is polled somewhere else.
        let head = {
            let mut state = self.lock();
            state.alarm.clear();
            state.line.head().cloned()
        };
        head.into_iter().for_each(Waker::wake);
    }
}

impl<G: Gate> Clone for Queue<G> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<G: Gate> fmt::Debug for Queue<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}
