//! What happens between clients and the server, and what the limit did meanwhile.

use std::sync::Arc;
use std::time::Duration;

use aplomb::concurrency::{Adaptive, Latency};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};

use super::client::{ATTEMPT, Client, Works};
use super::server::Server;

const SECOND: Duration = Duration::from_secs(1);

/// How many pieces of work the server can do at full speed, in every scene.
pub const CAPACITY: u32 = 16;

/// The limit that the scenes are about.
pub fn adaptive() -> Adaptive {
    Adaptive::new().latency(Latency::first_byte())
}

/// A moment of a scene.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Since the beginning of the scene, in seconds.
    pub at: f64,
    /// The limits of the clients.
    pub limits: [usize; 2],
    /// How many requests the server was at work on.
    pub at_work: usize,
    /// How much it could do at full speed.
    pub capacity: u32,
    /// How many pieces of work each client had been answered.
    pub answered: [usize; 2],
}

/// What came of a batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// How many prompts were answered.
    pub answered: usize,
    /// How long it took, in seconds; until the scene was given up, where not all were answered.
    pub took: f64,
    /// How many requests the server saw.
    pub requests: u64,
    /// How many of them it refused.
    pub refused: u64,
    /// What happened, a tenth of a second at a time.
    pub moments: Vec<Moment>,
}

/// How many prompts there are in a batch, each a second of work.
pub const PROMPTS: usize = 300;

/// More than all workers together ask for.
const PLENTY: u32 = 1_000;

/// How many workers ask for answers at a time, in every scene.
pub const WORKERS: usize = 64;

/// How long the batch takes at least: all of the capacity, at full speed, all the time.
pub const IDEAL: f64 = 19.0;

/// A batch of prompts by many workers; given up after ten times the ideal.
pub async fn batch(limit: Option<Adaptive>) -> Batch {
    let server = Server::start(CAPACITY);
    let works: Works = Arc::new(|n| (n < PROMPTS).then_some(SECOND));
    let client = match limit {
        Some(limit) => Client::limited(&server, limit, ATTEMPT, WORKERS, &works),
        None => Client::naive(&server, WORKERS, &works),
    };
    let mut watch = Watch::new(&server, &[&client]);
    while client.answered() < PROMPTS && watch.start.elapsed() < 190 * SECOND {
        watch.look(CAPACITY).await;
    }
    let (requests, refused) = server.seen();
    Batch {
        answered: client.answered(),
        took: watch.start.elapsed().as_secs_f64(),
        requests,
        refused,
        moments: watch.moments,
    }
}

/// The seconds at which the capacity changes, and what to.
pub const CHANGES: [(u32, u32); 3] = [(0, CAPACITY), (60, 2 * CAPACITY), (120, CAPACITY)];

/// Work without end, while the capacity is doubled and then halved: three minutes.
pub async fn changing() -> Vec<Moment> {
    let server = Server::start(CAPACITY);
    let client = Client::limited(&server, adaptive(), ATTEMPT, WORKERS, &endless());
    let mut watch = Watch::new(&server, &[&client]);
    for (n, (_, capacity)) in CHANGES.into_iter().enumerate() {
        server.set_capacity(capacity);
        let end = CHANGES.get(n + 1).map_or(180, |next| next.0);
        watch.until(end, capacity).await;
    }
    watch.moments
}

/// Work without end whose length is distributed lognormally, with a median of a second and σ = 1: the
/// server can do all of it at full speed. Three minutes.
pub async fn heavy_tailed(seed: u64) -> Vec<Moment> {
    let server = Server::start(PLENTY);
    let client = Client::limited(&server, adaptive(), 12 * ATTEMPT, WORKERS, &lognormal(seed));
    let mut watch = Watch::new(&server, &[&client]);
    watch.until(180, PLENTY).await;
    watch.moments
}

/// Work without end, and a server that could do all of it, but fails one request in twenty. Three minutes.
pub async fn flaky(limit: Adaptive, seed: u64) -> Vec<Moment> {
    let server = Server::start(PLENTY);
    server.fail_at_random(0.05, seed);
    let client = Client::limited(&server, limit, ATTEMPT, WORKERS, &endless());
    let mut watch = Watch::new(&server, &[&client]);
    watch.until(180, PLENTY).await;
    watch.moments
}

/// Two clients, of which the second comes when the first has been at it for thirty seconds: four minutes.
pub async fn two_clients() -> Vec<Moment> {
    let server = Server::start(CAPACITY);
    let first = Client::limited(&server, adaptive(), ATTEMPT, WORKERS, &endless());
    let mut watch = Watch::new(&server, &[&first]);
    watch.until(30, CAPACITY).await;
    let second = Client::limited(&server, adaptive(), ATTEMPT, WORKERS, &endless());
    watch.clients.push(second);
    watch.until(240, CAPACITY).await;
    watch.moments
}

/// A second of work each.
fn endless() -> Works {
    Arc::new(|_| Some(SECOND))
}

/// Lengths of work, each by its number: the same in every run.
fn lognormal(seed: u64) -> Works {
    Arc::new(move |n| {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(n as u64));
        let (a, b): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
        // Box and Muller's way to a normal distribution.
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        Some(Duration::from_secs_f64(normal.exp()))
    })
}

/// Looks at everybody, ten times a second.
struct Watch {
    server: Server,
    clients: Vec<Client>,
    start: Instant,
    moments: Vec<Moment>,
}

impl Watch {
    fn new(server: &Server, clients: &[&Client]) -> Self {
        let clients = clients.iter().copied().cloned().collect();
        Self { server: server.clone(), clients, start: Instant::now(), moments: Vec::new() }
    }

    async fn until(&mut self, second: u32, capacity: u32) {
        while self.start.elapsed() < second * SECOND {
            self.look(capacity).await;
        }
    }

    async fn look(&mut self, capacity: u32) {
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
