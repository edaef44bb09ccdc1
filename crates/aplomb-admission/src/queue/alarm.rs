//! The queue's one timer, which rings without any task being polled.

use std::fmt;
use std::future::poll_fn;
use std::panic::catch_unwind;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};

use tokio::runtime::Id;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::line::here;

/// What an alarm rings.
pub(super) trait Ring: Send + Sync + 'static {
    /// An alarm set for `at` rings. Called by the runtime's timer, outside of any task.
    fn ring(self: Arc<Self>, at: Instant);
}

/// At most one timer of the runtime.
pub(super) struct Alarm(Option<Set>);

struct Set {
    at: Instant,
    runtime: Id,
    sleep: Pin<Box<Sleep>>,
}

/// The waker of the timer. It does not keep the queue alive, which owns the timer.
struct Bell<R> {
    rings: Weak<R>,
    at: Instant,
}

impl<R: Ring> Wake for Bell<R> {
    fn wake(self: Arc<Self>) {
        if let Some(rings) = self.rings.upgrade() {
            rings.ring(self.at);
        }
    }
}

impl Alarm {
    pub(super) const fn unset() -> Self {
        Self(None)
    }

    #[inline]
    pub(super) const fn is_unset(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Whether it is set for `at`, in this runtime, and has not rung yet.
    pub(super) fn is_set_for(&self, at: Instant, runtime: Option<Id>) -> bool {
        let set = self.0.as_ref();
        set.is_some_and(|set| set.at == at && Some(set.runtime) == runtime && !set.sleep.is_elapsed())
    }

    /// Sets the alarm in `runtime`, if that is where this is called.
    ///
    /// A timer is made anew rather than moved: moving one that is registered may wake its waker on
    /// the spot, and this is called under the lock that the waker takes.
    pub(super) fn set<R: Ring>(&mut self, at: Instant, runtime: Option<Id>, rings: &Arc<R>) -> Setting {
        self.clear();
        let Some(runtime) = here().filter(|here| Some(*here) == runtime) else {
            return Setting::Elsewhere;
        };
        // It panics where the runtime has no timer, which is up to who waits there, outside of the lock:
        // this may be a step of somebody else.
        let Ok(mut sleep) = catch_unwind(|| Box::pin(sleep_until(at))) else {
            return Setting::Elsewhere;
        };
        let waker = Waker::from(Arc::new(Bell { rings: Arc::downgrade(rings), at }));
        // Unconstrained: a task out of its budget would otherwise be told `Pending` without the timer
        // having been registered.
        let polled =
            pin!(unconstrained(poll_fn(|cx| sleep.as_mut().poll(cx)))).poll(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            return Setting::Due;
        }
        self.0 = Some(Set { at, runtime, sleep });
        Setting::Set
    }
}

/// What came of setting an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// It will ring.
    Set,
    /// Its time has come already.
    Due,
    /// It belongs into another runtime, or there is none with a timer.
    Elsewhere,
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Alarm").field(&self.0.as_ref().map(|set| set.at)).finish()
    }
}
