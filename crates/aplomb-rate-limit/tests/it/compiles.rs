//! The layer fits over the clients people have, over services that are not `Send` and borrowed ones.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use aplomb_core::BoxError;
use aplomb_rate_limit::{Charge, Cost, Quota, RateLimit, RateLimitLayer};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use tower::{Layer, Service, service_fn};

fn serves<Req, S: Service<Req, Error = BoxError>>(service: S) -> S {
    service
}

/// A service in a field, with a cost.
struct Limited {
    service: RateLimit<reqwest::Client, Arc<dyn Cost<reqwest::Request> + Send + Sync>>,
}

#[tokio::test]
async fn in_a_field() {
    let cost: Arc<dyn Cost<reqwest::Request> + Send + Sync> =
        Arc::new(|_: &reqwest::Request| Charge::request().input_tokens(10));
    let limited = Limited { service: layer().cost(cost).layer(reqwest::Client::new()) };
    let shared: &(dyn Send + Sync) = &serves::<reqwest::Request, _>(limited.service);
    let _ = shared;
}

fn layer() -> RateLimitLayer {
    RateLimitLayer::new([Quota::requests_per_second(10)])
}

#[tokio::test]
async fn over_clients() {
    let client = serves::<reqwest::Request, _>(layer().layer(reqwest::Client::new()));
    let _named: RateLimit<reqwest::Client> = client;
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    serves::<http::Request<Full<Bytes>>, _>(layer().layer(client.clone()));
    serves::<http::Request<Full<Bytes>>, _>(layer().until_body_end().layer(client));
}

#[tokio::test(start_paused = true)]
async fn over_a_service_that_is_not_send_and_borrows() {
    let calls = Rc::new(Cell::new(0));
    let borrowed = &calls;
    let service = service_fn(move |(): ()| async move {
        borrowed.set(borrowed.get() + 1);
        Ok::<_, Infallible>(())
    });
    let mut service = layer()
        .classifier(|_: Result<&(), &Infallible>| aplomb_core::Outcome::success())
        .layer(service);
    service.call(()).await.unwrap();
    assert_eq!(calls.get(), 1);
}
