//! A limit between a test and the peer it plays.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_concurrency::{
    ConcurrencyLimit, ConcurrencyLimitLayer, ConcurrencyLimiter, ConcurrencySnapshot, Limit,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use tokio::sync::mpsc;
use tokio_test::assert_pending;
use tokio_test::task::{Spawn, spawn};
use tower::Layer;
use tower::util::{Oneshot, ServiceExt};
use tower_test::mock::{self, Mock, SendResponse};

pub(crate) type Req = Request<()>;
pub(crate) type Res = Response<Pipe>;
pub(crate) type Call = Spawn<Oneshot<ConcurrencyLimit<Mock<Req, Res>>, Req>>;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct Stage {
    pub(crate) service: ConcurrencyLimit<Mock<Req, Res>>,
    pub(crate) peer: mock::Handle<Req, Res>,
    pub(crate) limiter: ConcurrencyLimiter,
}

impl Stage {
    pub(crate) fn new(limit: impl Into<Limit>) -> Self {
        Self::with(&ConcurrencyLimitLayer::new(limit))
    }

    pub(crate) fn with(layer: &ConcurrencyLimitLayer) -> Self {
        let (service, peer) = mock::pair();
        Self { limiter: layer.limiter(), service: layer.layer(service), peer }
    }

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
        (call, self.peer.next_request().await.unwrap().1)
    }

    pub(crate) fn now(&self) -> ConcurrencySnapshot {
        self.limiter.snapshot()
    }

    /// In flight, abandoned, waiting.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let now = self.now();
        (now.in_flight(), now.abandoned(), now.waiting())
    }
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
