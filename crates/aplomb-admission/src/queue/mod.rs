//! The queue does all the waiting.

mod acquire;
mod critical_section;
mod limits;
mod permit;
mod rejected;
mod timer;
mod try_acquire;
mod wait_queue;

use std::fmt;
use std::sync::{Arc, PoisonError, Weak};
#[cfg(not(aplomb_loom))]
use std::sync::{Mutex, MutexGuard};
use std::task::{Wake, Waker};
use std::time::Duration;

use aplomb_core::KeyLabel;
#[cfg(aplomb_loom)]
use loom::sync::{Mutex, MutexGuard};
use tokio::runtime::Id;
use tokio::time::Instant;

pub use self::acquire::Acquire;
pub(crate) use self::acquire::{Queued, Stopped};
use self::critical_section::{CriticalSection, WakeList};
pub use self::limits::{Closing, QueueLimits, Wait};
pub use self::permit::Permit;
pub use self::rejected::{RejectReason, Rejected};
use self::timer::{OnTimer, Phase, Setting, Timer, current_runtime};
use self::wait_queue::{Place, TICK, WaitQueue};
use crate::key::{ErasedKey, KeyBy};
use crate::{Evictable, Gate, Worth};

/// A queue of callers before a [`Gate`], with one timer, limits and deadlines.
///
/// Callers are served by priority and order of arrival. None overtakes the one at the head, so a stream of small
/// requests does not starve a large one.
///
/// One timer serves the whole queue, in the runtime of the caller at the head. It wakes that caller, whose poll admits
/// it and all who may follow. A caller that is not polled does not stop the queue: a tick later the timer admits it
/// all the same. From then on it holds what its gate gave it until it is polled or dropped; if the gate admits only so
/// many at a time, those behind it wait for that.
///
/// A queue in which nobody waits is its gate and a few words. Clones share everything.
pub struct Queue<G: Gate>(Arc<Shared<G>>);

struct Shared<G: Gate> {
    state: Mutex<State<G>>,
    settings: Arc<QueueSettings<G::Event>>,
    key: Option<Arc<dyn ErasedKey>>,
}

struct State<G: Gate> {
    gate: G,
    /// The latest time seen: a clock that is read outside of a paused runtime may run behind it.
    now: Instant,
    closed: Option<Closing>,
    /// A runtime whose timer is known to work: to set one where none works panics.
    timer_works_in: Option<Id>,
    /// Made when the first caller has to wait, and dropped with the last.
    waiters: Option<Box<Waiters<G>>>,
}

/// The callers that wait, and what makes the queue look at them again.
struct Waiters<G: Gate> {
    queue: WaitQueue<G>,
    timer: Timer,
    /// The timer should be set, but not by the task that noticed it: the caller at the head sets it.
    needs_timer: bool,
}

impl<G: Gate> Waiters<G> {
    fn new() -> Self {
        Self { queue: WaitQueue::new(), timer: Timer::unset(), needs_timer: false }
    }
}

impl<G: Gate> State<G> {
    /// Moves the clock on, and returns its time.
    #[inline]
    fn tick(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    fn waiting(&self) -> usize {
        self.waiters.as_ref().map_or(0, |waiters| waiters.queue.len())
    }

    /// The caller at the head, to be woken where the queue cannot look again by itself.
    fn head(&self) -> Option<&Waker> {
        self.waiters.as_ref()?.queue.head()
    }

    /// Drops the waiters if none are left.
    fn tidy(&mut self) {
        if self.waiters.as_ref().is_some_and(|waiters| waiters.queue.is_unused()) {
            self.waiters = None;
        }
    }
}

/// The settings that the queues of all keys share.
pub(crate) struct QueueSettings<E> {
    limits: Mutex<QueueLimits>,
    observer: Box<EventSink<E>>,
    label: fn(&dyn ErasedKey) -> KeyLabel,
}

/// Receives the events of gates, with the label of the gate's key if it has one. Called outside of all locks.
pub(crate) type EventSink<E> = dyn Fn(&E, Option<&KeyLabel>) + Send + Sync;

impl<E> QueueSettings<E> {
    pub(crate) fn new(
        limits: QueueLimits,
        observer: impl Fn(&E, Option<&KeyLabel>) + Send + Sync + 'static,
        label: fn(&dyn ErasedKey) -> KeyLabel,
    ) -> Arc<Self> {
        Arc::new(Self { limits: Mutex::new(limits), observer: Box::new(observer), label })
    }

    pub(crate) fn limits(&self) -> QueueLimits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        *limits = change(*limits);
    }
}

impl<G: Gate> Queue<G> {
    /// A queue before `gate`. `observer` receives the gate's events, outside of the lock.
    pub fn new(gate: G, limits: QueueLimits, observer: impl Fn(&G::Event) + Send + Sync + 'static) -> Self {
        let observer = move |event: &G::Event, _: Option<&KeyLabel>| observer(event);
        Self::with_settings(gate, QueueSettings::new(limits, observer, KeyBy::hashed), None)
    }

    pub(crate) fn with_settings(
        gate: G,
        settings: Arc<QueueSettings<G::Event>>,
        key: Option<Arc<dyn ErasedKey>>,
    ) -> Self {
        let state = State { gate, now: Instant::now(), closed: None, timer_works_in: None, waiters: None };
        Self(Arc::new(Shared { state: Mutex::new(state), settings, key }))
    }

    /// Asks to be admitted, and waits for it.
    ///
    /// The place is taken when the future is first polled. Dropping the future leaves the queue; whatever had been
    /// admitted to it is given back.
    ///
    /// # Errors
    ///
    /// [`Rejected`] if the gate rejects the call, if the wait cannot end in time, and if the queue is full or closed;
    /// immediately if that is known immediately.
    ///
    /// # Panics
    ///
    /// Panics if it has to wait for an instant outside of a tokio runtime with time enabled.
    pub fn acquire(&self, cost: G::Cost, wait: Wait) -> Acquire<G> {
        Acquire::new(self.clone(), cost, wait)
    }

    /// Reads or changes the gate, and admits those who may go afterwards.
    ///
    /// `change` is called under the lock: it must be short, and must not use the queue.
    pub fn with<T>(&self, change: impl FnOnce(&mut G, Instant) -> T) -> T {
        self.0.locked(|state, now| change(&mut state.gate, now))
    }

    /// Changes the limits, for all keys where the queue is one of many. Callers that wait keep those under which they
    /// came.
    pub fn set_limits(&self, change: impl FnOnce(QueueLimits) -> QueueLimits) {
        self.0.settings.set_limits(change);
    }

    /// How many callers wait.
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting()
    }

    /// How long the caller that has waited longest has been waiting; `None` if nobody waits.
    ///
    /// Looks at every caller that waits: it is meant for display, not for every call.
    pub fn oldest_wait(&self) -> Option<Duration> {
        let mut state = self.0.lock();
        let now = state.tick(Instant::now());
        let oldest = state.waiters.as_ref()?.queue.oldest()?;
        Some(now.saturating_duration_since(oldest))
    }

    /// Rejects new callers from now on. Calls that have been admitted end as they would have.
    pub fn close(&self, closing: Closing) {
        let mut woken = WakeList::default();
        self.0.locked(|state, now| {
            state.closed = Some(closing);
            if let (Closing::Fail, Some(waiters)) = (closing, &mut state.waiters) {
                waiters.queue.reject_all(now, &mut woken.0);
            }
        });
    }

    /// Closes a queue that nobody uses yet.
    pub(crate) fn set_closed(&mut self, closed: Option<Closing>) {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.state.get_mut().unwrap_or_else(PoisonError::into_inner).closed = closed;
        }
    }

    /// The label of the key, if the queue is one of many.
    pub fn key_label(&self) -> Option<KeyLabel> {
        self.0.key.as_deref().map(self.0.settings.label)
    }
}

/// A queue is in use while somebody waits in it, or holds one of its permits or a clone: all of them hold its `Arc`.
impl<G: Gate + Evictable> Evictable for Queue<G> {
    fn worth(&mut self, now: Instant) -> Worth {
        let Some(shared) = Arc::get_mut(&mut self.0) else {
            return Worth::IN_USE;
        };
        let state = shared.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let now = state.tick(now);
        state.gate.worth(now)
    }
}

impl<G: Gate> Shared<G> {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State<G>> {
        // A gate that panicked is left as it was; the calls of others must still end.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A critical section, after which the queue is looked at again. Callers that it concerns are woken when the lock has
    /// been released.
    fn locked<T>(self: &Arc<Self>, act: impl FnOnce(&mut State<G>, Instant) -> T) -> T {
        // Declared before the lock, so that it is dropped after it: a permit takes the lock again.
        let result;
        let mut section = CriticalSection::enter(self);
        let now = section.now;
        result = act(section.state(), now);
        section.leave();
        result
    }

    /// Admits the callers that the gate admits, and sets the timer for the next look.
    ///
    /// `own` is the place of the caller whose task this is, if any.
    fn look(
        self: &Arc<Self>,
        state: &mut State<G>,
        own: Option<Place>,
        mut now: Instant,
        woken: &mut Vec<Waker>,
    ) {
        let State { gate, now: clock, timer_works_in, waiters: Some(waiters), .. } = state else {
            return;
        };
        waiters.needs_timer = false;
        // The queues before a pool are looked at in the order of their heads: none of them waits for a poll.
        let phase = if gate.pooled().is_some() {
            Phase::Admit
        } else {
            Phase::Wake
        };
        loop {
            let Some(at) = waiters.queue.advance(gate, now, woken) else {
                return waiters.timer.clear();
            };
            // A gate that names an instant that has passed breaks its promise: it is asked again at the timer's next
            // tick, instead of forever under the lock.
            let at = if at > now { at } else { now + TICK };
            let home = waiters.queue.home();
            if waiters.timer.is_set_for(at, phase, home) {
                return;
            }
            let known = home.filter(|home| Some(*home) == *timer_works_in);
            match waiters.timer.set(at, phase, known, self) {
                Setting::Set => return,
                // The timer has seen that instant pass.
                Setting::Due => {
                    *clock = (*clock).max(Instant::now());
                    now = (*clock).max(at);
                }
                Setting::Elsewhere => {
                    // The caller at the head waits in another runtime, or in one that may have no timer: it sets the
                    // timer itself when it is polled.
                    waiters.needs_timer = true;
                    if own.is_none() || waiters.queue.first() != own {
                        woken.extend(waiters.queue.head().cloned());
                    }
                    return;
                }
            }
        }
    }

    /// Returns whether the timer has to be set by a caller that waits in this runtime.
    fn needs_timer_here(&self) -> bool {
        let state = self.lock();
        let waiters = state.waiters.as_ref();
        waiters.is_some_and(|waiters| waiters.needs_timer && waiters.queue.home() == current_runtime())
    }

    /// Sets the timer in this runtime, for the caller at the head, in the task of a caller.
    ///
    /// # Panics
    ///
    /// Panics if there is no timer here: that caller could never be admitted.
    #[cold]
    fn set_timer_here(self: &Arc<Self>) {
        timer::assert_here();
        self.locked(|state, _| state.timer_works_in = current_runtime());
    }
}

/// Makes the queue ask its gate again when it is woken. It does not keep the queue alive.
struct AskAgain<G: Gate>(Weak<Shared<G>>);

impl<G: Gate> Wake for AskAgain<G> {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.locked(|_, _| ());
        }
    }
}

/// Runs inside the runtime's timer, where other timers wait for it: it does no more than it must.
impl<G: Gate> OnTimer for Shared<G> {
    fn on_timer(self: Arc<Self>, at: Instant, phase: Phase) {
        let now = Instant::now();
        // A timer never fires early, except for the last time when its runtime shuts down. No other can be set there, so
        // the caller at the head sets one when it is polled somewhere else.
        let shuts_down = now < at;
        if phase == Phase::Admit && !shuts_down {
            return CriticalSection::enter(&self).leave_without_events();
        }
        let due = {
            let mut state = self.lock();
            let Some(waiters) = &mut state.waiters else {
                return;
            };
            waiters.timer.clear();
            if !shuts_down {
                // The caller looks at the queue when it is polled. If it is not, the timer does so a tick later.
                let home = waiters.queue.home();
                let _ = waiters.timer.set(now + TICK, Phase::Admit, home, &self);
            }
            waiters.queue.due(now).cloned()
        };
        due.into_iter().for_each(Waker::wake);
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
