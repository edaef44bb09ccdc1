//! A circuit breaker between a test and the peer it plays.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_admission::{Decision, End, Gate, OnBodyEnd};
use aplomb_circuit_breaker::{
    Circuit, CircuitBreaker, CircuitBreakerLayer, CircuitHandle, CircuitOpen, CircuitState, Cooldown, Trip,
    Window,
};
use aplomb_core::{BoxError, Exponential, HttpClassifier, Jitter, Outcome, find};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_test::task::{Spawn, spawn};
use tokio_test::{assert_pending, assert_ready};
use tower::Layer;
use tower::util::{Oneshot, ServiceExt};
use tower_test::mock::{self, Mock, SendResponse};

pub(crate) type Req = Request<()>;
pub(crate) type Res = Response<Pipe>;
pub(crate) type Peer = Mock<Req, Res>;
/// Calls last until their bodies end.
pub(crate) type Breaker = CircuitBreaker<Peer, HttpClassifier, OnBodyEnd>;
pub(crate) type Call = Spawn<Oneshot<Breaker, Req>>;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// The resolution of tokio's timer.
pub(crate) const TICK: Duration = Duration::from_millis(1);
pub(crate) const NANOSECOND: Duration = Duration::from_nanos(1);
/// A second minus a nanosecond.
pub(crate) const NEARLY: Duration = Duration::from_nanos(999_999_999);

/// Cooldowns of 5, 10, 20, 40, 60 s exactly.
pub(crate) fn plain() -> Cooldown {
    Cooldown::new(Exponential::new(5 * SECOND).jitter(Jitter::None))
}

/// Opens after five failures in a row, or if half of the last 100 calls failed.
pub(crate) fn counted() -> Trip {
    Trip::consecutive(5).or(Trip::ratio(0.5, Window::calls(100)))
}

/// Opens after five failures in a row, for exactly 5 s.
pub(crate) fn layer() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().trip(counted()).cooldown(plain())
}

pub(crate) struct Stage {
    pub(crate) service: Breaker,
    pub(crate) peer: mock::Handle<Req, Res>,
    pub(crate) circuit: CircuitHandle,
}

impl Stage {
    pub(crate) fn new(layer: CircuitBreakerLayer) -> Self {
        let (service, peer) = mock::pair();
        Self { circuit: layer.handle(), service: layer.until_body_end().layer(service), peer }
    }

    /// A call that has not been polled.
    pub(crate) fn call(&self) -> Call {
        self.call_with(Request::new(()))
    }

    pub(crate) fn call_with(&self, request: Req) -> Call {
        spawn(self.service.clone().oneshot(request))
    }

    /// A call that has reached the peer.
    pub(crate) async fn sent(&mut self) -> (Call, SendResponse<Res>) {
        let mut call = self.call();
        assert_pending!(call.poll());
        (call, self.take().await)
    }

    /// The call that the peer has received.
    pub(crate) async fn take(&mut self) -> SendResponse<Res> {
        self.peer.next_request().await.unwrap().1
    }

    /// A call that is answered with `status` and no body.
    pub(crate) async fn answer(&mut self, status: u16) {
        self.answer_with(response(status)).await;
    }

    pub(crate) async fn answer_with(&mut self, response: Res) {
        let (mut call, send) = self.sent().await;
        send.send_response(response);
        assert!(assert_ready!(call.poll()).is_ok());
    }

    /// A call that is rejected at once.
    pub(crate) fn refused(&self) -> CircuitOpen {
        let error = assert_ready!(self.call().poll()).unwrap_err();
        open_in(&error)
    }

    pub(crate) async fn trip(&mut self) {
        for _ in 0..5 {
            assert_eq!(self.circuit.state(), CircuitState::Closed);
            self.answer(503).await;
        }
        assert_eq!(self.circuit.state(), CircuitState::Open);
    }

    /// Open, and the cooldown of 5 s is over.
    pub(crate) async fn half_open(layer: CircuitBreakerLayer) -> Self {
        let mut stage = Self::new(layer);
        stage.trip().await;
        tokio::time::advance(5 * SECOND).await;
        assert_eq!(stage.circuit.state(), CircuitState::HalfOpen);
        stage
    }
}

pub(crate) fn open_in(error: &BoxError) -> CircuitOpen {
    find::<CircuitOpen>(&**error).unwrap_or_else(|| panic!("{error} is no refusal")).clone()
}

/// A response with an empty body.
pub(crate) fn response(status: u16) -> Res {
    let mut response = Response::new(Pipe(None));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// A 200 with a body written by the test.
pub(crate) fn stream() -> (mpsc::UnboundedSender<io::Result<&'static str>>, Res) {
    let (send, receive) = mpsc::unbounded_channel();
    (send, Response::new(Pipe(Some(receive))))
}

/// A body written by the test, or an empty one.
#[derive(Debug)]
pub(crate) struct Pipe(Option<mpsc::UnboundedReceiver<io::Result<&'static str>>>);

impl Body for Pipe {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(receive) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let part = ready!(receive.poll_recv(cx));
        Poll::Ready(part.map(|part| part.map(|text| Frame::data(Bytes::from_static(text.as_bytes())))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// A call that passes and ends at once.
pub(crate) fn run(circuit: &mut Circuit, outcome: Outcome, now: Instant) {
    assert_eq!(circuit.check(&(), now), Decision::Admit);
    let token = circuit.admit(&(), now);
    circuit.end(token, End::Judged { outcome, usage: None }, now);
}
