//! Thousands of callers at once, under a limit of a thousand a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aplomb::rate_limit::{Charge, Quota, RateLimited, RateLimiter};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// The number of callers.
pub const CALLERS: usize = 4_000;

/// The most that a caller sleeps longer than told.
const JITTER: Duration = Duration::from_millis(100);

/// A caller that was served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// The number of callers that came before it.
    pub number: usize,
    /// Its wait, in seconds.
    pub waited: f64,
}

/// The waits of all callers, in the order in which they were served.
#[derive(Clone, Debug, PartialEq)]
pub struct Waits {
    /// The callers that were served.
    pub served: Vec<Served>,
    /// How many times they asked the limiter, all together.
    pub asked: u64,
}

fn limiter() -> RateLimiter {
    // The timer fires once a millisecond; a burst of two makes up for a late one.
    RateLimiter::new([Quota::requests_per_second(1_000).burst(2)])
}

/// All callers wait in the queue of the limiter.
///
/// # Errors
///
/// Fails if the limiter rejects a caller, which does not happen here.
pub async fn in_line() -> Result<Waits, RateLimited> {
    let limiter = limiter();
    all(|_| {
        let limiter = limiter.clone();
        async move {
            limiter.acquire(Charge::request()).await?.sent();
            Ok(1)
        }
    })
    .await
}

/// The limiter has no queue: a rejected caller sleeps as long as it was told, plus up to a tenth of a second so that
/// callers do not all come back at once, and asks again.
///
/// # Errors
///
/// Fails if the limiter rejects a caller without a time to come back, which does not happen here.
pub async fn coming_back() -> Result<Waits, RateLimited> {
    let limiter = limiter();
    limiter.set_max_wait(Duration::ZERO);
    all(|number| {
        let limiter = limiter.clone();
        let mut random = StdRng::seed_from_u64(number as u64);
        async move {
            let mut asked = 1;
            loop {
                match limiter.acquire(Charge::request()).await {
                    Ok(mut permit) => {
                        permit.sent();
                        return Ok(asked);
                    }
                    Err(refused) => {
                        let told = refused.retry_after().ok_or(refused)?;
                        sleep(told + JITTER.mul_f64(random.random())).await;
                    }
                }
                asked += 1;
            }
        }
    })
    .await
}

async fn all<F>(caller: impl Fn(usize) -> F) -> Result<Waits, RateLimited>
where
    F: Future<Output = Result<u64, RateLimited>> + Send + 'static,
{
    let start = Instant::now();
    let waits = Arc::new(Mutex::new(Waits { served: Vec::new(), asked: 0 }));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (caller, waits) = (caller(number), Arc::clone(&waits));
        callers.spawn(async move {
            let asked = caller.await?;
            let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
            waits.served.push(Served { number, waited: start.elapsed().as_secs_f64() });
            waits.asked += asked;
            Ok(())
        });
    }
    callers.join_all().await.into_iter().collect::<Result<(), RateLimited>>()?;
    let waits = waits.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(waits)
}
