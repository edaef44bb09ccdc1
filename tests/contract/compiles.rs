//! Promise 6: each layer fits over the clients people have, over services that are not `Send`, and over
//! borrowed ones.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};

use aplomb::BoxError;
use aplomb::circuit_breaker::{Circuit, CircuitBreakerLayer, KeyedCircuits};
use aplomb::concurrency::{ConcurrencyLimitLayer, KeyedLimiter as KeyedSlots};
use aplomb::core::{Account, Once};
use aplomb::rate_limit::{KeyedLimiter, Quota, RateLimitLayer};
use bytes::Bytes;
use http_body_util::{Empty, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tower::{Layer, Service, ServiceExt};

use crate::peer::{Request, Response};
use crate::{
    circuit_breaker, concurrency, endpoint, keyed_circuit_breaker, keyed_concurrency, policy, rate_limit,
    retry,
};

fn serves<Req, S: Service<Req>>(_: S) {}

#[tokio::test(start_paused = true)]
async fn over_reqwest() {
    let client = reqwest::Client::new();
    serves::<reqwest::Request, _>(retry().layer(client.clone()));
    serves::<reqwest::Request, _>(rate_limit().layer(client.clone()));
    serves::<reqwest::Request, _>(ConcurrencyLimitLayer::new(1).until_head().layer(client.clone()));
    let by_key =
        ConcurrencyLimitLayer::keyed(KeyedSlots::new(10, |_: &Account| 1), Account::of::<reqwest::Request>);
    serves::<reqwest::Request, _>(by_key.until_head().layer(client.clone()));
    let limiter = KeyedLimiter::new(10, |_: &Account| [Quota::requests_per_second(1)]);
    let by_key = RateLimitLayer::keyed(limiter, Account::of::<reqwest::Request>);
    serves::<reqwest::Request, _>(by_key.layer(client.clone()));
    serves::<reqwest::Request, _>(circuit_breaker().layer(client.clone()));
    let circuits = KeyedCircuits::new(10, |_: &Account| Circuit::new());
    let by_key = CircuitBreakerLayer::keyed(circuits.clone(), Account::of::<reqwest::Request>);
    let shield = circuits.fail_fast(Account::of::<reqwest::Request>);
    serves::<reqwest::Request, _>(shield.layer(by_key.layer(client)));
}

#[tokio::test(start_paused = true)]
async fn over_hyper_utils_client() {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    serves::<Request, _>(retry().layer(client.clone()));
    serves::<Request, _>(rate_limit().layer(client.clone()));
    serves::<Request, _>(concurrency().layer(client.clone()));
    serves::<Request, _>(keyed_concurrency().layer(client.clone()));
    serves::<Request, _>(circuit_breaker().layer(client.clone()));
    serves::<Request, _>(keyed_circuit_breaker().layer(client.clone()));
    serves::<Request, _>(keyed_circuit_breaker().until_body_end().layer(client.clone()));
    serves::<Request, _>(endpoint(policy()).layer(client));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_can_not_be_copied_passes_once_when_the_retry_is_told_so() {
    struct NotClone;
    let service = tower::service_fn(async |_: http::Request<NotClone>| {
        Ok::<_, BoxError>(http::Response::new(Empty::<Bytes>::new()))
    });
    let request = http::Request::new(NotClone);
    assert!(retry().replay(Once).layer(service).oneshot(request).await.is_ok());
}

/// Counts its calls in a cell it has borrowed, so it is neither `Send` nor `'static`.
#[derive(Clone)]
struct Borrows<'a>(&'a Rc<Cell<u32>>);

impl<'a> Service<Request> for Borrows<'a> {
    type Response = Response;
    type Error = BoxError;
    type Future = Counts<'a>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Counts<'a> {
        Counts(self.0)
    }
}

struct Counts<'a>(&'a Rc<Cell<u32>>);

impl Future for Counts<'_> {
    type Output = Result<Response, BoxError>;

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.set(self.0.get() + 1);
        Poll::Ready(Ok(http::Response::new(Full::from("{}"))))
    }
}

#[tokio::test(start_paused = true)]
async fn over_a_borrowed_service_that_is_not_send() {
    let calls = Rc::new(Cell::new(0));
    let request = || http::Request::new(Full::<Bytes>::default());
    assert!(retry().layer(Borrows(&calls)).oneshot(request()).await.is_ok());
    assert!(rate_limit().layer(Borrows(&calls)).oneshot(request()).await.is_ok());
    assert!(concurrency().layer(Borrows(&calls)).oneshot(request()).await.is_ok());
    assert!(keyed_concurrency().layer(Borrows(&calls)).oneshot(request()).await.is_ok());
    assert!(circuit_breaker().layer(Borrows(&calls)).oneshot(request()).await.is_ok());
    assert!(keyed_circuit_breaker().layer(Borrows(&calls)).oneshot(request()).await.is_ok());
    assert!(endpoint(policy()).layer(Borrows(&calls)).oneshot(request()).await.is_ok());
    assert_eq!(calls.get(), 7);
}
