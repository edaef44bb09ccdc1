//! The lock of a pool, and wake-ups outside of it.

use std::fmt;
use std::sync::{Arc, PoisonError};
#[cfg(not(aplomb_loom))]
use std::sync::{Mutex, MutexGuard};
use std::task::Wake;

#[cfg(aplomb_loom)]
use loom::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::order::Order;
use crate::Quotas;

/// Shared by the clones and members of a pool.
///
/// Its lock is taken under the locks of the members' queues, and none of those under it. So no queue is checked within
/// the critical section of another: the pool itself is a waker, which the section leaves behind to be
/// woken when its queue's lock has been released.
pub(super) struct Shared(Mutex<Order>);

impl Shared {
    pub(super) fn new(quotas: Quotas) -> Self {
        Self(Mutex::new(Order::new(quotas, Instant::now())))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Order> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the queues that are due, one after the other, so that they check again. Called outside of all locks.
    ///
    /// Checking such a queue may make the next one due, and ends up here again: that call leaves the work to the
    /// running loop, in this thread or another, instead of recursing.
    pub(super) fn wake_due(&self) {
        loop {
            let Some(queue) = self.lock().begin_waking() else {
                return;
            };
            let _ends = Waking(self);
            queue.wake();
        }
    }
}

/// Ends the loop also if a caller's waker panics.
struct Waking<'a>(&'a Shared);

impl Drop for Waking<'_> {
    fn drop(&mut self) {
        self.0.lock().end_waking();
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_due();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.lock().quotas()).finish()
    }
}
