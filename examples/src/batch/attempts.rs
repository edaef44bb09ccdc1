//! The service right around the client, which every request that is really sent passes.

use std::error::Error;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use aplomb::circuit_breaker::CircuitState;
use aplomb::{BoxError, Classification, Event, EventKind, HttpClient, Kind, Observe};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, watch};
use tower_service::Service;

use super::cause;
use super::health::Health;

/// A prompt whose answer was cut off this often by our own timeout is not asked again: each time was paid for.
pub(crate) const MAX_CUT_OFF: u32 = 3;

/// A prompt that has failed this often, and again after others were answered meanwhile, is its own trouble.
const MAX_FAILED: u32 = 12;

tokio::task_local! {
    /// Those of the prompt that this task asks.
    static CURRENT: Attempts;
}

/// The requests sent for one prompt. Clones are the same record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts(Arc<Record>);

#[derive(Debug, Default)]
struct Record {
    sent: AtomicU32,
    /// Attempts that our own timeout cut off while others were answered.
    cut_off: AtomicU32,
    /// True if the last attempt was dropped before its end, and not in an outage.
    dropped: AtomicBool,
    /// True if the last attempt ended without an answer.
    unanswered: AtomicBool,
    failed: AtomicU32,
    /// True if others were answered between two of its failures.
    failed_alone: AtomicBool,
    /// The answers of all prompts when it failed last.
    answers: AtomicU64,
    last_failure: Mutex<Option<String>>,
    too_often: Notify,
}

impl Attempts {
    /// How many requests were sent.
    pub(crate) fn sent(&self) -> u32 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Counts the requests that `call` sends.
    pub(crate) async fn scope<F: Future>(&self, call: F) -> F::Output {
        CURRENT.scope(self.clone(), call).await
    }

    /// Waits until our own timeout has cut the prompt's answers off too often, or it has failed too often by itself. Returns why
    /// it failed, if so.
    pub(crate) async fn failed_too_often(&self) -> Option<String> {
        self.0.too_often.notified().await;
        let last = self.0.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.as_ref().filter(|_| self.is_own_trouble())?;
        Some(format!("failed {MAX_FAILED} times, others were answered meanwhile: {last}"))
    }

    /// Notes a failure that may pass, and how many prompts have been answered so far.
    fn failed(&self, result: &Classification, answers: u64) {
        let record = &*self.0;
        let is_first = record.failed.fetch_add(1, Ordering::Relaxed) == 0;
        if record.answers.swap(answers, Ordering::Relaxed) < answers && !is_first {
            record.failed_alone.store(true, Ordering::Relaxed);
        }
        if self.is_own_trouble() {
            let words =
                result.message().map_or_else(|| result.to_string(), |words| format!("{result}: {words}"));
            *record.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
            record.too_often.notify_one();
        }
    }

    fn is_own_trouble(&self) -> bool {
        self.0.failed.load(Ordering::Relaxed) >= MAX_FAILED && self.0.failed_alone.load(Ordering::Relaxed)
    }

    /// Notes that our own timeout ended the attempt before; returns whether another may be sent.
    fn cut_off(&self) -> bool {
        let may_send = self.0.cut_off.fetch_add(1, Ordering::Relaxed) + 1 < MAX_CUT_OFF;
        if !may_send {
            self.0.too_often.notify_one();
        }
        may_send
    }
}

/// Notes how the attempts of all calls end, as the endpoint judges them.
pub(crate) fn observer(health: Arc<Health>) -> impl Observe + 'static {
    move |event: &Event| {
        if let EventKind::AttemptEnded { result, .. } = event.kind() {
            health.judged(result);
            let outcome = result.outcome();
            // An event comes from the task of its call.
            let _ = CURRENT.try_with(|attempts| {
                attempts.0.unanswered.store(outcome.is_unanswered(), Ordering::Relaxed);
                if matches!(outcome.kind(), Kind::Transient | Kind::Busy) {
                    attempts.failed(result, health.answers());
                }
            });
        }
    }
}

/// Counts what is sent, and notes what the endpoint does not see.
#[derive(Clone, Debug)]
pub(crate) struct Watched<C> {
    client: C,
    health: Arc<Health>,
    circuit: watch::Receiver<CircuitState>,
}

impl<C> Watched<C> {
    pub(crate) fn new(client: C, health: Arc<Health>, circuit: watch::Receiver<CircuitState>) -> Self {
        Self { client, health, circuit }
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
        let attempts = CURRENT.try_with(Attempts::clone).unwrap_or_default();
        // Being dropped alone says little: an answer with an error in it is not read to its end either.
        let dropped = attempts.0.dropped.swap(false, Ordering::Relaxed);
        if dropped && attempts.0.unanswered.load(Ordering::Relaxed) && !attempts.cut_off() {
            // `Asker::ask` hears of it, and drops this call.
            return Box::pin(pending());
        }
        attempts.0.sent.fetch_add(1, Ordering::Relaxed);
        self.health.sent();
        let unfinished = Unfinished { attempts, circuit: self.circuit.clone(), finished: false };
        let (health, response) = (Arc::clone(&self.health), self.client.call(request));
        Box::pin(async move {
            let mut unfinished = unfinished;
            match response.await {
                Ok(response) => {
                    health.responded(response.status());
                    Ok(response.map(|body| WatchedBody { body: Box::pin(body), unfinished }))
                }
                Err(error) => {
                    unfinished.finished = true;
                    if let Some(cause) = cause::permanent(&error) {
                        health.failed_for_good(cause);
                    }
                    Err(error)
                }
            }
        })
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
        // In an outage that hangs, a timeout says nothing about the prompt.
        let dropped = !self.finished && *self.circuit.borrow() == CircuitState::Closed;
        self.attempts.0.dropped.store(dropped, Ordering::Relaxed);
    }
}

/// A body that notes whether it was read to its end.
#[derive(Debug)]
pub(crate) struct WatchedBody<B> {
    body: Pin<Box<B>>,
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
            Some(Err(_)) | None => self.unfinished.finished = true,
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
