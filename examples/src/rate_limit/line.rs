//! Thousands of callers that come at once, before a limit of a thousand a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aplomb::rate_limit::{Charge, Quota, RateLimited, RateLimiter};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How many callers come.
pub const CALLERS: usize = 4_000;

/// How much longer than it was told a caller sleeps, at most.
const JITTER: Duration = Duration::from_millis(100);

/// A caller that was served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// How many had come before it.
    pub number: usize,
    /// How long it waited, in seconds.
    pub waited: f64,
}

/// All callers, in the order in which they were served.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Who was served.
    pub served: Vec<Served>,
    /// How often the limiter was asked by all of them together.
    pub asked: u64,
}

fn limiter() -> RateLimiter {
    // A timer rings once in a millisecond, and once more for who is late.
    RateLimiter::new([Quota::requests_per_second(1_000).burst(2)])
}

/// All wait in line.
///
/// # Errors
///
/// What the limiter refused. It refuses nothing here.
pub async fn in_line() -> Result<Line, RateLimited> {
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

/// Nobody waits in line: whoever is refused sleeps as long as it was told, and up to a tenth of a second
/// longer so that not all come back at once, and asks again.
///
/// # Errors
///
/// What the limiter refused for good. That is nothing here.
pub async fn told_to_come_back() -> Result<Line, RateLimited> {
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

async fn all<F>(caller: impl Fn(usize) -> F) -> Result<Line, RateLimited>
where
    F: Future<Output = Result<u64, RateLimited>> + Send + 'static,
{
    let start = Instant::now();
    let line = Arc::new(Mutex::new(Line { served: Vec::new(), asked: 0 }));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (caller, line) = (caller(number), Arc::clone(&line));
        callers.spawn(async move {
            let asked = caller.await?;
            let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
            line.served.push(Served { number, waited: start.elapsed().as_secs_f64() });
            line.asked += asked;
            Ok(())
        });
    }
    callers.join_all().await.into_iter().collect::<Result<(), RateLimited>>()?;
    let line = line.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(line)
}
