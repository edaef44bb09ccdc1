//! The future of a call.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aplomb_core::{Backoff, Classify, Observe, Outcome, Replay, RequestHead, ResponseHead};
use pin_project_lite::pin_project;
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower_service::Service;

use crate::config::Config;
use crate::progress::Progress;
use crate::{Discard, Event, Stopped};

/// A failed response is got rid of within this time, or dropped.
const LONGEST_DISCARD: Duration = Duration::from_secs(1);

/// What a wait without end comes to: thirty years, which tokio's clock can count.
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365 * 30);

pin_project! {
    /// The future of a call through [`Retry`](crate::Retry).
    ///
    /// Dropping it drops the attempt that is running, or ends the wait; nothing is sent again.
    pub struct ResponseFuture<S, Req, K, C, B, D, O>
    where
        S: Service<K::Sent>,
        K: Replay<Req>,
        D: Discard<S::Response>,
    {
        // Its readiness is spent by each attempt's call: none is held while the call waits.
        inner: S,
        kept: Option<K::Kept>,
        progress: Progress,
        config: Arc<Config<K, C, B, D, O>>,
        #[pin]
        state: State<S::Future, K::Sent, D::Discarding, Result<S::Response, S::Error>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, T, D, R> {
        // The inner service is asked whether it is ready.
        Ready { request: Option<T> },
        // An attempt runs.
        Called { #[pin] attempt: F },
        // The failed response is got rid of; the next request is there already.
        Discarding { #[pin] discarding: D, #[pin] limit: Sleep, until: Instant, next: Option<T> },
        // The time of the next attempt has not come. What failed is kept where the wait may be cancelled.
        Waiting { #[pin] sleep: Sleep, next: Option<T>, kept: Option<Box<Cancellable<R>>> },
    }
}

/// A failure that is handed out after all if its wait is cancelled.
struct Cancellable<R> {
    failure: Option<(R, Outcome)>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S, Req, K, C, B, D, O> ResponseFuture<S, Req, K, C, B, D, O>
where
    S: Service<K::Sent>,
    K: Replay<Req>,
    D: Discard<S::Response>,
{
    #[inline]
    pub(crate) fn new(
        inner: S,
        request: K::Sent,
        kept: Option<K::Kept>,
        progress: Progress,
        config: Arc<Config<K, C, B, D, O>>,
    ) -> Self {
        let state = State::Ready { request: Some(request) };
        Self { inner, kept, progress, config, state }
    }
}

impl<S, Req, K, C, B, D, O> ResponseFuture<S, Req, K, C, B, D, O>
where
    S: Service<K::Sent>,
    K: Replay<Req>,
    D: Discard<S::Response>,
{
    /// How many attempts have begun.
    pub fn attempts(&self) -> u32 {
        self.progress.attempts()
    }

    /// What the last attempt that ended came to, if the request is being sent again.
    pub fn last(&self) -> Option<Outcome> {
        self.progress.last()
    }
}

impl<S, Req, K, C, B, D, O> Future for ResponseFuture<S, Req, K, C, B, D, O>
where
    K: Replay<Req>,
    K::Sent: RequestHead,
    S: Service<K::Sent>,
    S::Response: ResponseHead,
    C: Classify<S::Response, S::Error>,
    B: Backoff,
    D: Discard<S::Response>,
    O: Observe<Event>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (progress, config, mut state) = (this.progress, &**this.config, this.state);
        let settings = &config.settings;
        loop {
            match state.as_mut().project() {
                // → `Called`; or the end, where the inner service is finished.
                StateProj::Ready { request } => {
                    if progress.attempts() > 0 {
                        // Retries that never wait must not keep a thread to themselves.
                        ready!(coop::poll_proceed(cx)).made_progress();
                    }
                    if let Err(error) = ready!(this.inner.poll_ready(cx)) {
                        config.gave_up(progress, Outcome::local(), Stopped::NotReady, None);
                        return Poll::Ready(Err(error));
                    }
                    // Told in place: a request is large enough that each move of it counts.
                    if let Some(request) = request {
                        progress.begin_attempt(request, settings);
                    }
                    let (attempt, waited) = (progress.attempts(), progress.waited());
                    config.observer.observe(&Event::Started { attempt, waited });
                    let request = request.take().expect("not polled after it was ready");
                    let attempt = progress.step(|| this.inner.call(request));
                    state.set(State::Called { attempt });
                }
                // → `Discarding` after a failed response, `Waiting` after an error or where the wait may be
                // cancelled, if the request is sent again; otherwise the end.
                StateProj::Called { attempt } => {
                    let mut result = ready!(progress.step(|| attempt.poll(cx)));
                    let outcome = config.classifier.classify(result.as_ref()).outcome();
                    let attempt = progress.attempts();
                    config.observer.observe(&Event::Ended { attempt, outcome });
                    if outcome.is_success() {
                        config.succeeded(progress, head_mut(&mut result));
                        return Poll::Ready(result);
                    }
                    let now = Instant::now();
                    let head = result.as_ref().ok().map(|response| response as &dyn ResponseHead);
                    // The next request is asked for while the failed response is still there: a
                    // body that turns out to be gone returns that response.
                    let again = config.decide(progress, outcome, head, now).and_then(|wait| {
                        let next = this.kept.as_mut().and_then(|kept| config.replay.again(kept));
                        let next = next.ok_or(Stopped::CannotReplay)?;
                        progress.pay(outcome, &settings.rules, now)?;
                        Ok((wait, next))
                    });
                    let (wait, next) = match again {
                        Ok(again) => again,
                        Err(stopped) => {
                            config.gave_up(progress, outcome, stopped, head_mut(&mut result));
                            return Poll::Ready(result);
                        }
                    };
                    progress.wait(outcome, wait);
                    config.observer.observe(&Event::Waiting { attempt, outcome, wait });
                    let until = now.checked_add(wait).unwrap_or_else(|| now + FOR_EVER);
                    let next = Some(next);
                    state.set(match (result, &settings.cancellation) {
                        (result, Some(token)) => State::cancellable(until, now, next, result, outcome, token),
                        (Ok(response), None) => {
                            let discarding = config.discard.discard(response);
                            let limit = now + LONGEST_DISCARD;
                            let limit = progress.deadline().map_or(limit, |deadline| deadline.min(limit));
                            State::Discarding { discarding, limit: sleep_until(limit), until, next }
                        }
                        (Err(_), None) => State::until(until, now, next),
                    });
                }
                // → `Waiting`, or `Ready` where the time has come already.
                StateProj::Discarding { discarding, limit, until, next } => {
                    // The limit is asked only where the response is not gone at once, which it
                    // mostly is: a timer costs something from its first poll on.
                    if discarding.poll(cx).is_pending() {
                        ready!(limit.poll(cx));
                    }
                    let (until, next) = (*until, next.take());
                    state.set(State::until(until, Instant::now(), next));
                }
                // → `Ready`; or the end, where the wait is cancelled.
                StateProj::Waiting { sleep, next, kept } => {
                    if let Some(kept) = kept
                        && kept.cancelled.as_mut().poll(cx).is_ready()
                        && let Some((mut result, outcome)) = kept.failure.take()
                    {
                        config.gave_up(progress, outcome, Stopped::Cancelled, head_mut(&mut result));
                        return Poll::Ready(result);
                    }
                    ready!(sleep.poll(cx));
                    let request = next.take();
                    state.set(State::Ready { request });
                }
            }
        }
    }
}

impl<F, T, D, R> State<F, T, D, R> {
    fn until(until: Instant, now: Instant, next: Option<T>) -> Self {
        if until <= now {
            Self::Ready { request: next }
        } else {
            Self::Waiting { sleep: sleep_until(until), next, kept: None }
        }
    }

    fn cancellable(
        until: Instant,
        now: Instant,
        next: Option<T>,
        failed: R,
        outcome: Outcome,
        token: &CancellationToken,
    ) -> Self {
        if until <= now {
            return Self::Ready { request: next };
        }
        let cancelled = Box::pin(token.clone().cancelled_owned());
        let kept = Some(Box::new(Cancellable { failure: Some((failed, outcome)), cancelled }));
        Self::Waiting { sleep: sleep_until(until), next, kept }
    }
}

/// The head of a response, to write to.
fn head_mut<Res: ResponseHead, E>(result: &mut Result<Res, E>) -> Option<&mut dyn ResponseHead> {
    result.as_mut().ok().map(|response| response as &mut dyn ResponseHead)
}

impl<S, Req, K, C, B, D, O> fmt::Debug for ResponseFuture<S, Req, K, C, B, D, O>
where
    S: Service<K::Sent>,
    K: Replay<Req>,
    D: Discard<S::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ready { .. } => "ready",
            State::Called { .. } => "called",
            State::Discarding { .. } => "discarding",
            State::Waiting { .. } => "waiting",
        };
        f.debug_struct("ResponseFuture")
            .field("state", &state)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
