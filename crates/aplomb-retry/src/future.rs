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
use tower_service::Service;

use crate::delay::{Decision, decide};
use crate::layer::Config;
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
        state: State<S::Future, K::Sent, D::Discarding>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, T, D> {
        // The inner service is asked whether it is ready.
        Ready { request: Option<T> },
        // An attempt runs.
        Called { #[pin] attempt: F },
        // The failed response is got rid of; the next request is there already.
        Discarding { #[pin] discarding: D, #[pin] limit: Sleep, until: Instant, next: Option<T> },
        // The time of the next attempt has not come.
        Waiting { #[pin] sleep: Sleep, next: Option<T> },
    }
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
        loop {
            match state.as_mut().project() {
                // → `Called`; or the end, where the inner service is finished.
                StateProj::Ready { request } => {
                    if progress.attempts() > 0 {
                        // Retries that never wait must not keep a thread to themselves.
                        ready!(coop::poll_proceed(cx)).made_progress();
                    }
                    if let Err(error) = ready!(this.inner.poll_ready(cx)) {
                        config.gave_up(progress, Outcome::local(), Stopped::NotReady);
                        return Poll::Ready(Err(error));
                    }
                    // Told in place: a request is large enough that each move of it counts.
                    if let Some(request) = request {
                        progress.begin_attempt(request);
                    }
                    let request = request.take().expect("not polled after it was ready");
                    let attempt = match progress.scoped() {
                        None => this.inner.call(request),
                        Some(options) => options.sync_scope(|| this.inner.call(request)),
                    };
                    state.set(State::Called { attempt });
                }
                // → `Discarding` after a failed response, `Waiting` after an error, if the request is
                // sent again; otherwise the end.
                StateProj::Called { attempt } => {
                    let mut result = ready!(match progress.scoped() {
                        None => attempt.poll(cx),
                        Some(options) => options.sync_scope(|| attempt.poll(cx)),
                    });
                    let outcome = config.classifier.classify(result.as_ref()).outcome();
                    let attempt = progress.attempts();
                    config.observer.observe(&Event::Ended { attempt, outcome });
                    if outcome.is_success() {
                        config.succeeded(progress, &mut result);
                        return Poll::Ready(result);
                    }
                    let now = Instant::now();
                    let decision = config.decide(progress, outcome, now);
                    // The next request is asked for while the failed response is still there: a
                    // body that turns out to be gone returns that response.
                    let (wait, next) = match decision.and_then(|wait| {
                        let next = this.kept.as_mut().and_then(|kept| config.replay.again(kept));
                        next.map(|next| (wait, next)).ok_or(Stopped::CannotReplay)
                    }) {
                        Ok(again) => again,
                        Err(stopped) => {
                            config.gave_up(progress, outcome, stopped);
                            if let Ok(response) = &mut result {
                                note(response, progress, Some(stopped));
                            }
                            return Poll::Ready(result);
                        }
                    };
                    progress.wait(outcome, wait);
                    config.observer.observe(&Event::Waiting { attempt, outcome, wait });
                    let until = now.checked_add(wait).unwrap_or_else(|| now + FOR_EVER);
                    let next = Some(next);
                    match result {
                        Ok(response) => {
                            let discarding = config.discard.discard(response);
                            let limit = now + LONGEST_DISCARD;
                            let limit = progress.deadline().map_or(limit, |deadline| deadline.min(limit));
                            let limit = sleep_until(limit);
                            state.set(State::Discarding { discarding, limit, until, next });
                        }
                        Err(_) => state.set(State::until(until, now, next)),
                    }
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
                // → `Ready`.
                StateProj::Waiting { sleep, next } => {
                    ready!(sleep.poll(cx));
                    let request = next.take();
                    state.set(State::Ready { request });
                }
            }
        }
    }
}

impl<F, T, D> State<F, T, D> {
    fn until(until: Instant, now: Instant, next: Option<T>) -> Self {
        if until <= now {
            Self::Ready { request: next }
        } else {
            Self::Waiting { sleep: sleep_until(until), next }
        }
    }
}

impl<K, C, B: Backoff, D, O: Observe<Event>> Config<K, C, B, D, O> {
    fn decide(&self, progress: &mut Progress, outcome: Outcome, now: Instant) -> Result<Duration, Stopped> {
        let failed = progress.failed(outcome);
        let left = progress.deadline().map(|deadline| deadline.saturating_duration_since(now));
        let allowed = progress.allows_retry();
        let rules = &self.settings.rules;
        let decision = self.with_random(&mut progress.number, failed.retry(), |random| {
            decide(rules, &failed, left, allowed, &self.backoff, random)
        });
        match decision {
            Decision::Wait(wait) => Ok(wait),
            Decision::Stop(stopped) => Err(stopped),
        }
    }

    fn succeeded<Res: ResponseHead, E>(&self, progress: &Progress, result: &mut Result<Res, E>) {
        if progress.attempts() == 1 {
            return;
        }
        let retried = progress.retried(None);
        let (attempts, waited) = (retried.attempts, retried.waited);
        self.observer.observe(&Event::Recovered { attempts, waited });
        if let Ok(response) = result {
            note(response, progress, None);
        }
    }

    fn gave_up(&self, progress: &Progress, outcome: Outcome, stopped: Stopped) {
        let retried = progress.retried(Some(stopped));
        let (attempts, waited) = (retried.attempts, retried.waited);
        self.observer.observe(&Event::GaveUp { attempts, outcome, waited, stopped });
    }
}

/// Leaves the account of the call where its caller finds it.
fn note(response: &mut impl ResponseHead, progress: &Progress, stopped: Option<Stopped>) {
    if let Some(extensions) = response.extensions_mut() {
        extensions.insert(progress.retried(stopped));
    }
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
