//! The pool's lock, and what happens outside of it.

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

/// What clones and members of a pool share.
///
/// Its lock is taken under the locks of the members' queues, and none of those under it. So another queue
/// is never asked from within a step of one: the pool itself is a waker, which a step leaves behind to be
/// woken when its queue's lock is released.
pub(super) struct Shared(Mutex<Order>);

impl Shared {
    pub(super) fn new(quotas: Quotas) -> Self {
        Self(Mutex::new(Order::new(quotas, Instant::now())))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Order> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the queues ask again that are due, one after the other. Called outside of all locks.
    ///
    /// A step of such a queue may make the next one due, and ends up here again: it leaves that to the
    /// loop it was called from, or to the thread whose loop it is, rather than go ever deeper.
    pub(super) fn wake_who_is_due(&self) {
        loop {
            let Some(queue) = self.lock().begin_waking() else {
                return;
            };
            let _ends = Waking(self);
            queue.wake();
        }
    }
}

/// Ends also if a caller's waker panics.
struct Waking<'a>(&'a Shared);

impl Drop for Waking<'_> {
    fn drop(&mut self) {
        self.0.lock().end_waking();
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_who_is_due();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.lock().quotas()).finish()
    }
}
