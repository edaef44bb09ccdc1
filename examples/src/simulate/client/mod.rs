//! The clients that are compared.

mod plain;
mod stacks;

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::util::BoxCloneSyncService;

use self::plain::{Plain, Recipe};
use super::prompt::Prompt;
use super::scenario::Scenario;
use super::server::Body;

/// The service that clients are put around: a [`Server`](super::server::Server), or a mock.
pub(crate) type Http = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, io::Error>;

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// tenacity's classic recipe: `wait_random_exponential(min=1, max=60)`, `stop_after_attempt(6)`.
    Tenacity,
    /// `backoff.on_exception(backoff.expo, max_value=60)` with full jitter, which never gives up.
    Backoff,
    /// `OpenAI`'s SDK with `max_retries=5`.
    Sdk,
    /// aplomb's retry layer alone: a stack without brakes.
    Retry,
    /// aplomb's endpoint with its defaults.
    Endpoint,
    /// aplomb's endpoint with the policy for batches.
    Batch,
    /// The same, with the limits configured.
    Told,
    /// aplomb's retry, rate limit and circuit breaker, combined by hand.
    Layers,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Tenacity,
        Self::Backoff,
        Self::Sdk,
        Self::Retry,
        Self::Endpoint,
        Self::Batch,
        Self::Told,
        Self::Layers,
    ];

    /// The usual retry loops.
    pub const PLAIN: [Self; 3] = [Self::Tenacity, Self::Backoff, Self::Sdk];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenacity => "tenacity",
            Self::Backoff => "backoff",
            Self::Sdk => "sdk",
            Self::Retry => "retry",
            Self::Endpoint => "endpoint",
            Self::Batch => "batch",
            Self::Told => "told",
            Self::Layers => "layers",
        }
    }

    /// The client of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|client| client.name() == name)
    }

    /// Puts the client around a server.
    pub(crate) fn around(self, http: Http, scenario: &Scenario, seed: u64) -> Box<dyn Ask> {
        let plain = |recipe| -> Box<dyn Ask> {
            Box::new(Plain { http: http.clone(), recipe, timeout: scenario.attempt_timeout, seed })
        };
        match self {
            Self::Tenacity => plain(Recipe::Tenacity),
            Self::Backoff => plain(Recipe::Backoff),
            Self::Sdk => plain(Recipe::Sdk),
            Self::Retry => stacks::retry(http, scenario, seed),
            Self::Endpoint => stacks::endpoint(http, scenario, aplomb::Policy::new(), seed),
            Self::Batch => stacks::endpoint(http, scenario, aplomb::Policy::batch(), seed),
            Self::Told => stacks::endpoint(http, scenario, stacks::told(scenario), seed),
            Self::Layers => stacks::layers(http, scenario, seed),
        }
    }
}

/// A client at work.
pub(crate) trait Ask: Send + Sync {
    /// Sends a prompt, with the client's retries; resolves to whether it got the right answer.
    fn ask<'a>(&'a self, prompt: &'a Prompt) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

    /// Its state, if it can be seen.
    fn look(&self) -> Look {
        Look::default()
    }
}

/// The state of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Look {
    /// The number of calls in its queue.
    pub waiting: usize,
    /// True if its circuit is open.
    pub open: bool,
    /// The number of changes of its circuit.
    pub transitions: u64,
    /// The rest of the pause of all calls.
    pub paused: Duration,
    /// The rate that it has estimated, in calls per second.
    pub rate: Option<f64>,
    /// Its limit of calls in flight.
    pub limit: Option<usize>,
}
