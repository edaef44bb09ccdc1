//! Dropping the future of a call at each point where it waits.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aplomb_core::BoxError;
use aplomb_retry::RetryLayer;
use futures_util::FutureExt;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use tower_layer::Layer;
use tower_service::Service;

use crate::peer::{Answer, Noted, Peer, millis, request, respond, response, secs};

/// Drops a call after `patience`. From then on, nothing may be held or sent.
async fn given_up(peer: &Peer, patience: std::time::Duration) -> usize {
    let service = RetryLayer::new().backoff(secs(10)).layer(peer.clone());
    assert!(timeout(patience, service.oneshot(request())).await.is_err());
    assert_eq!((peer.held(), peer.in_flight()), (0, 0));
    let calls = peer.calls();
    sleep(secs(1_000)).await;
    assert_eq!(peer.calls(), calls, "nothing is sent for a caller that has gone");
    calls
}

#[tokio::test(start_paused = true)]
async fn before_it_was_polled() {
    let peer = Peer::failing(0, 503);
    let mut service = RetryLayer::new().layer(peer.clone());
    std::future::poll_fn(|cx| Service::<http::Request<String>>::poll_ready(&mut service, cx))
        .await
        .unwrap();
    drop(service.call(request()));
    assert_eq!((peer.calls(), peer.held()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn while_the_inner_service_is_not_ready() {
    /// Never ready. Counts its instances.
    #[derive(Clone)]
    struct Busy(#[expect(dead_code, reason = "counted")] Arc<()>);
    impl Service<http::Request<String>> for Busy {
        type Response = http::Response<Noted>;
        type Error = BoxError;
        type Future = std::future::Pending<Result<Self::Response, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Pending
        }

        fn call(&mut self, _: http::Request<String>) -> Self::Future {
            panic!("not ready")
        }
    }
    let alive = Arc::new(());
    let mut service = RetryLayer::new().layer(Busy(Arc::clone(&alive)));
    {
        let mut call = pin!(service.call(request()));
        assert!(call.as_mut().now_or_never().is_none());
        assert_eq!(Arc::strong_count(&alive), 3);
    }
    assert_eq!(Arc::strong_count(&alive), 2);
}

#[tokio::test(start_paused = true)]
async fn while_an_attempt_runs() {
    assert_eq!(given_up(&Peer::new(|_| Answer::Hang), secs(5)).await, 1);
    let second = Peer::new(|call| {
        if call == 0 {
            respond(503, &[])
        } else {
            Answer::Hang
        }
    });
    assert_eq!(given_up(&second, secs(15)).await, 2);
}

#[tokio::test(start_paused = true)]
async fn while_a_response_is_drained() {
    let body = Noted::slow(100, millis(400));
    let fate = body.fate();
    let first = std::sync::Mutex::new(Some(response(503, &[], body)));
    let peer = Peer::new(move |_| Answer::Respond(first.lock().unwrap().take().unwrap()));
    assert_eq!(given_up(&peer, millis(900)).await, 1);
    assert_eq!(fate.ended(), None);
    assert!(fate.dropped().is_some());
}

#[tokio::test(start_paused = true)]
async fn while_it_waits() {
    assert_eq!(given_up(&Peer::failing(9, 503), secs(5)).await, 1);
    assert_eq!(given_up(&Peer::new(|_| Answer::Fail("lost")), secs(25)).await, 3);
}
