//! The cost of a retry that a gate further in holds back or rejects: promise 13.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aplomb::rate_limit::{Quota, RateLimitLayer, RateLimited};
use aplomb::retry::{Budget, RetryLayer};
use aplomb::{BoxError, find};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::{sleep, timeout};
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceExt, service_fn};

const S: Duration = Duration::from_secs(1);

/// A server that fails always; counts its calls.
fn down(
    calls: &Arc<AtomicUsize>,
) -> impl Service<Request<String>, Response = Response<Full<Bytes>>, Error = BoxError, Future: Send> + Clone + use<>
{
    let calls = Arc::clone(calls);
    service_fn(move |_: Request<String>| {
        calls.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Response::builder().status(500).body(Full::default()).map_err(Into::into))
    })
}

fn request() -> Request<String> {
    Request::new("question".to_owned())
}

fn tokens(capacity: u32) -> Budget {
    Budget::new().capacity(capacity).min_per_second(0.0)
}

fn retry(budget: &Budget) -> RetryLayer {
    RetryLayer::new().backoff(S).budget(budget.clone())
}

/// One call now, and then none for a minute.
fn one_a_minute() -> RateLimitLayer {
    RateLimitLayer::new([Quota::requests_per_minute(1).burst(1)])
}

#[tokio::test(start_paused = true)]
async fn promise_13_a_retry_that_a_quota_holds_back_is_refunded_while_it_waits() {
    let (budget, calls) = (tokens(500), Arc::default());
    let service = retry(&budget).layer(one_a_minute().layer(down(&calls)));
    let mut call = task::spawn(service.oneshot(request()));
    assert_pending!(call.poll());
    assert_eq!(budget.snapshot().remaining, 486, "nobody knows yet that it will be held back");
    sleep(2 * S).await;
    assert_pending!(call.poll());
    assert_eq!(budget.snapshot().remaining, 500);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn promise_13_retries_that_a_quota_paces_are_free_to_the_end() {
    // One retry could be paid for.
    let (budget, calls) = (tokens(14), Arc::default());
    let service = retry(&budget).layer(one_a_minute().layer(down(&calls)));
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 500);
    assert_eq!(calls.load(Ordering::Relaxed), 5);
    let snapshot = budget.snapshot();
    assert_eq!((snapshot.granted, snapshot.refused, snapshot.remaining), (4, 0, 14));
}

#[tokio::test(start_paused = true)]
async fn promise_13_a_retry_that_is_dropped_in_the_line_of_a_quota_costs_nothing() {
    let (budget, calls) = (tokens(500), Arc::default());
    let service = retry(&budget).layer(one_a_minute().layer(down(&calls)));
    assert!(timeout(30 * S, service.oneshot(request())).await.is_err());
    assert_eq!((calls.load(Ordering::Relaxed), budget.snapshot().remaining), (1, 500));
}

#[tokio::test(start_paused = true)]
async fn promise_13_a_retry_that_a_quota_refuses_costs_nothing() {
    let (budget, calls) = (tokens(500), Arc::default());
    let impatient = one_a_minute().max_wait(Duration::ZERO);
    let service = retry(&budget).layer(impatient.layer(down(&calls)));
    let error = service.oneshot(request()).await.unwrap_err();
    assert!(find::<RateLimited>(&*error).is_some(), "{error}");
    assert_eq!((calls.load(Ordering::Relaxed), budget.snapshot().remaining), (1, 500));
}
