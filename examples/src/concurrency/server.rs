//! A server that slows down under load, in virtual time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

/// A server that works on all its requests at the same time, all at the same speed.
///
/// Up to its capacity that is full speed. Above it, each of `n` requests proceeds at `(capacity / n)²`: the more requests, the
/// less gets done. Requests above a bound are refused at once. It does not notice when a client goes away, and finishes the
/// work.
#[derive(Clone, Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    capacity: f64,
    max_jobs: usize,
    /// By the work done for each when they will be finished, then by number.
    jobs: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    /// The work done for each so far, in nanoseconds at full speed, and until when.
    worked: u64,
    at: Instant,
    seen: u64,
    refused: u64,
    /// The share of requests that fail at random.
    fails: f64,
    random: StdRng,
}

/// The server refuses a request: it has too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

impl Server {
    /// Starts a server on the runtime. It refuses more than ten times its capacity.
    pub fn start(capacity: u32) -> Self {
        let state = State {
            capacity: f64::from(capacity),
            max_jobs: 10 * capacity as usize,
            jobs: BTreeMap::new(),
            worked: 0,
            at: Instant::now(),
            seen: 0,
            refused: 0,
            fails: 0.0,
            random: StdRng::seed_from_u64(0),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
        tokio::spawn(work(Arc::clone(&shared)));
        Self { shared }
    }

    /// Does a piece of work that takes this long at full speed.
    ///
    /// # Errors
    ///
    /// [`Overloaded`] if it has too many requests.
    pub async fn ask(&self, work: Duration) -> Result<(), Overloaded> {
        let done = self.shared.with(|state| state.accept(work))?;
        self.shared.changed.notify_one();
        done.await.map_err(|_| Overloaded)
    }

    /// Changes its capacity, and with it the bound.
    pub fn set_capacity(&self, capacity: u32) {
        self.shared.with(|state| {
            state.capacity = f64::from(capacity);
            state.max_jobs = 10 * capacity as usize;
        });
        self.shared.changed.notify_one();
    }

    /// From now on refuses this share of all requests at random, whatever the load.
    pub fn fail_at_random(&self, share: f64, seed: u64) {
        self.shared.with(|state| {
            state.fails = share.clamp(0.0, 1.0);
            state.random = StdRng::seed_from_u64(seed);
        });
    }

    /// The number of requests it is working on.
    pub fn at_work(&self) -> usize {
        self.shared.with(|state| state.jobs.len())
    }

    /// The number of requests so far, and of refusals among them.
    pub fn seen(&self) -> (u64, u64) {
        self.shared.with(|state| (state.seen, state.refused))
    }
}

impl Shared {
    /// Brings the work up to date, then reads or changes the state.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pass(Instant::now());
        act(&mut state)
    }
}

impl State {
    fn accept(&mut self, work: Duration) -> Result<oneshot::Receiver<()>, Overloaded> {
        self.seen += 1;
        if self.jobs.len() >= self.max_jobs || self.random.random_bool(self.fails) {
            self.refused += 1;
            return Err(Overloaded);
        }
        let (done, wait) = oneshot::channel();
        let work = u64::try_from(work.as_nanos()).unwrap_or(u64::MAX);
        self.jobs.insert((self.worked.saturating_add(work), self.seen), done);
        Ok(wait)
    }

    fn speed(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        let jobs = self.jobs.len().max(1) as f64;
        (self.capacity / jobs).min(1.0).powi(2)
    }

    fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).mul_f64(self.speed());
        self.at = now;
        self.worked = self.worked.saturating_add(u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX));
        while let Some(first) = self.jobs.first_entry().filter(|first| first.key().0 <= self.worked) {
            // Its client may have gone away.
            let _ = first.remove().send(());
        }
    }

    /// When the next job will be finished, if nothing changes. Rounded up, so that it is.
    fn next(&self) -> Option<Instant> {
        let ((done, _), _) = self.jobs.first_key_value()?;
        let left = Duration::from_nanos(done.saturating_sub(self.worked) + 1);
        Some(self.at + left.div_f64(self.speed()))
    }
}

/// Finishes jobs when their time has come, until the runtime ends.
async fn work(shared: Arc<Shared>) {
    loop {
        match shared.with(|state| state.next()) {
            None => shared.changed.notified().await,
            Some(next) => tokio::select! {
                () = sleep_until(next) => {}
                () = shared.changed.notified() => {}
            },
        }
    }
}
