//! One row of a table that many clients change at the same time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aplomb::retry::RetryLayer;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};

use super::Strategy;

/// The result of a contest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contest {
    /// The number of writes until every client had succeeded once.
    pub calls: u64,
    /// The time that took.
    pub time: Duration,
}

/// Lets this many clients change one row at once, each until it succeeds.
///
/// Each reads the row, and writes it back if nobody else has written in between. Otherwise a [`RetryLayer`] waits and tries
/// again.
pub async fn contend(clients: usize, strategy: Strategy, seed: u64) -> Contest {
    let row = Arc::new(Row::new(seed));
    let update = service_fn({
        let row = Arc::clone(&row);
        move |()| Arc::clone(&row).update()
    });
    let client = RetryLayer::new()
        .backoff(strategy.backoff())
        .max_retries(u32::MAX)
        .random_seed(seed)
        .layer(update);

    let start = Instant::now();
    let mut calls: JoinSet<_> = (0..clients).map(|_| client.clone().oneshot(())).collect();
    while calls.join_next().await.is_some() {}
    Contest { calls: row.writes.load(Ordering::Relaxed), time: start.elapsed() }
}

struct Row {
    version: AtomicU64,
    writes: AtomicU64,
    network: Mutex<StdRng>,
}

/// Another client has written in between.
#[derive(Debug)]
struct Conflict;

impl Row {
    fn new(seed: u64) -> Self {
        let network = Mutex::new(StdRng::seed_from_u64(seed));
        Self { version: AtomicU64::new(0), writes: AtomicU64::new(0), network }
    }

    async fn update(self: Arc<Self>) -> Result<(), Conflict> {
        sleep(self.message()).await;
        let read = self.version.load(Ordering::Relaxed);
        sleep(self.message()).await;

        sleep(self.message()).await;
        self.writes.fetch_add(1, Ordering::Relaxed);
        let written = self.version.compare_exchange(read, read + 1, Ordering::Relaxed, Ordering::Relaxed);
        sleep(self.message()).await;
        written.map(drop).map_err(|_| Conflict)
    }

    /// The time a message takes: 1 s, with a standard deviation of 0.2 s.
    fn message(&self) -> Duration {
        let mut random = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        // The sum of twelve uniform draws has a variance of one, and is close to a normal distribution.
        let deviation: f64 = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        Duration::from_secs_f64((1.0 + 0.2 * deviation).max(0.0))
    }
}
