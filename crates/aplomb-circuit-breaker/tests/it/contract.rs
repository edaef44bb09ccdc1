//! The contract of every tower layer: promises 1 to 6 and 8.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, Ready, poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use aplomb_circuit_breaker::{CircuitBreakerLayer, CircuitOpen, CircuitState, OnOpen, Trip};
use aplomb_core::{BoxError, Outcome, find};
use http::{Request, Response, StatusCode};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt};

use crate::support::{NANOSECOND, NEARLY, SECOND, Stage, layer, plain};

/// Counts the holders of its readiness, and requires it.
struct Strict {
    ready: bool,
    held: Arc<AtomicUsize>,
    status: StatusCode,
}

impl Strict {
    fn new(status: StatusCode) -> (Self, Arc<AtomicUsize>) {
        let held = Arc::default();
        (Self { ready: false, held: Arc::clone(&held), status }, held)
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.ready) {
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, held: Arc::clone(&self.held), status: self.status }
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        self.release();
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if !std::mem::replace(&mut self.ready, true) {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(self.ready, "called without having been ready");
        self.release();
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        ready(Ok(response))
    }
}

#[tokio::test(start_paused = true)]
async fn promise_1_every_call_is_preceded_by_readiness_of_that_instance() {
    let (strict, held) = Strict::new(StatusCode::OK);
    let mut service = layer().layer(strict);
    for _ in 0..3 {
        assert!(service.ready().await.unwrap().call(Request::new(())).await.is_ok());
        assert!(service.clone().oneshot(Request::new(())).await.is_ok());
    }
    assert_eq!(held.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn promise_2_a_refusal_comes_from_the_call() {
    let mut stage = Stage::new(layer());
    stage.trip().await;
    let mut service = stage.service.clone();
    assert_ready_ok!(task::spawn(()).enter(|cx, _| service.poll_ready(cx)));
    let mut call = task::spawn(service.call(Request::new(())));
    assert!(find::<CircuitOpen>(&*assert_ready_err!(call.poll())).is_some());
}

#[tokio::test(start_paused = true)]
async fn promise_2_an_inner_service_that_is_finished_shows_in_the_call() {
    let Stage { service, mut peer, circuit } = Stage::new(layer());
    for _ in 0..5 {
        peer.send_error("finished");
        let error = assert_ready_err!(task::spawn(service.clone().oneshot(Request::new(()))).poll());
        assert!(find::<CircuitOpen>(&*error).is_none(), "{error}");
    }
    // Nothing was sent, so nothing counts.
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn promise_3_pending_has_a_waker_and_few_polls() {
    let mut stage = Stage::new(layer().on_open(OnOpen::Park { max: 60 * SECOND }));
    stage.trip().await;
    stage.peer.allow(100);
    let service = stage.service.clone();
    let mut polls = 0;
    let waits = tokio::spawn(async move {
        let mut call = pin!(service.oneshot(Request::new(())));
        let answer = poll_fn(|cx| {
            polls += 1;
            call.as_mut().poll(cx)
        })
        .await;
        (answer, polls)
    });
    // The paused clock advances by itself to the queue's timer and no further.
    let before = Instant::now();
    stage.take().await.send_response(crate::support::response(200));
    assert!(before.elapsed() >= 5 * SECOND && before.elapsed() < 6 * SECOND);
    let (answer, polls) = waits.await.unwrap();
    assert!(answer.is_ok());
    assert!(polls <= 4, "{polls} polls");
}

#[tokio::test(start_paused = true)]
async fn promise_4_no_readiness_is_held_while_parked() {
    let (strict, held) = Strict::new(StatusCode::SERVICE_UNAVAILABLE);
    let layer = layer().on_open(OnOpen::Park { max: 60 * SECOND });
    let service = layer.layer(strict);
    for _ in 0..5 {
        assert!(service.clone().oneshot(Request::new(())).await.is_ok());
    }
    let mut call = task::spawn(service.oneshot(Request::new(())));
    assert_pending!(call.poll());
    assert_eq!(held.load(Ordering::Relaxed), 0);
    advance(5 * SECOND).await;
    assert!(assert_ready!(call.poll()).is_ok());
    assert_eq!(held.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn promise_5_a_layer_applied_twice_and_clones_share_the_circuit() {
    let layer = layer();
    let failing = layer.layer(Strict::new(StatusCode::BAD_GATEWAY).0);
    let healthy = layer.clone().layer(Strict::new(StatusCode::OK).0);
    for _ in 0..5 {
        assert!(failing.clone().oneshot(Request::new(())).await.is_ok());
    }
    for service in [
        failing.clone(),
        healthy.clone(),
        layer.layer(Strict::new(StatusCode::OK).0),
    ] {
        let error = service.oneshot(Request::new(())).await.unwrap_err();
        assert!(find::<CircuitOpen>(&*error).is_some());
    }
    assert_eq!(layer.handle().state(), CircuitState::Open);
    // A setter on a clone makes another circuit.
    assert_eq!(layer.trip(Trip::consecutive(1)).handle().state(), CircuitState::Closed);
}

/// Borrows the service it calls, and is not `Send`.
#[derive(Clone)]
struct Local<'a>(&'a Cell<u32>, Rc<u32>);

impl Service<&'static str> for Local<'_> {
    type Response = u32;
    type Error = BoxError;
    type Future = Ready<Result<u32, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: &'static str) -> Self::Future {
        self.0.set(self.0.get() + *self.1);
        ready(Ok(self.0.get()))
    }
}

#[tokio::test(start_paused = true)]
async fn promise_6_over_a_borrowed_service_that_is_not_send_and_not_http() {
    let calls = Cell::new(0);
    let judge = |answer: Result<&u32, &BoxError>| match answer {
        Ok(3..) => Outcome::transient(),
        _ => Outcome::success(),
    };
    let layer = CircuitBreakerLayer::new().trip(Trip::consecutive(1)).cooldown(plain()).classifier(judge);
    let service = layer.layer(Local(&calls, Rc::new(1)));
    for expected in 1..=3 {
        assert_eq!(service.clone().oneshot("hello").await.unwrap(), expected);
    }
    assert!(service.clone().oneshot("hello").await.is_err());
    assert_eq!(calls.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn promise_8_the_paused_clock_drives_everything() {
    let mut stage = Stage::new(layer());
    let begun = Instant::now();
    stage.trip().await;
    advance(4 * SECOND + NEARLY).await;
    assert_eq!(stage.refused().retry_after(), Some(NANOSECOND));
    advance(NANOSECOND).await;
    assert_eq!(stage.circuit.state(), CircuitState::HalfOpen);
    assert_eq!(begun.elapsed(), 5 * SECOND);
}
