//! The service right around the client, which every request that is really sent passes.

use std::error::Error;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use aplomb::circuit_breaker::CircuitState;
use aplomb::{BoxError, CallOptions, HttpClient};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, watch};
use tower_service::Service;

use super::cause;
use super::health::Health;

/// A prompt whose answer was cut off this often by our own time-out is not asked again: each time was paid for.
pub(crate) const MAX_CUT_OFF: u32 = 3;

/// The requests sent for one prompt. Travels in the request's extensions. Clones are the same record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts(Arc<Record>);

#[derive(Debug, Default)]
struct Record {
    sent: AtomicU32,
    /// Attempts that our own time-out cut off while others were answered.
    cut_off: AtomicU32,
    /// Whether the attempt under way was dropped before its end, and not in an outage.
    dropped: AtomicBool,
    too_often: Notify,
}

impl Attempts {
    /// How many requests were sent.
    pub(crate) fn sent(&self) -> u32 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Waits until our own time-out has cut the prompt's answers off too often.
    pub(crate) async fn cut_off_too_often(&self) {
        self.0.too_often.notified().await;
    }

    /// Notes that our own time-out ended the attempt before; returns whether another may be sent.
    fn cut_off(&self) -> bool {
        let may_send = self.0.cut_off.fetch_add(1, Ordering::Relaxed) + 1 < MAX_CUT_OFF;
        if !may_send {
            self.0.too_often.notify_one();
        }
        may_send
    }
}

/// Counts what is sent, and notes how it ends.
#[derive(Clone, Debug)]
pub(crate) struct Watched<C> {
    client: C,
    health: Arc<Health>,
    circuit: watch::Receiver<CircuitState>,
    timed_out: Arc<str>,
}

impl<C> Watched<C> {
    /// Watches `client`; `timed_out` describes an attempt that our own time-out ended.
    pub(crate) fn new(
        client: C,
        health: Arc<Health>,
        circuit: watch::Receiver<CircuitState>,
        timed_out: impl Into<Arc<str>>,
    ) -> Self {
        Self { client, health, circuit, timed_out: timed_out.into() }
    }
}

impl<C, A> Service<Request<A>> for Watched<C>
where
    C: HttpClient<A>,
    C::Body: 'static,
    C::Error: Error + 'static,
    C::Future: Send + 'static,
{
    type Response = Response<WatchedBody<C::Body>>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, C::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        // The retry layer says how the attempt before this one ended.
        let last = CallOptions::of(&request).last();
        let attempts = request.extensions().get::<Attempts>().cloned().unwrap_or_default();
        // Being dropped alone says little: an answer with an error in it is not read to its end either.
        let dropped = attempts.0.dropped.swap(false, Ordering::Relaxed);
        if dropped && last.is_some_and(|last| last.is_unanswered()) {
            self.health.failed(self.timed_out.to_string());
            if !attempts.cut_off() {
                // `Asker::ask` hears of it, and drops this call.
                return Box::pin(pending());
            }
        }
        attempts.0.sent.fetch_add(1, Ordering::Relaxed);
        self.health.sent(last);
        let unfinished = Unfinished { attempts, circuit: self.circuit.clone(), finished: false };
        let (health, response) = (Arc::clone(&self.health), self.client.call(request));
        Box::pin(async move {
            let mut unfinished = unfinished;
            match response.await {
                Ok(response) => {
                    health.responded(response.status());
                    Ok(response.map(|body| WatchedBody { body: Box::pin(body), health, unfinished }))
                }
                Err(error) => {
                    unfinished.finished = true;
                    note(&health, &error);
                    Err(error)
                }
            }
        })
    }
}

fn note(health: &Health, error: &(dyn Error + 'static)) {
    health.failed(cause::innermost(error));
    if let Some(cause) = cause::permanent(error) {
        health.failed_for_good(cause);
    }
}

/// Notes an attempt that is dropped before its end.
#[derive(Debug)]
struct Unfinished {
    attempts: Attempts,
    circuit: watch::Receiver<CircuitState>,
    finished: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // In an outage that hangs, a time-out says nothing about the prompt.
        let dropped = !self.finished && *self.circuit.borrow() == CircuitState::Closed;
        self.attempts.0.dropped.store(dropped, Ordering::Relaxed);
    }
}

/// A body that notes whether it was read to its end.
#[derive(Debug)]
pub(crate) struct WatchedBody<B> {
    body: Pin<Box<B>>,
    health: Arc<Health>,
    unfinished: Unfinished,
}

impl<B> Body for WatchedBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.body.as_mut().poll_frame(cx));
        let frame = frame.map(|frame| frame.map_err(Into::into));
        match &frame {
            Some(Ok(_)) => self.unfinished.finished = self.body.is_end_stream(),
            Some(Err(error)) => {
                self.unfinished.finished = true;
                self.health.failed(cause::innermost(&**error));
            }
            None => self.unfinished.finished = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
