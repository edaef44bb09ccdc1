//! The promises, each a function over any layer.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aplomb::BoxError;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, timeout};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceExt};

use crate::SECOND;
use crate::peer::{Finished, LATENCY, Peer, Request};

/// A layered service, with a body that can be read.
pub(crate) trait Answers<B>: Service<Request, Response = http::Response<B>> + Clone {}

impl<B, S: Service<Request, Response = http::Response<B>> + Clone> Answers<B> for S {}

pub(crate) fn request(path: &'static str) -> Request {
    http::Request::post(path).body(Full::new(Bytes::new())).unwrap()
}

/// Makes a call and reads its answer.
async fn call<S, B>(service: &S) -> Result<http::StatusCode, BoxError>
where
    S: Answers<B>,
    S::Error: Into<BoxError>,
    B: http_body_util::BodyExt<Error: std::fmt::Debug>,
{
    let response = service.clone().oneshot(request("/")).await.map_err(Into::into)?;
    let status = response.status();
    assert!(response.into_body().collect().await.is_ok());
    Ok(status)
}

/// The first call, which makes the second wait.
async fn provoke<S, B>(service: &S)
where
    S: Answers<B>,
    S::Error: Into<BoxError>,
    B: BodyExt<Error: std::fmt::Debug>,
{
    call(service).await.unwrap();
}

/// Promises 1 and 4. The peer panics when it is called without having been ready.
pub(crate) async fn readiness<L, B>(layer: impl Fn() -> L, statuses: &[u16])
where
    L: Layer<Peer, Service: Answers<B, Error: Into<BoxError>>>,
    B: BodyExt<Error: std::fmt::Debug>,
{
    let peer = Peer::new(statuses);
    let seen = peer.seen();
    let service = layer().layer(peer);
    provoke(&service).await;
    let waits = std::pin::pin!(call(&service));
    let mut waits = waits;
    // Half-way through its wait the call holds nothing of the inner service.
    assert!(timeout(SECOND / 2, &mut waits).await.is_err(), "the call waits");
    assert_eq!(seen.held.load(Relaxed), 0);
    assert_eq!(waits.await.unwrap(), 200);
    assert_eq!(seen.held.load(Relaxed), 0);
    assert_eq!(seen.called.load(Relaxed), statuses.len());
}

/// Promise 2.
pub(crate) async fn finished<L, B>(layer: impl Fn() -> L)
where
    L: Layer<Finished, Service: Answers<B, Error: Into<BoxError>>>,
    B: BodyExt<Error: std::fmt::Debug>,
{
    let mut service = layer().layer(Finished);
    assert!(service.ready().await.is_ok(), "nothing is refused by readiness");
    let error = call(&service).await.unwrap_err();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    while cause.is_some_and(|cause| !cause.to_string().contains("finished")) {
        cause = cause.and_then(std::error::Error::source);
    }
    assert!(cause.is_some(), "{error:?}");
}

/// Promise 3.
pub(crate) async fn polls<L, B>(layer: impl Fn() -> L, statuses: &[u16])
where
    L: Layer<Peer, Service: Answers<B, Error: Into<BoxError>>>,
    B: BodyExt<Error: std::fmt::Debug>,
{
    let service = layer().layer(Peer::new(statuses));
    provoke(&service).await;
    let polls = AtomicUsize::new(0);
    let start = Instant::now();
    {
        let mut call = std::pin::pin!(call(&service));
        let counted = std::future::poll_fn(|cx| {
            polls.fetch_add(1, Relaxed);
            call.as_mut().poll(cx)
        });
        // Without a waker the clock would run to the end of this timeout.
        timeout(60 * SECOND, counted).await.expect("is woken").unwrap();
    }
    assert!(start.elapsed() >= SECOND.saturating_sub(LATENCY), "it had to wait: {:?}", start.elapsed());
    assert!(polls.load(Relaxed) <= 8, "{} polls", polls.load(Relaxed));
}

/// Promise 5: all services of a layer share what one of them has learned.
pub(crate) async fn shared<L, B>(layer: impl Fn() -> L, statuses: &[u16])
where
    L: Layer<Peer, Service: Answers<B, Error: Into<BoxError>>>,
    B: BodyExt<Error: std::fmt::Debug>,
{
    // A retry shares only its configuration; all others wait because of the first call.
    for clone in [false, true] {
        let (layer, peer) = (layer(), Peer::new(statuses));
        let first = layer.layer(peer.clone());
        let second = if clone { first.clone() } else { layer.layer(peer) };
        provoke(&first).await;
        let start = Instant::now();
        assert_eq!(call(&second).await.unwrap(), 200);
        assert!(start.elapsed() >= SECOND.saturating_sub(LATENCY), "{:?}", start.elapsed());
    }
}

/// Promise 7.
pub(crate) async fn panics<L, B>(layer: impl Fn() -> L)
where
    L: Layer<Peer, Service: Answers<B, Error: Into<BoxError>>>,
    B: BodyExt<Error: std::fmt::Debug>,
{
    let service = layer().layer(Peer::new(&[]));
    let mut panicking = tokio_test::task::spawn(service.clone().oneshot(request("/panic")));
    let poll = std::panic::AssertUnwindSafe(|| drop(panicking.poll()));
    assert!(std::panic::catch_unwind(poll).is_err());
    drop(panicking);
    let next = timeout(10 * SECOND, call(&service)).await;
    assert_eq!(next.expect("nothing is stuck").unwrap(), 200);
}

/// A call may be dropped after any number of polls, and the next one is served.
pub(crate) async fn dropped<L, B>(layer: impl Fn() -> L, statuses: &[u16])
where
    L: Layer<Peer, Service: Answers<B, Error: Into<BoxError>>>,
    B: BodyExt<Error: std::fmt::Debug>,
{
    for polls in 0..10 {
        let peer = Peer::new(statuses);
        let seen = peer.seen();
        let service = layer().layer(peer);
        provoke(&service).await;
        {
            let mut call = std::pin::pin!(call(&service));
            let mut left = polls;
            let dropped = std::future::poll_fn(|cx| {
                if left == 0 {
                    return std::task::Poll::Ready(());
                }
                left -= 1;
                call.as_mut().poll(cx).map(drop)
            });
            // If nothing wakes it any more, it is dropped while it waits.
            let _ = timeout(3 * SECOND, dropped).await;
        }
        assert_eq!(seen.held.load(Relaxed), 0, "dropped after {polls} polls");
        let next = timeout(10 * SECOND, call(&service)).await;
        assert!(next.expect("nothing is stuck").is_ok(), "dropped after {polls} polls");
    }
}

/// A concurrency limit inside, of one: a layer that held readiness while it waits would starve it.
pub(crate) async fn above_a_limit<L, B>(layer: impl Fn() -> L, statuses: &[u16])
where
    L: Layer<tower::limit::ConcurrencyLimit<Peer>, Service: Answers<B, Error: Into<BoxError>>>,
    B: BodyExt<Error: std::fmt::Debug>,
{
    let service = layer().layer(ConcurrencyLimitLayer::new(1).layer(Peer::new(statuses)));
    provoke(&service).await;
    let calls = async { tokio::join!(call(&service), call(&service), call(&service)) };
    let (a, b, c) = timeout(Duration::from_secs(30), calls).await.expect("nobody starves");
    assert!([a, b, c].iter().all(|status| *status.as_ref().unwrap() == 200));
}
