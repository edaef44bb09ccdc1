//! A server that slows down when it is given too much, in virtual time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

/// A server that works on all its requests at the same time, all at the same speed.
///
/// Up to its capacity that is full speed. Of `n` requests beyond it each goes at `(capacity / n)²`, so that the
/// more it is given, the less it gets done; one more than it bears is refused at once. It goes on with a
/// request that nobody waits for any more, since it does not notice.
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
    bears: usize,
    /// By how much work there will have been for each when they are done, and their numbers.
    jobs: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    /// How much work there has been for each, in nanoseconds at full speed, and up to when.
    worked: u64,
    at: Instant,
    seen: u64,
    refused: u64,
    /// The share of requests that fail for no reason.
    fails: f64,
    random: StdRng,
}

/// The server has more to do than it bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch;

impl Server {
    /// Starts a server on the runtime. It bears ten times its capacity.
    pub fn start(capacity: u32) -> Self {
        let state = State {
            capacity: f64::from(capacity),
            bears: 10 * capacity as usize,
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

    /// Does a piece of work that takes so long when there is nothing else to do.
    ///
    /// # Errors
    ///
    /// [`TooMuch`] where it has too much to do.
    pub async fn ask(&self, work: Duration) -> Result<(), TooMuch> {
        let done = self.shared.with(|state| state.accept(work))?;
        self.shared.changed.notify_one();
        done.await.map_err(|_| TooMuch)
    }

    /// Changes how much it can do at full speed, and so what it bears.
    pub fn set_capacity(&self, capacity: u32) {
        self.shared.with(|state| {
            state.capacity = f64::from(capacity);
            state.bears = 10 * capacity as usize;
        });
        self.shared.changed.notify_one();
    }

    /// Refuses this share of all requests from now on, at random, whatever it has to do.
    pub fn fail_at_random(&self, share: f64, seed: u64) {
        self.shared.with(|state| {
            state.fails = share.clamp(0.0, 1.0);
            state.random = StdRng::seed_from_u64(seed);
        });
    }

    /// How many requests it is at work on.
    pub fn at_work(&self) -> usize {
        self.shared.with(|state| state.jobs.len())
    }

    /// How many requests have come, and how many of them were refused.
    pub fn seen(&self) -> (u64, u64) {
        self.shared.with(|state| (state.seen, state.refused))
    }
}

impl Shared {
    /// Brings the work up to now, then looks at it or changes it.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pass(Instant::now());
        act(&mut state)
    }
}

impl State {
    fn accept(&mut self, work: Duration) -> Result<oneshot::Receiver<()>, TooMuch> {
        self.seen += 1;
        if self.jobs.len() >= self.bears || self.random.random_bool(self.fails) {
            self.refused += 1;
            return Err(TooMuch);
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
            // Nobody may wait for it any more.
            let _ = first.remove().send(());
        }
    }

    /// When the next job will be done, if nothing changes. Rounded up, or nothing would be done by then.
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
