//! The scenarios, and how the limit moves in each.

use std::sync::Arc;
use std::time::Duration;

use aplomb::concurrency::{Adaptive, Latency};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};

use super::client::{ATTEMPT, Client, Work};
use super::server::Server;

const SECOND: Duration = Duration::from_secs(1);

/// How many requests the server can work on at full speed.
pub const CAPACITY: u32 = 16;

/// The limit in most scenarios.
pub fn adaptive() -> Adaptive {
    Adaptive::new().latency(Latency::first_byte())
}

/// A moment of a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time since the start, in seconds.
    pub at: f64,
    /// The limits of the clients.
    pub limits: [usize; 2],
    /// How many requests the server was working on.
    pub at_work: usize,
    /// How many it could work on at full speed.
    pub capacity: u32,
    /// The answers of each client so far.
    pub answered: [usize; 2],
}

/// The result of a batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The number of prompts answered.
    pub answered: usize,
    /// The time it took, in seconds; if not all were answered, until it was given up.
    pub took: f64,
    /// The number of requests the server saw.
    pub requests: u64,
    /// The number of them it refused.
    pub refused: u64,
    /// Ten moments for each second.
    pub moments: Vec<Moment>,
}

/// The number of prompts in a batch, each a second of work.
pub const PROMPTS: usize = 300;

/// A capacity that the workers never reach.
const PLENTY: u32 = 1_000;

/// The number of workers.
pub const WORKERS: usize = 64;

/// The least time that the batch takes, in seconds: at full capacity all the time.
pub const IDEAL: f64 = 19.0;

/// A batch of prompts. It is given up after ten times the ideal.
pub async fn batch(limit: Option<Adaptive>) -> Batch {
    let server = Server::start(CAPACITY);
    let work: Work = Arc::new(|n| (n < PROMPTS).then_some(SECOND));
    let client = match limit {
        Some(limit) => Client::limited(&server, limit, ATTEMPT, WORKERS, &work),
        None => Client::naive(&server, WORKERS, &work),
    };
    let mut recorder = Recorder::new(&server, &[&client]);
    while client.answered() < PROMPTS && recorder.start.elapsed() < 190 * SECOND {
        recorder.record(CAPACITY).await;
    }
    let (requests, refused) = server.seen();
    Batch {
        answered: client.answered(),
        took: recorder.start.elapsed().as_secs_f64(),
        requests,
        refused,
        moments: recorder.moments,
    }
}

/// The seconds at which the capacity changes, and the new capacities.
pub const CHANGES: [(u32, u32); 3] = [(0, CAPACITY), (60, 2 * CAPACITY), (120, CAPACITY)];

/// Three minutes of endless work, while the capacity doubles and then halves.
pub async fn changing() -> Vec<Moment> {
    let server = Server::start(CAPACITY);
    let client = Client::limited(&server, adaptive(), ATTEMPT, WORKERS, &endless());
    let mut recorder = Recorder::new(&server, &[&client]);
    for (n, (_, capacity)) in CHANGES.into_iter().enumerate() {
        server.set_capacity(capacity);
        let end = CHANGES.get(n + 1).map_or(180, |next| next.0);
        recorder.until(end, capacity).await;
    }
    recorder.moments
}

/// Three minutes of endless work whose length is lognormal, with a median of a second and σ = 1. The server can do all of
/// it at full speed.
pub async fn heavy_tailed(seed: u64) -> Vec<Moment> {
    let server = Server::start(PLENTY);
    let client = Client::limited(&server, adaptive(), 12 * ATTEMPT, WORKERS, &lognormal(seed));
    let mut recorder = Recorder::new(&server, &[&client]);
    recorder.until(180, PLENTY).await;
    recorder.moments
}

/// Three minutes of endless work, all of which the server could do, but it fails one request in twenty.
pub async fn flaky(limit: Adaptive, seed: u64) -> Vec<Moment> {
    let server = Server::start(PLENTY);
    server.fail_at_random(0.05, seed);
    let client = Client::limited(&server, limit, ATTEMPT, WORKERS, &endless());
    let mut recorder = Recorder::new(&server, &[&client]);
    recorder.until(180, PLENTY).await;
    recorder.moments
}

/// Four minutes of two clients, of which the second starts after thirty seconds.
pub async fn two_clients() -> Vec<Moment> {
    let server = Server::start(CAPACITY);
    let first = Client::limited(&server, adaptive(), ATTEMPT, WORKERS, &endless());
    let mut recorder = Recorder::new(&server, &[&first]);
    recorder.until(30, CAPACITY).await;
    let second = Client::limited(&server, adaptive(), ATTEMPT, WORKERS, &endless());
    recorder.clients.push(second);
    recorder.until(240, CAPACITY).await;
    recorder.moments
}

/// Endless pieces of work of a second each.
fn endless() -> Work {
    Arc::new(|_| Some(SECOND))
}

/// Endless pieces of work of lognormal length, the same in every run.
fn lognormal(seed: u64) -> Work {
    Arc::new(move |n| {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(n as u64));
        let (a, b): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
        // A normal distribution after Box and Muller.
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        Some(Duration::from_secs_f64(normal.exp()))
    })
}

/// Records server and clients ten times a second.
struct Recorder {
    server: Server,
    clients: Vec<Client>,
    start: Instant,
    moments: Vec<Moment>,
}

impl Recorder {
    fn new(server: &Server, clients: &[&Client]) -> Self {
        let clients = clients.iter().copied().cloned().collect();
        Self { server: server.clone(), clients, start: Instant::now(), moments: Vec::new() }
    }

    async fn until(&mut self, second: u32, capacity: u32) {
        while self.start.elapsed() < second * SECOND {
            self.record(capacity).await;
        }
    }

    async fn record(&mut self, capacity: u32) {
        sleep(SECOND / 10).await;
        let of = |what: fn(&Client) -> usize| [0, 1].map(|n| self.clients.get(n).map_or(0, what));
        self.moments.push(Moment {
            at: self.start.elapsed().as_secs_f64(),
            limits: of(Client::limit),
            at_work: self.server.at_work(),
            capacity,
            answered: of(Client::answered),
        });
    }
}
