//! The promises of several queues that draw on one pool.

mod books;
mod everybody;
mod gates;
mod layer;
mod order;
mod panics;
mod threads;
mod waking;

use std::pin::Pin;
use std::time::Duration;

use aplomb_rate_limit::{Charge, Dimension, Quota, RateLimitPermit as Permit, RateLimited, RateLimiter};
use tokio_test::task::{self, Spawn};

const S: Duration = Duration::from_secs(1);

fn tokens(tokens: u64) -> Charge {
    Charge::request().input_tokens(tokens)
}

/// So many tokens a second, all of which may come at once.
fn tokens_per_second(amount: u64) -> Quota {
    Quota::new(Dimension::TOKENS, amount, S)
}

type Acquiring = Pin<Box<dyn Future<Output = Result<Permit, RateLimited>> + Send>>;

fn acquire(limiter: &RateLimiter, charge: Charge) -> Spawn<Acquiring> {
    let limiter = limiter.clone();
    task::spawn(Box::pin(async move { limiter.acquire(charge).await }))
}
