//! The state of a mock, which its clones share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::Origin;
use crate::capacity::Capacity;
use crate::clock::Clock;
use crate::config::Config;
use crate::ledger::Ledger;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) capacity: Option<Arc<Capacity>>,
    clock: Clock,
    replies: AtomicU64,
    ledger: Mutex<Ledger>,
    restarted: Notify,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            capacity: config.capacity.map(|capacity| Capacity::new(capacity, config.abandoned_work_goes_on)),
            clock: Clock::new(),
            replies: AtomicU64::new(1),
            ledger: Mutex::new(Ledger::new(&config)),
            restarted: Notify::new(),
            config,
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic leaves nothing in the ledger half-done.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clears the stats, fills the limits and restarts the time.
    pub(crate) fn reset(&self) {
        self.ledger().reset(&self.config);
        self.restarted.notify_waiters();
    }

    /// Returns whether connections are refused now, and a future that resolves when that may have changed.
    pub(crate) fn refusing(&self) -> (bool, impl Future<Output = ()> + Send) {
        let restarted = self.restarted.notified();
        let (refusing, next) = self.ledger().refusing(&self.config, Instant::now());
        let changed = async move {
            match next {
                Some(next) => tokio::select! {
                    () = restarted => {}
                    () = tokio::time::sleep_until(next) => {}
                },
                None => restarted.await,
            }
        };
        (refusing, changed)
    }

    /// The number and the date of the next answer.
    pub(crate) fn origin(&self) -> Origin {
        let id = self.replies.fetch_add(1, Ordering::Relaxed);
        Origin { id, date: self.clock.date(Instant::now()) }
    }
}
