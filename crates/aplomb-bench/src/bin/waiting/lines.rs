//! The limiters, each set to a thousand calls a second, evenly spaced where that can be set.

use std::future::ready;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aplomb_bench::{Ask, Peer, Plain};
use aplomb_core::Outcome;
use aplomb_rate_limit::{Charge, Quota, RateLimitLayer, RateLimiter};
use governor::{Jitter, RateLimiter as Governor};
use throttle_net::Throttle;
use tokio::time::{Instant, sleep_until};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_resilience_ratelimiter::RateLimiterLayer;

/// Waits for a place and takes it.
pub(crate) type Line = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Builds a limiter.
pub(crate) type Make = fn() -> Line;

pub(crate) const LINES: &[(&str, Make)] = &[
    ("aplomb", aplomb),
    ("aplomb-acquire", aplomb_acquire),
    ("reserved-slot", reserved_slot),
    ("governor-until-ready", governor),
    ("governor-until-ready-jitter", governor_with_jitter),
    ("tower-resilience-bucket", tower_resilience_bucket),
    ("tower-resilience-window", tower_resilience_window),
    ("leaky-bucket", leaky_bucket),
    ("throttle-net", throttle_net),
    ("tower-buffer", tower_buffer),
];

const A_SECOND: usize = 1_000;
/// Timers fire once in a millisecond; this makes up for up to ten that a busy machine missed.
const BURST: u32 = 10;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn line<F: Future<Output = ()> + Send + 'static>(wait: impl Fn() -> F + Send + Sync + 'static) -> Line {
    Box::new(move || Box::pin(wait()))
}

/// Calls a service that makes its callers wait.
fn calls<S>(service: S) -> Line
where
    S: Service<aplomb_bench::Request, Error: std::fmt::Debug, Future: Send> + Clone + Send + 'static,
{
    let shared = Mutex::new((service, Plain::template()));
    line(move || {
        let (service, request) = shared.lock().expect("not poisoned").clone();
        async move { drop(service.oneshot(request).await.expect("served")) }
    })
}

fn quota() -> Quota {
    Quota::requests_per_second(1_000).burst(BURST)
}

fn aplomb() -> Line {
    calls(RateLimitLayer::new([quota()]).layer(Peer))
}

fn aplomb_acquire() -> Line {
    let limiter = RateLimiter::new([quota()]);
    line(move || {
        let limiter = limiter.clone();
        async move { limiter.acquire(Charge::request()).await.expect("served").end(Outcome::success()) }
    })
}

/// The least that works: takes the next slot at once and sleeps until then. A caller that gives up wastes its slot.
fn reserved_slot() -> Line {
    let next = Arc::new(Mutex::new(Instant::now()));
    line(move || {
        let slot = {
            let mut next = next.lock().expect("not poisoned");
            let slot = (*next).max(Instant::now());
            *next = slot + MILLISECOND;
            slot
        };
        sleep_until(slot)
    })
}

fn direct() -> Arc<governor::DefaultDirectRateLimiter> {
    let of = |number| NonZeroU32::new(number).expect("not zero");
    Arc::new(Governor::direct(governor::Quota::per_second(of(1_000)).allow_burst(of(BURST))))
}

fn governor() -> Line {
    let limiter = direct();
    line(move || {
        let limiter = Arc::clone(&limiter);
        async move { limiter.until_ready().await }
    })
}

/// The jitter is the time that serving all tasks once takes.
fn governor_with_jitter() -> Line {
    let limiter = direct();
    line(move || {
        let limiter = Arc::clone(&limiter);
        async move { limiter.until_ready_with_jitter(Jitter::up_to(100 * MILLISECOND)).await }
    })
}

fn tower_resilience_bucket() -> Line {
    let layer = RateLimiterLayer::burst(A_SECOND, BURST as usize);
    calls(layer.timeout_duration(HOUR).build().expect("valid").layer(Peer))
}

fn tower_resilience_window() -> Line {
    calls(
        RateLimiterLayer::per_second(A_SECOND)
            .timeout_duration(HOUR)
            .build()
            .expect("valid")
            .layer(Peer),
    )
}

fn leaky_bucket() -> Line {
    let limiter = leaky_bucket::RateLimiter::builder()
        .max(BURST as usize)
        .initial(BURST as usize)
        .refill(1)
        .interval(MILLISECOND)
        .build();
    let limiter = Arc::new(limiter);
    line(move || {
        let limiter = Arc::clone(&limiter);
        async move { limiter.acquire_one().await }
    })
}

fn throttle_net() -> Line {
    let limiter = Throttle::builder().per_second(1_000).burst(BURST).build();
    let limiter = Arc::new(limiter);
    line(move || {
        let limiter = Arc::clone(&limiter);
        async move { limiter.acquire().await.expect("served") }
    })
}

fn tower_buffer() -> Line {
    let service = ServiceBuilder::new()
        .buffer(A_SECOND)
        .rate_limit(A_SECOND as u64, SECOND)
        .service(service_fn(|_| ready(Ok::<_, tower::BoxError>(()))));
    calls(service)
}
