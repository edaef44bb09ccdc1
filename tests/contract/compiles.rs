//! Promise 6: each layer fits over the clients people have, over services that are not `Send`, and over
//! borrowed ones.

use std::cell::Cell;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::task::{Context, Poll};

use aplomb::concurrency::ConcurrencyLimitLayer;
use aplomb::core::Once;
use aplomb::route::Routes;
use aplomb::{BoxError, RouterLayer};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use crate::peer::{Request, Response};
use crate::{
    circuit_breaker, concurrency, endpoint, keyed_circuit_breaker, keyed_concurrency, policy, rate_limit,
    retry,
};

fn serves<Req, S: Service<Req>>(_: S) {}

fn is_shared<T: Send + Sync>(value: T) -> T {
    value
}

#[tokio::test(start_paused = true)]
async fn over_reqwest() {
    let client = reqwest::Client::new();
    serves::<reqwest::Request, _>(retry().layer(client.clone()));
    serves::<reqwest::Request, _>(rate_limit().layer(client.clone()));
    serves::<reqwest::Request, _>(ConcurrencyLimitLayer::new(1).until_head().layer(client.clone()));
    serves::<reqwest::Request, _>(
        ConcurrencyLimitLayer::new(1).by_account().until_head().layer(client.clone()),
    );
    serves::<reqwest::Request, _>(rate_limit().by_account().layer(client.clone()));
    serves::<reqwest::Request, _>(circuit_breaker().layer(client.clone()));
    let by_key = circuit_breaker().by_account();
    let fail_fast = by_key.handle().fail_fast();
    serves::<reqwest::Request, _>(fail_fast.layer(by_key.layer(client)));
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
async fn a_request_that_cannot_be_copied_passes_once_when_the_retry_is_told_so() {
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

/// Answers with a body whose type is erased, as many clients do.
#[derive(Clone, Copy, Debug)]
struct Erased;

type ErasedBody = BoxBody<Bytes, BoxError>;

impl Service<Request> for Erased {
    type Response = http::Response<ErasedBody>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        ready(Ok(http::Response::new(Full::from("{}").map_err(BoxError::from).boxed())))
    }
}

// Programs that spawn a call and its body: the compiler has to see that all of it is `Send`.
#[tokio::test(start_paused = true)]
async fn a_call_and_its_erased_body_are_spawned_as_one() {
    let request = || http::Request::new(Full::<Bytes>::default());
    let mut svc = endpoint(policy().quotas([])).layer(Erased);
    let call = tokio::spawn(async move { svc.call(request()).await?.into_body().collect().await });
    assert_eq!(call.await.unwrap().unwrap().to_bytes(), "{}");

    let mut boxed = BoxCloneSyncService::new(endpoint(policy().quotas([])).layer(Erased));
    let call = tokio::spawn(async move {
        let mut body = boxed.ready().await?.call(request()).await?.into_body();
        let frame = body.frame().await.transpose()?;
        Ok::<_, BoxError>(frame.and_then(|frame| frame.into_data().ok()))
    });
    assert_eq!(call.await.unwrap().unwrap().unwrap(), "{}");

    let mut routed = RouterLayer::new(Routes::new()).unwrap().layer(Erased);
    let call = tokio::spawn(async move { routed.call(request()).await?.into_body().collect().await });
    assert_eq!(call.await.unwrap().unwrap().to_bytes(), "{}");

    let call = tokio::spawn(async move {
        let stack = ServiceBuilder::new()
            .layer(retry())
            .layer(rate_limit())
            .layer(concurrency())
            .layer(circuit_breaker().until_body_end())
            .service(Erased);
        stack.oneshot(request()).await?.into_body().collect().await
    });
    assert_eq!(call.await.unwrap().unwrap().to_bytes(), "{}");
}

// Services, their bodies and the endpoint are `Send` and `Sync` where the client's are.
#[tokio::test(start_paused = true)]
async fn services_and_bodies_are_send_and_sync_where_the_clients_are() {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    is_shared(retry().layer(client.clone()));
    is_shared(rate_limit().layer(client.clone()));
    is_shared(concurrency().layer(client.clone()));
    is_shared(keyed_concurrency().layer(client.clone()));
    is_shared(circuit_breaker().layer(client.clone()));
    is_shared(keyed_circuit_breaker().until_body_end().layer(client.clone()));
    is_shared(endpoint(policy()).layer(client.clone()));
    is_shared(RouterLayer::new(Routes::new()).unwrap().layer(client));
    let peer = crate::peer::Peer::new(&[200]);
    let mut endpoint = is_shared(endpoint(policy()).layer(peer));
    let response = endpoint.call(http::Request::new(Full::<Bytes>::default())).await.unwrap();
    is_shared(response.into_body());
}

/// Calls a client that is borrowed for this call, as reqwest-middleware's `Next<'_>` is.
#[tokio::test(start_paused = true)]
async fn an_endpoint_is_lent_to_a_client_that_lives_for_one_call() {
    let calls = Rc::new(Cell::new(0));
    let shared = endpoint(policy()).layer(());
    for _ in 0..2 {
        let request = http::Request::new(Full::<Bytes>::default());
        assert!(shared.with_client(Borrows(&calls)).oneshot(request).await.is_ok());
    }
    assert_eq!(calls.get(), 2);
}
