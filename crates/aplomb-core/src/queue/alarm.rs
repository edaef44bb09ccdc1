//! The queue's one timer, which rings without any task being polled.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::Handle;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// What an alarm rings.
pub(super) trait Ring: Send + Sync + 'static {
    /// An alarm set for `at` rings. Called by the runtime's timer, outside of any task.
    fn ring(self: Arc<Self>, at: Instant);
}

/// At most one timer of the runtime.
pub(super) struct Alarm(Option<(Instant, Pin<Box<Sleep>>)>);

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

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Whether it is set for `at` and has not rung yet.
    pub(super) fn is_set_for(&self, at: Instant) -> bool {
        self.0.as_ref().is_some_and(|(set, sleep)| *set == at && !sleep.is_elapsed())
    }

    /// Sets the alarm. Returns `false`, and is not set, where `at` has come already, and where there
    /// is no runtime to set it in: a permit may be dropped outside of one.
    ///
    /// A timer is made anew rather than moved: moving one that is registered may wake its waker on
    /// the spot, and this is called under the lock that the waker takes.
    pub(super) fn set<R: Ring>(&mut self, at: Instant, rings: &Arc<R>) -> bool {
        self.clear();
        if Handle::try_current().is_err() {
            return false;
        }
        let mut sleep = Box::pin(sleep_until(at));
        let waker = Waker::from(Arc::new(Bell { rings: Arc::downgrade(rings), at }));
        // Unconstrained: a task out of its budget would otherwise be told `Pending` without the timer
        // having been registered.
        let polled =
            pin!(unconstrained(poll_fn(|cx| sleep.as_mut().poll(cx)))).poll(&mut Context::from_waker(&waker));
        if polled == Poll::Pending {
            self.0 = Some((at, sleep));
        }
        polled.is_pending()
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Alarm").field(&self.0.as_ref().map(|(at, _)| at)).finish()
    }
}
