//! The queue's one timer, which fires without any task being polled.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};

use tokio::runtime::{Handle, Id};
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// Receives the firing of a timer.
pub(super) trait OnTimer: Send + Sync + 'static {
    /// The timer that was set for `at` fires. Called by the runtime's timer, outside of any task.
    fn on_timer(self: Arc<Self>, at: Instant, phase: Phase);
}

/// The work of a timer that fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It wakes the caller at the head, which admits itself.
    Wake,
    /// It admits the caller at the head, which was woken and has not been polled.
    Admit,
}

/// At most one timer of a runtime.
pub(super) struct Timer(Option<Set>);

struct Set {
    at: Instant,
    phase: Phase,
    runtime: Id,
    sleep: Pin<Box<Sleep>>,
}

/// The waker of the timer. It does not keep the queue alive, which owns the timer.
struct TimerWaker<T> {
    target: Weak<T>,
    at: Instant,
    phase: Phase,
}

impl<T: OnTimer> Wake for TimerWaker<T> {
    fn wake(self: Arc<Self>) {
        if let Some(target) = self.target.upgrade() {
            target.on_timer(self.at, self.phase);
        }
    }
}

/// The runtime in which this is called, if any.
pub(super) fn current_runtime() -> Option<Id> {
    Handle::try_current().ok().map(|runtime| runtime.id())
}

/// Checks that there is a timer here.
///
/// # Panics
///
/// Panics as tokio does, outside of a runtime and in one without a timer.
pub(super) fn assert_here() {
    drop(sleep_until(Instant::now()));
}

impl Timer {
    pub(super) const fn unset() -> Self {
        Self(None)
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Returns whether it is set for `at` and this phase, in this runtime, and has not fired yet.
    pub(super) fn is_set_for(&self, at: Instant, phase: Phase, runtime: Option<Id>) -> bool {
        self.0.as_ref().is_some_and(|set| {
            let is_same = set.at == at && set.phase == phase && Some(set.runtime) == runtime;
            is_same && !set.sleep.is_elapsed()
        })
    }

    /// Sets the timer, if this is called in `runtime`.
    ///
    /// A timer is made anew rather than moved: moving one that is registered may wake its waker immediately, and this is
    /// called under the lock that the waker takes.
    pub(super) fn set<T: OnTimer>(
        &mut self,
        at: Instant,
        phase: Phase,
        runtime: Option<Id>,
        target: &Arc<T>,
    ) -> Setting {
        self.clear();
        let Some(runtime) = current_runtime().filter(|here| Some(*here) == runtime) else {
            return Setting::Elsewhere;
        };
        let mut sleep = Box::pin(sleep_until(at));
        let waker = Waker::from(Arc::new(TimerWaker { target: Arc::downgrade(target), at, phase }));
        // Unconstrained: in a task that is out of its budget the timer would be pending without being registered.
        let polled =
            pin!(unconstrained(poll_fn(|cx| sleep.as_mut().poll(cx)))).poll(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            return Setting::Due;
        }
        self.0 = Some(Set { at, phase, runtime, sleep });
        Setting::Set
    }
}

/// The result of setting a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// It will fire.
    Set,
    /// Its time has come already.
    Due,
    /// It has to be set by a task of another runtime, or there is none with a timer.
    Elsewhere,
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timer").field(&self.0.as_ref().map(|set| set.at)).finish()
    }
}
